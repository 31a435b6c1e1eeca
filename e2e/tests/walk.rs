//! A random walk: three developers join, leave, are killed and clean up in any order, and after each
//! step everybody gets what he should.

use std::fmt;
use std::time::Duration;

use e2e::{Cluster, DEMO, Kind, Laptop, Process, Running, Snapshot, long, skip, wait_until};

const URL: &str = "http://tomcat:8080";
/// How long a caller may get a wrong answer after a step: a shadow waits 15 s for its laptop.
const SETTLES: Duration = Duration::from_secs(30);

// KT_SEED takes another walk. In a long run there are ten, and other tests get their turn in between.
#[test]
fn three_developers_who_come_and_go_at_random_leave_the_service_as_it_was() {
    let seed = std::env::var("KT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(45918);
    let walks = if long() { 10 } else { 1 };
    for seed in seed..seed + walks {
        walk(seed);
    }
}

fn walk(seed: u64) {
    let cluster = Cluster::new(&format!("walk{seed}"));
    let Some(mut walk) = Walk::begin(&cluster, seed) else {
        return skip("walk", "the test bed has no three kinds of laptops");
    };
    let before = cluster.snapshot();

    for number in 1..=20 {
        let step = walk.choose();
        eprintln!("walk {seed}, step {number}: {step}");
        walk.take(step);
        walk.check();
    }

    walk.end();
    cluster.wait_for_answer(URL, DEMO, 10);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

/// What a developer does to the one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Exchanges,
    Meshes,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Join(Role),
    /// Is killed so many milliseconds after the start, and cleans up.
    Fail(Role, u64),
    Leave,
    Kill,
    Cut,
    Recover,
    Clean,
}

/// What is done, and by which of the developers.
#[derive(Clone, Copy, Debug)]
struct Step(usize, Deed);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "developer {}: {:?}", self.0, self.1)
    }
}

struct Developer {
    laptop: Laptop,
    run: Option<(Role, Running)>,
    /// What a killed run has left; nobody has cleaned up after it yet.
    dead: Vec<Role>,
    /// The web server on the laptop.
    _local: Running,
}

struct Walk<'a> {
    cluster: &'a Cluster,
    developers: Vec<Developer>,
    random: u64,
}

