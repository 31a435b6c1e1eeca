//! What must be in the namespace while developers do this and that: what belongs to somebody who lives or
//! was killed and not cleaned up after, and nothing else.

use std::time::{Duration, Instant};

use e2e::Cluster;
use serde_json::Value;

use super::developer::{Developer, Role};

const KINDS: &str = "pods,services,configmaps,deployments";
/// How long what was deleted may take to go, with all that belongs to it.
const GOES: Duration = Duration::from_secs(20);

/// Waits until all is as it should be.
pub(crate) fn check(cluster: &Cluster, developers: &[Developer]) {
    let deadline = Instant::now() + GOES;
    loop {
        let wrong = Seen::read(cluster).wrong(developers);
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{wrong}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The objects that stay.
struct Seen(Vec<Value>);

impl Seen {
    fn read(cluster: &Cluster) -> Self {
        let list = cluster.object(KINDS).expect("list the objects of the namespace");
        let all = list["items"].as_array().cloned().unwrap_or_default();
        Self(all.into_iter().filter(|object| object["metadata"]["deletionTimestamp"].is_null()).collect())
    }

    fn wrong(&self, developers: &[Developer]) -> String {
        let roles: Vec<Role> = developers.iter().flat_map(Developer::roles).collect();
        let is_redirected = roles.iter().any(|role| matches!(role, Role::Exchanges | Role::Meshes));
        let replicas = i64::from(!roles.contains(&Role::Scales));
        let (service, deployment) = (self.object("Service", "tomcat"), self.object("Deployment", "tomcat"));
        [
            differs("helper objects", self.helpers(), wanted_helpers(developers)),
            differs("routes", self.routes(), wanted_routes(developers)),
            differs("a record", annotation(service, "kt-selector").is_some(), is_redirected),
            differs("a redirect", service["spec"]["selector"]["kt-role"].is_string(), is_redirected),
            differs("replicas", deployment["spec"]["replicas"].as_i64(), Some(replicas)),
            differs("locks", [service, deployment].map(|of| annotation(of, "kt-lock")), [None, None]),
        ]
        .concat()
    }

    fn object(&self, kind: &str, name: &str) -> &Value {
        let found = self.0.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// What was made by somebody's run: kind and name, and of a shadow whose it is.
    fn helpers(&self) -> Vec<String> {
        let ours = self.0.iter().filter(|object| object["metadata"]["labels"]["control-by"] == "kt");
        let mut names: Vec<String> = ours.map(title).collect();
        names.sort();
        names
    }

    /// Who gets marked requests, as the router reads it.
    fn routes(&self) -> Vec<String> {
        let is_router = |object: &&Value| title(object) == "Pod tomcat-kt-router";
        let Some(text) = self.0.iter().find(is_router).and_then(|router| annotation(router, "kt-routes"))
        else {
            return Vec::new();
        };
        let set: Value = serde_json::from_str(text).expect("routes are JSON");
        let routes = set["routes"].as_array().expect("there is a list of them");
        let mut names: Vec<String> =
            routes.iter().filter_map(|route| route["name"].as_str().map(String::from)).collect();
        names.sort();
        names
    }
}

fn wanted_helpers(developers: &[Developer]) -> Vec<String> {
    let mut names = Vec::new();
    for developer in developers {
        developer.roles().for_each(|role| names.extend(own_helpers(developer, role)));
    }
    let roles: Vec<Role> = developers.iter().flat_map(Developer::roles).collect();
    if roles.contains(&Role::Meshes) {
        names.extend(["ConfigMap tomcat-kt-router", "Pod tomcat-kt-router"].map(String::from));
    }
    if roles.contains(&Role::Meshes) || roles.contains(&Role::Exchanges) {
        names.push("Service tomcat-kt-stuntman".into());
    }
    names.sort();
    names
}

/// What one run makes that is its own; `?` stands for random letters.
fn own_helpers(developer: &Developer, role: Role) -> Vec<String> {
    let (version, preview) = (version(developer), developer.preview());
    let (shadow, service) = match role {
        Role::Exchanges | Role::Scales => ("tomcat-kt-exchange-?".to_owned(), None),
        Role::Meshes => (version.clone(), Some(version)),
        Role::Previews => (format!("{preview}-kt-?"), Some(preview)),
        Role::Connects => ("kt-connect-shadow-?".to_owned(), None),
    };
    let pod = format!("Pod {shadow} of {}", developer.laptop.user());
    let service = service.map(|name| format!("Service {name}"));
    [format!("ConfigMap {shadow}"), pod].into_iter().chain(service).collect()
}

fn wanted_routes(developers: &[Developer]) -> Vec<String> {
    let meshes = |developer: &&Developer| developer.roles().any(|role| role == Role::Meshes);
    let mut names: Vec<String> = developers.iter().filter(meshes).map(version).collect();
    names.sort();
    names
}

fn version(developer: &Developer) -> String {
    format!("tomcat-kt-mesh-{}", developer.laptop.name())
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    let is_random =
        !name.contains("-kt-mesh-") && !name.ends_with("-kt-router") && !name.ends_with("-kt-stuntman");
    let name = match name.rsplit_once('-') {
        Some((begin, letters)) if is_random && letters.len() == 5 => format!("{begin}-?"),
        _ => name,
    };
    match annotation(object, "kt-user") {
        Some(user) if kind == "Pod" && !name.ends_with("-kt-router") => format!("{kind} {name} of {user}"),
        _ => format!("{kind} {name}"),
    }
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// A line that tells what is there instead.
fn differs<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, wanted: T) -> String {
    if seen == wanted { String::new() } else { format!("{what}: {seen:?} instead of {wanted:?}\n") }
}
