//! One use of a command, from start to undone: its pid file, its journal, what asks it to end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use kt_cluster::Cluster;
use kt_cluster::workload::WorkloadName;
use kt_host::home::{Home, PidFile, RunFile};
use kt_host::shutdown::{Trigger, Triggers};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::cli::Global;
use crate::exchange::scale::Scaled;
use crate::leftovers::Refused;
use crate::mesh::Joined;
use crate::report::status;
use crate::tasks::Tasks;

/// A run. Dropping it removes its files.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) tasks: Tasks,
    home: Home,
    component: &'static str,
    triggers: Triggers,
    pid_file: PidFile,
    /// When a signal has ended the run.
    told: Option<Instant>,
    /// The user did not want to wait for the clean-up's end.
    pub(crate) is_given_up: bool,
}

/// One Ctrl+C may come as several signals within this time: the terminal and `sudo` both send it.
const ONE_SIGNAL: Duration = Duration::from_secs(1);

/// Why a run ends.
#[derive(Debug)]
pub(crate) enum End {
    /// A signal.
    Signal(Trigger),
    /// Somebody removed the pid file, which asks us to stop.
    PidFileRemoved,
    /// Something broke that the run can not go on without.
    Failed(anyhow::Error),
}

impl Run {
    /// Begins a run.
    pub(crate) fn begin(component: &'static str, triggers: Triggers) -> anyhow::Result<Run> {
        let home = Home::of_user().context("finding the home folder")?;
        let pid_file = home.pid_file(component).context("writing the pid file")?;
        Ok(Run {
            tasks: Tasks::default(),
            home,
            component,
            triggers,
            pid_file,
            told: None,
            is_given_up: false,
        })
    }

    /// Where the run's journal will lie.
    pub(crate) fn journals(&self) -> Journals {
        Journals { home: self.home.clone(), component: self.component }
    }

    /// Waits until something ends the run. Cancel safe.
    async fn ended(&mut self) -> End {
        tokio::select! {
            trigger = self.triggers.wait_for_trigger() => {
                self.told = Some(Instant::now());
                End::Signal(trigger)
            }
            () = self.pid_file.wait_until_removed() => End::PidFileRemoved,
            error = self.tasks.failed() => End::Failed(error),
        }
    }

    /// Starts what the run is for, and then waits until something ends it; that may come first. Cancel
    /// safety: as that of `start`.
    pub(crate) async fn until_ended(&mut self, start: impl Future<Output = anyhow::Result<()>>) -> End {
        let started = tokio::select! {
            started = start => started,
            end = self.ended() => return end,
        };
        match started {
            Ok(()) => self.ended().await,
            Err(error) => End::Failed(error),
        }
    }

    /// Waits for another signal: the user has had enough of waiting. A terminal that is closed says
    /// so more than once, and nobody is there who waits.
    pub(crate) async fn impatience(&mut self) {
        loop {
            let trigger = self.triggers.wait_for_trigger().await;
            let is_the_first = self.told.is_some_and(|told| told.elapsed() < ONE_SIGNAL);
            if trigger != Trigger::HangUp && !is_the_first {
                return;
            }
        }
    }
}

impl End {
    /// Says why; what is wrong is returned, to be said after the clean-up.
    pub(crate) fn say(self) -> anyhow::Result<()> {
        status::done();
        match self {
            End::Signal(trigger) => info!("Terminal signal is {trigger}"),
            End::PidFileRemoved => info!("Pid file was removed"),
            End::Failed(error) => return Err(error),
        }
        Ok(())
    }
}

/// What a run has made in a cluster, and where that is: enough for whoever comes after it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) kubeconfig: Option<PathBuf>,
    /// URL of the API server; empty in journals of older versions.
    pub(crate) server: String,
    pub(crate) context: String,
    pub(crate) namespace: String,
    /// Names of shadows.
    pub(crate) shadows: Vec<String>,
    /// Are they Deployments?
    pub(crate) deployments: bool,
    /// A Service, and what it was made to select.
    pub(crate) redirected: Option<(String, BTreeMap<String, String>)>,
    /// A Service that did not exist before, and what it was made to select.
    pub(crate) previewed: Option<(String, BTreeMap<String, String>)>,
    /// A Service whose router this run has joined.
    pub(crate) meshed: Option<Meshed>,
    /// A shadow that was made a pod of a Service.
    pub(crate) joined: Option<Joined>,
    /// A workload that was scaled to nothing.
    pub(crate) scaled: Option<Scaled>,
    /// What is exchanged inside of its pods; their containers end by themselves.
    pub(crate) inside: Option<String>,
    /// A file on this laptop with the environment of the target.
    pub(crate) env_file: Option<PathBuf>,
    /// A file on this laptop with the proxy for Java programs.
    pub(crate) jvmrc: Option<PathBuf>,
    /// The right that was missing when somebody came after the run.
    pub(crate) refused: Option<Refused>,
    /// A workload that may be locked, and who holds the lock then.
    pub(crate) locked: Option<(WorkloadName, String)>,
    /// The same of a Service.
    pub(crate) locked_service: Option<(String, String)>,
}

