//! A developer's laptop: programs run on it by its user, with `sudo` or without.

use std::collections::HashSet;
use std::time::Duration;

use crate::lease::{Lease, lease};
use crate::running::{Ended, Running};
use crate::{Cluster, Snapshot, bed, wait_until};

/// How long a program that is to end by itself may run, in seconds.
const PATIENCE: u64 = 60;

/// Sends an echo request and looks at what comes back for it. (`ping` of busybox does not show errors.)
const PING: &str = r#"
    socket(my $s, PF_INET, SOCK_RAW, getprotobyname("icmp") // 1) or die "socket: $!";
    my $request = sub { pack("C2 n3 a8", 8, 0, $_[0], $$ & 0xffff, 1, "kt-ping!") };
    my $sum = unpack("%32n*", $request->(0)); $sum = ($sum >> 16) + ($sum & 0xffff) while $sum >> 16;
    send($s, $request->(~$sum & 0xffff), 0, pack_sockaddr_in(0, inet_aton($ARGV[0]))) or die "send: $!";
    my $until = time + 6;
    while (time < $until) {
        vec(my $ready = "", fileno $s, 1) = 1;
        select($ready, undef, undef, 0.5) or next;
        recv($s, my $packet, 2000, 0);
        my $icmp = substr($packet, 4 * (ord($packet) & 15));
        my ($type, $id) = unpack("C x3 n", $icmp);
        if ($type == 0 && $id == ($$ & 0xffff) && substr($packet, 12, 4) eq inet_aton($ARGV[0])) { print "answered"; exit }
        if ($type == 3 && substr($icmp, 24, 4) eq inet_aton($ARGV[0])) { print "unreachable"; exit }
    }
    print "silence";
"#;

const HEADER_TELLER: &str = r#"
import socket
server = socket.create_server(("127.0.0.1", 8080))
print("listens")
while True:
    caller, _ = server.accept()
    caller.settimeout(5)
    header = caller.recv(28)
    if len(header) == 28:
        caller.sendall(header.hex().encode() + b"\n")
        caller.sendall(caller.recv(100))
    caller.close()
"#;

/// What is peculiar about a laptop: see the test bed's README.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/etc/resolv.conf` names the office.
    Plain,
    /// systemd-resolved with a D-Bus.
    Resolved,
    /// Lets in nothing but answers.
    Firewall,
    /// Strict reverse path filter.
    RpFilter,
    /// Routes of a VPN overlap the pods' range.
    Vpn,
}

/// A laptop that is this test's until it is dropped. What the test has started on it must be
/// dropped first.
#[derive(Debug)]
pub struct Laptop {
    lease: Lease,
    user: String,
}

/// A process on a laptop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number on the laptop.
    pub pid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Who runs it.
    pub user: String,
    /// Its command line.
    pub args: String,
}

impl Laptop {
    /// Takes a plain laptop, whose user works in the namespace of `cluster`.
    pub fn lease(cluster: &Cluster) -> Self {
        Self::lease_kind(cluster, Kind::Plain).expect("the test bed has a plain laptop")
    }

    /// Takes a laptop of a kind, or tells that the test bed runs without one.
    pub fn lease_kind(cluster: &Cluster, kind: Kind) -> Option<Self> {
        let names: Vec<String> = (1..)
            .zip(bed::laptops())
            .filter(|(_, k)| k == kind.name())
            .map(|(i, _)| format!("laptop{i}"))
            .collect();
        if names.is_empty() {
            return None;
        }
        let lease = lease(&names);
        let user = lease.name.replace("laptop", "dev");
        let laptop = Self { lease, user };
        laptop.work_in(cluster.namespace()).ok();
        // What runs of an earlier test have left would be told, and put right, in this one.
        laptop.run(&["rm", "-rf", ".kt"]).ok();
        Some(laptop)
    }

    /// A namespace of its own, and a plain laptop whose user works in it.
    pub fn with_cluster(name: &str) -> (Cluster, Self) {
        let cluster = Cluster::new(name);
        let laptop = Self::lease(&cluster);
        (cluster, laptop)
    }

    /// A second laptop, of another kind: two tests that each hold a plain one and want a second plain
    /// one would wait for each other. `None` where the test bed has no such laptop; then `test` is
    /// noted as skipped.
    pub fn lease_another(test: &str, cluster: &Cluster) -> Option<Self> {
        let laptop = Self::lease_kind(cluster, Kind::Vpn);
        if laptop.is_none() {
            bed::skip(test, "the test bed has no laptop of kind Vpn");
        }
        laptop
    }

    /// Its name, such as `laptop1`.
    pub fn name(&self) -> &str {
        &self.lease.name
    }

    /// The name of its user, such as `dev1`.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Starts a program as the laptop's user, in his home.
    pub fn start(&self, command: &[&str]) -> Running {
        Running::start(self.exec(&format!("{}@{}", self.user, self.name()), command))
    }

    /// Starts a program by the user's `sudo`.
    pub fn start_sudo(&self, command: &[&str]) -> Running {
        self.start(&[&["sudo"], command].concat())
    }

