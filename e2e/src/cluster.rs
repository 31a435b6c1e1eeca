//! A namespace of one's own in the test bed's cluster, with the articles' sample service in it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::{Running, Snapshot, bed, wait_until};

/// The pod from which calls in the cluster are made.
const CALLER: &str = "caller";

/// A namespace that accepts only restricted pods, where user `developer` has the rights of
/// `docs/rbac/all-commands-mini.yaml`. Deleted when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    namespace: String,
}

impl Cluster {
    /// Makes the namespace `t-<name>-<pid>` and waits until its sample service answers.
    ///
    /// # Panics
    /// When no cluster is up, or when it does not come about within a minute.
    pub fn new(name: &str) -> Self {
        bed::laptops(); // says how to start a cluster when there is none
        let cluster = Self { namespace: format!("t-{name}-{}", std::process::id()) };
        let role = std::fs::read_to_string(bed::role()).expect("read the developer's role");
        let role_name = role_name(&role).expect("the developer's role has a name");
        let fixture = include_str!("../fixtures/namespace.yaml")
            .replace("NAMESPACE", &cluster.namespace)
            .replace("DEVELOPER_ROLE", role_name);
        cluster.apply(&fixture);
        cluster.apply(&role);
        cluster.wait_ready("tomcat");
        cluster
            .kubectl(&["wait", "--for=condition=Ready", "pod/caller", "--timeout=60s"])
            .expect("the caller gets ready");
        cluster.wait_for_answer("http://tomcat:8080", crate::DEMO, 30);
        cluster
    }

    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs `kubectl` as the administrator in the namespace; the error is what it said.
    ///
    /// # Errors
    /// When it did not end well.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        kubectl(&[&["-n", &self.namespace], args].concat(), "")
    }

    /// Applies manifests to the namespace.
    ///
    /// # Panics
    /// When the API server does not take them.
    pub fn apply(&self, manifests: &str) {
        let args = ["-n", &self.namespace, "apply", "--server-side", "-f", "-"];
        kubectl(&args, manifests).unwrap_or_else(|said| panic!("apply to {}: {said}", self.namespace));
    }

    /// Asks the API server whether it would take a pod; the error is what it said.
    ///
    /// # Errors
    /// When it would not.
    pub fn try_pod(&self, pod: &Value) -> Result<String, String> {
        kubectl(&["-n", &self.namespace, "create", "--dry-run=server", "-f", "-"], &pod.to_string())
    }

    /// An object, or a list of objects, as the administrator sees it; `None` when there is none.
    pub fn object(&self, what: &str) -> Option<Value> {
        let text = self.kubectl(&["get", "-o", "json", what]).ok()?;
        Some(serde_json::from_str(&text).expect("kubectl prints JSON"))
    }

    /// Waits until all pods of a Deployment are ready.
    pub fn wait_ready(&self, deployment: &str) {
        let name = format!("deployment/{deployment}");
        self.kubectl(&["rollout", "status", &name, "--timeout=60s"])
            .unwrap_or_else(|said| panic!("{deployment} does not get ready: {said}"));
    }

    /// The address of a Service in the cluster.
    pub fn service_ip(&self, service: &str) -> String {
        let service = self.object(&format!("service/{service}")).expect("the service exists");
        service["spec"]["clusterIP"].as_str().expect("it has an address").to_owned()
    }

    /// The address of the first pod with the label `app=<app>`.
    pub fn pod_ip(&self, app: &str) -> String {
        let label = format!("app={app}");
        self.kubectl(&["get", "pods", "-l", &label, "-o", "jsonpath={.items[0].status.podIP}"])
            .expect("the pod has an address")
    }

    /// An address of the same node's range that no pod has. A node gives its addresses one after the
    /// other, so one that was given a while ago is not given again soon.
    pub fn unused_ip(&self, pod: &str) -> String {
        let all = ["get", "pods", "-A", "-o", "jsonpath={.items[*].status.podIP}"];
        let used = self.kubectl(&all).expect("list the pods");
        let (range, last) = pod.rsplit_once('.').expect("an IPv4 address");
        let last: u8 = last.parse().expect("a number");
        let before = (2..=254).rev().cycle().skip_while(|number| *number != last).skip(20);
        let mut unused = before.map(|number| format!("{range}.{number}"));
        unused.find(|address| !used.split(' ').any(|ip| ip == address)).expect("one is free")
    }

    /// What a GET request from a pod of the namespace is answered with; the error is curl-like.
    ///
    /// # Errors
    /// When there is no answer within 5 s, or one of 400 or above.
    pub fn get(&self, url: &str) -> Result<String, String> {
        self.get_with(url, None)
    }

    /// The same with one header, as `VERSION: mark`.
    ///
    /// # Errors
    /// As above.
    pub fn get_with(&self, url: &str, header: Option<&str>) -> Result<String, String> {
        let command = ["exec", CALLER, "--", "/echo", "get", url];
        self.kubectl(&[&command[..], header.as_slice()].concat())
    }

    /// What a line from a pod of the namespace is answered with; `network` is `tcp` or `udp`.
    ///
    /// # Errors
    /// When there is no answer within 5 s.
    pub fn send(&self, network: &str, address: &str, line: &str) -> Result<String, String> {
        self.kubectl(&["exec", CALLER, "--", "/echo", "send", network, address, line])
    }

    /// Waits until a line from a pod is answered with `text` in the answer.
    ///
    /// # Panics
    /// When it is not within `secs`.
    pub fn wait_for_line(&self, network: &str, address: &str, text: &str, secs: u64) {
        let what = format!("{network} {address} answers {text:?}");
        wait_until(&what, Duration::from_secs(secs), || {
            self.send(network, address, "hello").is_ok_and(|answer| answer.contains(text)).then_some(())
        });
    }

    /// Writes heartbeats back in time of all objects of ours whose names begin so.
    ///
    /// # Panics
    /// When an object goes meanwhile.
    pub fn age(&self, names: &[&str], secs: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let beat = format!("kt-last-heart-beat={}", now - secs);
        let list = ["get", "pods,configmaps,services", "-l", "control-by=kt", "-o", "name"];
        let objects = self.kubectl(&list).expect("list what is ours");
        for object in objects.lines() {
            let name = object.rsplit('/').next().unwrap_or_default();
            if names.iter().any(|begin| name.starts_with(begin)) {
                self.kubectl(&["annotate", "--overwrite", object, &beat]).expect("write a heartbeat");
            }
        }
    }

    /// Starts a pod on a node which asks for pages of a site without end, from four workers and on
    /// new connections; what it prints are the answers, and `LOST: …` for each that did not come.
    ///
    /// # Panics
    /// When the pod does not get ready.
    pub fn callers_on(&self, node: &str, site: &str) -> Running {
        let name = format!("{CALLER}-{node}");
        let pod = include_str!("../fixtures/caller.yaml").replace("NAME", &name).replace("NODE", node);
        self.apply(&pod);
        let ready = ["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"];
        self.kubectl(&ready).expect("the pod gets ready");
        let exec = ["kubectl", "-n", &self.namespace, "exec", &name, "--", "/echo", "call", site, "4"];
        Running::start(bed::testbed(&exec))
    }

    /// Starts a program on a node, beside its pods.
    pub fn start_on(&self, node: &str, command: &[&str]) -> Running {
        Running::start(bed::testbed(&[&["exec", node], command].concat()))
    }

    /// Waits until a GET request from a pod is answered with `text` in it.
    ///
    /// # Panics
    /// When it is not within `secs`.
    pub fn wait_for_answer(&self, url: &str, text: &str, secs: u64) {
        let mut last = Err(String::new());
        wait_until(&format!("{url} answers {text:?}"), Duration::from_secs(secs), || {
            last = self.get(url);
            last.as_ref().is_ok_and(|answer| answer.contains(text)).then_some(())
        });
    }

    /// Kills a part of the cluster, `kube-apiserver`, `kubelet` or `containerd`, which its node then
    /// starts anew, and waits until another one runs and the API server answers. Everybody who works
    /// with the cluster by way of it at that time is cut off.
    ///
    /// # Panics
    /// When it is not back within half a minute.
    pub fn restart(&self, node: &str, part: &str) {
        let killed = part_of(node, part).unwrap_or_else(|| panic!("no {part} runs on {node}"));
        on_node(node, &["kill", "-9", &killed]).expect("kill it");
        wait_until(&format!("another {part} runs"), Duration::from_secs(30), || {
            let new = part_of(node, part).is_some_and(|pid| pid != killed);
            (new && kubectl(&["get", "--raw", "/readyz"], "").is_ok()).then_some(())
        });
    }

    /// The node on which a pod with these labels runs.
    pub fn node_of(&self, labels: &str) -> String {
        self.kubectl(&["get", "pods", "-l", labels, "-o", "jsonpath={.items[0].spec.nodeName}"])
            .expect("the pod has a node")
    }

    /// A picture of the namespace's objects.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of_namespace(self)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let state =
                self.kubectl(&["get", "pods,services,endpointslices,configmaps,events", "-o", "wide"]);
            eprintln!("---- namespace {}:\n{}\n----", self.namespace, state.unwrap_or_else(|said| said));
        }
        if let Err(said) = kubectl(&["delete", "namespace", &self.namespace, "--wait=false"], "") {
            eprintln!("{} stays: {said}", self.namespace);
        }
    }
}

