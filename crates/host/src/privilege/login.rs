//! What the user's shell makes of `PATH`.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::User;

/// Start files of shells can be slow; without an answer the present `PATH` stays.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

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
    if !ends_in_time(&mut shell) {
        let _ = shell.kill();
        let _ = shell.wait();
        return None;
    }
    let mut output = Vec::new();
    shell.stdout?.read_to_end(&mut output).ok()?;
    last_path(&String::from_utf8_lossy(&output))
}

fn ends_in_time(shell: &mut Child) -> bool {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        match shell.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => sleep(PAUSE),
            Err(_) => return false,
        }
    }
    false
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
    fn a_shell_that_does_not_exist_leaves_the_path_alone() {
        let user = User { uid: 1, gid: 1, name: "x".into(), home: "/".into(), shell: "/nonexistent".into() };

        assert_eq!(login_path(&user), None);
    }
}