    /// Runs a program as the laptop's user to its end.
    pub fn run(&self, command: &[&str]) -> Ended {
        self.start(command).wait(PATIENCE)
    }

    /// Runs a program by the user's `sudo` to its end.
    pub fn run_sudo(&self, command: &[&str]) -> Ended {
        self.start_sudo(command).wait(PATIENCE)
    }

    /// Starts `ktctl` with these arguments as the laptop's user.
    pub fn ktctl(&self, args: &[&str]) -> Running {
        self.start(&[&[bed::ktctl().as_str()], args].concat())
    }

    /// Starts `sudo ktctl` with these arguments.
    pub fn sudo_ktctl(&self, args: &[&str]) -> Running {
        self.start_sudo(&[&[bed::ktctl().as_str()], args].concat())
    }

    /// Runs `sudo ktctl connect` with these arguments until it says that it is ready.
    pub fn connect(&self, args: &[&str]) -> Running {
        let mut connect = self.sudo_ktctl(&[&["connect"], args].concat());
        connect.wait_for("All looks good", 30);
        connect
    }

    /// Asks for an address with `curl`, within 10 s; an answer of 400 or above is an error.
    pub fn get(&self, url: &str) -> Ended {
        self.run(&["curl", "-sSf", "--max-time", "10", "--noproxy", "*", url])
    }

    /// What becomes of one echo request (`ping`) to an IPv4 address within 6 s: it is `answered`, the
    /// address is called `unreachable`, or there is `silence`.
    pub fn ping(&self, address: &str) -> String {
        self.run_sudo(&["perl", "-MSocket", "-e", PING, address]).ok()
    }

    /// Runs a web server on 127.0.0.1 of the laptop that answers `page`, and waits until it does.
    pub fn serve(&self, port: u16, page: &str) -> Running {
        let web = format!("LISTEN_HTTP=127.0.0.1:{port}");
        let page = format!("ECHO_PAGE={page}");
        let mut server = self.start(&["env", &web, "LISTEN_RAW=127.0.0.1:0", &page, &bed::program("echo")]);
        server.wait_for("http 127.0.0.1", 10);
        server
    }

    /// Answers lines that come over TCP or as datagrams to 127.0.0.1 of the laptop, as the sample
    /// workload does: with the laptop's name before them.
    pub fn serve_lines(&self, port: u16) -> Running {
        let raw = format!("LISTEN_RAW=127.0.0.1:{port}");
        let mut server = self.start(&["env", "LISTEN_HTTP=127.0.0.1:0", &raw, &bed::program("echo")]);
        server.wait_for("http 127.0.0.1", 10);
        server
    }

    /// Greets each caller of port 8080 with the first 28 bytes that come, in hexadecimal digits; then it
    /// sends back what comes. A header of the PROXY protocol has as many.
    pub fn serve_headers(&self) -> Running {
        let mut server = self.start(&["python3", "-uc", HEADER_TELLER]);
        server.wait_for("listens", 10);
        server
    }

    /// The processes whose program has this name, without `sudo` and shells around it.
    pub fn processes(&self, program: &str) -> Vec<Process> {
        let list = Running::start(self.exec(self.name(), &["ps", "-ww", "-eo", "pid=,ppid=,user=,args="]))
            .wait(PATIENCE)
            .ok();
        list.lines().filter_map(Process::parse).filter(|p| p.program() == program).collect()
    }

    /// Kills a process of the laptop without a chance to clean up, and waits until it is gone.
    pub fn kill9(&self, process: &Process) {
        self.root(&["kill", "-9", &process.pid.to_string()]).ok();
        let path = format!("/proc/{}/exe", process.pid); // of a zombie, too, it cannot be read
        wait_until("a killed process is gone", Duration::from_secs(5), || {
            (self.root(&["readlink", &path]).code != 0).then_some(())
        });
    }

    /// Runs a program as root without `sudo`, as the administrator of the laptop does.
    pub fn root(&self, command: &[&str]) -> Ended {
        Running::start(self.exec(self.name(), command)).wait(PATIENCE)
    }

    /// Makes the laptop's link slow (`--delay 20ms --rate 100mbit --loss 0.1%`), cuts it
    /// (`--down`, `--up`) or, without words, makes it plain again.
    pub fn link(&self, how: &[&str]) {
        Running::start(bed::testbed(&[&["link", self.name()], how].concat())).wait(PATIENCE).ok();
    }

