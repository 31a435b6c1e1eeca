//! From a container's manifest to its variables, as the kubelet does it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVarSource, Pod};
use kube::ResourceExt;

/// Where values lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Kind::ConfigMap { "config map" } else { "secret" })
    }
}

/// The keys of an object, or why they are not known; nothing when it does not exist.
pub(super) type Source = Result<BTreeMap<String, Vec<u8>>, Option<String>>;
pub(super) type Sources = BTreeMap<(Kind, String), Source>;

/// A variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name; the prefix and `*` for all that an object would bring.
    pub name: String,
    /// Its value, where that is known.
    pub value: Result<String, Unknown>,
}

/// A value that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Where it would come from.
    pub from: String,
    /// Why it does not.
    pub why: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.from, self.why)
    }
}

/// The objects that a container's environment names.
pub(super) fn named(container: &Container) -> BTreeSet<(Kind, String)> {
    let wholes = container.env_from.iter().flatten().filter_map(whole).map(|(kind, name, _)| (kind, name));
    let sources = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
    let keys = sources.filter_map(key).map(|(kind, name, ..)| (kind, name));
    wholes.chain(keys).collect()
}

/// The variables; of several with one name the last counts.
pub(super) fn resolve(pod: &Pod, container: &Container, sources: &Sources) -> Vec<Variable> {
    let mut variables = Vec::new();
    for from in container.env_from.iter().flatten() {
        take_whole(from, sources, &mut variables);
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(from)) => value_from(from, pod, container, sources),
            (text, None) => Some(Ok(expand(text.as_deref().unwrap_or_default(), &variables))),
        };
        if let Some(value) = value {
            set(&mut variables, &variable.name, value);
        }
    }
    variables
}

fn set(variables: &mut Vec<Variable>, name: &str, value: Result<String, Unknown>) {
    variables.retain(|variable| variable.name != name);
    variables.push(Variable { name: name.to_owned(), value });
}

/// All keys of an object.
fn take_whole(from: &EnvFromSource, sources: &Sources, variables: &mut Vec<Variable>) {
    let Some((kind, name, is_optional)) = whole(from) else { return };
    let prefix = from.prefix.as_deref().unwrap_or_default();
    let from = format!("{kind} {name}");
    match sources.get(&(kind, name)) {
        Some(Ok(values)) => {
            for (key, bytes) in values {
                set(variables, &format!("{prefix}{key}"), text(bytes, &from));
            }
        }
        Some(Err(None)) | None if is_optional => {}
        Some(Err(why)) => set(variables, &format!("{prefix}*"), Err(unknown(&from, why.as_deref()))),
        None => set(variables, &format!("{prefix}*"), Err(unknown(&from, None))),
    }
}

fn whole(from: &EnvFromSource) -> Option<(Kind, String, bool)> {
    let map = from.config_map_ref.as_ref();
    let map = map.map(|map| (Kind::ConfigMap, map.name.clone(), map.optional.unwrap_or(false)));
    let secret = from.secret_ref.as_ref();
    map.or(secret.map(|secret| (Kind::Secret, secret.name.clone(), secret.optional.unwrap_or(false))))
}

fn key(from: &EnvVarSource) -> Option<(Kind, String, String, bool)> {
    let map = from.config_map_key_ref.as_ref();
    let map =
        map.map(|map| (Kind::ConfigMap, map.name.clone(), map.key.clone(), map.optional.unwrap_or(false)));
    let secret = from.secret_key_ref.as_ref();
    map.or(secret.map(|secret| {
        (Kind::Secret, secret.name.clone(), secret.key.clone(), secret.optional.unwrap_or(false))
    }))
}

/// Nothing for what is optional and missing.
fn value_from(
    from: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    sources: &Sources,
) -> Option<Result<String, Unknown>> {
    if let Some((kind, name, key, is_optional)) = key(from) {
        let origin = format!("key {key} of {kind} {name}");
        return match sources.get(&(kind, name)) {
            Some(Ok(values)) => match values.get(&key) {
                Some(bytes) => Some(text(bytes, &origin)),
                None if is_optional => None,
                None => Some(Err(unknown(&origin, None))),
            },
            Some(Err(None)) | None if is_optional => None,
            Some(Err(why)) => Some(Err(unknown(&origin, why.as_deref()))),
            None => Some(Err(unknown(&origin, None))),
        };
    }
    if let Some(field) = &from.field_ref {
        let value = field_of(pod, &field.field_path);
        return Some(value.ok_or_else(|| unknown(&format!("field {}", field.field_path), Some("not known"))));
    }
    let resource = from.resource_field_ref.as_ref()?;
    let origin = format!("{} of container {}", resource.resource, container.name);
    Some(Err(unknown(&origin, Some("only its node knows"))))
}

fn unknown(from: &str, why: Option<&str>) -> Unknown {
    Unknown { from: from.to_owned(), why: why.unwrap_or("does not exist").to_owned() }
}

fn text(bytes: &[u8], from: &str) -> Result<String, Unknown> {
    String::from_utf8(bytes.to_vec()).map_err(|_| unknown(from, Some("is no text")))
}

