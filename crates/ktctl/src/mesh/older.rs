//! A router that an older client made: it knows nothing of links and sets of rules, only commands,
//! which are executed in its pod.
//!
//! That someone has joined stands in an annotation of its pod, in the same change as the count: who
//! leaves, or cleans up after a killed run, lowers the count once and not twice.

use anyhow::Context;
use kt_cluster::mesh::Router;
use kt_cluster::{Cluster, names, tunnel};
use tracing::{debug, info, warn};

use super::router::Joining;
use crate::failure::Advised;

const PROGRAM: &str = "/usr/sbin/router";
const CONTAINER: &str = "standalone";

/// Adds a version; false when somebody else has changed the router meanwhile.
pub(super) async fn join(
    cluster: &Cluster,
    service: &str,
    router: &Router,
    joining: &Joining,
) -> anyhow::Result<bool> {
    let mark = usable_mark(service, joining)?;
    let name = &joining.route.name;
    let is_new = !router.joined.contains_key(name);
    if is_new {
        let mut joined = router.joined.clone();
        joined.insert(name.clone(), mark.to_owned());
        if !cluster.write_joined(router, &joined, router.count + 1).await? {
            return Ok(false);
        }
    }
    info!("Router pod {} was made by an older ktctl", router.name);
    execute(cluster, service, router, "add", mark).await?;
    Ok(true)
}

/// Removes a version; false when somebody else has changed the router meanwhile.
pub(super) async fn leave(
    cluster: &Cluster,
    service: &str,
    router: &Router,
    name: &str,
) -> anyhow::Result<bool> {
    let mut joined = router.joined.clone();
    let Some(mark) = joined.remove(name) else { return Ok(true) };
    match execute(cluster, service, router, "remove", &mark).await {
        // Without the right it was not added either.
        Err(error) if error.is::<Advised>() => debug!("{error:#}"),
        Err(error) => {
            warn!("requests with the mark {mark} may go astray, the router was not told: {error:#}");
        }
        Ok(()) => {}
    }
    Ok(cluster.write_joined(router, &joined, router.count.saturating_sub(1)).await?)
}

/// The mark, where it is one by which an older router finds the version's Service.
fn usable_mark<'a>(service: &str, joining: &'a Joining) -> anyhow::Result<&'a str> {
    let older = format!("the router of service '{service}' was made by an older ktctl, which");
    let later = "or try again when those who mesh the service by it have ended";
    let Some(mark) = &joining.mark else {
        let text = format!("{older} knows no rules of --match");
        return Err(Advised::new(text, format!("use --versionMark, {later}")).into());
    };
    let value = mark.split_once(':').map_or(mark.as_str(), |(_, value)| value);
    if joining.route.name == names::mesh_shadow_of_older(service, value) {
        return Ok(mark);
    }
    let text = format!("{older} can not serve the version '{value}'");
    let advice = format!("use lower-case letters, digits and '-' in --versionMark, {later}");
    Err(Advised::new(text, advice).into())
}

/// Executes a command of the router and reads what it says, as older clients do.
async fn execute(
    cluster: &Cluster,
    service: &str,
    router: &Router,
    verb: &str,
    mark: &str,
) -> anyhow::Result<()> {
    let said = match cluster.execute(&router.name, CONTAINER, &[PROGRAM, verb, mark]).await {
        Err(tunnel::Error::Forbidden { right, .. }) => {
            let text = format!(
                "the router of service '{service}' was made by an older ktctl; joining it takes the right to {right}"
            );
            let advice = "ask for that right, or try again when those who mesh the service by the older ktctl have ended";
            return Err(Advised::new(text, advice).into());
        }
        said => said.with_context(|| format!("executing {PROGRAM} {verb} in pod {}", router.name))?,
    };
    match complaint(&said) {
        Some(why) => anyhow::bail!("the router of service '{service}' refuses {mark}: {why}"),
        None => Ok(()),
    }
}

/// What is wrong, out of the router's log.
fn complaint(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.contains(" ERR "))?;
    let quoted = line.split_once(" error=\"").and_then(|(_, rest)| rest.rsplit_once('"'));
    Some(quoted.map_or(line, |(text, _)| text).to_owned())
}

#[cfg(test)]
mod tests {
    use kt_wire::rules::Route;

    use super::*;

    fn joining(name: &str, mark: Option<&str>) -> Joining {
        let route =
            Route { name: name.into(), user: String::new(), rules: Vec::new(), since: 0, shadow: None };
        Joining { route, mark: mark.map(String::from) }
    }

    #[test]
    fn complaints_are_picked_out_of_the_log() {
        let said =
            "10:20AM INF reading state\n10:20AM ERR add failed error=\"specified header 'a' no match\"\n";

        assert_eq!(complaint(said).as_deref(), Some("specified header 'a' no match"));
        assert_eq!(complaint("10:20AM INF done\n"), None);
        assert_eq!(complaint("x ERR odd").as_deref(), Some("x ERR odd"));
    }

    #[test]
    fn only_marks_that_an_older_router_finds_are_taken() {
        let good = joining("tomcat-kt-mesh-mine", Some("kt-mark:mine"));
        let changed = joining("tomcat-kt-mesh-0-0-1-abcd", Some("version:0.0.1"));

        assert_eq!(usable_mark("tomcat", &good).unwrap(), "kt-mark:mine");
        assert!(usable_mark("tomcat", &changed).unwrap_err().to_string().contains("'0.0.1'"));
        let rules = usable_mark("tomcat", &joining("tomcat-kt-mesh-mine", None)).unwrap_err();
        assert!(rules.to_string().contains("--match"));
    }
}
