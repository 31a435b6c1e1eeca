//! Accounts and rights of Linux.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{self, Gid, Uid};

pub(super) use super::login::login_path;
use super::{Environment, Error, User};

pub(super) fn is_root() -> bool {
    Uid::effective().is_root()
}

pub(super) fn invoking_user(variable: impl Fn(&str) -> Option<String>) -> Option<User> {
    let uid: u32 = variable("SUDO_UID")?.parse().ok()?;
    if !is_root() || uid == 0 {
        return None;
    }
    account(uid).or_else(|| {
        let name = variable("SUDO_USER")?;
        Some(User {
            uid,
            gid: variable("SUDO_GID")?.parse().ok()?,
            home: variable("SUDO_HOME").map_or_else(|| PathBuf::from(format!("/home/{name}")), PathBuf::from),
            shell: "/bin/sh".into(),
            name,
        })
    })
}

/// A static program sees only `/etc/passwd`; `getent` also knows accounts of LDAP and the like.
fn account(uid: u32) -> Option<User> {
    if let Ok(Some(found)) = unistd::User::from_uid(Uid::from_raw(uid)) {
        return Some(User {
            uid,
            gid: found.gid.as_raw(),
            name: found.name,
            home: found.dir,
            shell: found.shell,
        });
    }
    let output = Command::new("getent").args(["passwd", &uid.to_string()]).output().ok()?;
    parse_account(&String::from_utf8_lossy(&output.stdout))
}

/// `name:password:uid:gid:comment:home:shell`
fn parse_account(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.trim_end().split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields[..] else {
        return None;
    };
    Some(User {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        name: name.to_owned(),
        home: home.into(),
        shell: shell.into(),
    })
}

pub(super) fn become_user(user: &User) -> Result<(), Error> {
    let failed =
        |step| move |errno: Errno| Error::Step { step, user: user.name.clone(), source: errno.into() };
    let name = CString::new(user.name.clone()).map_err(|_| failed("naming groups")(Errno::EINVAL))?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    unistd::initgroups(&name, gid).map_err(failed("joining the groups"))?;
    unistd::setresgid(gid, gid, gid).map_err(failed("joining the first group"))?;
    unistd::setresuid(uid, uid, uid).map_err(failed("going on"))?;
    if unistd::setuid(Uid::from_raw(0)).is_ok() || !holds_no_capability() {
        return Err(Error::StillRoot(user.name.clone()));
    }
    Ok(())
}

fn holds_no_capability() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let is_empty = |set| field(&status, set).is_some_and(|bits| bits.bytes().all(|bit| bit == b'0'));
    ["CapPrm:", "CapEff:", "CapAmb:"].into_iter().all(is_empty)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

pub(super) fn apply(environment: Environment) -> Result<(), Error> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let threads = field(&status, "Threads:").and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
    if threads != 1 {
        return Err(Error::Threads(threads));
    }
    for (name, value) in environment.changes {
        // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
        #[expect(unsafe_code, reason = "the environment belongs to all threads")]
        unsafe {
            std::env::set_var(name, value);
        }
    }
    Ok(())
}

pub(super) fn raise_open_files_limit() -> io::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_sudo_there_is_no_invoking_user() {
        assert_eq!(invoking_user(|_| None), None);
    }

    #[test]
    fn root_who_typed_sudo_is_no_other_user() {
        assert_eq!(invoking_user(|name| (name == "SUDO_UID").then(|| "0".to_owned())), None);
    }

    #[test]
    fn an_account_of_a_directory_service_is_read() {
        let user = parse_account("dev1:*:70001:70000:Dev One,,:/srv/home/dev1:/bin/zsh\n").unwrap();

        assert_eq!((user.uid, user.gid), (70001, 70000));
        assert_eq!(user.home, PathBuf::from("/srv/home/dev1"));
    }

    #[test]
    fn the_environment_does_not_change_under_other_threads() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || held.recv());
        let environment = Environment { changes: vec![("KT_NEVER".to_owned(), "1".to_owned())] };

        assert!(matches!(environment.apply(), Err(Error::Threads(_))));
        assert!(std::env::var("KT_NEVER").is_err());
        drop(hold);
        let _ = other.join();
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_the_most() {
        let most = raise_open_files_limit().unwrap();

        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, most);
    }
}
