//! Others who exchange the same pods inside of them (mode ephemeral): nothing about the service tells.

use std::collections::BTreeMap;

use kt_cluster::Cluster;
use kt_cluster::ephemeral::Exchanger;
use kt_host::home::{Home, Run, host_name, user_name};
use tracing::info;

use crate::run::Status;

/// Fails with who is in pods with these labels. What a killed run of this laptop has left there is no
/// obstacle: it leads nobody away after 15 s, and ends by itself.
pub(crate) async fn check(
    cluster: &Cluster,
    what: String,
    labels: &BTreeMap<String, String>,
    deed: &'static str,
) -> anyhow::Result<()> {
    let all = cluster.exchangers_inside(labels).await?;
    let (own, others): (Vec<_>, Vec<_>) = all.iter().partition(|exchanger| is_of_this_laptop(exchanger));
    let living = own.first().copied().filter(|_| is_alive(cluster));
    if let Some(exchanger) = others.first().copied().or(living) {
        return Err(exchanger.refuse(what, cluster.time(), deed).into());
    }
    if !own.is_empty() {
        info!("The pods of {what} still have containers of a killed run, which end by themselves");
    }
    Ok(())
}

fn is_of_this_laptop(exchanger: &Exchanger) -> bool {
    exchanger.user == user_name() && exchanger.host.as_ref() == Some(&host_name())
}

/// Does a run of this user live that exchanges something of the namespace in this way?
fn is_alive(cluster: &Cluster) -> bool {
    let runs = Home::of_user().map(|home| home.runs()).unwrap_or_default();
    let living = runs.into_iter().filter(Run::is_alive);
    living.filter_map(|run| serde_json::from_value::<Status>(run.status).ok()).any(|status| {
        status.inside.is_some()
            && status.context == cluster.context()
            && status.namespace == cluster.namespace()
    })
}
