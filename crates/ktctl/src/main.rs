//! `ktctl`: two-way networking between a laptop and a Kubernetes test cluster.
//!
//! This file decides who runs: the root helper, the heir of a killed run, or the user's command.

mod birdseye;
mod clean;
mod cleanup;
mod cli;
mod connect;
mod env_file;
mod exchange;
mod failure;
mod heartbeat;
mod inbound;
mod inside;
mod leftovers;
mod losses;
mod mesh;
mod names;
mod outbound;
mod preview;
mod recover;
mod report;
mod run;
mod shadow;
mod tasks;
mod uplink;

use std::process::ExitCode;

use anyhow::Context;
use kt_cluster::{Access, Cluster};
use kt_host::helper::{self, Heir, Spawned};
use kt_host::instance::InstanceLock;
use kt_host::privilege;
use kt_host::shutdown::Triggers;
use tracing::{debug, info, warn};

use crate::cli::{Cli, Command, Global, VERSION};
use crate::failure::Advised;

/// The hidden first word with which the root helper of a killed run starts what cleans up after it.
const HEIR: &str = "heir";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(helper::ARGUMENT) => return helper::serve(),
        Some(HEIR) => return heir(),
        _ => {}
    }
    let typed = match cli::parse(std::env::args_os()) {
        Ok(typed) => typed,
        Err(error) => {
            let _ = error.print(); // nobody listens
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let Cli { command: Some(command), global, .. } = typed.cli else {
        let _ = cli::command().print_help();
        return ExitCode::SUCCESS;
    };
    let log = report::start(global.debug);
    for old in &typed.deprecated {
        warn!("{old}");
    }
    if let Some(log) = log {
        debug!("the debug log is {}", log.display());
    }
    if command.tells_events() {
        report::events::start();
    }
    let error = start(&global, &command).err();
    let code = error.as_ref().map_or(0, failure::report);
    report::events::finish(code, error.map(|error| format!("{error:#}")));
    ExitCode::from(code)
}

fn start(global: &Global, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Connect(ask) => connect::check(ask)?,
        Command::Exchange(ask) => drop(exchange::check(ask)?),
        Command::Mesh(ask) => drop(mesh::check(ask)?),
        Command::Preview(ask) => drop(preview::check(ask)?),
        Command::Run(ask) => drop(preview::as_run::check(ask)?),
        Command::Recover(ask) => drop(recover::check(ask)?),
        Command::Birdseye(ask) => drop(birdseye::check(ask)?),
        Command::Clean(_) => {}
    }
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    info!("KtConnect {VERSION} start at {} ({os} {arch})", std::process::id());
    if let Err(error) = privilege::raise_open_files_limit() {
        debug!(%error, "the limit of open files stays as it is");
    }
    kt_host::memory::share_arenas();
    let lock = match command {
        Command::Connect(_) => Some(InstanceLock::take("connect")?),
        Command::Clean(ask) if !ask.dry_run => lock_for_clean(),
        _ => None,
    };
    let helper = match command {
        Command::Connect(ask) if connect::changes_the_laptop(ask) => Some(spawn_helper(lock.as_ref())?),
        // It undoes what dead runs have left before anything else.
        Command::Clean(_) if lock.is_some() => Some(spawn_helper(lock.as_ref())?),
        _ => None,
    };
    give_up_root()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(1, 4)))
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(carry_out(global, command, helper))
}

async fn carry_out(global: &Global, command: &Command, helper: Option<Spawned>) -> anyhow::Result<()> {
    let triggers = Triggers::install().context("listening to signals")?;
    let helper = match helper {
        Some(spawned) => Some(spawned.connect().await?),
        None => None,
    };
    match command {
        Command::Connect(ask) => connect::run(global, ask, helper, triggers).await,
        Command::Exchange(ask) => exchange::run(global, ask, triggers).await,
        Command::Mesh(ask) => mesh::run(global, ask, triggers).await,
        Command::Preview(ask) => preview::run(global, ask, triggers).await,
        Command::Run(ask) => preview::as_run::run(global, ask, triggers).await,
        Command::Recover(ask) => recover::run(global, ask, triggers).await,
        Command::Clean(ask) => clean::run(global, ask, helper, triggers).await,
        Command::Birdseye(ask) => birdseye::run(global, ask, triggers).await,
    }
}

/// What a living `connect` has changed is none of our business.
fn lock_for_clean() -> Option<InstanceLock> {
    if !privilege::is_root() {
        info!("Not root user, DNS cleanup skipped");
        return None;
    }
    match InstanceLock::take("connect") {
        Ok(lock) => Some(lock),
        Err(error) => {
            info!("DNS cleanup skipped: {error}");
            None
        }
    }
}

fn spawn_helper(lock: Option<&InstanceLock>) -> anyhow::Result<Spawned> {
    if !privilege::is_root() {
        let text = "connect needs root for its network device, routes and name server";
        return Err(Advised::new(
            text,
            "use `sudo ktctl connect`, or `ktctl connect --disableTunDevice` for the proxy alone",
        )
        .into());
    }
    let paths = kt_host::Paths::system();
    let heir = privilege::invoking_user().map(|user| Heir {
        args: vec![HEIR.into()],
        env: user.environment(std::env::vars_os()),
        folder: "/".into(),
        ids: (user.uid, user.gid),
    });
    Ok(helper::spawn(&helper::Config { paths: &paths, lock, heir: heir.as_ref() })?)
}

/// Under `sudo` goes on as the user who typed it, with his kubeconfig and his programs.
fn give_up_root() -> anyhow::Result<()> {
    let Some(user) = privilege::invoking_user().filter(|_| privilege::is_root()) else { return Ok(()) };
    let environment = privilege::become_user(&user)?;
    let environment = match privilege::login_path(&user) {
        Some(path) => environment.with_path(path),
        None => environment,
    };
    Ok(environment.apply()?)
}

/// Opens the cluster that the user means, and says which one it is.
async fn access(global: &Global) -> anyhow::Result<Cluster> {
    let access = Access {
        kubeconfig: global.kubeconfig.clone(),
        context: global.context.clone(),
        namespace: global.namespace.clone(),
        embedded: None,
    };
    let port_forward = std::time::Duration::from_secs(global.port_forward_timeout.max(1));
    let settings = kt_cluster::Settings { port_forward, ..Default::default() };
    let cluster = Cluster::connect_with(&access, settings).await?;
    if global.use_local_time {
        cluster.use_local_time();
    }
    info!("Using cluster context {} ({})", cluster.context(), cluster.name());
    Ok(cluster)
}

/// Cleans up in clusters after runs of this user that were killed, with his kubeconfig and his programs.
fn heir() -> ExitCode {
    let found = privilege::find_login_path(); // before there are threads
    report::start(false);
    if let Err(error) = found {
        debug!(%error, "the PATH stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(leftovers::of_this_laptop());
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}
