//! Who is asked for a name. Pure: values in, values out.
//!
//! With the least rights nobody can list the namespaces, and yet `tomcat.shop` must work; on the
//! other hand `example.com` must not leave through the cluster. So a name that *may* be one of the
//! cluster is asked there in its full form only, `tomcat.shop.svc.<cluster domain>`: the cluster's
//! DNS answers for that itself and passes it on to nobody. How soon depends on its last label:
//!
//! | Last label | Who is asked |
//! |---|---|
//! | `svc`, the cluster domain, reverse names of its ranges | only the cluster |
//! | none before it, a known namespace, a domain of `--includeDomains` | all, in the order chosen |
//! | a domain of the Internet or of private networks (`com`, two letters, `local`, ...) | the system; the cluster only when the system knows no such name |
//! | anything else | both at once; the order chosen decides |

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::mode::Element;

/// Last labels that are hardly namespaces; those of two letters, the countries', come on top. New
/// ones of the Internet (`dev`, `app`, `shop`) are missing on purpose: people call namespaces so.
const HARDLY_NAMESPACES: [&str; 18] = [
    "com",
    "net",
    "org",
    "edu",
    "gov",
    "mil",
    "int",
    "arpa",
    "info",
    "biz",
    "local",
    "localdomain",
    "internal",
    "lan",
    "home",
    "corp",
    "intranet",
    "onion",
];

/// What is known of the cluster's names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones {
    /// The cluster's domain, `cluster.local` as a rule.
    pub(crate) domain: String,
    /// The namespaces that are known: the own one at least.
    pub(crate) namespaces: HashSet<String>,
    /// More domains that the cluster's DNS knows.
    pub(crate) include: Vec<String>,
    /// The laptop's search list: programs ask for short names with these behind them, too.
    pub(crate) search: Vec<String>,
    /// The cluster's addresses, for reverse names.
    pub(crate) ranges: Vec<IpNet>,
}

/// How a name belongs to the cluster. A text is the name to ask the cluster for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Belongs {
    Surely,
    Likely,
    Maybe(String),
    Hardly(String),
    Not,
}

/// Somebody to ask, under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The cluster; under the name as it is, or another.
    Cluster(Option<String>),
    /// A name server of [`Element::Server`].
    Server { address: Option<IpAddr>, port: Option<u16>, tcp: bool },
}

/// Who is asked, the preferred first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) asks: Vec<Ask>,
    /// All are asked at once, instead of the next after the one before knows nothing.
    pub(crate) together: bool,
    /// That a name exists without what was asked for is the last word, whoever says it.
    pub(crate) exists_is_final: bool,
}

/// Who is asked for `name`, which is in lower case and without a dot at its end.
pub(crate) fn plan(name: &str, zones: &Zones, order: &[Element]) -> Plan {
    let belongs = belongs(name, zones);
    let cluster =
        |name: &Option<String>| order.contains(&Element::Cluster).then(|| Ask::Cluster(name.clone()));
    let servers = || order.iter().filter_map(server);
    let has_servers = servers().next().is_some();
    let in_order = |name: Option<String>| {
        let ask = |element: &Element| server(element).or_else(|| cluster(&name));
        order.iter().filter_map(ask).collect()
    };
    let (asks, together): (Vec<Ask>, bool) = match &belongs {
        Belongs::Surely if cluster(&None).is_some() => (cluster(&None).into_iter().collect(), false),
        Belongs::Surely | Belongs::Likely => (in_order(None), false),
        _ if !has_servers => (in_order(None), false),
        Belongs::Maybe(full) => (in_order(Some(full.clone())), true),
        Belongs::Hardly(full) => (servers().chain(cluster(&Some(full.clone()))).collect(), false),
        Belongs::Not => (servers().collect(), false),
    };
    let exists_is_final = matches!(belongs, Belongs::Hardly(_) | Belongs::Not);
    Plan { asks, together, exists_is_final }
}

fn server(element: &Element) -> Option<Ask> {
    match *element {
        Element::Cluster => None,
        Element::Server { address, port, tcp } => Some(Ask::Server { address, port, tcp }),
    }
}

/// How a name belongs to the cluster.
pub(crate) fn belongs(name: &str, zones: &Zones) -> Belongs {
    if name.is_empty() || name == "localhost" || name.ends_with(".localhost") {
        return Belongs::Not;
    }
    if let Some(address) = reverse(name) {
        let inside = zones.ranges.iter().any(|range| range.contains(&address));
        return if inside { Belongs::Surely } else { Belongs::Not };
    }
    if is_below(name, &zones.domain) || is_below(name, "svc") {
        return Belongs::Surely;
    }
    if zones.include.iter().any(|domain| is_below(name, domain)) {
        return Belongs::Likely;
    }
    if let Some(short) = zones.search.iter().find_map(|suffix| without(name, suffix)) {
        return Belongs::Hardly(short.to_owned());
    }
    let labels: Vec<&str> = name.split('.').collect();
    let full = || format!("{name}.svc.{}", zones.domain);
    match labels.as_slice() {
        [_] => Belongs::Likely,
        [_, namespace] | [_, _, namespace] if zones.namespaces.contains(*namespace) => Belongs::Likely,
        [_, last] if is_hardly_namespace(last) => Belongs::Hardly(full()),
        [_, _, last] if is_hardly_namespace(last) => Belongs::Not,
        [_, _] | [_, _, _] => Belongs::Maybe(full()),
        _ => Belongs::Not,
    }
}

fn is_hardly_namespace(label: &str) -> bool {
    let country = label.len() == 2 && label.bytes().all(|byte| byte.is_ascii_lowercase());
    country || HARDLY_NAMESPACES.contains(&label) || label.bytes().all(|byte| byte.is_ascii_digit())
}

