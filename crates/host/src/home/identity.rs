//! Who and where this is, as other people in the cluster should read it.

/// Name of the user whom this process runs as.
#[must_use]
pub fn user_name() -> String {
    let variable = || ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok());
    platform::user_name().or_else(variable).unwrap_or_else(|| "unknown".to_owned())
}

/// Name of this laptop in its network, without the domain.
#[must_use]
pub fn host_name() -> String {
    let name = platform::host_name().unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

#[cfg(unix)]
mod platform {
    pub(super) fn user_name() -> Option<String> {
        let found = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok()??;
        Some(found.name)
    }

    pub(super) fn host_name() -> Option<String> {
        nix::unistd::gethostname().ok()?.into_string().ok()
    }
}

#[cfg(not(unix))]
mod platform {
    pub(super) fn user_name() -> Option<String> {
        None
    }

    pub(super) fn host_name() -> Option<String> {
        std::env::var("COMPUTERNAME").ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_a_name_without_dots_or_blanks() {
        assert!(!user_name().is_empty());
        assert!(!host_name().is_empty() && !host_name().contains('.'));
    }
}
