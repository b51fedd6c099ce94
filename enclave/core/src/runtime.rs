//! Where the enclave's work runs, and where it waits.
//!
//! Whatever runs beside something else, and whatever waits, goes through a [`Runtime`]. [`Threads`] is the real one. A
//! simulation brings its own, on which everything takes turns in an order that it decides. So nothing else in the enclave
//! starts a thread or blocks one, and no lock of the operating system is held while something waits.
//!
//! What panics ends alone, and what it panicked with goes no further.

use async_executor::Executor;
use futures::{
    FutureExt,
    channel::oneshot,
    future::{AbortHandle, BoxFuture, abortable},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Threads of [`Threads`] for everything that does not block.
const TASK_THREADS: usize = 3;

/// Runs what the enclave does.
pub trait Runtime: Send + Sync + 'static {
    /// Runs `future` beside everything else. It catches its own panics.
    fn spawn(&self, future: BoxFuture<'static, ()>);

    /// Runs `work`, which blocks, on a thread of its own. It catches its own panics.
    fn spawn_blocking(&self, name: &str, work: Box<dyn FnOnce() + Send>);

    /// Waits for `future`, on a thread of [`spawn_blocking`](Self::spawn_blocking). Returns only when it has ended.
    fn block_on(&self, future: BoxFuture<'_, ()>);
}

/// Threads of the operating system.
pub struct Threads {
    executor: Arc<Executor<'static>>,
    /// Closed when this is dropped: the threads end.
    _alive: async_channel::Sender<()>,
}

impl Default for Threads {
    /// # Panics
    /// When the environment has no threads: nothing can go on without.
    fn default() -> Self {
        let executor = Arc::new(Executor::new());
        let (alive, ended) = async_channel::bounded::<()>(1);
        for number in 0..TASK_THREADS {
            let (executor, ended) = (executor.clone(), ended.clone());
            thread(&format!("tasks-{number}"), move || {
                let _ = futures_lite::future::block_on(executor.run(ended.recv()));
            });
        }
        Self { executor, _alive: alive }
    }
}

impl Runtime for Threads {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.executor.spawn(future).detach();
    }

    /// # Panics
    /// When the environment has no more threads.
    fn spawn_blocking(&self, name: &str, work: Box<dyn FnOnce() + Send>) {
        thread(name, work);
    }

    fn block_on(&self, future: BoxFuture<'_, ()>) {
        futures_lite::future::block_on(future);
    }
}

#[expect(clippy::expect_used, reason = "an enclave without threads can do nothing")]
fn thread(name: &str, run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the environment gives the enclave threads");
}

/// A handle on the runtime, as the rest of the enclave uses it.
#[derive(Clone)]
pub struct Tasks(Arc<dyn Runtime>);

impl Tasks {
    /// On `runtime`.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self(runtime)
    }

    /// Runs `future` beside everything else.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(Box::pin(async move {
            let _ = AssertUnwindSafe(future).catch_unwind().await;
        }));
    }

    /// As [`spawn`](Self::spawn), until the returned handle is dropped.
    pub fn cancellable(&self, future: impl Future<Output = ()> + Send + 'static) -> Cancel {
        let (future, handle) = abortable(future);
        self.spawn(async move {
            let _ = future.await;
        });
        Cancel(handle)
    }

    /// Runs `work`, which blocks, on a thread of its own.
    pub fn thread(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        self.0.spawn_blocking(name, Box::new(move || drop(catch_unwind(AssertUnwindSafe(work)))));
    }

    /// The result of `work`, which blocks and gets a thread of its own. `None` when it panics.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, result) = oneshot::channel();
        self.thread(name, move || drop(sender.send(work())));
        result.await.ok()
    }

    /// Waits for `future`, on a thread of [`thread`](Self::thread) or [`blocking`](Self::blocking).
    #[expect(clippy::expect_used, reason = "a runtime returns when the future has ended")]
    pub fn block_on<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        let mut result = None;
        self.0.block_on(Box::pin(async { result = Some(future.await) }));
        result.expect("the future has ended")
    }
}

/// Ends what it stands for when it is dropped.
pub struct Cancel(AbortHandle);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;

    #[test]
    fn what_panics_ends_alone() {
        async fn fails() {
            panic!("a task")
        }
        let tasks = Tasks::new(Arc::new(Threads::default()));
        for _ in 0..2 * TASK_THREADS {
            tasks.spawn(fails());
        }
        assert_eq!(block_on(tasks.blocking("test", || -> u8 { panic!("a thread") })), None);
        let handle = tasks.clone();
        assert_eq!(block_on(tasks.blocking("test", move || handle.block_on(async { 7 }))), Some(7));
        let (sender, received) = oneshot::channel();
        tasks.spawn(async move { assert!(sender.send(8).is_ok()) });
        assert_eq!(block_on(received), Ok(8));
    }

    #[test]
    fn what_is_cancelled_ends() {
        let tasks = Tasks::new(Arc::new(Threads::default()));
        let (held, ended) = oneshot::channel::<()>();
        let cancel = tasks.cancellable(async move {
            let _held = held;
            futures::future::pending::<()>().await;
        });
        drop(cancel);
        assert!(block_on(ended).is_err());
    }
}
