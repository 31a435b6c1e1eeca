//! The words that users type: commands, flags, and what stands behind them.
//!
//! Flags are shown in camelCase and taken in kebab-case, too. Spellings of older versions become
//! today's in [`historic`] before anything is parsed, lines of kubectl plugins those of [`plugin`].

mod historic;
mod plugin;
mod spelling;
#[cfg(test)]
mod tests;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use spelling::flexible;
pub(crate) use values::{Pairs, Ports};
use values::{pairs, ports, range};

/// The version that is shown and compared: `TAG` of the build, else the crate's own.
pub(crate) const VERSION: &str = match option_env!("TAG") {
    Some(tag) if !tag.is_empty() => tag,
    _ => env!("CARGO_PKG_VERSION"),
};

/// Two-way networking between your laptop and a Kubernetes test cluster.
#[derive(Debug, Parser)]
#[command(name = "ktctl", version = format!("version {VERSION}"), disable_version_flag = true, rename_all = "camelCase")]
#[command(max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Print the version
    #[arg(short = 'v', long = "version", action = ArgAction::Version)]
    version: Option<bool>,
}

/// What applies to every command.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "camelCase", next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Namespace for the helper pods and the targets [default: that of the kubeconfig's context]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Kubeconfig file [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(short = 'c', long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Image of the shadow [default: none is needed, a program is carried into an image that the namespace runs]
    #[arg(short, long, global = true, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Pull secret for helper pods
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) image_pull_secret: Option<String>,
    /// Service account of helper pods
    #[arg(long, global = true, value_name = "NAME", default_value = "default")]
    pub(crate) service_account: String,
    /// Node selector of helper pods, e.g. disk=ssd,zone=a
    #[arg(long, global = true, value_name = "K=V,...", value_parser = pairs())]
    pub(crate) node_selector: Option<Pairs>,
    /// Print debug logs, and write them to a file kt-* in the folder for temporary files
    #[arg(short, long, global = true)]
    pub(crate) debug: bool,
    /// More labels for shadow pods
    #[arg(short = 'l', long, global = true, value_name = "K=V,...", value_parser = pairs())]
    pub(crate) with_label: Option<Pairs>,
    /// More annotations for shadow pods
    #[arg(long, global = true, value_name = "K=V,...", value_parser = pairs())]
    pub(crate) with_annotation: Option<Pairs>,
    /// Seconds for a port-forward to become ready
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) port_forward_timeout: u64,
    /// Seconds for a helper pod to become ready
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) pod_creation_timeout: u64,
    /// Wrap the shadow pod in a deployment, which makes it anew when it is lost
    #[arg(long, global = true)]
    pub(crate) use_shadow_deployment: bool,
    /// Take the laptop's clock for heartbeats instead of the cluster's
    #[arg(long, global = true)]
    pub(crate) use_local_time: bool,
    /// Always pull the image of helper pods
    #[arg(short, long, global = true)]
    pub(crate) force_update: bool,
    /// CPU and memory of helper pods, e.g. 0.5c,512m
    #[arg(long, global = true, value_name = "QUOTA")]
    pub(crate) pod_quota: Option<String>,
    /// Address family of the cluster, 4 or 6; no effect, as it is found out and both may be there
    #[arg(long, global = true, hide = true, value_name = "FAMILY", value_parser = ["4", "6"])]
    ip_version: Option<String>,
    /// Reserved, no effect
    #[arg(long, global = true, hide = true)]
    as_worker: bool,
}

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(rename_all = "camelCase", disable_help_subcommand = false)]
pub(crate) enum Command {
    /// Reach pod IPs, service IPs and names of the cluster from this laptop
    Connect(Connect),
    /// Have the cluster call a program on this laptop instead of a service
    Exchange(Exchange),
    /// Have requests with a mark come to this laptop, and all others go on to the service
    Mesh(Mesh),
    /// Let the cluster call a program on this laptop by a new service
    Preview(Preview),
    /// The old look of `preview`: a deployment of the service's name
    #[command(hide = true)]
    Run(Run),
    /// Put a service back as it was before somebody exchanged it
    Recover(Recover),
    /// Remove what dead runs have left, in the cluster and on this laptop
    Clean(Clean),
    /// Show who exchanges, meshes and previews which service
    Birdseye(Birdseye),
}

impl Command {
    /// Are programs told what happens?
    pub(crate) fn tells_events(&self) -> bool {
        let events = match self {
            Command::Connect(ask) => ask.events,
            Command::Exchange(ask) => ask.events,
            Command::Mesh(ask) => ask.events,
            Command::Preview(ask) => ask.events,
            Command::Run(ask) => ask.events,
            Command::Recover(_) | Command::Clean(_) | Command::Birdseye(_) => return false,
        };
        events.output == Output::Json
    }
}

