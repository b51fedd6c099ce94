//! Panics of a world's threads, which would otherwise end a task and be forgotten.

use std::{
    collections::BTreeMap,
    panic,
    sync::{Mutex, Once, PoisonError},
};

use crate::random::os;

static HOOK: Once = Once::new();

/// By world.
static SEEN: Mutex<BTreeMap<usize, Vec<String>>> = Mutex::new(BTreeMap::new());

/// From now on panics of worlds are remembered instead of printed.
pub fn watch() {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match os::world() {
            Some(world) => {
                let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
                seen.entry(world).or_default().push(panic.to_string());
            }
            None => usual(panic),
        }));
    });
}

/// What panicked in this thread's world since the last call.
pub fn take() -> Vec<String> {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    os::world().and_then(|world| seen.remove(&world)).unwrap_or_default()
}
