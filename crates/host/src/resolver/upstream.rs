//! The laptop's own name servers, as they were before us.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::{Error, file_error, resolv_conf};
use crate::{Paths, in_place};

/// systemd-resolved listens here; behind it are the servers that count.
pub(super) const STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
/// A second stub of systemd-resolved, which only proxies.
const PROXY_STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54));

/// What the system's `resolv.conf` says without us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Name servers in the order in which they are asked.
    pub servers: Vec<IpAddr>,
    /// Endings tried for short names.
    pub search: Vec<String>,
    /// `ndots:2` and the like.
    pub options: Vec<String>,
}

/// Reads the laptop's own name servers; lines that a dead run has left are read as they were before.
///
/// Never names the stub of systemd-resolved, but the servers behind it; with a device of ours in
/// place these would include our own, so it is to be called before the change.
///
/// # Errors
/// A file exists but can not be read.
pub fn read_upstream(paths: &Paths) -> Result<Upstream, Error> {
    let mut upstream = parse(&read(&paths.resolv_conf)?);
    if upstream.servers.contains(&STUB) {
        let behind = parse(&read(&paths.resolved_upstream)?);
        upstream.servers.extend(behind.servers);
        if upstream.search.is_empty() {
            upstream.search = behind.search;
        }
    }
    upstream.servers.retain(|server| ![STUB, PROXY_STUB].contains(server));
    Ok(upstream)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let content = in_place::read(path).map_err(file_error("reading", path))?;
    Ok(content.unwrap_or_default())
}

/// What the file says without our lines; of several `search` and `domain` lines the last one counts.
pub(super) fn parse(content: &[u8]) -> Upstream {
    let content = resolv_conf::restored(content);
    let mut upstream = Upstream::default();
    for line in String::from_utf8_lossy(&content).lines() {
        let mut words = line.split_whitespace();
        let keyword = words.next();
        let mut words = words.map(str::to_owned);
        match keyword {
            Some("nameserver") => {
                upstream.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
            }
            Some("search") => upstream.search = words.collect(),
            Some("domain") => upstream.search = words.next().into_iter().collect(),
            Some("options") => upstream.options.extend(words),
            _ => {}
        }
    }
    upstream.search.retain(|domain| domain != ".");
    upstream
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn servers_search_list_and_options_are_read() {
        let upstream = parse(b"# by hand\nsearch corp.example lab.example\nnameserver 10.0.0.2\nnameserver fd00::2\noptions ndots:2 rotate\n");

        assert_eq!(upstream.servers, [ip("10.0.0.2"), ip("fd00::2")]);
        assert_eq!(upstream.search, ["corp.example", "lab.example"]);
        assert_eq!(upstream.options, ["ndots:2", "rotate"]);
    }

    #[test]
    fn lines_of_a_dead_run_are_read_as_they_were_before() {
        let before = b"search corp.example\nnameserver 10.0.0.2\n";
        let left = resolv_conf::with_server(before, ip("198.18.0.2"), &["svc.cluster.local".to_owned()]);

        assert_eq!(parse(&left), parse(before));
    }

    #[test]
    fn behind_the_stub_the_real_servers_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            resolv_conf: folder.path().join("resolv.conf"),
            resolved_upstream: folder.path().join("upstream"),
            ..Paths::system()
        };
        fs::write(&paths.resolv_conf, "nameserver 127.0.0.53\noptions edns0\nsearch corp.example\n").unwrap();
        fs::write(&paths.resolved_upstream, "nameserver 10.0.0.2\nsearch other.example\n").unwrap();

        let upstream = read_upstream(&paths).unwrap();

        assert_eq!(upstream.servers, [ip("10.0.0.2")]);
        assert_eq!(upstream.search, ["corp.example"]);
    }

    #[test]
    fn a_laptop_without_the_file_has_no_servers() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { resolv_conf: folder.path().join("none"), ..Paths::system() };

        assert_eq!(read_upstream(&paths).unwrap(), Upstream::default());
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