/// What programs are told.
#[derive(Clone, Copy, Debug, Args)]
#[command(rename_all = "camelCase")]
pub(crate) struct Events {
    /// Lines for people, or on stdout a JSON object for each event, too: ready, caller, lost, end, ...
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

/// `ktctl connect`
#[derive(Clone, Debug, Args)]
#[command(rename_all = "camelCase")]
pub(crate) struct Connect {
    /// How this laptop's traffic is caught
    #[arg(long, value_name = "MODE", default_value = "tun2socks")]
    pub(crate) mode: String,
    /// How names are resolved: localDNS, localDNS:<order>, hosts, hosts:<namespace>,..., none
    #[arg(long, value_name = "MODE", default_value = "localDNS")]
    pub(crate) dns_mode: String,
    /// DNS suffix of the cluster [default: found out, cluster.local as a rule]
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) cluster_domain: Option<String>,
    /// Do not route the IPs of pods, only those of services
    #[arg(long)]
    pub(crate) disable_pod_ip: bool,
    /// Do not look for what dead runs left behind
    #[arg(long)]
    pub(crate) skip_cleanup: bool,
    /// More IP ranges to reach through the cluster, e.g. 172.2.0.0/16,10.1.1.1
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',', value_parser = range())]
    pub(crate) include_ips: Vec<IpNet>,
    /// IPs and ranges that are never reached through the cluster
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',', value_parser = range())]
    pub(crate) exclude_ips: Vec<IpNet>,
    /// Only the proxy: no device, no routes, no DNS; needs no root
    #[arg(long)]
    pub(crate) disable_tun_device: bool,
    /// A device, but no routes
    #[arg(long)]
    pub(crate) disable_tun_route: bool,
    /// Port of the local proxy (SOCKS5, SOCKS4, HTTP)
    #[arg(long, value_name = "PORT", default_value_t = 2223)]
    pub(crate) proxy_port: u16,
    /// Address of the local proxy; others than 127.0.0.1 only with --disableTunDevice
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) proxy_addr: std::net::IpAddr,
    /// The longest time in seconds for which an answer of the DNS is remembered
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) dns_cache_ttl: u32,
    /// More suffixes of names that the cluster is asked for, too, e.g. corp.example
    #[arg(long, value_name = "DOMAIN,...", value_delimiter = ',')]
    pub(crate) include_domains: Vec<String>,
    /// Write the local proxy to a file .jvmrc in this folder, until the end
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub(crate) jvmrc: Option<PathBuf>,
    /// No effect: the name server is the device's other end, it needs no port of this laptop
    #[arg(long, hide = true, value_name = "PORT")]
    dns_port: Option<u16>,
    /// Nothing is expected here; it is taken to be named
    #[arg(hide = true, num_args = 0..)]
    pub(crate) surplus: Vec<String>,
    #[command(flatten)]
    pub(crate) events: Events,
}

/// `ktctl exchange`
#[derive(Clone, Debug, Args)]
#[command(rename_all = "camelCase")]
pub(crate) struct Exchange {
    /// A service, or service/NAME, svc/NAME, deployment/NAME, deploy/NAME, statefulset/NAME, sts/NAME, and
    /// pod/NAME in mode ephemeral
    #[arg(value_name = "TARGET", num_args = 0..)]
    pub(crate) targets: Vec<String>,
    /// Ports, as LOCAL or LOCAL:REMOTE, e.g. 8080 or 7001,8080:80,53/udp
    #[arg(long, value_name = "PORTS", value_parser = ports())]
    pub(crate) expose: Option<Ports>,
    /// selector: the service leads here, the pods stay; scale: the pods go until the end; ephemeral: callers
    /// are led here inside of the pods, which needs --image and the right to add containers
    #[arg(long, value_name = "MODE", default_value = "selector")]
    pub(crate) mode: String,
    /// Take the service from somebody who exchanges it, after asking
    #[arg(long)]
    pub(crate) takeover: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Mode scale: how many seconds to wait at the end until the original pods are ready
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) recover_wait_time: u64,
    /// Do not demand that something listens on the local ports
    #[arg(long)]
    pub(crate) skip_port_checking: bool,
    /// Write the environment of the target's container to a file, until the end; it may hold secrets
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// Tell the local program who calls: a PROXY protocol v2 header before each TCP connection
    #[arg(long)]
    pub(crate) proxy_protocol: bool,
    #[command(flatten)]
    pub(crate) events: Events,
}

/// `ktctl preview`
#[derive(Clone, Debug, Args)]
#[command(rename_all = "camelCase")]
pub(crate) struct Preview {
    /// The new service
    #[arg(value_name = "SERVICE", num_args = 0..)]
    pub(crate) services: Vec<String>,
    /// Ports, as LOCAL or LOCAL:SERVICE, e.g. 8080 or 7001,8080:80,53/udp
    #[arg(long, value_name = "PORTS", value_parser = ports())]
    pub(crate) expose: Option<Ports>,
    /// Reachable from outside of the cluster, too: a service of type LoadBalancer
    #[arg(long)]
    pub(crate) external: bool,
    /// Do not demand that something listens on the local ports
    #[arg(long)]
    pub(crate) skip_port_checking: bool,
    /// Tell the local program who calls: a PROXY protocol v2 header before each TCP connection
    #[arg(long)]
    pub(crate) proxy_protocol: bool,
    #[command(flatten)]
    pub(crate) events: Events,
}

