//! The two ways from the laptop to one pod: `ktctl connect` and `kubectl port-forward`.

use e2e::{Cluster, Laptop, Running};

/// Where `kubectl port-forward` listens on the laptop.
const FORWARDED: u16 = 18080;
/// Where the pod listens.
const PORT: u16 = 8080;

/// A way to the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// To the pod's own address, through the device of `sudo ktctl connect`.
    Ours,
    /// To a port of the laptop, where `kubectl port-forward` listens.
    Theirs,
}

/// Both ways, open side by side; dropped, they are closed.
pub(crate) struct Ways<'a> {
    laptop: &'a Laptop,
    /// How the pod is called, as `kubectl` takes it, and its address.
    pod: (String, String),
    connect: Running,
    forward: Running,
}

impl<'a> Ways<'a> {
    /// Opens both ways to the sample pod of the cluster's namespace.
    pub(crate) fn open(cluster: &Cluster, laptop: &'a Laptop) -> Self {
        let names = cluster.kubectl(&["get", "pods", "-l", "app=tomcat", "-o", "name"]);
        let name = names.expect("the sample pod has a name").trim().to_owned();
        let forward = forward(laptop, &name);
        let connect = laptop.connect(&[]);
        Self { laptop, pod: (name, cluster.pod_ip("tomcat")), connect, forward }
    }

    /// The address of one of the pod's pages on a way.
    pub(crate) fn url(&self, way: Way, page: &str) -> String {
        match way {
            Way::Ours => format!("http://{}:{PORT}/{page}", self.pod.1),
            Way::Theirs => format!("http://127.0.0.1:{FORWARDED}/{page}"),
        }
    }

    /// Makes load on the laptop, and gives the numbers that it prints last.
    pub(crate) fn load(&mut self, words: &[&str]) -> Vec<f64> {
        self.revive();
        numbers(&self.start(words).wait(60).ok())
    }

    /// Starts to make load on the laptop.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        start(self.laptop, words)
    }

    /// `kubectl port-forward` ends at some errors of one connection.
    fn revive(&mut self) {
        assert!(self.connect.is_running(), "ktctl connect has ended:\n{}", self.connect.text());
        if !self.forward.is_running() {
            println!("kubectl port-forward has ended and is started again:\n{}", self.forward.text());
            self.forward = forward(self.laptop, &self.pod.0);
        }
    }
}

/// The ways in the order of a round; each is first as often as the other.
pub(crate) fn order(round: usize) -> [Way; 2] {
    if round.is_multiple_of(2) { [Way::Theirs, Way::Ours] } else { [Way::Ours, Way::Theirs] }
}

/// Starts this program on the laptop to make load.
pub(crate) fn start(laptop: &Laptop, words: &[&str]) -> Running {
    let this = std::env::current_exe().expect("this program has a path");
    laptop.start(&[&[&*this.to_string_lossy(), "load"], words].concat())
}

/// The numbers in the last line of what a load said.
pub(crate) fn numbers(text: &str) -> Vec<f64> {
    let last = text.lines().last().unwrap_or_default();
    last.split(' ').map(|word| word.parse().unwrap_or_else(|_| panic!("the load says {text}"))).collect()
}

fn forward(laptop: &Laptop, pod: &str) -> Running {
    let ports = format!("{FORWARDED}:{PORT}");
    let mut forward = laptop.start(&["kubectl", "port-forward", pod, &ports]);
    forward.wait_for("Forwarding from 127.0.0.1", 20);
    forward
}
