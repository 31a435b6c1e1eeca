//! Values of flags that are more than a word.

use clap::builder::ValueParser;
use ipnet::IpNet;
use kt_cluster::target::Expose;

/// Labels, annotations and the like, in the order typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

/// `key=value`, comma separated.
pub(super) fn pairs() -> ValueParser {
    ValueParser::new(|text: &str| -> Result<Pairs, String> {
        let pair = |part: &str| match part.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
            _ => Err(format!("'{part}' is not of the form key=value")),
        };
        text.split(',').filter(|part| !part.is_empty()).map(pair).collect::<Result<_, _>>().map(Pairs)
    })
}

/// The pairs of an `--expose`, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) pairs: Vec<Expose>,
    /// As they were typed.
    pub(crate) text: String,
}

/// As `--expose` has them.
pub(super) fn ports() -> ValueParser {
    ValueParser::new(|text: &str| -> Result<Ports, String> {
        let pairs = Expose::parse_list(text).map_err(|bad| bad.to_string())?;
        match pairs.is_empty() {
            true => Err("at least one port is required, e.g. 8080 or 8080:80".into()),
            false => Ok(Ports { pairs, text: text.to_owned() }),
        }
    })
}

/// An IP range; a bare IP is the range of one.
pub(super) fn range() -> ValueParser {
    ValueParser::new(|text: &str| -> Result<IpNet, String> {
        let text = text.trim();
        let bare = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        let range = text.parse::<IpNet>().or_else(|_| bare());
        range
            .map(|range| range.trunc())
            .map_err(|_| format!("'{text}' is neither an IP nor a range like 10.1.0.0/16"))
    })
}