/// `ktctl run`, as it was until 0.0.13
#[derive(Clone, Debug, Args)]
#[command(rename_all = "camelCase")]
pub(crate) struct Run {
    /// Name of the deployment, and of the service
    #[arg(value_name = "SERVICE", num_args = 0..)]
    pub(crate) services: Vec<String>,
    /// The port, on the laptop and in the cluster
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Make the service, too
    #[arg(long)]
    pub(crate) expose: bool,
    /// Do not demand that something listens on the local port
    #[arg(long)]
    pub(crate) skip_port_checking: bool,
    #[command(flatten)]
    pub(crate) events: Events,
}

/// `ktctl mesh`
#[derive(Clone, Debug, Args)]
#[command(rename_all = "camelCase")]
pub(crate) struct Mesh {
    /// A service, or service/NAME, svc/NAME, deployment/NAME, deploy/NAME, statefulset/NAME, sts/NAME
    #[arg(value_name = "TARGET", num_args = 0..)]
    pub(crate) targets: Vec<String>,
    /// Ports, as LOCAL or LOCAL:REMOTE, e.g. 8080 or 7001,8080:80
    #[arg(long, value_name = "PORTS", value_parser = ports())]
    pub(crate) expose: Option<Ports>,
    /// auto: a router tells requests apart; manual: only a pod with a label, for rules of your own
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub(crate) mode: String,
    /// The mark as VALUE, KEY: or KEY:VALUE [default: version:<random>]
    #[arg(long, value_name = "MARK")]
    pub(crate) version_mark: Option<String>,
    /// What requests must have instead of the mark; repeat it for several conditions. E.g.
    /// header:NAME=V, header:NAME^=PREFIX, header:NAME~=REGEX, cookie:NAME=V, path:/PREFIX,
    /// baggage:KEY=V, tracestate:KEY=V
    #[arg(long = "match", value_name = "RULE")]
    pub(crate) rules: Vec<String>,
    /// Image of the router [default: none is needed, as for the shadow]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) router_image: Option<String>,
    /// Do not demand that something listens on the local ports
    #[arg(long)]
    pub(crate) skip_port_checking: bool,
    /// Write the environment of the target's container to a file, until the end; it may hold secrets
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// Tell the local program who calls: a PROXY protocol v2 header before each TCP connection
    #[arg(long)]
    pub(crate) proxy_protocol: bool,
    #[command(flatten)]
    pub(crate) events: Events,
}

/// `ktctl recover`
#[derive(Clone, Debug, Args)]
pub(crate) struct Recover {
    /// The service
    #[arg(value_name = "SERVICE", num_args = 0..)]
    pub(crate) services: Vec<String>,
}

/// `ktctl clean`
#[derive(Clone, Debug, Args)]
#[command(rename_all = "camelCase")]
pub(crate) struct Clean {
    /// Only list what would be removed from the cluster
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Minutes without a sign of life after which a run counts as dead
    #[arg(long, value_name = "MINUTES", default_value_t = 5)]
    pub(crate) threshold_in_minus: u32,
    /// Only this laptop, not the cluster
    #[arg(long, conflicts_with = "all_namespaces")]
    pub(crate) local_only: bool,
    /// All namespaces, which takes the right to list them
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

/// `ktctl birdseye`
#[derive(Clone, Debug, Args)]
#[command(rename_all = "camelCase")]
pub(crate) struct Birdseye {
    /// Order of the services: status or name
    #[arg(long, value_name = "ORDER", default_value = "status")]
    pub(crate) sort_by: String,
    /// Also show the users who are connected, in all namespaces that may be read
    #[arg(long)]
    pub(crate) show_connector: bool,
    /// Leave out services to which nothing is done
    #[arg(long)]
    pub(crate) hide_natural_service: bool,
    /// Lines for people, or JSON
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
    /// Go on, and show each change
    #[arg(long)]
    pub(crate) watch: bool,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// What was typed, and what has to be said about it first.
pub(crate) struct Typed {
    pub(crate) cli: Cli,
    /// Spellings which have newer ones.
    pub(crate) deprecated: Vec<historic::Deprecated>,
}

/// Understands a command line. Ends with clap's own error, which prints help and version, too.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Typed, clap::Error> {
    let command = command();
    let (arguments, deprecated) =
        historic::modern(&command, plugin::as_command(arguments.into_iter().collect()));
    let matches = command.try_get_matches_from(arguments)?;
    Ok(Typed { cli: Cli::from_arg_matches(&matches)?, deprecated })
}

/// The whole grammar; also what help and completion are made from.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command().mut_args(flexible);
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.iter().fold(command, |command, name| command.mut_subcommand(name, |sub| sub.mut_args(flexible)))
}
