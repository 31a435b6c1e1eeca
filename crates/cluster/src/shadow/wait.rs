//! Waiting until a pod's program runs, with what Kubernetes reports meanwhile.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::MissedTickBehavior;

use super::Progress;
use super::failure::{Error, Failure};
use super::verdict::{Verdict, verdict};
use super::wanted::ShadowWanted;
use crate::Cluster;
use crate::api::ApiError;
use crate::watch::Watched;

/// Nobody waits longer without a word.
const SAY_EVERY: Duration = Duration::from_secs(5);

impl Cluster {
    /// Waits until the pod runs, says what it waits for, and fails as soon as it knows better.
    pub(super) async fn wait_until_it_runs(
        &self,
        pod: &Pod,
        wanted: &ShadowWanted,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Pod, Error> {
        let name = pod.name_any();
        let mut waiting = Waiting::new(self, pod, progress);
        match tokio::time::timeout(wanted.creation_timeout, waiting.run()).await {
            Ok(Ok(pod)) => Ok(pod),
            Ok(Err(Stopped::Failed(failure))) => Err(Error::Failed { pod: name, failure }),
            Ok(Err(Stopped::Blind(source))) => Err(Error::Waiting { pod: name, source }),
            Err(_) => Err(Error::NotInTime {
                pod: name,
                seconds: wanted.creation_timeout.as_secs(),
                last: waiting.said,
            }),
        }
    }
}

enum Stopped {
    Failed(Failure),
    Blind(ApiError),
}

struct Waiting<'a> {
    cluster: &'a Cluster,
    pod: Pod,
    progress: &'a (dyn Fn(Progress) + Sync),
    since: Instant,
    /// What was said last, and when.
    said: String,
    said_at: Instant,
    events: Vec<Event>,
    /// May events be read?
    allowed: bool,
}

impl<'a> Waiting<'a> {
    fn new(cluster: &'a Cluster, pod: &Pod, progress: &'a (dyn Fn(Progress) + Sync)) -> Waiting<'a> {
        progress(Progress::Waiting { pod: pod.name_any(), what: String::new(), since: Duration::ZERO });
        let (pod, said, since) = (pod.clone(), "no report yet".to_owned(), Instant::now());
        Waiting { cluster, pod, progress, since, said, said_at: since, events: Vec::new(), allowed: true }
    }

    async fn run(&mut self) -> Result<Pod, Stopped> {
        let settings = self.cluster.settings();
        let (pods, name) = (self.cluster.objects(), self.pod.name_any());
        let mut states = Watched::<Pod>::new(pods, &name, settings.poll).states();
        let mut look = tokio::time::interval(settings.events);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.tick().await;
        let mut unreachable_since = None;
        loop {
            tokio::select! {
                Some(state) = states.next() => match state {
                    Ok(Some(pod)) if pod.uid() == self.pod.uid() => self.pod = pod,
                    Ok(_) => return Err(Stopped::Failed(Failure::Deleted)),
                    Err(error) if error.is_unreachable() => {
                        let since = *unreachable_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > settings.connect {
                            return Err(Stopped::Blind(error));
                        }
                        continue;
                    }
                    Err(error) => return Err(Stopped::Blind(error)),
                },
                _ = look.tick() => self.read_events().await,
            }
            unreachable_since = None;
            if let Some(pod) = self.judge()? {
                return Ok(pod);
            }
        }
    }

    fn judge(&mut self) -> Result<Option<Pod>, Stopped> {
        match verdict(&self.pod, &self.events) {
            Verdict::Runs => Ok(Some(self.pod.clone())),
            Verdict::Fails(failure) => Err(Stopped::Failed(failure)),
            Verdict::Waits(what) => {
                if !what.is_empty() && what != self.said {
                    self.said = what;
                    self.say();
                } else if self.said_at.elapsed() >= SAY_EVERY {
                    self.say();
                }
                Ok(None)
            }
        }
    }

    fn say(&mut self) {
        self.said_at = Instant::now();
        let (pod, what) = (self.pod.name_any(), self.said.clone());
        (self.progress)(Progress::Waiting { pod, what, since: self.since.elapsed() });
    }

    /// Reads the pod's events; stops asking once it is not allowed.
    async fn read_events(&mut self) {
        let Some(uid) = self.pod.uid().filter(|_| self.allowed) else { return };
        let events: Api<Event> = self.cluster.objects();
        let of_pod = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        match events.list(&of_pod).await {
            Ok(events) => self.events = events.items,
            Err(error) => self.allowed = !ApiError::from(error).is_forbidden(),
        }
    }
}
