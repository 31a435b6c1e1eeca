//! `--expose`: which port of the laptop stands for which port in the cluster.

use std::str::FromStr;

/// Pairs of ports, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expose(pub(crate) Vec<Exposed>);

/// One pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exposed {
    /// Where the program on the laptop listens.
    pub(crate) laptop: u16,
    /// The port in the cluster.
    pub(crate) cluster: u16,
}

/// Why a text is no pair of ports.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidExpose {
    #[error("local port '{0}' is not a number")]
    Local(String),
    #[error("remote port '{0}' is not a number")]
    Remote(String),
    #[error("at least one port is required, e.g. --expose 8080 or --expose 8080:80")]
    Empty,
    #[error("remote port {0} is exposed twice")]
    Twice(u16),
    #[error("'{0}' asks for UDP, which exchange does not carry yet; leave the suffix away for TCP")]
    Udp(String),
}

impl FromStr for Expose {
    type Err = InvalidExpose;

    fn from_str(text: &str) -> Result<Expose, InvalidExpose> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let pairs: Vec<Exposed> = parts.map(pair).collect::<Result<_, _>>()?;
        for (index, pair) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|other| other.cluster == pair.cluster) {
                return Err(InvalidExpose::Twice(pair.cluster));
            }
        }
        match pairs.is_empty() {
            true => Err(InvalidExpose::Empty),
            false => Ok(Expose(pairs)),
        }
    }
}

fn pair(text: &str) -> Result<Exposed, InvalidExpose> {
    let ports = match text.rsplit_once('/') {
        Some((ports, "tcp")) => ports,
        Some((_, "udp")) => return Err(InvalidExpose::Udp(text.into())),
        _ => text,
    };
    let (laptop, cluster) = ports.split_once(':').unwrap_or((ports, ports));
    let laptop = number(laptop).ok_or_else(|| InvalidExpose::Local(laptop.into()))?;
    let cluster = number(cluster).ok_or_else(|| InvalidExpose::Remote(cluster.into()))?;
    Ok(Exposed { laptop, cluster })
}

fn number(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Result<Vec<(u16, u16)>, InvalidExpose> {
        text.parse::<Expose>().map(|expose| expose.0.iter().map(|pair| (pair.laptop, pair.cluster)).collect())
    }

    #[test]
    fn a_port_alone_is_the_same_on_both_sides() {
        assert_eq!(ports("8080"), Ok(vec![(8080, 8080)]));
    }

    #[test]
    fn several_pairs_are_separated_by_commas() {
        assert_eq!(ports("7001,8080:80"), Ok(vec![(7001, 7001), (8080, 80)]));
        assert_eq!(ports("8080:80/tcp"), Ok(vec![(8080, 80)]));
    }

    #[test]
    fn what_is_no_port_is_named() {
        assert_eq!(ports("web"), Err(InvalidExpose::Local("web".into())));
        assert_eq!(ports("8080:web"), Err(InvalidExpose::Remote("web".into())));
        assert_eq!(ports("0"), Err(InvalidExpose::Local("0".into())));
        assert_eq!(ports("70000"), Err(InvalidExpose::Local("70000".into())));
        assert_eq!(ports("80,81:80"), Err(InvalidExpose::Twice(80)));
        assert_eq!(ports(""), Err(InvalidExpose::Empty));
    }
}
