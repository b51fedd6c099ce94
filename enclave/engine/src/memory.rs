//! The limit on a program's memory.

use phala_primitives::FailureReason;
use wasmtime::{Error, ResourceLimiter, Result};

use crate::{config::MAX_TABLE_ELEMENTS, run::Stop};

/// Counts the linear memories of one job together. The first growth beyond the limit ends the job at once: whether
/// and how a program survives a failed allocation would depend on its allocator, and nobody wants half a result.
pub(crate) struct Memory {
    used: u64,
    limit: u64,
}

impl Memory {
    pub(crate) fn new(limit: u64) -> Self {
        Self { used: 0, limit }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current) as u64);
        if used > self.limit {
            return Err(Error::new(Stop::Failed(FailureReason::MemoryExhausted)));
        }
        // The program's own maximum: `memory.grow` answers -1, as everywhere.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        // `Ok(false)` above comes here too. Anything else is this machine's want of memory, not the program's fault.
        match error.downcast_ref::<std::io::Error>() {
            Some(error) => Err(Error::new(Stop::Environment(format!("memory could not be grown: {error}")))),
            None => Ok(()),
        }
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}
