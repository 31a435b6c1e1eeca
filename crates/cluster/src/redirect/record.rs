//! The record of the original selector, and the patches that go with it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use crate::marks;

type Selector = BTreeMap<String, String>;

/// What a Service selects; empty for nothing.
pub(crate) fn selector(service: &Service) -> Selector {
    service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default()
}

/// The recorded original selector: nothing when there is no record, an error when it can not be
/// read, and `None` inside when the Service had no selector.
pub(crate) fn read(service: &Service) -> Option<Result<Option<Selector>, serde_json::Error>> {
    let text = service.annotations().get(marks::SELECTOR)?;
    let read: Result<Option<Selector>, _> = serde_json::from_str(text);
    Some(read.map(|selector| selector.filter(|selector| !selector.is_empty())))
}

/// The part of a selector by which a redirected Service finds its shadow, whatever somebody has
/// added since; the whole selector of a Service that is not redirected.
pub(crate) fn mark_of(selector: &Selector) -> Selector {
    let mut mark = selector.clone();
    if selector.contains_key(marks::TARGET) {
        mark.retain(|key, _| key == marks::TARGET || key == marks::ROLE);
    }
    mark
}

/// Does a Service with this selector lead to `ours`? `kubectl apply` may have added the original's
/// keys to it: then it leads nowhere, but is nobody else's.
pub(super) fn leads_to(selector: &Selector, ours: &Selector) -> bool {
    selector.contains_key(marks::ROLE) && mark_of(selector) == mark_of(ours)
}

/// What the Service selects but for `ours`, else what is recorded, else `otherwise`; nothing when
/// none of that is known.
pub(super) fn original(
    service: &Service,
    ours: &Selector,
    otherwise: Option<&Selector>,
) -> Option<Option<Selector>> {
    let mut own = selector(service);
    if !own.contains_key(marks::ROLE) {
        return Some(Some(own).filter(|own| !own.is_empty()));
    }
    own.retain(|key, _| !ours.contains_key(key));
    match read(service) {
        _ if !own.is_empty() => Some(Some(own)),
        Some(Ok(recorded)) => Some(recorded),
        _ => otherwise.map(|otherwise| Some(otherwise.clone())),
    }
}

/// Records `original` and lets the Service select `ours`.
pub(super) fn redirect_patch(service: &Service, original: Option<&Selector>, ours: &Selector) -> Value {
    let record = serde_json::to_string(&original.cloned().unwrap_or_default()).unwrap_or_default();
    json!({
        "metadata": metadata(service, &json!(record)),
        "spec": {"selector": replaced(&selector(service), ours)},
    })
}

/// Lets the Service select `original` again and drops the record, in one patch.
pub(super) fn restore_patch(service: &Service, original: Option<&Selector>) -> Value {
    let selector = match original {
        Some(original) => replaced(&selector(service), original),
        None => Value::Null,
    };
    json!({"metadata": metadata(service, &Value::Null), "spec": {"selector": selector}})
}

/// What putting back takes.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    /// Nothing to be changed when absent.
    pub(super) patch: Option<Value>,
    /// Did the Service lead to us?
    pub(super) was_ours: bool,
}

/// Plans to put back a Service that was redirected to `ours`; nothing when it leads to somebody
/// else's pods now. `otherwise` is what it selected before, should the record be lost.
pub(super) fn plan_restore(service: &Service, ours: &Selector, otherwise: Option<&Selector>) -> Option<Step> {
    let now = selector(service);
    if !now.contains_key(marks::ROLE) {
        // Somebody applied it anew: it selects what it should, the record alone is left.
        let trace = service.annotations().contains_key(marks::SELECTOR);
        let patch = trace.then(|| json!({"metadata": metadata(service, &Value::Null)}));
        return Some(Step { patch, was_ours: false });
    }
    if !leads_to(&now, ours) {
        return None;
    }
    let original = original(service, ours, otherwise)?;
    Some(Step { patch: Some(restore_patch(service, original.as_ref())), was_ours: true })
}

/// The version which the patch is for, and the record.
fn metadata(service: &Service, record: &Value) -> Value {
    json!({
        "resourceVersion": service.resource_version(),
        "uid": service.uid(),
        "annotations": {marks::SELECTOR: record},
    })
}

