//! What else has to say about how many pods there are.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::Workload;
use crate::Cluster;
use crate::workload::WorkloadName;

/// An object that a workload without pods meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interferer {
    /// It stands still while there are no replicas, and goes on afterwards.
    Autoscaler(String),
    /// It counts the shadow as the only pod, which may hold up the draining of a node.
    Budget(String),
}

impl fmt::Display for Interferer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interferer::Autoscaler(name) => write!(
                f,
                "horizontal pod autoscaler '{name}' stands still while there are 0 replicas, and may choose another number afterwards"
            ),
            Interferer::Budget(name) => write!(
                f,
                "pod disruption budget '{name}' does not hold with 0 replicas, nodes may not be drained meanwhile"
            ),
        }
    }
}

impl Cluster {
    /// What interferes, as far as it can be read.
    pub async fn interferers(&self, workload: &Workload) -> Vec<Interferer> {
        let all = ListParams::default();
        let (autoscalers, budgets): (Api<HorizontalPodAutoscaler>, Api<PodDisruptionBudget>) =
            (self.objects(), self.objects());
        let (autoscalers, budgets) = tokio::join!(autoscalers.list(&all), budgets.list(&all));
        let autoscalers = autoscalers.map(|list| list.items).unwrap_or_default();
        let budgets = budgets.map(|list| list.items).unwrap_or_default();
        let scaling = autoscalers.iter().filter(|one| scales(one, &workload.name));
        let holding = budgets.iter().filter(|one| holds(one, &workload.labels));
        scaling
            .map(|one| Interferer::Autoscaler(one.name_any()))
            .chain(holding.map(|one| Interferer::Budget(one.name_any())))
            .collect()
    }
}

fn scales(autoscaler: &HorizontalPodAutoscaler, workload: &WorkloadName) -> bool {
    let target = autoscaler.spec.as_ref().map(|spec| &spec.scale_target_ref);
    target.is_some_and(|target| target.kind == workload.kind.api_kind() && target.name == workload.name)
}

/// Only what is said by plain labels is understood.
fn holds(budget: &PodDisruptionBudget, labels: &BTreeMap<String, String>) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let wanted = selector.and_then(|selector| selector.match_labels.as_ref());
    wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}
