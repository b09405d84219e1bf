//! One async worker per task, told only of what changes for its own task.

use std::collections::BTreeMap;

use eigenshift_types::TaskIndex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

struct Worker<V> {
    value: watch::Sender<V>,
    abort: AbortHandle,
}

/// Workers by task. Dropping it ends them all.
pub(crate) struct Workers<V>(BTreeMap<TaskIndex, Worker<V>>);

impl<V> Default for Workers<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> Drop for Workers<V> {
    fn drop(&mut self) {
        for worker in self.0.values() {
            worker.abort.abort();
        }
    }
}

impl<V: PartialEq> Workers<V> {
    /// Whether a task has a worker.
    pub fn contains(&self, index: TaskIndex) -> bool {
        self.0.contains_key(&index)
    }

    /// Ends the workers of tasks that are not wanted any more, tells the others what changed, and starts those that are
    /// missing.
    pub fn reconcile(
        &mut self,
        wanted: BTreeMap<TaskIndex, V>,
        mut start: impl FnMut(TaskIndex, watch::Receiver<V>) -> Option<AbortHandle>,
    ) {
        self.0.retain(|index, worker| {
            let keep = wanted.contains_key(index);
            if !keep {
                worker.abort.abort();
            }
            keep
        });
        for (index, value) in wanted {
            if let Some(worker) = self.0.get(&index) {
                worker.value.send_if_modified(|known| {
                    let changed = *known != value;
                    if changed {
                        *known = value;
                    }
                    changed
                });
                continue;
            }
            let (sender, receiver) = watch::channel(value);
            if let Some(abort) = start(index, receiver) {
                self.0.insert(index, Worker { value: sender, abort });
            }
        }
    }
}
