//! What the user's shell makes of `PATH`.

use std::io::{ErrorKind, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::User;

/// Start files of shells can be slow; without an answer the present `PATH` stays.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);
/// More than a pipe holds: what is there when the shell ends is read in one go.
const AT_ONCE: u64 = 1 << 17;

/// Start files may print a greeting: only the line with this beginning counts.
const MARK: &str = "KT_PATH=";

pub(super) fn login_path(user: &User) -> Option<String> {
    let mut shell = Command::new(&user.shell)
        .args(["-lc", &format!("printf '\\n{MARK}%s\\n' \"$PATH\"")])
        .env_clear()
        .env("HOME", &user.home)
        .env("USER", &user.name)
        .env("LOGNAME", &user.name)
        .env("SHELL", &user.shell)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let output = shell.stdout.take().and_then(|output| said_in_time(&mut shell, output));
    if output.is_none() {
        let _ = shell.kill();
        let _ = shell.wait();
    }
    last_path(&String::from_utf8_lossy(&output?))
}

/// What the shell has said by its end, without a thread: those would hinder the change of our own
/// environment. What its start files left running may hold the pipe open for ever.
fn said_in_time(shell: &mut Child, mut output: ChildStdout) -> Option<Vec<u8>> {
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
    let (since, mut said) = (Instant::now(), Vec::new());
    while since.elapsed() < PATIENCE {
        let ended = shell.try_wait().ok()?;
        match output.by_ref().take(AT_ONCE).read_to_end(&mut said) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return None,
            _ => {} // all that is there for the moment
        }
        match ended {
            Some(status) => return status.success().then_some(said),
            None => sleep(PAUSE),
        }
    }
    None
}

fn last_path(output: &str) -> Option<String> {
    let mut paths = output.lines().filter_map(|line| line.strip_prefix(MARK));
    paths.rfind(|path| !path.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_not_taken_for_the_path() {
        let output = "Welcome to KT_PATH=nowhere\n\nKT_PATH=/home/dev1/bin:/usr/bin\n";

        assert_eq!(last_path(output).as_deref(), Some("/home/dev1/bin:/usr/bin"));
        assert_eq!(last_path("Welcome\nKT_PATH=\n"), None);
    }

    #[test]
    fn what_a_profile_leaves_running_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let profile = "sleep 20 &\nhead -c 100000 /dev/zero | tr '\\0' x\nPATH=/mine:$PATH\n";
        std::fs::write(home.path().join(".profile"), profile).unwrap();
        let home = home.path().to_owned();
        let user = User { uid: 1, gid: 1, name: "x".into(), home, shell: "/bin/sh".into() };
        let since = Instant::now();

        let path = login_path(&user).unwrap();

        assert!(path.starts_with("/mine:"), "{path}");
        assert!(since.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_shell_that_does_not_exist_leaves_the_path_alone() {
        let user = User { uid: 1, gid: 1, name: "x".into(), home: "/".into(), shell: "/nonexistent".into() };

        assert_eq!(login_path(&user), None);
    }
}