/// Tells whether a name is the domain or below it.
fn is_below(name: &str, domain: &str) -> bool {
    !domain.is_empty() && name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A short name of the cluster which was asked with a suffix of the laptop behind it.
fn without<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let short = name.strip_suffix(suffix)?.strip_suffix('.')?;
    (!suffix.is_empty() && !short.is_empty() && short.split('.').count() <= 2).then_some(short)
}

/// The address that a reverse name is about.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(v4) = name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<u8> = v4.rsplit('.').map(|octet| octet.parse().ok()).collect::<Option<_>>()?;
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into());
    }
    let v6 = name.strip_suffix(".ip6.arpa")?;
    let digits: String = v6.rsplit('.').filter(|digit| digit.len() == 1).collect();
    if v6.len() != 63 || digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(|bits| Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones() -> Zones {
        Zones {
            domain: "cluster.local".into(),
            namespaces: ["dev".to_owned()].into(),
            include: vec!["corp.example".into()],
            search: vec!["office.example".into()],
            ranges: vec!["10.96.0.0/16".parse().expect("range"), "fd00:10:96::/112".parse().expect("range")],
        }
    }

    fn of(name: &str) -> Belongs {
        belongs(name, &zones())
    }

    fn full(name: &str) -> String {
        format!("{name}.svc.cluster.local")
    }

    #[test]
    fn names_of_the_cluster_domain_belong_to_the_cluster_alone() {
        for name in ["tomcat.dev.svc.cluster.local", "tomcat.dev.svc", "cluster.local", "p.tomcat.dev.svc"] {
            assert_eq!(of(name), Belongs::Surely, "{name}");
        }
        assert_ne!(of("notcluster.local"), Belongs::Surely);
    }

    #[test]
    fn a_bare_name_and_a_known_namespace_are_likely_the_clusters() {
        for name in ["tomcat", "tomcat.dev", "p-0.tomcat.dev", "git.corp.example"] {
            assert_eq!(of(name), Belongs::Likely, "{name}");
        }
    }

    #[test]
    fn an_unknown_namespace_is_asked_for_in_full() {
        for name in ["tomcat.shop", "p-0.tomcat", "p-0.tomcat.shop", "www.intern.firm"] {
            assert_eq!(of(name), Belongs::Maybe(full(name)), "{name}");
        }
    }

    #[test]
    fn a_name_of_the_internet_hardly_belongs_to_the_cluster() {
        assert_eq!(of("example.com"), Belongs::Hardly(full("example.com")));
        assert_eq!(of("example.cn"), Belongs::Hardly(full("example.cn")));
        for name in ["www.example.com", "printer.office.local", "a.b.c.d", "localhost", "x.localhost", ""] {
            assert_eq!(of(name), Belongs::Not, "{name}");
        }
    }

    #[test]
    fn a_known_namespace_goes_before_a_domain_of_the_same_name() {
        let zones = Zones { namespaces: ["qa".to_owned()].into(), ..zones() };

        assert_eq!(belongs("tomcat.qa", &zones), Belongs::Likely);
    }

    #[test]
    fn a_suffix_of_the_laptop_is_cut_off_for_the_cluster() {
        assert_eq!(of("tomcat.office.example"), Belongs::Hardly("tomcat".into()));
        assert_eq!(of("tomcat.dev.office.example"), Belongs::Hardly("tomcat.dev".into()));
    }

    #[test]
    fn reverse_names_go_where_their_address_is() {
        assert_eq!(of("10.0.96.10.in-addr.arpa"), Belongs::Surely);
        assert_eq!(of("1.1.168.192.in-addr.arpa"), Belongs::Not);
        assert_eq!(
            of("a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa"),
            Belongs::Surely
        );
        assert_eq!(of("96.10.in-addr.arpa"), Belongs::Not);
        assert_eq!(of("1.0.ip6.arpa"), Belongs::Not);
    }

    const USUAL: [Element; 2] = [Element::Cluster, Element::UPSTREAM];
    const UPSTREAM: Ask = Ask::Server { address: None, port: None, tcp: false };

    fn asks(name: &str, order: &[Element]) -> Vec<Ask> {
        plan(name, &zones(), order).asks
    }

    #[test]
    fn a_bare_name_is_asked_in_the_cluster_first() {
        assert_eq!(asks("tomcat", &USUAL), [Ask::Cluster(None), UPSTREAM]);
        assert_eq!(asks("tomcat", &[Element::UPSTREAM, Element::Cluster]), [UPSTREAM, Ask::Cluster(None)]);
    }

    #[test]
    fn both_are_asked_at_once_for_what_may_be_either() {
        let plan = plan("tomcat.shop", &zones(), &USUAL);

        assert_eq!(plan.asks, [Ask::Cluster(Some(full("tomcat.shop"))), UPSTREAM]);
        assert!(plan.together);
    }

    #[test]
    fn names_stay_where_they_belong() {
        assert_eq!(asks("tomcat.dev.svc.cluster.local", &USUAL), [Ask::Cluster(None)]);
        assert_eq!(asks("www.example.com", &USUAL), [UPSTREAM]);
        assert_eq!(asks("example.com", &USUAL), [UPSTREAM, Ask::Cluster(Some(full("example.com")))]);
    }

    #[test]
    fn who_chose_one_source_gets_all_from_it() {
        assert_eq!(asks("www.example.com", &[Element::Cluster]), [Ask::Cluster(None)]);
        assert_eq!(asks("tomcat.dev.svc", &[Element::UPSTREAM]), [UPSTREAM]);
        assert_eq!(asks("example.com", &[Element::UPSTREAM]), [UPSTREAM]);
    }
}
