//! Where rules come from: laptops, and the file with the pod's annotation.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use kt_wire::rules::{RuleSet, Unusable};
use kt_wire::{Incoming, Reason, Refused};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::Router;

/// A set is no larger than an object of Kubernetes.
const MOST: u64 = 1 << 20;
/// The kubelet itself takes up to a minute to bring a changed annotation.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Takes a set from a laptop, and tells it which generation is in use.
pub(super) async fn take(router: &Router, asked: Incoming) {
    let mut stream = asked.accept();
    let mut json = Vec::new();
    if (&mut stream).take(MOST).read_to_end(&mut json).await.is_err() {
        return; // the laptop is gone
    }
    match RuleSet::from_json(&json) {
        Ok(set) => {
            let line = format!("generation {}\n", router.adopt(set));
            if stream.write_all(line.as_bytes()).await.is_ok() {
                let _ = stream.shutdown().await; // whoever asked has gone
            }
        }
        Err(why) => stream.reset(&Refused { reason: Reason::Other, text: why.to_string() }),
    }
}

/// Uses what stands in the file whenever it is newer. The file may come later.
pub(super) async fn follow(path: PathBuf, router: Rc<Router>) {
    let mut last = Vec::new();
    loop {
        let json = std::fs::read(&path).unwrap_or_default();
        if json != last && !json.trim_ascii().is_empty() {
            if let Err(why) = use_newer(&json, &router) {
                eprintln!("router: {}: {why}", path.display());
            }
            last = json;
        }
        sleep(LOOK_EVERY).await;
    }
}

fn use_newer(json: &[u8], router: &Router) -> Result<(), Unusable> {
    let set = RuleSet::from_json(json)?;
    let table = router.table();
    if table.set().is_none() || set.generation > table.generation() {
        router.adopt(set);
    }
    Ok(())
}
