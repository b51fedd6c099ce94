//! Work that blocks: the disk, and hashing of more than a few kilobytes.

use std::{future::pending, panic::resume_unwind};

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does `work` where it holds nobody up: on a thread of its own. On a runtime of a single thread it is done in place, so that
/// a simulation on such a runtime does everything in one order, the same each time.
///
/// # Panics
/// When `work` does.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is being shut down.
            Err(_) => pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::run;
    use std::thread;

    #[tokio::test]
    async fn a_runtime_of_one_thread_works_in_place() {
        assert_eq!(run(|| thread::current().id()).await, thread::current().id());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn others_use_a_thread_of_its_own() {
        let here = thread::current().id();
        assert_ne!(run(|| thread::current().id()).await, here);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_reaches_the_caller() {
        let failed = tokio::spawn(run(|| panic!("on purpose"))).await;
        assert!(failed.unwrap_err().is_panic());
    }
}
