//! What the end-to-end tests stand on: a namespace of one's own in the running test bed
//! ([`Cluster`]), a laptop nobody else uses meanwhile ([`Laptop`]), programs on it whose words
//! can be awaited ([`Running`]), and pictures of both before and after ([`Snapshot`]).
//!
//! Nothing here knows how `ktctl` does its work: tests type command lines and look at the world.

mod bed;
mod callers;
mod cluster;
mod conversation;
mod laptop;
mod lease;
mod peers;
mod pods;
mod policy;
mod proxy;
mod running;
mod snapshot;
mod transfer;

pub use bed::{domain, ktctl, load_image, load_program_as, long, skip};
pub use callers::{callers_who_come_anew, callers_who_keep};
pub use cluster::Cluster;
pub use conversation::Conversation;
pub use laptop::{Kind, Laptop, Process, Pulled, SlowLink};
pub use peers::{for_laptops, peer, with_libraries};
pub use pods::resident;
pub use policy::Policy;
pub use proxy::{Proxy, Speech, cache, unused_port};
pub use running::{Ended, Running};
pub use snapshot::Snapshot;
pub use transfer::Transfer;

use std::time::{Duration, Instant};

/// What the sample workload of each namespace answers.
pub const DEMO: &str = "kt-connect demo v1";
/// What a program on the laptop answers that a test exchanges the sample for.
pub const LOCAL: &str = "kt-connect local v2";

/// Waits until each of these callers (see [`Cluster::callers_on`]) has got a page another 40 times.
///
/// # Panics
/// When that takes longer than 15 s.
pub fn wait_until_they_hear(callers: &[Running], page: &str) {
    let heard = |calls: &Running| calls.text().matches(page).count();
    let before: Vec<usize> = callers.iter().map(heard).collect();
    wait_until(&format!("all callers hear {page:?}"), Duration::from_secs(15), || {
        callers.iter().zip(&before).all(|(calls, before)| heard(calls) >= before + 40).then_some(())
    });
}

/// No request of these callers (see [`Cluster::callers_on`]) stayed without its answer.
///
/// # Panics
/// When one did.
pub fn assert_nothing_lost(callers: &[Running]) {
    let said: String = callers.iter().map(Running::text).collect();
    let lost: Vec<&str> = said.lines().filter(|line| line.contains("LOST")).collect();
    assert!(lost.is_empty(), "{} of {}: {lost:?}", lost.len(), said.lines().count());
}

/// The longest pause between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(600);

/// Asks again and again until there is an answer, and returns it.
///
/// # Panics
/// When there is none after `patience`; `what` then says what was waited for.
pub fn wait_until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(100);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", patience.as_secs_f32());
        std::thread::sleep(pause);
        pause = (pause * 5 / 4).min(PAUSE); // who asks less often leaves the processors to others
    }
}
