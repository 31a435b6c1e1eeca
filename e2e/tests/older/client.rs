//! A client of the 0.3 line, played by `kubectl`.

use std::time::SystemTime;

use e2e::{Cluster, Laptop};
use serde_json::{Value, json};

use super::{OLD, ROUTER, ROUTER_IMAGE};

/// An older client, whose user has the role `edit`: it may execute commands in pods.
pub(crate) struct Older<'a> {
    cluster: &'a Cluster,
    laptop: &'a Laptop,
    pub(crate) kubeconfig: String,
}

impl<'a> Older<'a> {
    pub(crate) fn new(cluster: &'a Cluster, laptop: &'a Laptop) -> Self {
        Self { cluster, laptop, kubeconfig: laptop.become_also(cluster, "editor", "edit") }
    }

    /// Shadow and shadow Service of version `old`.
    pub(crate) fn make_version(&self) {
        self.make_pod(
            "tomcat-kt-mesh-old",
            "shadow-mesh",
            "testbed/echo:local",
            "service=tomcat-kt-mesh-old",
        );
        self.make_service("tomcat-kt-mesh-old", &json!({"kt-role": "shadow-mesh", "kt-target": "old"}));
    }

    pub(crate) fn remove_version(&self) {
        for object in ["service/tomcat-kt-mesh-old", "pod/tomcat-kt-mesh-old", "configmap/tomcat-kt-mesh-old"]
        {
            self.kubectl(&["delete", object, "--wait=true", "--grace-period=1"]);
        }
    }

    /// Counts itself in and adds its version.
    pub(crate) fn join(&self) {
        self.set_count(self.count() + 1);
        self.execute(&["add", "version:old"]);
    }

    /// Counts itself out and removes its version; the last one puts the service back, which it tells.
    pub(crate) fn leave(&self) -> bool {
        let count = self.count();
        if count > 1 {
            self.set_count(count - 1);
            self.execute(&["remove", "version:old"]);
            return false;
        }
        let service = self.cluster.object("service/tomcat").expect("the service");
        let original = service["metadata"]["annotations"]["kt-selector"].as_str().expect("a record");
        let mut selector: Value = serde_json::from_str(original).expect("JSON");
        for key in ["kt-role", "kt-target"] {
            selector[key] = Value::Null;
        }
        self.kubectl(&["delete", ROUTER, "--wait=false"]);
        self.patch_service(
            &json!({"metadata": {"annotations": {"kt-selector": null}}, "spec": {"selector": selector}}),
        );
        self.kubectl(&["delete", "service/tomcat-kt-stuntman"]);
        true
    }

    /// All that makes `tomcat` a meshed service.
    pub(crate) fn make_mesh(&self) {
        self.make_router_pod(ROUTER_IMAGE);
        self.execute(&["setup", "tomcat", "8080:8080", "version:old"]);
        self.lead_to("router");
    }

    pub(crate) fn make_router_pod(&self, image: &str) {
        self.make_service("tomcat-kt-stuntman", &json!({"app": "tomcat"}));
        self.make_pod("tomcat-kt-router", "router", image, "service=tomcat");
    }

    pub(crate) fn make_exchange(&self) {
        self.make_pod("tomcat-kt-exchange-abcde", "shadow-exchange", "testbed/echo:local", "service=tomcat");
        self.lead_to("shadow-exchange");
    }

    pub(crate) fn lead_to(&self, role: &str) {
        let selector = json!({"app": null, "kt-role": role, "kt-target": "old"});
        let record = json!({"kt-selector": "{\"app\":\"tomcat\"}"});
        self.patch_service(&json!({"metadata": {"annotations": record}, "spec": {"selector": selector}}));
    }

    pub(crate) fn patch_service(&self, patch: &Value) {
        self.kubectl(&["patch", "service", "tomcat", "--type=merge", "-p", &patch.to_string()]);
    }