/// The process of a part. Most parts are one program whose first argument tells which.
fn part_of(node: &str, part: &str) -> Option<String> {
    let processes = on_node(node, &["ps", "-ww", "-eo", "pid=,args="]).ok()?;
    let is_it = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let program = words.next().and_then(|path| path.rsplit('/').next());
        program == Some(part) || program == Some("kube") && words.next() == Some(part)
    };
    processes.lines().find(is_it)?.split_whitespace().next().map(String::from)
}

pub(crate) fn on_node(node: &str, command: &[&str]) -> Result<String, String> {
    let mut driver = bed::testbed(&[&["exec", node], command].concat());
    driver.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (ok, out, said) = talk(driver, "");
    if ok { Ok(out) } else { Err(out + &said) }
}

fn kubectl(args: &[&str], stdin: &str) -> Result<String, String> {
    let mut command = bed::kubectl(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (ok, out, said) = talk(command, stdin);
    if ok { Ok(out) } else { Err(out + &said) }
}

fn talk(mut command: Command, stdin: &str) -> (bool, String, String) {
    let mut child = command.spawn().expect("start the test bed's kubectl");
    let mut pipe = child.stdin.take().expect("its input is a pipe");
    let _ = pipe.write_all(stdin.as_bytes()); // fails when it ends at once, and then says why
    drop(pipe);
    let output = child.wait_with_output().expect("wait for kubectl");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// The first name in a manifest, which is that of its one object.
pub(crate) fn role_name(manifest: &str) -> Option<&str> {
    let from = manifest.lines().find(|line| line.contains("name:"))?.split("name:").nth(1)?;
    from.split([',', '}', '#']).next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_role_is_found_in_both_styles_of_yaml() {
        assert_eq!(role_name("kind: Role\nmetadata:\n  name: mini # ours\nrules: []"), Some("mini"));
        assert_eq!(role_name("kind: Role\nmetadata: {name: mini, namespace: dev}"), Some("mini"));
    }
}
