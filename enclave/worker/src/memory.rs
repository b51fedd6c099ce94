//! The memory that jobs share.

use futures::channel::oneshot;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use phala_enclave::host::lock;

/// Memory that is given out in the order in which it is asked for: nobody overtakes who waits for much.
pub(crate) struct Memory {
    total: u64,
    state: Mutex<State>,
}

struct State {
    free: u64,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A part of the memory, until it is dropped.
pub(crate) struct Held {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    /// `total` bytes.
    pub(crate) fn new(total: u64) -> Arc<Self> {
        Arc::new(Self { total, state: Mutex::new(State { free: total, waiting: VecDeque::new() }) })
    }

    /// All that there is, in bytes.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Waits for `bytes`, for ever where there is not so much in all. Not to be dropped before its end.
    pub(crate) async fn take(self: &Arc<Self>, bytes: u64) -> Held {
        let (sender, granted) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            state.waiting.push_back((bytes, sender));
            state.grant();
        }
        // Nothing is dropped from the queue ungranted.
        let _ = granted.await;
        Held { memory: self.clone(), bytes }
    }
}

impl State {
    fn grant(&mut self) {
        while let Some((bytes, _)) = self.waiting.front()
            && let Some(free) = self.free.checked_sub(*bytes)
        {
            self.free = free;
            if let Some((_, waiting)) = self.waiting.pop_front() {
                let _ = waiting.send(());
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.memory.state);
        state.free = state.free.saturating_add(self.bytes);
        state.grant();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    #[test]
    fn memory_is_given_in_turn_and_comes_back() {
        let memory = Memory::new(10);
        let first = block_on(memory.take(6));
        let mut large = pin!(memory.take(5));
        let mut small = pin!(memory.take(1));
        assert!(block_on(poll_once(&mut large)).is_none());
        // It would fit, and yet does not overtake.
        assert!(block_on(poll_once(&mut small)).is_none());
        drop(first);
        let large = block_on(large);
        let small = block_on(small);
        assert_eq!(lock(&memory.state).free, 4);
        drop((large, small));
        assert_eq!(lock(&memory.state).free, 10);
    }
}
