//! `--takeover`: the redirect of somebody who lives becomes ours, after asking.

use std::io::{BufRead, IsTerminal, Write};

use kt_cluster::Cluster;
use kt_cluster::redirect::{Error, Occupied};
use kt_cluster::scale::Workload;
use tokio::sync::oneshot;
use tracing::info;

use crate::cli::Exchange;
use crate::failure::{Advised, Usage};
use crate::report::plain;

/// Asks before anything is touched; tells from whom the service is taken. What stands in the way
/// otherwise is told later, under the lock.
pub(super) async fn ask(cluster: &Cluster, service: &str, ask: &Exchange) -> anyhow::Result<Option<String>> {
    if !ask.takeover {
        return Ok(None);
    }
    let Err(Error::Occupied(Occupied::Exchanged { user, .. })) = cluster.check_redirectable(service).await
    else {
        return Ok(None);
    };
    agree(ask, &format!("service '{service}'"), &user).await?;
    Ok(Some(user))
}

/// The same of a workload in mode scale; who exchanges its service in mode selector keeps it.
pub(super) async fn ask_workload(
    cluster: &Cluster,
    workload: &Workload,
    ask: &Exchange,
) -> anyhow::Result<Option<String>> {
    if let Some(target) = &workload.target {
        match cluster.check_redirectable(&target.service).await {
            Err(Error::Occupied(occupied @ Occupied::Exchanged { .. })) => {
                let advice = "that is mode selector: `--mode selector --takeover` takes it over";
                return Err(Advised::new(occupied.to_string(), advice).into());
            }
            checked => checked?,
        }
    }
    if !ask.takeover {
        return Ok(None);
    }
    let Some(there) = cluster.stand_in(&workload.name, &[]).await? else { return Ok(None) };
    agree(ask, &workload.name.to_string(), &there.user).await?;
    Ok(Some(there.user))
}

async fn agree(ask: &Exchange, what: &str, user: &str) -> anyhow::Result<()> {
    if ask.yes { Ok(()) } else { confirm(what, user).await }
}

/// May the service be redirected, or taken from `user`? Another one was not asked about.
pub(super) async fn check(cluster: &Cluster, service: &str, from: Option<&str>) -> anyhow::Result<()> {
    match cluster.check_redirectable(service).await {
        Err(Error::Occupied(Occupied::Exchanged { user, .. })) if from == Some(&user) => {
            info!("Taking service {service} over from {user}");
            Ok(())
        }
        checked => Ok(checked?),
    }
}

async fn confirm(what: &str, user: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        let text = format!("{what} is exchanged by {user}, and nobody can be asked here");
        return Err(Advised::new(text, "use --takeover --yes in scripts").into());
    }
    let known = plain(user);
    eprint!("{} is exchanged by {known}, whose command will end. Take it over? (y/N) ", titled(what));
    let _ = std::io::stderr().flush();
    match read_line().await.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Usage(format!("{what} stays with {user}")).into()),
    }
}

/// As a line begins.
fn titled(what: &str) -> String {
    format!("{}{}", what[..1].to_uppercase(), &what[1..])
}

/// In a thread of its own, which nobody waits for: a signal ends the command while it asks.
async fn read_line() -> String {
    let (answer, answered) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().lock().read_line(&mut line); // what can not be read is no consent
        let _ = answer.send(line);
    });
    answered.await.unwrap_or_default()
}
