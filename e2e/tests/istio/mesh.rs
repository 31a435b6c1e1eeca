//! A mesh of Istio for one namespace: its control plane runs as a program on a node, and puts a proxy
//! into each pod of the namespace. `scripts/setup.sh istio` gets both into the user's cache.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use e2e::{Cluster, Running, cache, domain, load_image, skip, unused_port, wait_until};

use super::certificate::Certificate;

/// Where the control plane runs.
const NODE: &str = "node1";
/// What a program for this machine that is not static needs to run in a pod.
const LIBRARIES: [&str; 6] =
    ["libc.so.6", "libm.so.6", "librt.so.1", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2"];

/// What is not Istio's default. It has no certificates to give, leaves what is not the namespace's
/// alone, does not look for the Gateway API, and knows that no second one is there.
const SETTINGS: [&str; 8] = [
    "ENABLE_CA_SERVER=false",
    "PILOT_CERT_PROVIDER=none",
    "INJECTION_WEBHOOK_CONFIG_NAME=",
    "VALIDATION_WEBHOOK_CONFIG_NAME=",
    "ENABLE_LEADER_ELECTION=false",
    "PILOT_ENABLE_GATEWAY_API=false",
    // Filters that only Istio's own build of Envoy has.
    "PILOT_ENABLE_METADATA_EXCHANGE=false",
    "PILOT_ENABLE_ALPN_FILTER=false",
];

/// It serves proxies, in plain text, and the API server; the rest of its doors stay closed.
const FLAGS: [&str; 4] =
    ["--httpAddr=127.0.0.1:0", "--secureGRPCAddr=", "--monitoringAddr=", "--ctrlz_port=0"];

/// The nodes know the proxy's image.
static LOADED: Once = Once::new();

/// The control plane. It ends when this is dropped.
pub(crate) struct Mesh<'a> {
    cluster: &'a Cluster,
    _plane: Running,
    _certificate: Certificate,
}

/// Where Istio is; nothing, and the test is skipped, when it was not built.
pub(crate) fn istio() -> Option<PathBuf> {
    let dir = cache().join("ktctl/istio");
    if !dir.join("envoy").exists() || !dir.join("pilot-discovery").exists() {
        skip("istio", "Istio is not built (scripts/setup.sh istio)");
        return None;
    }
    Some(dir)
}

impl<'a> Mesh<'a> {
    /// Makes a mesh of this namespace: pods that are made from now on have a proxy, the pod `caller`
    /// among them, whose calls it takes.
    pub(crate) fn of(cluster: &'a Cluster, istio: &Path) -> Self {
        LOADED.call_once(|| load_proxy(istio));
        let kinds = std::fs::read_to_string(istio.join("crd-all.gen.yaml")).expect("Istio's kinds");
        cluster.apply(&kinds);
        let established = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        cluster.kubectl(&established).expect("the API server knows them");
        let (address, doors) = (address(cluster), [(); 2].map(|()| unused_port().expect("a port")));
        let certificate = Certificate::of(&address, cluster.namespace());
        let fill = |manifest: &str| {
            let named = manifest.replace("MESHED", cluster.namespace()).replace("DOMAIN", &domain());
            let placed = named.replace("PLANE", &address).replace("BUNDLE", &certificate.bundle());
            placed.replace("PORT", &doors[0].to_string()).replace("WEBHOOK", &doors[1].to_string())
        };
        cluster.apply(&fill(include_str!("../../fixtures/istio/mesh.yaml")));
        let mut plane = start(cluster, istio, doors, &certificate);
        plane.wait_for("marking server ready", 60);
        cluster.apply(&fill(include_str!("../../fixtures/istio/injection.yaml")));
        let mesh = Self { cluster, _plane: plane, _certificate: certificate };
        mesh.replace_caller();
        mesh
    }

    /// Another pod of the same name.
    fn replace_caller(&self) {
        self.cluster.kubectl(&["delete", "pod", "caller"]).expect("deleted");
        let pod = include_str!("../../fixtures/caller.yaml").replace("NAME", "caller").replace("NODE", NODE);
        self.cluster.apply(&pod);
        let ready = ["wait", "--for=condition=Ready", "pod/caller", "--timeout=60s"];
        self.cluster.kubectl(&ready).expect("the caller gets ready");
        self.capture("caller");
        wait_until("the proxy has been told what to do", Duration::from_secs(60), || {
            let state = self.cluster.get("http://127.0.0.1:15000/ready");
            state.is_ok_and(|state| state.contains("LIVE")).then_some(())
        });
    }

    /// Leads what goes out of a pod, and what comes to it, by way of its proxy.
    pub(crate) fn capture(&self, pod: &str) {
        self.cluster.add_to_packet_filter(pod, include_str!("../../fixtures/istio/capture.nft"));
    }

    /// Waits until the proxy in this pod has led requests to its program.
    pub(crate) fn wait_until_it_led_to(&self, pod: &str) {
        // It writes them down every 10 s.
        wait_until(&format!("{pod} is called through its proxy"), Duration::from_secs(20), || {
            let log = self.cluster.kubectl(&["logs", pod, "-c", "istio-proxy"]).ok()?;
            log.lines().any(|line| line.contains(" 200 ") && line.contains("inbound|8080||")).then_some(())
        });
    }
}

impl Drop for Mesh<'_> {
    fn drop(&mut self) {
        let injection = ["delete", "mutatingwebhookconfiguration", self.cluster.namespace()];
        if let Err(said) = self.cluster.kubectl(&injection) {
            eprintln!("{injection:?}: {said}");
        }
    }
}

/// Starts the control plane. Of the cluster it keeps to this namespace.
fn start(cluster: &Cluster, istio: &Path, doors: [u16; 2], certificate: &Certificate) -> Running {
    let program = path(&istio.join("pilot-discovery"));
    let namespace = format!("--namespace={}", cluster.namespace());
    let proxies = format!("--grpcAddr=:{}", doors[0]);
    let injection = format!("--httpsAddr=:{}", doors[1]);
    let domain = format!("--domain={}", domain());
    let [ca, own, key] = certificate.flags();
    let mine = [program.as_str(), "discovery", &namespace, &proxies, &injection, &domain, &ca, &own, &key];
    cluster.start_on(NODE, &[&["env"], &SETTINGS[..], &mine, &FLAGS].concat())
}

fn load_proxy(dir: &Path) {
    let mut files = vec![format!("{}:/envoy", path(&dir.join("envoy")))];
    for library in LIBRARIES {
        let folder = if library.starts_with("ld-") { "lib64" } else { "lib" };
        files.push(format!("{}:/{folder}/{library}", path(&find_library(library))));
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    load_image("testbed/envoy:local", &files, &["/envoy"]);
}

fn address(cluster: &Cluster) -> String {
    let at = r#"jsonpath={.status.addresses[?(@.type=="InternalIP")].address}"#;
    let addresses = cluster.kubectl(&["get", "node", NODE, "-o", at]).expect("the node's addresses");
    addresses.split(' ').next().expect("one of them").to_owned()
}

fn find_library(name: &str) -> PathBuf {
    let folders = ["/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("{name} is nowhere"))
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
