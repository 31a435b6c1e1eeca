//! The rights of the user in the namespace, read all at once.

use k8s_openapi::api::authorization::v1::{ResourceRule, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use kube::Api;
use kube::api::PostParams;

use crate::Cluster;
use crate::api::ApiError;

/// What the user may do in the namespace, as far as the API server knows.
#[derive(Clone, Debug)]
pub struct Rights {
    rules: Vec<ResourceRule>,
    /// Some who decide can not be asked for a list: then a right may be there that is not in it.
    is_partial: bool,
}

impl Cluster {
    /// Asks for the user's rights in the namespace. Cancel safe.
    pub async fn rights(&self) -> Result<Rights, ApiError> {
        let namespace = Some(self.namespace().to_owned());
        let spec = SelfSubjectRulesReviewSpec { namespace };
        let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
        let reviews: Api<SelfSubjectRulesReview> = Api::all(self.client());
        let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        Ok(Rights { rules: status.resource_rules, is_partial: status.incomplete })
    }
}

impl Rights {
    /// Whether the right is certainly missing. `resource` may name a sub-resource.
    pub fn lack(&self, verb: &str, group: &str, resource: &str) -> bool {
        let is_granted = |rule: &ResourceRule| {
            let named = rule.resource_names.as_ref().is_some_and(|names| !names.is_empty());
            !named
                && has(&rule.verbs, verb)
                && has(rule.api_groups.as_deref().unwrap_or_default(), group)
                && has_resource(rule.resources.as_deref().unwrap_or_default(), resource)
        };
        !self.is_partial && !self.rules.iter().any(is_granted)
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// `*/scale` grants the sub-resource of everything.
fn has_resource(list: &[String], wanted: &str) -> bool {
    let any = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    has(list, wanted) || any.is_some_and(|any| list.contains(&any))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(rules: &[(&[&str], &[&str], &[&str])], is_partial: bool) -> Rights {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rule = |(verbs, groups, resources): &(&[&str], &[&str], &[&str])| ResourceRule {
            verbs: texts(verbs),
            api_groups: Some(texts(groups)),
            resources: Some(texts(resources)),
            resource_names: None,
        };
        Rights { rules: rules.iter().map(rule).collect(), is_partial }
    }

    #[test]
    fn a_right_is_granted_by_its_verb_its_group_and_its_resource() {
        let rights = rights(&[(&["get", "list"], &[""], &["pods"]), (&["get"], &["apps"], &["*"])], false);

        assert!(!rights.lack("list", "", "pods"));
        assert!(!rights.lack("get", "apps", "deployments"));
        for (verb, group, resource) in [
            ("watch", "", "pods"),
            ("get", "", "services"),
            ("list", "apps", "deployments"),
            ("get", "x", "pods"),
        ] {
            assert!(rights.lack(verb, group, resource), "{verb} {group} {resource}");
        }
    }

    #[test]
    fn a_star_grants_everything_and_a_resource_not_its_sub_resource() {
        assert!(!rights(&[(&["*"], &["*"], &["*"])], false).lack("create", "", "pods/portforward"));
        assert!(!rights(&[(&["update"], &["apps"], &["*/scale"])], false).lack(
            "update",
            "apps",
            "deployments/scale"
        ));
        assert!(rights(&[(&["create"], &[""], &["pods"])], false).lack("create", "", "pods/portforward"));
    }

    #[test]
    fn what_is_not_known_for_certain_is_not_missing() {
        assert!(!rights(&[], true).lack("get", "", "pods"));
    }
}
