//! What a run does without where the user lacks a right that is wanted, but not necessary.
//!
//! `docs/rbac/all-commands-mini.yaml` grants them all. Without one that is necessary the run fails,
//! and the failure names it.

use kt_cluster::Cluster;
use tracing::{debug, info, warn};

/// A right, as verb, API group and resource, and what is lost without it.
pub(crate) type Loss = (&'static str, &'static str, &'static str, &'static str);

/// Of every shadow.
const SHADOW: [Loss; 8] = [
    ("watch", "", "pods", "changes of pods are asked for instead of told"),
    ("delete", "", "pods", "the shadow stays at the end"),
    ("patch", "", "pods", "others take the shadow for dead after some minutes"),
    ("delete", "", "configmaps", "the shadow's config map goes only with its pod"),
    ("patch", "", "configmaps", "the shadow's config map stays when its pod is deleted by somebody else"),
    ("create", "", "pods/portforward", "the tunnel has WebSocket only"),
    ("get", "", "pods/portforward", "the tunnel has SPDY only"),
    ("list", "", "events", "the cluster's reasons for a waiting pod may be missing"),
];

/// Of `connect`.
pub(crate) const CONNECT: [Loss; 2] = [
    (
        "list",
        "",
        "services",
        "routes come from names that are asked for, and what dead runs left is not noticed",
    ),
    ("watch", "", "services", "the route of a later service comes when its name is asked for"),
];

/// Of `exchange`.
pub(crate) const EXCHANGE: [Loss; 5] = [
    ("create", "", "services", "callers get no answer while this laptop is away"),
    ("delete", "", "services", "the stand-in of the service stays at the end"),
    ("list", "", "services", "a deployment can not be found by its name"),
    ("watch", "", "services", "changes of the service are asked for instead of told"),
    ("list", "apps", "deployments", "a deployment can not be found by its name"),
];

/// Of `exchange --mode scale`.
pub(crate) const SCALE: [Loss; 1] =
    [("patch", "apps", "deployments", "there is no lock against somebody who scales at the same time")];

/// Of `mesh`.
pub(crate) const MESH: [Loss; 4] = [
    ("delete", "", "services", "the services of the mesh stay at the end"),
    ("list", "", "services", "a deployment can not be found by its name"),
    ("watch", "", "services", "changes of the service are asked for instead of told"),
    ("list", "apps", "deployments", "a deployment can not be found by its name"),
];

/// Of `preview`.
pub(crate) const PREVIEW: [Loss; 2] = [
    ("delete", "", "services", "the new service stays at the end"),
    ("patch", "", "services", "others take the new service for dead after some minutes"),
];

/// Says what will be missing, a line each; one line where it is everything. For a task of its own: nothing waits for it.
pub(crate) async fn say(cluster: Cluster, of_command: &'static [Loss]) -> anyhow::Result<()> {
    match cluster.rights().await {
        Ok(rights) => {
            let wanted = || SHADOW.iter().chain(of_command);
            let lacking = || wanted().filter(|(verb, group, resource, _)| rights.lack(verb, group, resource));
            if lacking().count() == wanted().count() {
                warn!("You may do nothing in namespace '{}': is that the name?", cluster.namespace());
                return Ok(());
            }
            for (verb, _, resource, loss) in lacking() {
                info!("Without the right to {verb} {resource}: {loss}");
            }
        }
        Err(error) => debug!(%error, "the rights are not known"),
    }
    Ok(())
}