/// What a pod says about itself.
fn field_of(pod: &Pod, path: &str) -> Option<String> {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return None,
        };
        return Some(map.get(key).cloned().unwrap_or_default());
    }
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    match path {
        "metadata.name" => Some(pod.name_any()),
        "metadata.namespace" => pod.namespace(),
        "metadata.uid" => pod.uid(),
        "spec.nodeName" => spec?.node_name.clone(),
        "spec.serviceAccountName" => spec?.service_account_name.clone(),
        "status.hostIP" => status?.host_ip.clone(),
        "status.podIP" => status?.pod_ip.clone(),
        "status.podIPs" => {
            let addresses: Vec<String> = status?.pod_ips.iter().flatten().map(|one| one.ip.clone()).collect();
            (!addresses.is_empty()).then(|| addresses.join(","))
        }
        _ => None,
    }
}

/// Puts values in the place of `$(NAME)`; `$$` is one dollar, and what is not known stays.
fn expand(text: &str, variables: &[Variable]) -> String {
    let known = |name: &str| {
        let found = variables.iter().find(|variable| variable.name == name)?;
        found.value.as_ref().ok()
    };
    let (mut expanded, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let name = after.strip_prefix('(').and_then(|open| open.split_once(')'));
        rest = match (name, after.strip_prefix('$')) {
            (_, Some(after)) => {
                expanded.push('$');
                after
            }
            (Some((name, after)), None) => {
                match known(name) {
                    Some(value) => expanded.push_str(value),
                    None => expanded.push_str(&format!("$({name})")),
                }
                after
            }
            (None, None) => {
                expanded.push('$');
                after
            }
        };
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sources() -> Sources {
        let keys = |pairs: &[(&str, &str)]| -> Source {
            Ok(pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect())
        };
        [
            ((Kind::ConfigMap, "app".to_owned()), keys(&[("MODE", "dev"), ("LEVEL", "info")])),
            ((Kind::Secret, "db".to_owned()), Err(Some("the right to get secrets is missing".to_owned()))),
            ((Kind::Secret, "open".to_owned()), keys(&[("password", "p$x")])),
            ((Kind::ConfigMap, "gone".to_owned()), Err(None)),
        ]
        .into()
    }

    fn resolved(env: Value, env_from: Value) -> Vec<(String, String)> {
        let container = json!({"name": "echo", "env": env, "envFrom": env_from});
        let container: Container = serde_json::from_value(container).unwrap();
        let pod = json!({"metadata": {"name": "echo-1", "namespace": "dev", "labels": {"tier": "back"}},
            "status": {"podIP": "10.244.1.7"}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let variables = resolve(&pod, &container, &sources());
        let said = |variable: Variable| {
            (variable.name, variable.value.unwrap_or_else(|unknown| format!("?{unknown}")))
        };
        variables.into_iter().map(said).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn plain_values_refer_to_those_before_them() {
        let env = json!([
            {"name": "HOST", "value": "db"}, {"name": "PORT", "value": "5432"},
            {"name": "URL", "value": "pg://$(HOST):$(PORT)/$$(HOST)/$(LATER)/$x"},
            {"name": "LATER", "value": "1"}, {"name": "EMPTY"},
        ]);

        let wanted = [
            ("HOST", "db"),
            ("PORT", "5432"),
            ("URL", "pg://db:5432/$(HOST)/$(LATER)/$x"),
            ("LATER", "1"),
            ("EMPTY", ""),
        ];
        assert_eq!(resolved(env, json!([])), pairs(&wanted));
    }

    #[test]
    fn whole_objects_come_first_and_single_variables_win() {
        let env = json!([{"name": "LEVEL", "value": "debug"}]);
        let env_from =
            json!([{"configMapRef": {"name": "app"}}, {"prefix": "A_", "configMapRef": {"name": "app"}}]);

        let wanted = [("MODE", "dev"), ("A_LEVEL", "info"), ("A_MODE", "dev"), ("LEVEL", "debug")];
        assert_eq!(resolved(env, env_from), pairs(&wanted));
    }

    #[test]
    fn keys_of_objects_and_fields_of_the_pod_are_read() {
        let env = json!([
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "open", "key": "password"}}},
            {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "TIER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ]);

        let wanted = [("PASSWORD", "p$x"), ("ME", "echo-1"), ("TIER", "back"), ("IP", "10.244.1.7")];
        assert_eq!(resolved(env, json!([])), pairs(&wanted));
    }

    #[test]
    fn what_can_not_be_read_is_named_with_its_reason() {
        let env = json!([
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "colour"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ]);
        let env_from = json!([{"prefix": "DB_", "secretRef": {"name": "db"}}]);

        let wanted = [
            ("DB_*", "?secret db: the right to get secrets is missing"),
            ("PASSWORD", "?key password of secret db: the right to get secrets is missing"),
            ("COLOUR", "?key colour of config map app: does not exist"),
            ("CPUS", "?limits.cpu of container echo: only its node knows"),
        ];
        assert_eq!(resolved(env, env_from), pairs(&wanted));
    }

    #[test]
    fn what_is_optional_and_missing_is_no_variable() {
        let env = json!([
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "a", "optional": true}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "b", "optional": true}}},
        ]);
        let env_from = json!([{"configMapRef": {"name": "gone", "optional": true}}]);

        assert!(resolved(env, env_from).is_empty());
    }
}