    pub(crate) fn make_service(&self, name: &str, selector: &Value) {
        self.apply(
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(name, &json!({})), "spec": {
            "selector": selector, "ports": [{"name": "kt-8080", "port": 8080, "targetPort": 8080}]}}),
        );
    }

    /// A pod and, but for a router, the config map with its key; returns when it is ready.
    pub(crate) fn make_pod(&self, name: &str, role: &str, image: &str, config: &str) {
        let labels = json!({"kt-role": role, "kt-target": "old"});
        if role != "router" {
            self.make_config_map(name, &labels);
        }
        self.make_pod_with(name, &labels, image, config);
    }

    fn make_pod_with(&self, name: &str, labels: &Value, image: &str, config: &str) {
        let about = about(name, labels, config);
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec(image)}));
        self.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]);
    }

    fn make_config_map(&self, name: &str, labels: &Value) {
        let keys = json!({"authorized": "ssh-rsa AAAA", "privateKey": "none"});
        let map = metadata(name, labels);
        self.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": map, "data": keys}));
    }

    /// A pod among those of the service.
    fn make_one_more_pod(&self, name: &str, labels: &Value, config: &str) {
        self.make_config_map(name, labels);
        self.make_pod_with(name, labels, "testbed/echo:local", config);
    }

    /// Mode scale: the shadow has the labels of the pods, which are gone.
    pub(crate) fn make_scaled_exchange(&self) {
        let labels = json!({"app": "tomcat", "kt-role": "shadow-exchange"});
        self.make_one_more_pod("tomcat-kt-exchange-abcde", &labels, "app=tomcat,replicas=1");
        self.kubectl(&["scale", "deployment", "tomcat", "--replicas=0"]);
    }

    pub(crate) fn make_mesh_by_hand(&self) {
        let labels = json!({"app": "tomcat", "kt-role": "shadow-mesh", "version": "old"});
        self.make_one_more_pod("tomcat-kt-mesh-old", &labels, "");
    }

    /// Its annotations are those of the Deployment alone, and so is the label of what is ours.
    pub(crate) fn make_wrapped_exchange(&self) {
        let (name, labels) =
            ("tomcat-kt-exchange-abcde", json!({"kt-role": "shadow-exchange", "kt-target": "old"}));
        let template = json!({"metadata": {"labels": labels}, "spec": spec("testbed/echo:local")});
        let spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
        let about = about(name, &labels, "service=tomcat");
        self.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": spec}));
        self.make_config_map(name, &labels);
        self.cluster.wait_ready(name);
        self.lead_to("shadow-exchange");
    }

    pub(crate) fn count(&self) -> u32 {
        let router = self.cluster.object(ROUTER).expect("the router");
        let count = router["metadata"]["annotations"]["kt-ref-count"].as_str().expect("it is counted");
        count.parse().expect("a number")
    }

    pub(crate) fn set_count(&self, count: u32) {
        self.kubectl(&["annotate", "--overwrite", ROUTER, &format!("kt-ref-count={count}")]);
    }

    /// What the client does to the router; it looks for nothing but ` ERR `.
    pub(crate) fn execute(&self, words: &[&str]) {
        let exec = [
            "kubectl",
            "--kubeconfig",
            &self.kubeconfig,
            "exec",
            "tomcat-kt-router",
            "-c",
            "standalone",
            "--",
        ];
        let ended = self.laptop.run(&[&exec[..], &["/usr/sbin/router"], words].concat());
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.text);
        assert!(!ended.text.contains(" ERR "), "{words:?}: {}", ended.text);
    }

    pub(crate) fn apply(&self, object: &Value) {
        self.cluster.apply(&object.to_string());
    }

    pub(crate) fn kubectl(&self, args: &[&str]) {
        self.cluster.kubectl(args).unwrap_or_else(|said| panic!("{args:?}: {said}"));
    }
}

/// What every object of an older client has.
fn metadata(name: &str, labels: &Value) -> Value {
    let mut labels = labels.clone();
    labels["control-by"] = "kt".into();
    json!({"name": name, "labels": labels, "annotations": {"kt-last-heart-beat": now().to_string()}})
}

/// And its shadows and routers.
fn about(name: &str, labels: &Value, config: &str) -> Value {
    let mut about = metadata(name, labels);
    for (key, value) in [("kt-config", config), ("kt-ref-count", "1"), ("kt-user", "veteran")] {
        about["annotations"][key] = value.into();
    }
    about
}

fn spec(image: &str) -> Value {
    let container = json!({
        "name": "standalone", "image": image, "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "ECHO_PAGE", "value": OLD}],
        "ports": [{"containerPort": 8080}],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    let security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    json!({"containers": [container], "securityContext": security, "terminationGracePeriodSeconds": 1})
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is right");
    i64::try_from(since.as_secs()).expect("it is not so late")
}
