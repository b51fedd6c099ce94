//! The active workers, as a binary heap by price that lives in storage.
//!
//! Position 0 has the cheapest; the children of position `i` are `2i + 1` and `2i + 2` and never cheaper. One structure
//! gives both things that jobs need, without ever looking at all workers: the lowest price, and a worker at any
//! position, so that drawing a position draws a worker. Every change costs a number of storage accesses in the order of
//! the logarithm of the number of active workers.

use crate::{ActiveCount, ActiveIndex, ActiveSlot, Config, Slot};
use phala_primitives::{Balance, WorkerId};

/// The lowest price; `None` when nobody is active.
pub fn cheapest<T: Config>() -> Option<Balance> {
    ActiveIndex::<T>::get(0).map(|slot| slot.price)
}

/// The number of active workers.
pub fn len<T: Config>() -> u32 {
    ActiveCount::<T>::get()
}

/// The worker at a position below [`len`].
pub fn at<T: Config>(position: u32) -> Option<WorkerId> {
    ActiveIndex::<T>::get(position).map(|slot| slot.worker)
}

/// Adds a worker that is not in the market.
pub fn insert<T: Config>(worker: WorkerId, price: Balance) {
    let end = ActiveCount::<T>::get();
    ActiveCount::<T>::put(end.saturating_add(1));
    rise::<T>(end, Slot { price, worker });
}

/// Removes a worker; does nothing when it is not there.
pub fn remove<T: Config>(worker: &WorkerId) {
    let Some(hole) = ActiveSlot::<T>::take(worker) else { return };
    let end = ActiveCount::<T>::get().saturating_sub(1);
    ActiveCount::<T>::put(end);
    let last = ActiveIndex::<T>::take(end);
    if let Some(last) = last.filter(|last| last.worker != *worker) {
        let hole = sink::<T>(hole, &last, end);
        rise::<T>(hole, last);
    }
}

/// Moves the hole at `position` towards the root until `slot` fits, and puts it there.
fn rise<T: Config>(mut position: u32, slot: Slot) {
    while let Some(parent) = position.checked_sub(1).map(|above| above / 2) {
        match ActiveIndex::<T>::get(parent) {
            Some(above) if above.price > slot.price => put::<T>(position, above),
            _ => break,
        }
        position = parent;
    }
    put::<T>(position, slot);
}

/// Moves the hole at `position` towards the leaves as long as a child is cheaper than `slot`; answers where it is then.
fn sink<T: Config>(mut position: u32, slot: &Slot, end: u32) -> u32 {
    loop {
        let left = position.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let child = |at: u32| (at < end).then(|| ActiveIndex::<T>::get(at)).flatten().map(|child| (at, child));
        let cheaper = match (child(left), child(right)) {
            (Some(left), Some(right)) => Some(if right.1.price < left.1.price { right } else { left }),
            (left, right) => left.or(right),
        };
        match cheaper {
            Some((at, below)) if below.price < slot.price => {
                put::<T>(position, below);
                position = at;
            }
            _ => return position,
        }
    }
}

fn put<T: Config>(position: u32, slot: Slot) {
    ActiveSlot::<T>::insert(slot.worker, position);
    ActiveIndex::<T>::insert(position, slot);
}

#[cfg(any(feature = "std", feature = "try-runtime"))]
pub(crate) fn do_try_state<T: Config>() -> Result<(), sp_runtime::TryRuntimeError> {
    for position in 1..len::<T>() {
        let above = ActiveIndex::<T>::get(position.saturating_sub(1) / 2).ok_or("the market has a hole")?;
        let below = ActiveIndex::<T>::get(position).ok_or("the market has a hole")?;
        frame_support::ensure!(above.price <= below.price, "the market is out of order");
    }
    Ok(())
}