/// A merge patch which makes `wanted` of `now`: keys that are not wanted become null.
fn replaced(now: &Selector, wanted: &Selector) -> Value {
    let dropped = now.keys().map(|key| (key.clone(), Value::Null));
    let kept = wanted.iter().map(|(key, value)| (key.clone(), json!(value)));
    Value::Object(dropped.chain(kept).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(selector: Value, annotations: Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "echo", "resourceVersion": "7", "uid": "u", "annotations": annotations},
            "spec": {"selector": selector}
        }))
        .unwrap()
    }

    fn ours() -> Selector {
        [("kt-role", "shadow-exchange"), ("kt-target", "abc")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn record_and_selector_change_in_one_patch() {
        let service = service(json!({"app": "echo"}), json!({}));

        let patch = redirect_patch(&service, Some(&selector(&service)), &ours());

        let wanted = json!({
            "metadata": {
                "resourceVersion": "7", "uid": "u",
                "annotations": {"kt-selector": "{\"app\":\"echo\"}"}
            },
            "spec": {"selector": {"app": null, "kt-role": "shadow-exchange", "kt-target": "abc"}}
        });
        assert_eq!(patch, wanted);
    }

    #[test]
    fn restoring_drops_our_keys_and_the_record() {
        let redirected = service(json!(ours()), json!({"kt-selector": "{\"app\":\"echo\"}"}));

        let step = plan_restore(&redirected, &ours(), None).unwrap();

        let wanted = json!({
            "metadata": {"resourceVersion": "7", "uid": "u", "annotations": {"kt-selector": null}},
            "spec": {"selector": {"app": "echo", "kt-role": null, "kt-target": null}}
        });
        assert_eq!(step, Step { patch: Some(wanted), was_ours: true });
    }

    #[test]
    fn a_service_that_selected_nothing_selects_nothing_again() {
        for record in ["null", "{}"] {
            let redirected = service(json!(ours()), json!({"kt-selector": record}));

            let patch = plan_restore(&redirected, &ours(), None).unwrap().patch.unwrap();

            assert_eq!(patch["spec"]["selector"], Value::Null);
        }
    }

    #[test]
    fn keys_that_were_applied_on_top_are_the_original() {
        let mut mixed = ours();
        mixed.insert("app".to_owned(), "new".to_owned());
        let service = service(json!(mixed), json!({"kt-selector": "{\"app\":\"old\"}"}));

        let patch = plan_restore(&service, &ours(), None).unwrap().patch.unwrap();

        let wanted = json!({"app": "new", "kt-role": null, "kt-target": null});
        assert_eq!(patch["spec"]["selector"], wanted);
        assert_eq!(mark_of(&mixed), ours());
    }

    #[test]
    fn a_lost_record_is_made_up_for_and_never_guessed() {
        let redirected = service(json!(ours()), json!({}));
        let memory = [("app".to_owned(), "echo".to_owned())].into();

        let step = plan_restore(&redirected, &ours(), Some(&memory)).unwrap();

        assert_eq!(step.patch.unwrap()["spec"]["selector"]["app"], "echo");
        assert_eq!(plan_restore(&redirected, &ours(), None), None);
    }

    #[test]
    fn a_service_of_somebody_else_is_left_alone() {
        let theirs = json!({"kt-role": "shadow-exchange", "kt-target": "xyz"});

        let redirected = service(theirs, json!({"kt-selector": "{}"}));

        assert_eq!(plan_restore(&redirected, &ours(), None), None);
    }

    #[test]
    fn of_a_service_applied_anew_only_the_record_is_dropped() {
        let applied = service(json!({"app": "echo"}), json!({"kt-selector": "{\"app\":\"echo\"}"}));
        let clean = service(json!({"app": "echo"}), json!({}));

        let step = plan_restore(&applied, &ours(), None).unwrap();

        assert!(step.patch.unwrap().get("spec").is_none());
        assert_eq!(plan_restore(&clean, &ours(), None).unwrap(), Step { patch: None, was_ours: false });
    }
}
