//! The one owner of everything that runs beside the story of a command.
//!
//! Tasks have names. One that ends although the run goes on is a reason to stop, and is told by its
//! name; when the owner is dropped, all end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// Starts tasks, and knows when one has ended that should not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<JoinSet<()>>,
    ended: Mutex<Option<(String, anyhow::Error)>>,
    news: Notify,
    is_over: AtomicBool,
}

impl Tasks {
    /// Starts a task that runs until the run ends. An error ends the run. After [`Tasks::stop`] nothing
    /// is started any more.
    pub(crate) fn start<E>(
        &self,
        name: &str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> AbortHandle
    where
        E: Into<anyhow::Error> + Send,
    {
        let (shared, name) = (Arc::downgrade(&self.shared), name.to_owned());
        let watched = async move {
            let Err(error) = task.await else { return };
            let Some(shared) = shared.upgrade() else { return };
            tracing::debug!(task = name, "has failed");
            lock(&shared.ended).get_or_insert((name, error.into()));
            shared.news.notify_one();
        };
        let mut running = lock(&self.shared.running);
        while running.try_join_next().is_some() {}
        match self.shared.is_over.load(Ordering::Relaxed) {
            true => running.spawn(async {}),
            false => running.spawn(watched),
        }
    }

    /// Waits until a task has failed, and tells which and why. Cancel safe.
    pub(crate) async fn failed(&self) -> anyhow::Error {
        let (name, error) = self.first_failed().await;
        error.context(format!("{name} has stopped"))
    }

    /// The same without the name, where the reason tells all.
    pub(crate) async fn why_failed(&self) -> anyhow::Error {
        self.first_failed().await.1
    }

    async fn first_failed(&self) -> (String, anyhow::Error) {
        loop {
            if let Some(ended) = lock(&self.shared.ended).take() {
                return ended;
            }
            self.shared.news.notified().await;
        }
    }

    /// Ends all tasks, and returns when they have ended.
    pub(crate) async fn stop(&self) {
        let mut running = {
            let mut running = lock(&self.shared.running);
            self.shared.is_over.store(true, Ordering::Relaxed);
            std::mem::take(&mut *running)
        };
        running.shutdown().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_fails_is_told_by_its_name() {
        let tasks = Tasks::default();

        tasks.start("names", async { Err(anyhow::anyhow!("port taken")) });

        assert_eq!(format!("{:#}", tasks.failed().await), "names has stopped: port taken");
    }

    #[tokio::test]
    async fn stopping_ends_what_runs() {
        let tasks = Tasks::default();
        let ended = Arc::new(());
        let held = ended.clone();
        tasks.start::<anyhow::Error>("endless", async move {
            let _held = held;
            std::future::pending().await
        });

        tasks.stop().await;

        assert_eq!(Arc::strong_count(&ended), 1);
    }

    #[tokio::test]
    async fn nothing_starts_any_more_after_the_end() {
        let tasks = Tasks::default();
        tasks.stop().await;
        let begun = Arc::new(());
        let held = begun.clone();

        tasks.start::<anyhow::Error>("guard", async move {
            let _held = held;
            std::future::pending().await
        });

        assert_eq!(Arc::strong_count(&begun), 1);
    }
}
