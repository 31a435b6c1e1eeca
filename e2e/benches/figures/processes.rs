//! What the processes on both ways cost: processor time and memory, as `/proc` tells them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use e2e::{Cluster, Laptop};
use serde_json::Value;

/// Prints the processes of a machine, their times, and for each its peak of memory and its pod.
const LOOK: &str = "ps -ww -eo pid=,user=,args=; echo ==; cat /proc/[0-9]*/stat 2>/dev/null; echo ==; \
    grep VmHWM /proc/[0-9]*/status 2>/dev/null; echo ==; grep -m1 /pod /proc/[0-9]*/cgroup 2>/dev/null; true";
/// Of the times in `/proc/PID/stat`; the same on all Linux machines of our kind.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where to look for processes, and which of them count.
pub(crate) struct Watch {
    machines: Vec<String>,
    /// The laptop's user, as whom the main process of `ktctl` runs.
    user: String,
    /// The uids of the namespace's pods; other tests' pods do not count.
    pods: Vec<String>,
}

/// A process: the machine and its number there.
type Id = (String, u32);

/// What was seen at one moment.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub(crate) processes: BTreeMap<Id, Process>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) role: &'static str,
    /// Processor time in seconds since it began.
    pub(crate) time: f64,
    /// Peak of its resident memory in MiB.
    pub(crate) memory: f64,
}

impl Watch {
    /// Watches the laptop, all nodes, and the pods that the namespace has now.
    pub(crate) fn new(cluster: &Cluster, laptop: &Laptop) -> Self {
        let list = |what: &str| cluster.object(what).expect("the cluster lists its objects")["items"].clone();
        let nodes = texts(&list("nodes"), "name");
        let pods = texts(&list("pods"), "uid");
        let machines = [vec![laptop.name().to_owned()], nodes].concat();
        Self { machines, user: laptop.user().to_owned(), pods }
    }

    /// Looks at all processes that count.
    pub(crate) fn look(&self) -> Picture {
        let mut processes = BTreeMap::new();
        for machine in &self.machines {
            let text = run(machine);
            let found = parse(&text, &self.user, &self.pods);
            processes.extend(found.into_iter().map(|(pid, process)| ((machine.clone(), pid), process)));
        }
        Picture { processes }
    }
}

impl Picture {
    /// Processor seconds since an earlier picture, by role.
    pub(crate) fn spent_since(&self, before: &Self) -> BTreeMap<&'static str, f64> {
        let mut spent = BTreeMap::new();
        for (id, process) in &self.processes {
            let earlier = before.processes.get(id).map_or(0.0, |earlier| earlier.time);
            *spent.entry(process.role).or_insert(0.0) += (process.time - earlier).max(0.0);
        }
        spent
    }

    /// The peak of memory of the biggest process of a role, in MiB.
    pub(crate) fn memory(&self, role: &str) -> f64 {
        let all = self.processes.values().filter(|process| process.role == role);
        all.map(|process| process.memory).fold(f64::NAN, f64::max)
    }
}

fn texts(items: &Value, key: &str) -> Vec<String> {
    let items = items.as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|item| item["metadata"][key].as_str().map(String::from)).collect()
}

fn run(machine: &str) -> String {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout is above this crate");
    let mut driver = Command::new(checkout.join("testbed/testbed"));
    let output = driver.args(["exec", machine, "sh", "-c", LOOK]).current_dir(checkout).output();
    String::from_utf8_lossy(&output.expect("start the driver of the test bed").stdout).into_owned()
}

/// What [`LOOK`] has printed about a machine: its processes that count, by number.
pub(crate) fn parse(text: &str, user: &str, pods: &[String]) -> BTreeMap<u32, Process> {
    let mut parts = text.split("==\n");
    let mut next = || parts.next().unwrap_or_default().lines();
    let (list, stats, memories, groups) = (next(), next(), next(), next());
    let times: BTreeMap<u32, f64> = stats.filter_map(time).collect();
    let memories: BTreeMap<u32, f64> = memories.filter_map(memory).collect();
    let ours: Vec<u32> = groups.filter_map(|line| pod_of(line, pods)).collect();
    let process = |line| {
        let (pid, role) = role(line, user, &ours)?;
        let memory = memories.get(&pid).copied().unwrap_or_default();
        Some((pid, Process { role, time: *times.get(&pid)?, memory }))
    };
    list.filter_map(process).collect()
}

/// The part that a process plays, from its line `PID USER ARGS…`.
fn role(line: &str, user: &str, in_our_pods: &[u32]) -> Option<(u32, &'static str)> {
    let mut words = line.split_whitespace();
    let (pid, owner, program) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let role = match (program.rsplit('/').next()?, words.next()) {
        ("ktctl", Some("root-helper")) => "helper",
        ("ktctl", _) if owner == user => "ktctl",
        ("kubectl", _) | ("kube", Some("kubectl")) => "kubectl",
        ("kube", Some("kube-apiserver")) => "apiserver",
        ("kube", Some("kubelet")) => "kubelet",
        ("containerd", _) => "containerd",
        ("shadow", _) if in_our_pods.contains(&pid) => "shadow",
        ("echo", _) if in_our_pods.contains(&pid) => "pod",
        _ => return None,
    };
    Some((pid, role))
}

/// Number and processor time of a process, from its `stat`.
fn time(line: &str) -> Option<(u32, f64)> {
    let (head, tail) = line.rsplit_once(") ")?; // a name may have anything in it
    let ticks: Vec<f64> = tail.split(' ').skip(11).take(2).filter_map(|word| word.parse().ok()).collect();
    Some((head.split(' ').next()?.parse().ok()?, ticks.iter().sum::<f64>() / TICKS_PER_SECOND))
}

/// Number and memory in MiB, from `/proc/PID/status:VmHWM: … kB`.
fn memory(line: &str) -> Option<(u32, f64)> {
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some((pid_of(line)?, kib / 1024.0))
}

/// The number of a process that belongs to one of the pods, from a line of its `cgroup`.
fn pod_of(line: &str, pods: &[String]) -> Option<u32> {
    let path = line.replace('_', "-"); // as systemd writes uids
    pods.iter().any(|pod| path.contains(pod)).then(|| pid_of(line))?
}

fn pid_of(line: &str) -> Option<u32> {
    line.split('/').nth(2)?.parse().ok()
}
