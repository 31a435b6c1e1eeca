//! Processes of this laptop, told apart from later ones with the same number.

use std::io;

use serde::{Deserialize, Serialize};

/// One process: its number alone is given to others later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the machine was.
    pub started: u64,
    /// Which start of the machine that was.
    pub boot: String,
    /// Which machine, and which of its spaces of process numbers; empty in files of older versions.
    #[serde(default)]
    pub machine: String,
}

impl Process {
    /// The process that asks.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn current() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// The process which has the number now.
    ///
    /// # Errors
    /// There is none, or it has ended and only waits to be noticed by its parent.
    pub fn of(pid: u32) -> io::Result<Self> {
        let started = platform::started(pid)?;
        Ok(Self { pid, started, boot: platform::boot()?, machine: platform::machine()? })
    }

    /// Whether this very process still runs. One of another machine that shares the user's home, or of
    /// another container, counts as running: nobody here can tell.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let is_elsewhere =
            !self.machine.is_empty() && platform::machine().is_ok_and(|here| here != self.machine);
        is_elsewhere || Self::of(self.pid).is_ok_and(|now| now.is(self))
    }

    fn is(&self, other: &Self) -> bool {
        (self.pid, self.started, &self.boot) == (other.pid, other.started, &other.boot)
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{fs, io};

    pub(super) fn started(pid: u32) -> io::Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        super::start_time(&stat).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn boot() -> io::Result<String> {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(id.trim().to_owned())
    }

    /// Numbers of processes mean something within one namespace only.
    pub(super) fn machine() -> io::Result<String> {
        let numbers = fs::read_link("/proc/self/ns/pid")?;
        let id = fs::read_to_string("/etc/machine-id").unwrap_or_default(); // not every container has it
        let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
        let id = if id.trim().is_empty() { name } else { id };
        Ok(format!("{} {}", id.trim(), numbers.display()))
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::io;

    use crate::Unsupported;

    pub(super) fn started(_pid: u32) -> io::Result<u64> {
        Err(Unsupported("telling processes apart").into())
    }

    pub(super) fn boot() -> io::Result<String> {
        Err(Unsupported("telling processes apart").into())
    }

    pub(super) fn machine() -> io::Result<String> {
        Err(Unsupported("telling processes apart").into())
    }
}

/// Field 22 of `/proc/<pid>/stat`; none for a zombie. The name (field 2) may hold blanks and brackets.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "procfs is Linux'"))]
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_hide_the_start_time() {
        let stat =
            "77 (a) b) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 5 18446744073709551615";

        assert_eq!(start_time(stat), Some(4711));
    }

    #[test]
    fn a_zombie_counts_as_gone() {
        let stat = "77 (ktctl) Z 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 0 0 0";

        assert_eq!(start_time(stat), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_alive_and_another_with_its_number_is_not() {
        let me = Process::current().unwrap();
        let other = Process { started: me.started + 1, ..me.clone() };

        assert!(me.is_alive());
        assert!(!other.is_alive());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn of_another_machine_nobody_here_says_that_it_is_dead() {
        let gone = Process { started: 1, ..Process::current().unwrap() };

        let elsewhere = Process { machine: "other pid:[1]".into(), ..gone.clone() };
        let of_an_older_version = Process { machine: String::new(), ..gone };

        assert!(elsewhere.is_alive());
        assert!(!of_an_older_version.is_alive());
    }
}
