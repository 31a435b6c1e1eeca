//! A conversation over one connection, to see whether that connection lives.

use std::time::Duration;

use crate::{Cluster, Ended, Laptop, Running, wait_until};

/// Says a line to an echo service every 50 ms and waits for its answer; ends with code 1 at the
/// first that is missing or wrong, and with 0 when it is told to end.
#[derive(Debug)]
pub struct Conversation {
    talk: Running,
}

impl Conversation {
    /// Starts to talk from a laptop with a pod at this address, and returns after the first answer.
    pub fn start(laptop: &Laptop, address: &str) -> Self {
        Self::goes_well(laptop.start(&["bash", "-c", &script(address)]))
    }

    /// The same from a node of the cluster, for example with a service whose callers a laptop gets.
    pub fn from_node(cluster: &Cluster, node: &str, address: &str) -> Self {
        Self::goes_well(cluster.start_on(node, &["bash", "-c", &script(address)]))
    }

    fn goes_well(mut talk: Running) -> Self {
        talk.wait_for("1 lines", 10);
        Self { talk }
    }

    /// Waits until more lines are answered.
    ///
    /// # Panics
    /// When they are not within `secs`.
    pub fn goes_on(&self, secs: u64) {
        let said = self.lines();
        wait_until("the conversation goes on", Duration::from_secs(secs), || {
            (self.lines() > said + 3).then_some(())
        });
    }

    /// How many lines were answered so far.
    pub fn lines(&self) -> usize {
        self.talk.text().lines().count()
    }

    /// Ends a conversation that goes on, and tells how it was.
    ///
    /// # Panics
    /// When it does not go on.
    pub fn hang_up(mut self) -> Ended {
        self.goes_on(10);
        self.talk.signal("TERM");
        self.talk.wait(10)
    }
}

fn script(address: &str) -> String {
    format!(
        "trap 'exit 0' TERM
         exec 3<>/dev/tcp/{address}/7000; read -ru3 greeting; i=0
         while :; do
           i=$((i+1)); echo \"line $i\" >&3; read -ru3 answer || {{ echo 'cut off'; exit 1; }}
           [[ $answer == \"line $i\" ]] || {{ echo \"got $answer for line $i\"; exit 1; }}
           echo \"$i lines\"; sleep 0.05
         done"
    )
}
