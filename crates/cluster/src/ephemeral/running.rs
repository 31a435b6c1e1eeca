//! Waiting for the begin and for the end of a container in a pod.

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::failure::{Error, reading};
use super::{Added, Wanted};
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
        let settings = self.settings();
        let mut states = Watched::<Pod>::new(self.objects(), &added.pod, settings.poll).states();
        let mut look = interval(settings.events);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut warning) = (None, None);
        loop {
            tokio::select! {
                Some(pod) = states.next() => match pod {
                    Ok(pod) => seen = Some(pod),
                    Err(error) if error.is_unreachable() => {} // the limit is the caller's
                    Err(error) => return Err(reading(&added.pod)(error)),
                },
                _ = look.tick() => warning = self.read_warning(added).await,
            }
            let Some(pod) = &seen else { continue };
            match verdict(pod.as_ref(), added, warning.as_deref()) {
                Verdict::Runs => return Ok(()),
                Verdict::Waits(what) => *last = what,
                Verdict::Fails(failure) => {
                    let (pod, container) = (added.pod.clone(), added.container.clone());
                    return Err(Error::Failed { pod, container, failure });
                }
            }
        }
    }

    /// What the node could not do with the container, where events may be read: its status tells that
    /// only when the node looks at the pod again, ten seconds later and more.
    async fn read_warning(&self, added: &Added) -> Option<String> {
        let place = format!("spec.ephemeralContainers{{{}}}", added.container);
        let fields =
            format!("type=Warning,involvedObject.uid={},involvedObject.fieldPath={place}", added.uid);
        let events = self.objects::<Event>().list(&ListParams::default().fields(&fields)).await.ok()?;
        // The first one says most.
        events.items.into_iter().find_map(|event| event.message)
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

fn verdict(pod: Option<&Pod>, added: &Added, warning: Option<&str>) -> Verdict {
    let Some(pod) = pod.filter(|pod| is_there(pod, added)) else { return Verdict::Fails(Failure::Deleted) };
    let told = status(pod, added).map(|status| (of_container(&status, &[]), status.image));
    match (told, warning) {
        (Some((Verdict::Waits(_), image)), Some(why)) => Verdict::Fails(failure(image, why)),
        (Some((verdict, _)), _) => verdict,
        (None, _) => Verdict::Waits("no report yet".to_owned()),
    }
}

fn failure(image: String, why: &str) -> Failure {
    match why.to_lowercase().contains("image") {
        true => Failure::Image { image, message: why.to_owned() },
        false => Failure::Container(why.to_owned()),
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
    fn what_the_node_warns_of_is_told_before_the_status_says_it() {
        let waits = pod(json!({"waiting": {"reason": "ContainerCreating"}}), None);
        let why = "Failed to pull image \"none:1\": not found";
        let pull = Failure::Image { image: String::new(), message: why.into() };

        assert_eq!(verdict(Some(&waits), &added("u"), Some(why)), Verdict::Fails(pull));
        assert_eq!(verdict(Some(&waits), &added("u"), None), Verdict::Waits("ContainerCreating".into()));
        assert_eq!(verdict(Some(&pod(json!({"running": {}}), None)), &added("u"), Some(why)), Verdict::Runs);
        assert_eq!(verdict(None, &added("u"), None), Verdict::Fails(Failure::Deleted));
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
