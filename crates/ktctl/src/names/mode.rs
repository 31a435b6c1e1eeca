//! What `--dnsMode` says.

use std::net::IpAddr;

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By our name server, which asks these in this order.
    Local(Vec<Element>),
    /// By the shadow's name server alone.
    Pod,
    /// By entries of the hosts file, for the services of these namespaces; of none: the current.
    Hosts(Vec<String>),
    /// As before.
    Untouched,
}

/// Somebody who can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// The cluster's DNS.
    Cluster,
    /// A name server.
    Server {
        /// Its address; without one it is the system's own as it was before.
        address: Option<IpAddr>,
        /// Its port; without one it is 53, or the one that the system uses.
        port: Option<u16>,
        /// It is asked over TCP.
        tcp: bool,
    },
}

/// The text is no mode.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid dns mode: '{0}', supportted mode are localDNS, podDNS, hosts")]
pub(crate) struct InvalidMode(String);

/// A mode, and what in it was not understood: each deserves `Skip invalid dns server <x>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) mode: Mode,
    pub(crate) skipped: Vec<String>,
}

impl Element {
    /// The system's own name servers.
    pub(crate) const UPSTREAM: Element = Element::Server { address: None, port: None, tcp: false };

    fn parse(text: &str) -> Option<Element> {
        if text == "cluster" {
            return Some(Element::Cluster);
        }
        let (tcp, rest) = match (text.strip_prefix("tcp:"), text.strip_prefix("udp:")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => (false, text),
        };
        let (host, port) = split(rest)?;
        let address = match host {
            "upstream" => None,
            address => Some(address.parse().ok()?),
        };
        Some(Element::Server { address, port, tcp })
    }
}

/// Host and port; an IPv6 address with a port stands in brackets.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(number(port)?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(number(port)?))),
        _ => Some((text, None)),
    }
}

fn number(port: &str) -> Option<u16> {
    port.parse().ok().filter(|port| *port != 0)
}

/// Understands the text of `--dnsMode`.
pub(crate) fn parse(text: &str) -> Result<Parsed, InvalidMode> {
    let (kind, list) = text.split_once(':').unwrap_or((text, ""));
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    let mut skipped = Vec::new();
    let mode = match kind {
        "localDNS" => {
            let mut elements = Vec::new();
            for part in parts {
                match Element::parse(part) {
                    Some(element) => elements.push(element),
                    None => skipped.push(part.to_owned()),
                }
            }
            if elements.is_empty() {
                elements = vec![Element::Cluster, Element::UPSTREAM];
            }
            Mode::Local(elements)
        }
        "podDNS" if list.is_empty() => Mode::Pod,
        "hosts" => Mode::Hosts(parts.map(String::from).collect()),
        "none" if list.is_empty() => Mode::Untouched,
        _ => return Err(InvalidMode(text.to_owned())),
    };
    Ok(Parsed { mode, skipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, port: impl Into<Option<u16>>, tcp: bool) -> Element {
        Element::Server { address: address.parse().ok(), port: port.into(), tcp }
    }

    #[test]
    fn every_form_of_a_server_is_understood() {
        let forms = [
            ("cluster", Element::Cluster),
            ("upstream", Element::UPSTREAM),
            ("tcp:upstream", server("", None, true)),
            ("upstream:123", server("", 123, false)),
            ("tcp:upstream:123", server("", 123, true)),
            ("udp:upstream:123", server("", 123, false)),
            ("7.8.9.0", server("7.8.9.0", None, false)),
            ("tcp:7.8.9.0", server("7.8.9.0", None, true)),
            ("7.8.9.0:123", server("7.8.9.0", 123, false)),
            ("tcp:7.8.9.0:123", server("7.8.9.0", 123, true)),
            ("udp:7.8.9.0", server("7.8.9.0", None, false)),
            ("[fd00::53]:5353", server("fd00::53", 5353, false)),
            ("tcp:[fd00::53]", server("fd00::53", None, true)),
            ("fd00::53", server("fd00::53", None, false)),
        ];
        for (text, element) in forms {
            assert_eq!(
                parse(&format!("localDNS:{text}")).expect(text).mode,
                Mode::Local(vec![element]),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_server_is_skipped_and_told() {
        let parsed = parse("localDNS:upstream,a:b:c:d,7.8.9:1,cluster,1.2.3.4:0,[::1").expect("mode");

        assert_eq!(parsed.mode, Mode::Local(vec![Element::UPSTREAM, Element::Cluster]));
        assert_eq!(parsed.skipped, ["a:b:c:d", "7.8.9:1", "1.2.3.4:0", "[::1"]);
    }

    #[test]
    fn the_cluster_is_asked_before_the_system_unless_told_otherwise() {
        let usual = Mode::Local(vec![Element::Cluster, Element::UPSTREAM]);

        assert_eq!(parse("localDNS").expect("mode").mode, usual);
        assert_eq!(parse("localDNS:").expect("mode").mode, usual);
        assert_eq!(parse("localDNS:nonsense").expect("mode").mode, usual);
    }

    #[test]
    fn other_modes_are_known_and_the_rest_is_refused() {
        assert_eq!(parse("podDNS").expect("mode").mode, Mode::Pod);
        assert_eq!(parse("none").expect("mode").mode, Mode::Untouched);
        assert_eq!(parse("hosts").expect("mode").mode, Mode::Hosts(vec![]));
        assert_eq!(parse("hosts:a,b").expect("mode").mode, Mode::Hosts(vec!["a".into(), "b".into()]));
        let error = parse("dns").expect_err("no mode").to_string();
        assert_eq!(error, "invalid dns mode: 'dns', supportted mode are localDNS, podDNS, hosts");
    }
}
