//! Our table as `nft -j` reads it.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::TABLE;

/// What is to be redirected.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Calls to these are caught.
    pub ranges: &'a [IpNet],
    /// But not to these.
    pub except: &'a [IpNet],
    /// TCP port on loopback which gets them.
    pub port: u16,
    /// Calls of this user's programs are not caught.
    pub owner_uid: Option<u32>,
}

/// Commands that replace our table by the wanted one in a single transaction.
#[must_use]
pub fn ruleset(wanted: &Wanted<'_>) -> Value {
    let mut commands = removal();
    commands.push(add(json!({"table": {"family": "inet", "name": TABLE}})));
    // -100 is the priority of destination NAT (`dstnat`).
    commands.push(add(json!({"chain": {
        "family": "inet", "table": TABLE, "name": "output", "type": "nat", "hook": "output", "prio": -100, "policy": "accept",
    }})));
    for family in [Family::V4, Family::V6] {
        commands.extend(rules(family, wanted));
    }
    json!({"nftables": commands})
}

/// Commands that remove our table; fine when there is none.
#[cfg(target_os = "linux")]
pub(super) fn no_ruleset() -> Value {
    json!({"nftables": removal()})
}

/// Adding first makes the removal of a missing table succeed.
fn removal() -> Vec<Value> {
    let table = json!({"table": {"family": "inet", "name": TABLE}});
    vec![add(table.clone()), json!({"delete": table})]
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn protocol(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn owns(self, range: &IpNet) -> bool {
        matches!((self, range), (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_)))
    }
}

fn rules(family: Family, wanted: &Wanted<'_>) -> Option<Value> {
    let ranges = anonymous_set(family, wanted.ranges)?;
    let mut steps = vec![destination(family, "==", ranges)];
    if let Some(except) = anonymous_set(family, wanted.except) {
        steps.push(destination(family, "!=", except));
    }
    if let Some(uid) = wanted.owner_uid {
        steps.push(json!({"match": {"op": "!=", "left": {"meta": {"key": "skuid"}}, "right": uid}}));
    }
    steps.push(json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}));
    steps.push(json!({"redirect": {"port": wanted.port}}));
    Some(add(json!({"rule": {"family": "inet", "table": TABLE, "chain": "output", "expr": steps}})))
}

/// The ranges of one family, none of them inside another: the kernel takes no overlapping elements.
fn anonymous_set(family: Family, ranges: &[IpNet]) -> Option<Value> {
    let own: Vec<IpNet> = ranges.iter().filter(|range| family.owns(range)).copied().collect();
    let elements: Vec<Value> = IpNet::aggregate(&own)
        .iter()
        .map(|range| json!({"prefix": {"addr": range.network(), "len": range.prefix_len()}}))
        .collect();
    if elements.is_empty() { None } else { Some(json!({"set": elements})) }
}

fn destination(family: Family, op: &str, right: Value) -> Value {
    let left = json!({"payload": {"protocol": family.protocol(), "field": "daddr"}});
    json!({"match": {"op": op, "left": left, "right": right}})
}

fn add(what: Value) -> Value {
    json!({"add": what})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_table_goes_in_the_same_transaction() {
        let all = ruleset(&wanted(&nets(&["10.0.0.0/8"]), &[]));

        let commands = all["nftables"].as_array().unwrap();
        assert!(commands[1]["delete"]["table"].is_object());
        assert!(commands[2]["add"]["table"].is_object());
    }

    #[test]
    fn exceptions_are_asked_before_the_redirect() {
        let all = ruleset(&wanted(&nets(&["10.0.0.0/8"]), &nets(&["10.0.0.1/32"])));

        let steps = all["nftables"][4]["add"]["rule"]["expr"].as_array().unwrap();
        assert_eq!(steps[1]["match"]["op"], "!=");
        assert_eq!(steps[1]["match"]["right"]["set"][0]["prefix"]["addr"], "10.0.0.1");
        assert_eq!(steps.last().unwrap()["redirect"]["port"], 1234);
    }

    #[test]
    fn a_family_without_ranges_has_no_rule() {
        let all = ruleset(&wanted(&nets(&["10.0.0.0/8"]), &nets(&["fd00::1/128"])));

        assert_eq!(all["nftables"].as_array().unwrap().len(), 5);
    }

    fn wanted<'a>(ranges: &'a [IpNet], except: &'a [IpNet]) -> Wanted<'a> {
        Wanted { ranges, except, port: 1234, owner_uid: None }
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }
}
