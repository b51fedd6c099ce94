//! The threads on which everything asynchronous runs.

use async_executor::{Executor, Task};
use std::{panic::AssertUnwindSafe, sync::Arc};

/// Runs futures on threads of its own. A task that panics ends; the others go on.
#[derive(Clone)]
pub(crate) struct Tasks {
    executor: Arc<Executor<'static>>,
    /// Closed with the last clone: the threads end.
    _alive: async_channel::Sender<()>,
}

impl Tasks {
    pub(crate) fn new(threads: usize) -> Self {
        let executor = Arc::new(Executor::new());
        let (alive, ended) = async_channel::bounded::<()>(1);
        for number in 0..threads {
            let (executor, ended) = (executor.clone(), ended.clone());
            thread(&format!("tasks-{number}"), move || {
                let _ = futures_lite::future::block_on(executor.run(ended.recv()));
            });
        }
        Self { executor, _alive: alive }
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.cancellable(future).detach();
    }

    /// Ends when the returned handle is dropped.
    pub(crate) fn cancellable(&self, future: impl Future<Output = ()> + Send + 'static) -> Task<()> {
        let future = futures::FutureExt::catch_unwind(AssertUnwindSafe(future));
        self.executor.spawn(async move {
            let _ = future.await;
        })
    }
}

/// Starts a thread for work that blocks.
///
/// # Panics
/// When the environment has no more threads: nothing can go on without.
#[expect(clippy::expect_used, reason = "an enclave without threads can do nothing")]
pub(crate) fn thread(name: &str, run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the environment gives the enclave threads");
}
