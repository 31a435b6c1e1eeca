//! A conversation over one connection, to see whether that connection lives.

use std::time::Duration;

use crate::{Ended, Laptop, Running, wait_until};

/// What ends the conversation: a file in the user's home.
const HANG_UP: &str = "hang-up";

/// Says a line to a pod's echo service every 50 ms and waits for its answer; ends with code 1 at
/// the first that is missing or wrong. One at a time on a laptop.
#[derive(Debug)]
pub struct Conversation<'a> {
    laptop: &'a Laptop,
    talk: Running,
}

impl<'a> Conversation<'a> {
    /// Starts to talk with the pod at this address, and returns after the first answer.
    pub fn start(laptop: &'a Laptop, address: &str) -> Self {
        laptop.run(&["rm", "-f", HANG_UP]).ok();
        let talk = format!(
            "exec 3<>/dev/tcp/{address}/7000; read -ru3 greeting; i=0
             until [[ -e ~/{HANG_UP} ]]; do
               i=$((i+1)); echo \"line $i\" >&3; read -ru3 answer || {{ echo 'cut off'; exit 1; }}
               [[ $answer == \"line $i\" ]] || {{ echo \"got $answer for line $i\"; exit 1; }}
               echo \"$i lines\"; sleep 0.05
             done"
        );
        let mut talk = laptop.start(&["bash", "-c", &talk]);
        talk.wait_for("1 lines", 10);
        Self { laptop, talk }
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

    /// Ends the conversation and tells how it was.
    pub fn hang_up(mut self) -> Ended {
        self.laptop.run(&["touch", HANG_UP]).ok();
        let ended = self.talk.wait(10);
        self.laptop.run(&["rm", "-f", HANG_UP]).ok();
        ended
    }

    fn lines(&self) -> usize {
        self.talk.text().lines().count()
    }
}
