//! The `--expose` option.

/// One port to bring to the laptop, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expose {
    /// On the laptop.
    pub laptop: u16,
    /// In the cluster: a target port of the Service, or a port of it.
    pub cluster: u16,
    /// Datagrams, by the suffix `/udp`.
    pub udp: bool,
}

/// What is wrong with an `--expose`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExpose {
    /// The part before the colon.
    #[error("local port '{0}' is not a number")]
    Local(String),
    /// The part behind the colon.
    #[error("remote port '{0}' is not a number")]
    Remote(String),
}

impl Expose {
    /// Reads `7001,8080:80,53/udp`; nothing in it gives an empty list.
    pub fn parse_list(text: &str) -> Result<Vec<Expose>, BadExpose> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(Expose::parse).collect()
    }

    /// As Kubernetes writes it.
    pub fn protocol(&self) -> &'static str {
        if self.udp { "UDP" } else { "TCP" }
    }

    fn parse(text: &str) -> Result<Expose, BadExpose> {
        let (ports, udp) = match text.strip_suffix("/udp") {
            Some(ports) => (ports, true),
            None => (text.strip_suffix("/tcp").unwrap_or(text), false),
        };
        let (laptop, cluster) = ports.split_once(':').unwrap_or((ports, ports));
        Ok(Expose {
            laptop: number(laptop).ok_or_else(|| BadExpose::Local(laptop.to_owned()))?,
            cluster: number(cluster).ok_or_else(|| BadExpose::Remote(cluster.to_owned()))?,
            udp,
        })
    }
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laptops_port_stands_first() {
        let list = Expose::parse_list("7001, 8080:80,53:5353/udp").unwrap();

        let expose = |laptop, cluster, udp| Expose { laptop, cluster, udp };
        let wanted = [expose(7001, 7001, false), expose(8080, 80, false), expose(53, 5353, true)];
        assert_eq!(list, wanted);
    }

    #[test]
    fn what_is_no_number_is_named() {
        let said = |text| Expose::parse_list(text).unwrap_err().to_string();

        assert_eq!(said("http:80"), "local port 'http' is not a number");
        assert_eq!(said("8080:http"), "remote port 'http' is not a number");
        assert_eq!(said("70000"), "local port '70000' is not a number");
        assert_eq!(said("80:"), "remote port '' is not a number");
    }
}
