//! Waiting until a workload has the pods that it is meant to have.

use tokio::time::sleep;

use super::{Error, refused};
use crate::Cluster;
use crate::workload::{WorkloadName, is_settled, ready_replicas, wanted_replicas};

impl Cluster {
    /// Waits until a workload has as many ready pods as it is meant to have, and none besides.
    /// Ends, too, when it does not exist any more. Cancel safe.
    pub async fn wait_until_settled(
        &self,
        workload: &WorkloadName,
        progress: &(dyn Fn(i32, i32) + Sync),
    ) -> Result<(), Error> {
        let workloads = self.workloads(workload.kind);
        loop {
            let read = workloads.get_opt(&workload.name).await;
            let read = read.map_err(|source| refused("reading", workload)(source.into()))?;
            let Some(read) = read else { return Ok(()) };
            if is_settled(&read) {
                return Ok(());
            }
            progress(ready_replicas(&read), wanted_replicas(&read));
            sleep(self.settings().poll).await;
        }
    }
}
