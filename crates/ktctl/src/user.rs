//! Who the developer is, and where his files lie.

use kt_host::home::Home;

/// His login name, also under `sudo`.
pub(crate) fn name() -> String {
    let variables = ["SUDO_USER", "USER", "LOGNAME", "USERNAME"];
    variables
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()))
        .unwrap_or_default()
}

/// The name of this machine.
pub(crate) fn machine() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    read.or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

/// His folder `~/.kt`.
pub(crate) fn home() -> Home {
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE")).unwrap_or_default();
    Home::new(std::path::PathBuf::from(home).join(".kt"), None)
}
