//! Waiting for the begin and for the end of a container in a pod.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use tokio::time::{sleep, timeout};

use super::{Added, Error, Wanted, reading};
use crate::Cluster;
use crate::shadow::{Failure, Verdict, of_container};
use crate::watch::Watched;

/// Why a container does not run any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its pod is gone, or has finished.
    PodGone,
    /// Its program has ended; the code, and its last words.
    Container(i32, String),
}

impl Cluster {
    /// Waits until the container runs, and fails as soon as it is known that it will not. Cancel safe.
    pub async fn wait_until_added(&self, added: &Added, wanted: &Wanted) -> Result<(), Error> {
        let Added { pod, container, .. } = added.clone();
        let mut last = "no report yet".to_owned();
        let seconds = wanted.creation_timeout.as_secs();
        let begun = timeout(wanted.creation_timeout, self.wait_until_begun(added, &mut last)).await;
        begun.unwrap_or(Err(Error::NotInTime { pod, container, seconds, last }))
    }

    async fn wait_until_begun(&self, added: &Added, last: &mut String) -> Result<(), Error> {
        let mut watched: Watched<Pod> = Watched::new(self.objects(), &added.pod, self.settings().poll);
        let failed = |failure| {
            let (pod, container) = (added.pod.clone(), added.container.clone());
            Err(Error::Failed { pod, container, failure })
        };
        loop {
            let pod = match watched.next().await {
                Ok(pod) => pod.filter(|pod| is_there(pod, added)),
                Err(error) if error.is_unreachable() => continue, // the limit is the caller's
                Err(error) => return Err(reading(&added.pod)(error)),
            };
            let Some(pod) = pod else { return failed(Failure::Deleted) };
            match status(&pod, added).map(|status| of_container(&status, &[])) {
                None => {}
                Some(Verdict::Runs) => return Ok(()),
                Some(Verdict::Fails(failure)) => return failed(failure),
                Some(Verdict::Waits(what)) => *last = what,
            }
        }
    }

    /// Waits until the container has ended, or its pod is gone; troubles of the way are waited out.
    /// Cancel safe.
    pub async fn wait_until_ended(&self, added: &Added) -> Ended {
        let poll = self.settings().poll;
        let mut watched: Watched<Pod> = Watched::new(self.objects(), &added.pod, poll);
        loop {
            match watched.next().await {
                Ok(pod) => {
                    if let Some(ended) = ended(pod.as_ref(), added) {
                        return ended;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, pod = added.pod, "the pod can not be watched");
                    sleep(poll).await;
                }
            }
        }
    }
}

fn ended(pod: Option<&Pod>, added: &Added) -> Option<Ended> {
    let Some(pod) = pod.filter(|pod| is_there(pod, added)) else { return Some(Ended::PodGone) };
    let end = status(pod, added)?.state?.terminated?;
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(Ended::PodGone);
    }
    Some(Ended::Container(end.exit_code, end.message.unwrap_or_default().trim().to_owned()))
}

/// A pod of the same name may be another one by now.
fn is_there(pod: &Pod, added: &Added) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.uid().as_ref() == Some(&added.uid) && !matches!(phase, Some("Failed" | "Succeeded"))
}

fn status(pod: &Pod, added: &Added) -> Option<ContainerStatus> {
    let statuses = pod.status.as_ref()?.ephemeral_container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == added.container).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(state: Value, deleted: Option<&str>) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "echo-1", "uid": "u", "deletionTimestamp": deleted},
            "status": {"phase": "Running", "ephemeralContainerStatuses": [
                {"name": "kt-exchange", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0}
            ]},
        }))
        .unwrap()
    }

    fn added(uid: &str) -> Added {
        Added { pod: "echo-1".into(), uid: uid.into(), container: "kt-exchange".into(), port: 1 }
    }

    #[test]
    fn a_program_that_ended_is_told_from_a_pod_that_is_gone() {
        let over = json!({"terminated": {"exitCode": 1, "message": "oops\n"}});

        assert_eq!(ended(Some(&pod(json!({"running": {}}), None)), &added("u")), None);
        let container = Some(Ended::Container(1, "oops".into()));
        assert_eq!(ended(Some(&pod(over.clone(), None)), &added("u")), container);
        let leaving = pod(over, Some("2026-01-01T00:00:00Z"));
        assert_eq!(ended(Some(&leaving), &added("u")), Some(Ended::PodGone));
        assert_eq!(ended(Some(&pod(json!({"running": {}}), None)), &added("other")), Some(Ended::PodGone));
        assert_eq!(ended(None, &added("u")), Some(Ended::PodGone));
    }
}
