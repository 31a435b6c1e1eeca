//! A random walk: three developers join, leave, are killed and clean up in any order, and after each
//! step everybody gets what he should, and the cluster has what belongs to somebody and nothing else.

#[path = "walk/developer.rs"]
mod developer;
#[path = "walk/objects.rs"]
mod objects;

use std::fmt;
use std::time::Duration;

use developer::{Developer, Role, page};
use e2e::{Cluster, DEMO, Kind, Laptop, Snapshot, long, skip, wait_until};

const URL: &str = "http://tomcat:8080";
/// How long a caller may get a wrong answer after a step: a shadow waits 15 s for its laptop.
const SETTLES: Duration = Duration::from_secs(30);
const STEPS: usize = 20;

// KT_SEED takes another walk, and KT_STEPS one of another length. In a long run there are ten of the usual
// length, so that other tests get their turn in between, and then a long one.
#[test]
fn three_developers_who_come_and_go_at_random_leave_the_service_as_it_was() {
    let told = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = told("KT_SEED").unwrap_or(45918);
    let steps = told("KT_STEPS").map(|steps| usize::try_from(steps).expect("it fits"));
    let short = if long() && steps.is_none() { 10 } else { 1 };
    for seed in seed..seed + short {
        walk(seed, steps.unwrap_or(STEPS));
    }
    if short > 1 {
        walk(seed + short, 10 * STEPS);
    }
}

fn walk(seed: u64, steps: usize) {
    let cluster = Cluster::new(&format!("walk{seed}"));
    cluster.grant(include_str!("../../docs/rbac/exchange-scale.yaml"));
    let Some(mut walk) = Walk::begin(&cluster, seed) else {
        return skip("walk", "the test bed has no three kinds of laptops");
    };
    // Pods that were scaled away come back under other names.
    let picture = || cluster.snapshot().without(&["objects"]);
    let before = picture();

    for number in 1..=steps {
        let step = walk.choose();
        eprintln!("walk {seed}, step {number}: {step}");
        walk.take(step);
        walk.check();
    }

    walk.end();
    walk.check();
    Snapshot::wait_until_as(&before, 30, picture);
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Join(Role),
    /// Is killed so many milliseconds after the start, and cleans up.
    Fail(Role, u64),
    Leave(Role),
    Kill(Role),
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

struct Walk<'a> {
    cluster: &'a Cluster,
    developers: Vec<Developer>,
    random: u64,
}

impl<'a> Walk<'a> {
    /// Kinds that no other test takes together, nor as its second laptop: a walk is long.
    fn begin(cluster: &'a Cluster, seed: u64) -> Option<Self> {
        let kinds = [Kind::Plain, Kind::RpFilter, Kind::Firewall];
        let laptops: Option<Vec<Laptop>> =
            kinds.into_iter().map(|kind| Laptop::lease_kind(cluster, kind)).collect();
        let developers = laptops?.into_iter().map(Developer::arrive).collect();
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
        if let Some(who) = self.developers.iter().position(Developer::must_clean) {
            return Step(who, Deed::Clean);
        }
        let who = self.next(self.developers.len());
        let role = self.choose_role(who);
        let deed = match (self.developers[who].does(role), self.next(20)) {
            (_, 0) => Deed::Recover,
            (_, 1..=2) => Deed::Clean,
            (false, 3..=16) => Deed::Join(role),
            (false, _) => Deed::Fail(role, self.millis()),
            (true, 3..=6) => Deed::Kill(role),
            (true, 7..=11) => Deed::Cut,
            (true, _) => Deed::Leave(role),
        };
        Step(who, deed)
    }

    /// He does one thing to the service at a time.
    fn choose_role(&mut self, who: usize) -> Role {
        let role = match self.next(10) {
            0..=3 => Role::Meshes,
            4..=5 => Role::Exchanges,
            6 => Role::Scales,
            7..=8 => Role::Previews,
            _ => Role::Connects,
        };
        match self.developers[who].at_service() {
            Some(present) if role.is_at_service() => present,
            _ => role,
        }
    }

    /// A moment in a start, which takes some seconds.
    fn millis(&mut self) -> u64 {
        u64::try_from(self.next(4000)).expect("it fits")
    }

    fn take(&mut self, Step(who, deed): Step) {
        match deed {
            Deed::Join(role) => self.join(who, role),
            Deed::Fail(role, millis) => self.fail(who, role, Duration::from_millis(millis)),
            Deed::Leave(role) => self.leave(who, role),
            Deed::Kill(role) => self.kill(who, role),
            Deed::Cut => self.developers[who].laptop.cut_carrier(),
            Deed::Recover => self.recover(who),
            Deed::Clean => self.clean(who),
        }
    }

