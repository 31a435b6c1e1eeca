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
    /// A number that no port has.
    #[error("{0} is no port, they go from 1 to 65535")]
    OutOfRange(String),
    /// One port of the cluster can lead to one place only.
    #[error("remote port {0} is given twice")]
    Twice(u16),
}

impl Expose {
    /// Reads `7001,8080:80,53/udp`; nothing in it gives an empty list.
    pub fn parse_list(text: &str) -> Result<Vec<Expose>, BadExpose> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let mut list: Vec<Expose> = Vec::new();
        for part in parts {
            let port = Expose::parse(part)?;
            if list.iter().any(|other| (other.cluster, other.udp) == (port.cluster, port.udp)) {
                return Err(BadExpose::Twice(port.cluster));
            }
            list.push(port);
        }
        Ok(list)
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
            laptop: number(laptop, BadExpose::Local)?,
            cluster: number(cluster, BadExpose::Remote)?,
            udp,
        })
    }
}

fn number(text: &str, bad: fn(String) -> BadExpose) -> Result<u16, BadExpose> {
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| if is_number { BadExpose::OutOfRange(text.to_owned()) } else { bad(text.to_owned()) })
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
        assert_eq!(said("70000"), "70000 is no port, they go from 1 to 65535");
        assert_eq!(said("80:0"), "0 is no port, they go from 1 to 65535");
        assert_eq!(said("80:"), "remote port '' is not a number");
        assert_eq!(said("8081:80,8080:80"), "remote port 80 is given twice");
    }
}