/// A Service whose router a run has joined.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Meshed {
    pub(crate) service: String,
    /// The route in the router.
    pub(crate) route: String,
    /// What the Service was led to.
    pub(crate) mark: BTreeMap<String, String>,
}

impl Status {
    /// Has nothing been made yet?
    pub(crate) fn is_empty(&self) -> bool {
        self.shadows.is_empty()
            && self.redirected.is_none()
            && self.previewed.is_none()
            && self.meshed.is_none()
            && self.scaled.is_none()
            && self.locked.is_none()
            && self.locked_service.is_none()
    }
}

/// Where the journal of a run lies, once there is something to write.
#[derive(Clone, Debug)]
pub(crate) struct Journals {
    home: Home,
    component: &'static str,
}

impl Journals {
    /// Opens the journal of what the run makes in a cluster.
    pub(crate) fn open(&self, global: &Global, cluster: &Cluster) -> anyhow::Result<Journal> {
        let status = Status {
            kubeconfig: kubeconfig_of(global),
            server: cluster.server(),
            context: cluster.context().into(),
            namespace: cluster.namespace().into(),
            ..Status::default()
        };
        let file = self.home.run_file(self.component, &status).context("writing the run's journal")?;
        Ok(Journal { open: Arc::new(Mutex::new(Some((file, status)))) })
    }
}

/// The file as whoever comes after this run finds it, from another folder and with other variables.
/// Several files in `KUBECONFIG` are left to the variable.
fn kubeconfig_of(global: &Global) -> Option<PathBuf> {
    let told = || std::env::var_os("KUBECONFIG").filter(|paths| std::env::split_paths(paths).count() == 1);
    let path = global.kubeconfig.clone().or_else(|| told().map(PathBuf::from))?;
    Some(std::path::absolute(&path).unwrap_or(path))
}

/// The journal of a run. Each thing is written down before it is made. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    open: Arc<Mutex<Option<(RunFile, Status)>>>,
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Option<(RunFile, Status)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands in it.
    pub(crate) fn status(&self) -> Status {
        self.lock().as_ref().map(|(_, status)| status.clone()).unwrap_or_default()
    }

    pub(crate) fn note_shadow(&self, name: &str) {
        self.note(|status| status.shadows.push(name.into()));
    }

    pub(crate) fn note_deployments(&self) {
        self.note(|status| status.deployments = true);
    }

    /// Takes back a shadow that was not made after all.
    pub(crate) fn forget_shadow(&self, name: &str) {
        self.note(|status| status.shadows.retain(|shadow| shadow != name));
    }

    pub(crate) fn note_redirect(&self, service: &str, ours: &BTreeMap<String, String>) {
        self.note(|status| status.redirected = Some((service.into(), ours.clone())));
    }

    pub(crate) fn note_preview(&self, service: &str, ours: &BTreeMap<String, String>) {
        self.note(|status| status.previewed = Some((service.into(), ours.clone())));
    }

    pub(crate) fn note_mesh(&self, service: &str, route: &str, mark: &BTreeMap<String, String>) {
        let (service, route, mark) = (service.into(), route.into(), mark.clone());
        self.note(|status| status.meshed = Some(Meshed { service, route, mark }));
    }

    pub(crate) fn note_joined(&self, shadow: &str, labels: &BTreeMap<String, String>) {
        let (shadow, labels) = (shadow.into(), labels.clone());
        self.note(|status| status.joined = Some(Joined { shadow, labels }));
    }

    pub(crate) fn note_scaled(&self, scaled: Scaled) {
        self.note(|status| status.scaled = Some(scaled));
    }

    pub(crate) fn note_inside(&self, what: &str) {
        self.note(|status| status.inside = Some(what.into()));
    }

    pub(crate) fn note_env_file(&self, path: &Path) {
        self.note(|status| status.env_file = Some(path.into()));
    }

    pub(crate) fn note_jvmrc(&self, path: &Path) {
        self.note(|status| status.jvmrc = Some(path.into()));
    }

    pub(crate) fn note_lock(&self, workload: &WorkloadName, owner: &str) {
        self.note(|status| status.locked = Some((workload.clone(), owner.into())));
    }

    pub(crate) fn forget_lock(&self) {
        self.note(|status| status.locked = None);
    }

    pub(crate) fn note_service_lock(&self, service: &str, owner: &str) {
        self.note(|status| status.locked_service = Some((service.into(), owner.into())));
    }

    pub(crate) fn forget_service_lock(&self) {
        self.note(|status| status.locked_service = None);
    }

    fn note(&self, what: impl FnOnce(&mut Status)) {
        if let Some((file, status)) = self.lock().as_mut() {
            what(status);
            if let Err(error) = file.update(status) {
                warn!(
                    "the run's journal can not be written, after a crash somebody has to clean up: {error:#}"
                );
            }
        }
    }

    /// Leaves the file for the next start on this laptop: not everything could be undone.
    pub(crate) fn leave(&self) {
        if let Some((file, _)) = self.lock().take() {
            std::mem::forget(file);
        }
    }
}