    /// Gets ready, or is refused because of others; the own dead runs are cleaned up before.
    fn join(&mut self, who: usize, role: Role) {
        self.developers[who].is_cleaned(true);
        let is_free = self.is_free(role);
        let mut run = self.developers[who].start(role);
        if is_free {
            run.wait_for(role.ready(), 60);
            self.developers[who].runs.push((role, run));
            return;
        }
        let refused = run.wait(45);
        assert_eq!(refused.code, 1, "{}", refused.text);
        assert!(refused.text.contains("cannot apply"), "{}", refused.text);
    }

    /// Several may mesh the service, or one does something else to it, alive or dead.
    fn is_free(&self, role: Role) -> bool {
        let others = |other: Role| !other.is_at_service() || (role, other) == (Role::Meshes, Role::Meshes);
        !role.is_at_service() || self.roles().all(others)
    }

    fn fail(&mut self, who: usize, role: Role, after: Duration) {
        let run = self.developers[who].start(role);
        std::thread::sleep(after); // the moment is what is tested
        self.developers[who].kill9(role);
        drop(run);
        self.clean(who);
    }

    fn leave(&mut self, who: usize, role: Role) {
        let ended = self.developers[who].take_run(role).interrupt(45);
        assert_eq!(ended.code, 0, "{}", ended.text);
    }

    fn kill(&mut self, who: usize, role: Role) {
        let developer = &mut self.developers[who];
        let _run = developer.take_run(role);
        assert!(developer.kill9(role), "it runs");
        developer.has_died(role);
    }

    /// Ends what everybody does to the service.
    fn recover(&mut self, who: usize) {
        let recovered = self.developers[who].laptop.ktctl(&["recover", "tomcat"]).wait(45);
        assert_eq!(recovered.code, 0, "{}", recovered.text);
        for developer in &mut self.developers {
            developer.is_cleaned(false);
            let Some(role) = developer.at_service() else { continue };
            let ended = developer.take_run(role).wait(45);
            assert_eq!(ended.code, 1, "{role:?}: {}", ended.text);
        }
    }

    /// Cleans up after the own dead runs, and hurts nobody.
    fn clean(&mut self, who: usize) {
        let cleaned = self.developers[who].laptop.ktctl(&["clean"]).wait(45);
        assert_eq!(cleaned.code, 0, "{}", cleaned.text);
        self.developers[who].is_cleaned(true);
    }

    /// What is done, also by dead runs.
    fn roles(&self) -> impl Iterator<Item = Role> {
        self.developers.iter().flat_map(Developer::roles)
    }

    /// Everybody runs, and everybody's requests go where they should.
    fn check(&mut self) {
        for developer in &mut self.developers {
            for (role, run) in &mut developer.runs {
                assert!(run.is_running(), "{role:?} at {} has ended", developer.laptop.name());
            }
        }
        objects::check(self.cluster, &self.developers);
        self.check_previews();
        if let Some(everybody) = self.page() {
            self.check_service(&everybody);
            self.check_connected(&everybody);
        }
    }

    /// What everybody's callers get; nothing when the one is dead who has taken the pods away.
    fn page(&self) -> Option<String> {
        let takes = |developer: &&Developer| developer.does(Role::Exchanges) || developer.does(Role::Scales);
        match self.developers.iter().find(takes) {
            Some(developer) => Some(page(&developer.laptop)),
            None if self.roles().any(|role| role == Role::Scales) => None,
            None => Some(DEMO.to_owned()),
        }
    }

    fn check_service(&self, everybody: &str) {
        self.wait_for(URL, None, everybody);
        for developer in &self.developers {
            let own = developer.does(Role::Meshes).then(|| page(&developer.laptop));
            let mark = format!("VERSION: {}", developer.laptop.name());
            self.wait_for(URL, Some(&mark), own.as_deref().unwrap_or(everybody));
        }
    }

    fn check_previews(&self) {
        for developer in self.developers.iter().filter(|developer| developer.does(Role::Previews)) {
            let url = format!("http://{}:8080", developer.preview());
            self.wait_for(&url, None, &page(&developer.laptop));
        }
    }

    fn check_connected(&self, everybody: &str) {
        for developer in self.developers.iter().filter(|developer| developer.does(Role::Connects)) {
            wait_until(&format!("{} gets {everybody:?}", developer.laptop.name()), SETTLES, || {
                developer.get_by_proxy(URL).contains(everybody).then_some(())
            });
        }
    }

    fn wait_for(&self, url: &str, header: Option<&str>, page: &str) {
        wait_until(&format!("{url} {header:?} gets {page:?}"), SETTLES, || {
            self.cluster.get_with(url, header).is_ok_and(|answer| answer.contains(page)).then_some(())
        });
    }

    /// Everybody leaves, and cleans up what is left of him.
    fn end(&mut self) {
        for who in 0..self.developers.len() {
            while let Some(role) = self.developers[who].runs.first().map(|(role, _)| *role) {
                self.leave(who, role);
            }
            self.clean(who);
        }
    }
}
