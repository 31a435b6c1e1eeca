//! `--takeover`: the redirect of somebody who lives becomes ours, after asking.

use std::io::{BufRead, IsTerminal, Write};

use kt_cluster::Cluster;
use kt_cluster::redirect::{Error, Occupied};
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
    if !ask.yes {
        confirm(service, &user).await?;
    }
    Ok(Some(user))
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

async fn confirm(service: &str, user: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        let text = format!("service '{service}' is exchanged by {user}, and nobody can be asked here");
        return Err(Advised::new(text, "use --takeover --yes in scripts").into());
    }
    let known = plain(user);
    eprint!("Service '{service}' is exchanged by {known}, whose command will end. Take it over? (y/N) ");
    let _ = std::io::stderr().flush();
    match read_line().await.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Usage(format!("service '{service}' stays with {user}")).into()),
    }
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
