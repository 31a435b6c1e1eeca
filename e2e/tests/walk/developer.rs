//! A developer at his laptop: what he can do, and what of it runs or has been killed.

use std::time::{Duration, Instant};

use e2e::{Laptop, Process, Running};

/// Nobody leaves what a killed run has left for longer than this: a heartbeat is written every 2 minutes,
/// and after 5 everybody's clean-up takes it for dead.
const UNCLEANED: Duration = Duration::from_secs(100);

/// What one run of a developer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The service, in mode selector.
    Exchanges,
    /// The service's pods, in mode scale.
    Scales,
    /// The service, with his laptop's name as the mark.
    Meshes,
    /// A service of his own.
    Previews,
    /// By the proxy.
    Connects,
}

pub(crate) struct Developer {
    pub(crate) laptop: Laptop,
    pub(crate) runs: Vec<(Role, Running)>,
    /// What a killed run has left, and since when; nobody has cleaned up after it yet.
    dead: Vec<(Role, Instant)>,
    /// The web server on the laptop.
    _local: Running,
}

impl Developer {
    pub(crate) fn arrive(laptop: Laptop) -> Self {
        let local = laptop.serve(8080, &page(&laptop));
        Developer { laptop, runs: Vec::new(), dead: Vec::new(), _local: local }
    }

    pub(crate) fn start(&self, role: Role) -> Running {
        let (mark, own) = (self.laptop.name(), self.preview());
        let line = match role {
            Role::Exchanges => &["exchange", "tomcat", "--expose", "8080"][..],
            Role::Scales => &["exchange", "tomcat", "--expose", "8080", "--mode", "scale"],
            Role::Meshes => &["mesh", "tomcat", "--expose", "8080", "--versionMark", mark],
            Role::Previews => &["preview", &own, "--expose", "8080"],
            Role::Connects => &["connect", "--disableTunDevice"],
        };
        self.laptop.ktctl(line)
    }

    /// Tells whether there was something to kill: a run may have been refused and have ended.
    pub(crate) fn kill9(&self, role: Role) -> bool {
        let main = |process: &Process| process.args.contains(&format!(" {} ", role.verb()));
        let found = self.laptop.processes("ktctl").into_iter().find(main);
        found.is_some_and(|process| self.laptop.root(&["kill", "-9", &process.pid.to_string()]).code == 0)
    }

    pub(crate) fn take_run(&mut self, role: Role) -> Running {
        let place = self.runs.iter().position(|(present, _)| *present == role).expect("it runs");
        self.runs.swap_remove(place).1
    }

    pub(crate) fn has_died(&mut self, role: Role) {
        self.dead.push((role, Instant::now()));
    }

    /// What killed runs have left is put back: all, or what was done to the service.
    pub(crate) fn is_cleaned(&mut self, is_all: bool) {
        self.dead.retain(|(role, _)| !is_all && !role.is_at_service());
    }

    pub(crate) fn must_clean(&self) -> bool {
        self.dead.iter().any(|(_, since)| since.elapsed() > UNCLEANED)
    }

    pub(crate) fn does(&self, role: Role) -> bool {
        self.runs.iter().any(|(present, _)| *present == role)
    }

    /// What lives, and what killed runs have left.
    pub(crate) fn roles(&self) -> impl Iterator<Item = Role> {
        let dead = self.dead.iter().map(|(role, _)| *role);
        self.runs.iter().map(|(role, _)| *role).chain(dead)
    }

    /// The one thing that he does to the service.
    pub(crate) fn at_service(&self) -> Option<Role> {
        self.runs.iter().map(|(role, _)| *role).find(|role| role.is_at_service())
    }

    /// The name of his own service.
    pub(crate) fn preview(&self) -> String {
        format!("seen-by-{}", self.laptop.name())
    }

    /// What programs on his laptop get that use the proxy.
    pub(crate) fn get_by_proxy(&self, url: &str) -> String {
        self.laptop.run(&["curl", "-sS", "-m", "5", "--socks5-hostname", "127.0.0.1:2223", url]).text
    }
}

impl Role {
    pub(crate) fn is_at_service(self) -> bool {
        matches!(self, Role::Exchanges | Role::Scales | Role::Meshes)
    }

    fn verb(self) -> &'static str {
        match self {
            Role::Exchanges | Role::Scales => "exchange",
            Role::Meshes => "mesh",
            Role::Previews => "preview",
            Role::Connects => "connect",
        }
    }

    /// What a run says when it is ready.
    pub(crate) fn ready(self) -> &'static str {
        match self {
            Role::Exchanges | Role::Scales => "will be redirected to local",
            Role::Meshes | Role::Previews => "Now you can",
            Role::Connects => "All looks good",
        }
    }
}

/// What a laptop's program answers.
pub(crate) fn page(laptop: &Laptop) -> String {
    format!("page of {}", laptop.name())
}
