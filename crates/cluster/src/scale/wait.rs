//! Waiting until a Deployment has the pods that it is meant to have.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use tokio::time::sleep;

use super::{Error, refused, wanted_replicas};
use crate::Cluster;

impl Cluster {
    /// Waits until a Deployment has as many ready pods as it is meant to have, and none besides.
    /// Ends, too, when it does not exist any more. Cancel safe.
    pub async fn wait_until_settled(
        &self,
        deployment: &str,
        progress: &(dyn Fn(i32, i32) + Sync),
    ) -> Result<(), Error> {
        let deployments: Api<Deployment> = self.objects();
        loop {
            let read = deployments.get_opt(deployment).await;
            let read = read.map_err(|source| refused("reading", deployment)(source.into()))?;
            let Some(read) = read else { return Ok(()) };
            if is_settled(&read) {
                return Ok(());
            }
            progress(ready(&read), wanted_replicas(&read));
            sleep(self.settings().poll).await;
        }
    }
}

fn ready(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

fn is_settled(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = wanted_replicas(deployment);
    // An older status is about another number.
    status.observed_generation >= deployment.metadata.generation
        && ready(deployment) == wanted
        && status.replicas.unwrap_or(0) == wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(generation: i64, wanted: i32, status: serde_json::Value) -> Deployment {
        let spec = json!({"replicas": wanted, "selector": {}, "template": {}});
        let deployment = json!({"metadata": {"generation": generation}, "spec": spec, "status": status});
        serde_json::from_value(deployment).unwrap()
    }

    #[test]
    fn all_pods_have_to_be_ready() {
        let some = json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 1});
        let all = json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 2});

        assert!(!is_settled(&deployment(2, 2, some)));
        assert!(is_settled(&deployment(2, 2, all)));
    }

    #[test]
    fn a_status_from_before_the_change_does_not_count() {
        let before = json!({"observedGeneration": 1});

        assert!(!is_settled(&deployment(2, 0, before)));
        assert!(is_settled(&deployment(2, 0, json!({"observedGeneration": 2}))));
    }
}