    /// Pulls the laptop's cable until what is returned is dropped.
    pub fn pull_cable(&self) -> Pulled<'_> {
        self.link(&["--down"]);
        Pulled(self)
    }

    /// Makes the link slow (see [`Laptop::link`]) until this is dropped.
    pub fn slow_link(&self, how: &[&str]) -> SlowLink<'_> {
        self.link(how);
        SlowLink(self)
    }

    /// Cuts the connection that carries the flows, as a proxy that restarts does. It is the one that
    /// never rests: others, such as those that watch, say nothing and so learn nothing.
    ///
    /// # Panics
    /// When there is none, or when it outlives 10 s without an answer.
    pub fn cut_carrier(&self) {
        let before = self.carriers();
        assert!(!before.is_empty(), "there is something to cut");
        let _cut = Cut::new(self);
        wait_until("the carrier is cut", Duration::from_secs(10), || {
            (!before.is_subset(&self.carriers())).then_some(())
        });
    }

    /// The connections to the API server, by their ports here.
    fn carriers(&self) -> HashSet<String> {
        let sockets = self.root(&["ss", "-Htn", "state", "established", "dport", "=", ":6443"]).ok();
        let port = |line: &str| Some(line.split_whitespace().nth(2)?.rsplit(':').next()?.to_owned());
        sockets.lines().filter_map(port).collect()
    }

    /// A picture of all that `ktctl` may change here.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of_laptop(self)
    }

    /// Gives the laptop's user the kubeconfig of another user of the cluster, as a file for
    /// `--kubeconfig`, and that user a role in the namespace.
    ///
    /// # Panics
    /// When the test bed knows no such user.
    pub fn become_also(&self, cluster: &Cluster, user: &str, role: &str) -> String {
        let bind =
            ["create", "rolebinding", user, &format!("--clusterrole={role}"), &format!("--user={user}")];
        cluster.kubectl(&bind).expect("bind the role");
        let path = Running::start(bed::testbed(&["kubeconfig", user])).wait(PATIENCE).ok();
        let file = format!("/home/{}/{user}.kubeconfig", self.user);
        self.root(&["install", "-o", &self.user, "-m", "600", path.trim(), &file]).ok();
        let namespace = ["--namespace", cluster.namespace()];
        let set = ["kubectl", "--kubeconfig", &file, "config", "set-context", "--current"];
        self.run(&[&set[..], &namespace].concat()).ok();
        file
    }

    /// A kubeconfig of the laptop's user with a token of an account of the namespace, which is made,
    /// as a file for `--kubeconfig`.
    ///
    /// # Panics
    /// When the account is there already.
    pub fn become_account(&self, cluster: &Cluster, account: &str) -> String {
        cluster.kubectl(&["create", "serviceaccount", account]).expect("make the account");
        let token = cluster.kubectl(&["create", "token", account, "--duration=1h"]).expect("a token");
        let file = format!("/home/{}/{account}.kubeconfig", self.user);
        let script = r#"umask 77 && sed '/^users:/,$d' ~/.kube/config >"$1" &&
            exec kubectl --kubeconfig "$1" config set-credentials developer --token "$2""#;
        self.run(&["sh", "-c", script, "sh", &file, token.trim()]).ok();
        file
    }

    /// Sets the namespace in the user's kubeconfig.
    fn work_in(&self, namespace: &str) -> Ended {
        self.run(&["kubectl", "config", "set-context", "--current", "--namespace", namespace])
    }

    fn exec(&self, at: &str, command: &[&str]) -> std::process::Command {
        bed::testbed(&[&["exec", at], command].concat())
    }
}

/// A cable that is pulled; plugged in again when this is dropped.
#[derive(Debug)]
pub struct Pulled<'a>(&'a Laptop);

impl Drop for Pulled<'_> {
    fn drop(&mut self) {
        self.0.link(&["--up"]);
    }
}

/// A slow link; plain again when this is dropped.
#[derive(Debug)]
pub struct SlowLink<'a>(&'a Laptop);

impl Drop for SlowLink<'_> {
    fn drop(&mut self) {
        self.0.link(&[]);
    }
}

/// Resets what the laptop sends to the API server, until dropped.
struct Cut<'a>(&'a Laptop);

impl<'a> Cut<'a> {
    fn new(laptop: &'a Laptop) -> Self {
        let rules = "add table inet cut { chain out { type filter hook output priority 0; \
                     tcp dport 6443 reject with tcp reset; }; }";
        laptop.root(&["nft", rules]).ok();
        Self(laptop)
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.0.root(&["nft", "delete table inet cut"]);
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        let ended = self.work_in("dev"); // as the test bed made it
        if ended.code != 0 {
            eprintln!("the namespace of {} stays: {}", self.user, ended.text);
        }
    }
}

impl Kind {
    /// Each of them, for what must hold on every laptop.
    pub const ALL: [Self; 5] = [Self::Plain, Self::Resolved, Self::Firewall, Self::RpFilter, Self::Vpn];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Resolved => "resolved",
            Self::Firewall => "firewall",
            Self::RpFilter => "rpfilter",
            Self::Vpn => "vpn",
        }
    }
}

impl Process {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (pid, parent, user) = (words.next()?, words.next()?, words.next()?);
        let args = words.collect::<Vec<_>>().join(" ");
        Some(Self { pid: pid.parse().ok()?, parent: parent.parse().ok()?, user: user.into(), args })
    }

    fn program(&self) -> &str {
        let first = self.args.split(' ').next().unwrap_or_default();
        first.rsplit('/').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ps_names_the_program_without_its_path() {
        let process = Process::parse("   12    1 dev1     /a/b/ktctl connect -n x").unwrap();

        assert_eq!((process.pid, process.parent, process.user.as_str()), (12, 1, "dev1"));
        assert_eq!(process.program(), "ktctl");
    }
}
