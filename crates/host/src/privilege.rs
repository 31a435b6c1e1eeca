//! Rights: being root for the few things that need it, and the invoking user for the rest.
//!
//! Under `sudo` the main process keeps root only until the helper is started; then
//! [`become_user`] gives it up for good, so that kubeconfig, exec plug-ins and caches are the user's.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod login;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use other as platform;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A person with an account on this laptop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Number of the account.
    pub uid: u32,
    /// Number of its first group.
    pub gid: u32,
    /// Name to log in with.
    pub name: String,
    /// Home folder.
    pub home: PathBuf,
    /// Program that runs after log-in.
    pub shell: PathBuf,
}

impl User {
    /// The environment for a program of his, made of that of `sudo`: programs for log-in read what he
    /// has let through.
    #[must_use]
    pub fn environment(&self, present: impl Iterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
        let own = Environment::of(self).changes;
        let is_own = |name: &str| own.iter().any(|(own, _)| own == name);
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let kept = present.filter_map(text).filter(|(name, _)| !name.starts_with("SUDO_") && !is_own(name));
        kept.chain(own.clone()).collect()
    }
}

/// Rights could not be given up; the process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of the steps.
    #[error("{step} as user {user}")]
    Step {
        /// Which.
        step: &'static str,
        /// Whom to become.
        user: String,
        /// What the system said.
        source: io::Error,
    },
    /// All steps succeeded, and yet the way back is open.
    #[error("giving up root for user {0} was not complete")]
    StillRoot(String),
    /// The environment is shared by all threads and must not change under them.
    #[error("setting the environment with {0} threads running")]
    Threads(usize),
}

/// What programs of the user expect in their environment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "HOME still names root's folder until it is applied"]
pub struct Environment {
    /// Variables and their new values.
    pub changes: Vec<(String, String)>,
}

impl Environment {
    fn of(user: &User) -> Self {
        let changes = [
            ("HOME", user.home.display().to_string()),
            ("USER", user.name.clone()),
            ("LOGNAME", user.name.clone()),
            ("SHELL", user.shell.display().to_string()),
        ];
        Self { changes: changes.map(|(name, value)| (name.to_owned(), value)).to_vec() }
    }

    /// Also sets the list of folders where programs are looked for.
    pub fn with_path(mut self, path: String) -> Self {
        self.changes.push(("PATH".to_owned(), path));
        self
    }

    /// Sets the variables of this process.
    ///
    /// # Errors
    /// Other threads run already; nothing is changed then.
    pub fn apply(self) -> Result<(), Error> {
        platform::apply(self)
    }
}

/// Whether this process may do everything.
#[must_use]
pub fn is_root() -> bool {
    platform::is_root()
}

/// Who typed `sudo`; `None` for everybody who did not, root included.
#[must_use]
pub fn invoking_user() -> Option<User> {
    platform::invoking_user(|name| std::env::var(name).ok())
}

/// Gives up root for good: groups, then group, then user, in every thread. The process holds no
/// capability afterwards and can not become root again.
///
/// # Errors
/// A step failed; the process is in between and has to end.
pub fn become_user(user: &User) -> Result<Environment, Error> {
    platform::become_user(user)?;
    Ok(Environment::of(user))
}

/// Sets `PATH` as the user has it after log-in, in a process that was started as that user with his
/// [`User::environment`]. Takes 2 s at most; without an answer it stays.
///
/// # Errors
/// Other threads run already; nothing is changed then.
pub fn find_login_path() -> Result<(), Error> {
    let read = |name| std::env::var(name).ok();
    let (Some(home), Some(name), Some(shell)) = (read("HOME"), read("USER"), read("SHELL")) else {
        return Ok(());
    };
    let user = User { uid: 0, gid: 0, name, home: home.into(), shell: shell.into() };
    match login_path(&user) {
        Some(path) => Environment { changes: Vec::new() }.with_path(path).apply(),
        None => Ok(()),
    }
}

/// `PATH` as the user has it after log-in: `sudo` replaces it, and exec plug-ins of kubeconfigs
/// often live in folders of the user. To be called as that user; takes 2 s at most.
#[must_use]
pub fn login_path(user: &User) -> Option<String> {
    platform::login_path(user)
}

/// Lifts the number of files this process may open to the most that is allowed; returns it.
///
/// # Errors
/// The system refuses; the old number stays.
pub fn raise_open_files_limit() -> io::Result<u64> {
    platform::raise_open_files_limit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_user_gets_his_variables_and_none_of_root() {
        let user =
            User { uid: 7, gid: 7, name: "ann".into(), home: "/home/ann".into(), shell: "/bin/zsh".into() };
        let present =
            [("HOME", "/root"), ("SUDO_USER", "ann"), ("KUBECONFIG", "/k"), ("AWS_PROFILE", "test")];
        let present = present.map(|(name, value)| (name.into(), value.into())).into_iter();

        let environment = user.environment(present);

        let texts: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let wanted = [
            "KUBECONFIG=/k",
            "AWS_PROFILE=test",
            "HOME=/home/ann",
            "USER=ann",
            "LOGNAME=ann",
            "SHELL=/bin/zsh",
        ];
        assert_eq!(texts, wanted);
    }
}