impl<'a> Walk<'a> {
    /// The kinds are taken in an order that no other test takes the other way round.
    fn begin(cluster: &'a Cluster, seed: u64) -> Option<Self> {
        let kinds = [Kind::Plain, Kind::Vpn, Kind::Firewall];
        let laptops: Option<Vec<Laptop>> =
            kinds.into_iter().map(|kind| Laptop::lease_kind(cluster, kind)).collect();
        let arrive = |laptop: Laptop| {
            let local = laptop.serve(8080, &page(&laptop));
            Developer { laptop, run: None, dead: Vec::new(), _local: local }
        };
        let developers = laptops?.into_iter().map(arrive).collect();
        Some(Walk { cluster, developers, random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) })
    }

    /// A number below `bound` (xorshift).
    fn next(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let bound = u64::try_from(bound).expect("it fits");
        usize::try_from((self.random >> 11) % bound).expect("it fits")
    }

    fn choose(&mut self) -> Step {
        let who = self.next(self.developers.len());
        let dice = self.next(20);
        let deed = match (&self.developers[who].run, dice) {
            (_, 0) => Deed::Recover,
            (_, 1..=2) => Deed::Clean,
            (None, 3..=9) => Deed::Join(Role::Meshes),
            (None, 10..=14) => Deed::Join(Role::Exchanges),
            (None, _) => Deed::Fail(if dice < 17 { Role::Meshes } else { Role::Exchanges }, self.millis()),
            (Some(_), 3..=5) => Deed::Kill,
            (Some(_), 6..=10) => Deed::Cut,
            (Some(_), _) => Deed::Leave,
        };
        Step(who, deed)
    }

    /// A moment in a start, which takes some seconds.
    fn millis(&mut self) -> u64 {
        u64::try_from(self.next(4000)).expect("it fits")
    }

    fn take(&mut self, Step(who, deed): Step) {
        match deed {
            Deed::Join(role) => self.join(who, role),
            Deed::Fail(role, millis) => self.fail(who, role, Duration::from_millis(millis)),
            Deed::Leave => self.leave(who),
            Deed::Kill => self.kill(who),
            Deed::Cut => self.developers[who].laptop.cut_carrier(),
            Deed::Recover => self.recover(who),
            Deed::Clean => self.clean(who),
        }
    }

    /// Gets ready, or is refused because of others; the own dead runs are cleaned up before.
    fn join(&mut self, who: usize, role: Role) {
        self.developers[who].dead.clear();
        let is_free = self.roles().all(|other| role == Role::Meshes && other == Role::Meshes);
        let mut run = self.developers[who].start(role);
        if is_free {
            let ready = if role == Role::Meshes { "Now you can" } else { "will be redirected to local" };
            run.wait_for(ready, 45);
            self.developers[who].run = Some((role, run));
            return;
        }
        let refused = run.wait(45);
        assert_eq!(refused.code, 1, "{}", refused.text);
        assert!(refused.text.contains("cannot apply"), "{}", refused.text);
    }

    fn fail(&mut self, who: usize, role: Role, after: Duration) {
        let run = self.developers[who].start(role);
        std::thread::sleep(after); // the moment is what is tested
        self.developers[who].kill9();
        drop(run);
        self.clean(who);
    }

    fn leave(&mut self, who: usize) {
        let (_, mut run) = self.developers[who].run.take().expect("it runs");
        let ended = run.interrupt(30);
        assert_eq!(ended.code, 0, "{}", ended.text);
    }

    fn kill(&mut self, who: usize) {
        let developer = &mut self.developers[who];
        let (role, _run) = developer.run.take().expect("it runs");
        assert!(developer.kill9(), "it runs");
        developer.dead.push(role);
    }

    /// Ends everybody's runs.
    fn recover(&mut self, who: usize) {
        let recovered = self.developers[who].laptop.ktctl(&["recover", "tomcat"]).wait(45);
        assert_eq!(recovered.code, 0, "{}", recovered.text);
        for developer in &mut self.developers {
            developer.dead.clear();
            let Some((role, mut run)) = developer.run.take() else { continue };
            let ended = run.wait(45);
            assert_eq!(ended.code, 1, "{role:?}: {}", ended.text);
        }
    }

    /// Cleans up after the own dead runs, and hurts nobody.
    fn clean(&mut self, who: usize) {
        let cleaned = self.developers[who].laptop.ktctl(&["clean"]).wait(45);
        assert_eq!(cleaned.code, 0, "{}", cleaned.text);
        self.developers[who].dead.clear();
    }

    /// What is done to the service, also by dead runs.
    fn roles(&self) -> impl Iterator<Item = Role> {
        let living = self.developers.iter().filter_map(|developer| developer.run.as_ref().map(|run| run.0));
        living.chain(self.developers.iter().flat_map(|developer| developer.dead.clone()))
    }

    /// Everybody runs, and everybody's requests go where they should.
    fn check(&mut self) {
        for developer in &mut self.developers {
            if let Some((role, run)) = &mut developer.run {
                assert!(run.is_running(), "{role:?} at {} has ended", developer.laptop.name());
            }
        }
        let exchanging = self.developers.iter().find(|developer| developer.does(Role::Exchanges));
        let everybody = exchanging.map_or(DEMO.to_owned(), |developer| page(&developer.laptop));
        self.wait_for(None, &everybody);
        for developer in &self.developers {
            let own = if developer.does(Role::Meshes) { page(&developer.laptop) } else { everybody.clone() };
            self.wait_for(Some(&format!("VERSION: {}", developer.laptop.name())), &own);
        }
    }

    fn wait_for(&self, header: Option<&str>, page: &str) {
        wait_until(&format!("{header:?} gets {page:?}"), SETTLES, || {
            self.cluster.get_with(URL, header).is_ok_and(|answer| answer.contains(page)).then_some(())
        });
    }

    /// Everybody leaves, and cleans up what is left of him.
    fn end(&mut self) {
        for who in 0..self.developers.len() {
            if self.developers[who].run.is_some() {
                self.leave(who);
            }
            self.clean(who);
        }
    }
}

impl Developer {
    fn start(&self, role: Role) -> Running {
        let mark = self.laptop.name();
        let line = match role {
            Role::Meshes => &["mesh", "--versionMark", mark][..],
            Role::Exchanges => &["exchange"][..],
        };
        self.laptop.ktctl(&[line, &["tomcat", "--expose", "8080"]].concat())
    }

    /// Tells whether there was something to kill.
    fn kill9(&self) -> bool {
        let main = |process: &Process| process.args.contains(" tomcat ");
        let found = self.laptop.processes("ktctl").into_iter().find(main);
        if let Some(process) = &found {
            self.laptop.kill9(process);
        }
        found.is_some()
    }

    fn does(&self, role: Role) -> bool {
        self.run.as_ref().is_some_and(|(present, _)| *present == role)
    }
}

/// What a laptop's program answers.
fn page(laptop: &Laptop) -> String {
    format!("page of {}", laptop.name())
}
