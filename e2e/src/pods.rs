//! Namespaces in which pods may do more, and what goes on inside of pods.

use crate::Cluster;
use crate::cluster::{on_node, role_name};

/// Does something with the network namespace `$netns` which has an address.
const IN_NETWORK: &str = r#"
for netns in /run/netns/*; do
  if nsenter --net="$netns" ip -o addr | grep -qwF "$0"; then eval "$1"; exit; fi
done
echo "no pod here has the address $0" >&2; exit 1
"#;

impl Cluster {
    /// As [`Cluster::new`], but pods of any kind are accepted.
    ///
    /// # Panics
    /// As that.
    pub fn lax(name: &str) -> Self {
        let cluster = Self::new(name);
        let level = "pod-security.kubernetes.io/enforce=privileged";
        cluster.kubectl(&["label", "namespace", cluster.namespace(), "--overwrite", level]).expect("label");
        cluster
    }

    /// Gives user `developer` another role, too: a manifest of `docs/rbac`.
    ///
    /// # Panics
    /// When the API server does not take it.
    pub fn grant(&self, role: &str) {
        self.apply(role);
        let name = role_name(role).expect("the role has a name");
        let bind = ["create", "rolebinding", name, &format!("--role={name}"), "--user=developer"];
        self.kubectl(&bind).expect("bind the role");
    }

    /// Kills a program in a pod.
    ///
    /// # Panics
    /// When it does not run there.
    pub fn kill_in(&self, pod: &str, program: &str) {
        self.in_network_of(
            pod,
            &format!(
                "pids=$(ip netns pids \"${{netns##*/}}\") && \
            kill -9 $(ps -o pid=,comm=,args= -p \"$(echo $pids | tr ' ' ,)\" | \
            awk '$2 == \"{program}\" || $3 ~ \"/{program}$\" {{print $1}}')"
            ),
        );
    }

    /// What a program in a pod holds in memory, in MiB.
    ///
    /// # Panics
    /// When it does not run there.
    pub fn memory_in(&self, pod: &str, program: &str) -> u64 {
        let command = format!(
            "for pid in $(ip netns pids \"${{netns##*/}}\"); do \
            [[ $(cat /proc/$pid/comm) == {program} ]] && cat /proc/$pid/status; done"
        );
        resident(&self.in_network_of(pod, &command)).expect("the program's memory")
    }

    /// The rules of a pod's own packet filter, as `nft` prints them.
    ///
    /// # Panics
    /// When there is no such pod.
    pub fn packet_filter(&self, pod: &str) -> String {
        self.in_network_of(pod, "nsenter --net=\"$netns\" nft list ruleset")
    }

    /// Adds to the rules of a pod's own packet filter.
    ///
    /// # Panics
    /// When there is no such pod, or when `nft` does not take them.
    pub fn add_to_packet_filter(&self, pod: &str, rules: &str) {
        self.in_network_of(pod, &format!("nsenter --net=\"$netns\" nft -f - <<'RULES'\n{rules}\nRULES"));
    }

    fn in_network_of(&self, pod: &str, command: &str) -> String {
        let where_it_is = "jsonpath={.spec.nodeName} {.status.podIP}";
        let read = self.kubectl(&["get", "pod", pod, "-o", where_it_is]).expect("the pod is there");
        let (node, address) = read.split_once(' ').expect("it runs on a node");
        on_node(node, &["bash", "-c", IN_NETWORK, address, command]).expect("look into its network")
    }
}

/// What a process holds in memory, in MiB, from its `/proc/PID/status`.
pub fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? >> 10)
}
