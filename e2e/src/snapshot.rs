//! Pictures of a laptop and of a namespace, to show that all is as it was before.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Cluster, Laptop};

/// Prints all of a laptop that `ktctl` may change, in parts. What differs from one moment to
/// the next for other reasons (life times, counters, process numbers) is left out.
const LAPTOP: &str = r#"
exec 2>/dev/null
part() { echo "== $1"; }
part 'ip addr'; ip -o addr | sed 's/valid_lft.*//'
part 'ip link'; ip -br link
part 'ip route'; ip route show table all | sed 's/ expires [^ ]*//'
part 'ip -6 route'; ip -6 route show table all | sed 's/ expires [^ ]*//'
part 'ip rule'; ip rule
part 'ip -6 rule'; ip -6 rule
part 'nft ruleset'; nft list ruleset
part 'settings'
sysctl -a --pattern 'net\.ipv[46]\.(ip_forward|conf\.(all|default|eth0|lo)\.(rp_filter|forwarding|route_localnet|accept_local))'
for file in /etc/resolv.conf /etc/hosts; do
  part "$file"; stat -c '%N %U %a' $file
  cat $file
done
part 'files in /etc'; find /etc -maxdepth 1 -printf '%p %U %m\n' | sort
part 'resolvectl'; resolvectl status | grep -v 'Current DNS Server' | sed 's/^ *//'
part 'kt folders'; find /home/*/.kt ~root/.kt ! -type d -printf '%p %u %m %s\n' | sort
part 'files in /tmp and /run'; find /tmp /run -maxdepth 2 ! -path '/run/log*' -printf '%p %u %m\n' | sort
part 'processes'; ps -ww -eo user=,args= | grep '[k]tctl'
part 'listeners'; ss -Hlntu | awk '{ print $1, $5 }' | sort -u
true
"#;

/// The kinds of objects that helper programs make; those of the sample service are among them.
const KINDS: &str = "pods,services,configmaps,deployments,replicasets,secrets,serviceaccounts,jobs,leases,\
    roles,rolebindings,networkpolicies,ingresses";

/// A picture made of titled parts, each with its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    parts: Vec<(String, Vec<String>)>,
}

impl Snapshot {
    pub(crate) fn of_laptop(laptop: &Laptop) -> Self {
        Self::parse(&laptop.root(&["bash", "-c", LAPTOP]).ok())
    }

    pub(crate) fn of_namespace(cluster: &Cluster) -> Self {
        let list = cluster.object(KINDS).expect("list the objects of the namespace");
        Self { parts: objects(&list) }
    }

    /// What differs, line by line: `-` was before only, `+` is in `self` only. Empty when equal.
    pub fn difference(&self, before: &Self) -> String {
        let mut text = String::new();
        for title in before.titles().chain(self.titles().filter(|t| before.part(t).is_none())) {
            let (old, new) = (before.part(title).unwrap_or_default(), self.part(title).unwrap_or_default());
            if old == new {
                continue;
            }
            text += &format!("== {title}\n");
            let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}\n"));
            let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}\n"));
            let lines: String = gone.chain(come).collect();
            text += if lines.is_empty() { "  the same lines, in another order or number\n" } else { &lines };
        }
        text
    }

    /// Shows that all is as it was.
    ///
    /// # Panics
    /// With the difference, when it is not.
    pub fn assert_as(&self, before: &Self) {
        assert!(self == before, "not as before:\n{}", self.difference(before));
    }

    /// Takes pictures until one is as `before`.
    ///
    /// # Panics
    /// With the difference, when none was within `secs`.
    pub fn wait_until_as(before: &Self, secs: u64, mut take: impl FnMut() -> Self) {
        let deadline = Instant::now() + Duration::from_secs(secs);
        while Instant::now() < deadline {
            if take() == *before {
                return;
            }
            std::thread::sleep(Duration::from_millis(700)); // a picture is some work
        }
        take().assert_as(before);
    }

    /// The lines of a part, such as `ip route` of a laptop or `Service/tomcat` of a namespace.
    pub fn part(&self, title: &str) -> Option<&[String]> {
        self.parts.iter().find(|(t, _)| t == title).map(|(_, lines)| lines.as_slice())
    }

    /// The same without these parts.
    #[must_use]
    pub fn without(&self, titles: &[&str]) -> Self {
        let mut parts = self.parts.clone();
        parts.retain(|(title, _)| !titles.contains(&title.as_str()));
        Self { parts }
    }

    fn titles(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|(title, _)| title.as_str())
    }

    fn parse(text: &str) -> Self {
        let mut parts: Vec<(String, Vec<String>)> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix("== "), parts.last_mut()) {
                (Some(title), _) => parts.push((title.into(), Vec::new())),
                (None, Some((_, lines))) => lines.push(line.trim_end().into()),
                (None, None) => {}
            }
        }
        Self { parts }
    }
}

/// One part with the names of all objects, and one for each Service and Deployment: what of
/// them does not come from the server.
fn objects(list: &Value) -> Vec<(String, Vec<String>)> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = items.iter().filter(|item| !ends(item)).map(name).collect();
    names.sort();
    let mut parts: Vec<(String, Vec<String>)> =
        items.iter().filter(|item| is_watched(item)).map(|item| (name(item), lines(item))).collect();
    parts.sort();
    parts.insert(0, ("objects".into(), names));
    parts
}

/// A pod that is being deleted is no more, for our purposes.
fn ends(item: &Value) -> bool {
    !item["metadata"]["deletionTimestamp"].is_null()
}

fn is_watched(item: &Value) -> bool {
    matches!(item["kind"].as_str(), Some("Service" | "Deployment"))
}

fn name(item: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    text(&item["kind"]) + "/" + &text(&item["metadata"]["name"])
}

fn lines(item: &Value) -> Vec<String> {
    let metadata = &item["metadata"];
    let mut annotations = metadata["annotations"].clone();
    if let Some(map) = annotations.as_object_mut() {
        map.retain(|key, _| !key.starts_with("deployment.kubernetes.io/"));
    }
    let kept = json!({
        "spec": item["spec"], "labels": metadata["labels"], "annotations": annotations, "uid": metadata["uid"],
        "finalizers": metadata["finalizers"], "ownerReferences": metadata["ownerReferences"],
    });
    let text = serde_json::to_string_pretty(&kept).expect("JSON is printable");
    text.lines().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_part_and_its_lines() {
        let before = Snapshot::parse("== a\n1\n2\n== b\nx\n");
        let after = Snapshot::parse("== a\n1\n3\n== b\nx\n");

        assert_eq!(after.difference(&before), "== a\n- 2\n+ 3\n");
        assert_eq!(before.difference(&before), "");
    }

    #[test]
    fn a_changed_order_is_a_difference() {
        let before = Snapshot::parse("== a\n1\n2\n");
        let after = Snapshot::parse("== a\n2\n1\n");

        assert!(after.difference(&before).contains("in another order"));
    }

    #[test]
    fn the_servers_metadata_of_a_service_does_not_count() {
        let service = |version: &str, selector: &str| {
            json!({"items": [{"kind": "Service", "metadata": {"name": "s", "uid": "u", "resourceVersion": version},
                "spec": {"selector": {"app": selector}}}]})
        };

        assert_eq!(objects(&service("1", "a")), objects(&service("2", "a")));
        assert_ne!(objects(&service("1", "a")), objects(&service("1", "b")));
    }
}
