//! Where an enclave's work runs in a world: tasks beside those of everybody else, and threads of which one runs at a time.
//!
//! An enclave's blocking work needs a stack of its own, so it gets a thread. But the thread runs only while it holds the
//! *baton*: the world's own thread hands it over and stands still until the other waits for something, or ends. So however
//! many threads there are, everything happens in one order, which the world decides.
//!
//! A crash is a token that is cancelled. Tasks are dropped where they wait; threads unwind from where they wait. Nothing that
//! an enclave does after that reaches anybody.

use futures::future::BoxFuture;
use phala_enclave::Runtime;
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
};
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::random::{Dice, os};

/// The runtime of one enclave process.
pub struct Baton {
    handle: Handle,
    dead: CancellationToken,
    dice: &'static Dice,
    threads: Arc<AtomicUsize>,
}

impl Baton {
    /// Runs until `dead` is cancelled, in the world of the calling thread, which gets its randomness from `dice`. `threads`
    /// counts the threads that have not ended.
    pub fn new(dead: CancellationToken, dice: &'static Dice, threads: Arc<AtomicUsize>) -> Self {
        Self { handle: Handle::current(), dead, dice, threads }
    }
}

impl Runtime for Baton {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.handle.spawn(self.dead.clone().run_until_cancelled_owned(future));
    }

    fn spawn_blocking(&self, name: &str, work: Box<dyn FnOnce() + Send>) {
        self.threads.fetch_add(1, Ordering::Relaxed);
        let (handle, dead, dice) = (self.handle.clone(), self.dead.clone(), self.dice);
        let (threads, name) = (self.threads.clone(), name.to_owned());
        self.handle.spawn(async move {
            let seat = Arc::new(Seat::default());
            let there = seat.clone();
            let (token, runtime) = (dead.clone(), handle);
            let run = move || {
                os::use_dice(Some(dice));
                let _context = runtime.enter();
                SEAT.set(Some(Place { seat: there.clone(), dead: token }));
                drop(catch_unwind(AssertUnwindSafe(work)));
                there.hand_over(Turn::Ended);
            };
            let thread = thread::Builder::new().name(name).spawn(run).expect("the system has threads");
            loop {
                match seat.stand_still() {
                    Turn::Ended => break drop(thread.join()),
                    Turn::Lost => break,
                    Turn::World | Turn::Thread => {}
                }
                // A thread of a dead enclave is woken once more, to unwind.
                tokio::select! {
                    biased;
                    () = dead.cancelled() => {}
                    () = seat.woken.notified() => {}
                }
                seat.hand_over(Turn::Thread);
            }
            threads.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// # Panics
    /// On another thread than one of [`spawn_blocking`](Runtime::spawn_blocking); and, as a way to end it, on a thread of
    /// an enclave that is dead.
    fn block_on(&self, mut future: BoxFuture<'_, ()>) {
        let Place { seat, dead } = SEAT.with_borrow(Option::clone).expect("only threads of the enclave's wait");
        let waker = Waker::from(seat.clone());
        loop {
            if dead.is_cancelled() {
                if thread::panicking() {
                    // A second panic while one unwinds would end the process.
                    seat.hand_over(Turn::Lost);
                    loop {
                        thread::park();
                    }
                }
                resume_unwind(Box::new(Crash));
            }
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return;
            }
            seat.wait();
        }
    }
}

/// What a thread of a crashed enclave unwinds with.
struct Crash;

thread_local! {
    static SEAT: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// What a thread knows of itself.
#[derive(Clone)]
struct Place {
    seat: Arc<Seat>,
    dead: CancellationToken,
}

/// Who runs: a thread, or the world that drives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Thread,
    World,
    /// The thread is about to end.
    Ended,
    /// The thread never runs again, and never ends.
    Lost,
}

/// Where a thread and its driver meet.
#[derive(Default)]
struct Seat {
    turn: Mutex<Turn>,
    changed: Condvar,
    woken: Notify,
}

impl Seat {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, to: Turn) {
        *self.turn() = to;
        self.changed.notify_all();
    }

    /// The world: waits until the thread has given the baton back.
    fn stand_still(&self) -> Turn {
        let still = self.changed.wait_while(self.turn(), |turn| *turn == Turn::Thread);
        *still.unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: gives the baton back until it is its turn again.
    fn wait(&self) {
        self.hand_over(Turn::World);
        drop(self.changed.wait_while(self.turn(), |turn| *turn != Turn::Thread));
    }
}

impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        self.woken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn baton(dead: &CancellationToken) -> (Arc<Baton>, Arc<AtomicUsize>) {
        let threads = Arc::new(AtomicUsize::new(0));
        let dice = Box::leak(Box::new(Dice::new(1, "test")));
        (Arc::new(Baton::new(dead.clone(), dice, threads.clone())), threads)
    }

    #[tokio::test(start_paused = true)]
    async fn threads_take_turns_by_the_worlds_clock() {
        let dead = CancellationToken::new();
        let (baton, threads) = baton(&dead);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for (name, pause) in [("slow", 30), ("fast", 10)] {
            let (inner, seen) = (baton.clone(), seen.clone());
            let work = move || {
                for _ in 0..3 {
                    inner.block_on(Box::pin(tokio::time::sleep(Duration::from_millis(pause))));
                    seen.lock().unwrap().push(name);
                }
            };
            baton.spawn_blocking(name, Box::new(work));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(threads.load(Ordering::Relaxed), 0);
        let seen = seen.lock().unwrap();
        assert_eq!(seen[..2], ["fast", "fast"]);
        assert_eq!(seen.len(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_ends_what_waits() {
        let dead = CancellationToken::new();
        let (baton, threads) = baton(&dead);
        let inner = baton.clone();
        let work = move || {
            // As the enclave does, which goes on after what it has caught.
            let wait = || inner.block_on(Box::pin(std::future::pending()));
            drop(catch_unwind(AssertUnwindSafe(wait)));
            wait();
        };
        baton.spawn_blocking("waits", Box::new(work));
        let (held, ended) = futures::channel::oneshot::channel::<()>();
        baton.spawn(Box::pin(async move {
            let _held = held;
            std::future::pending().await
        }));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(threads.load(Ordering::Relaxed), 1);
        dead.cancel();
        assert!(ended.await.is_err());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(threads.load(Ordering::Relaxed), 0);
    }
}
