//! How the engine is set up.

use wasmtime::{InstanceAllocationStrategy, PoolingAllocationConfig};

/// The largest table of functions that a program may have.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;

/// How deep a program's stack may grow. Twice the default of `wasmtime run`.
const MAX_STACK_BYTES: usize = 1024 * 1024;

/// Core instances, memories and tables of one component. An adapted preview 1 module has four, one and three.
const MAX_CORE_INSTANCES: u32 = 48;
const MAX_MEMORIES: u32 = 8;
const MAX_TABLES: u32 = 48;

/// The capacity of an [`Engine`](crate::Engine) and what it accepts.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many jobs may run at once.
    pub capacity: u32,
    /// The largest linear memory, whatever a job's limit says; at most 4 GiB, and rounded down to 64 KiB.
    pub max_memory_bytes: u64,
    /// The largest program.
    pub max_program_bytes: usize,
    /// The largest function body: the time to compile one grows faster than its size.
    pub max_function_bytes: usize,
    /// Whether one program is compiled on all processors.
    pub parallel_compilation: bool,
    /// Whether large inputs are read ahead, each on a thread of its own. Without this and parallel compilation the engine
    /// starts no threads.
    pub read_ahead: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capacity: 4,
            max_memory_bytes: 4 << 30,
            max_program_bytes: phala_primitives::job::MAX_CODE_BYTES as usize,
            max_function_bytes: 512 << 10,
            parallel_compilation: true,
            read_ahead: true,
        }
    }
}

impl Config {
    /// What wasmtime makes of it.
    ///
    /// Wall time is watched at the slices of fuel, see `run`, so that compiled code carries one kind of check and not
    /// two: epochs stay off.
    pub(crate) fn wasmtime(&self) -> wasmtime::Config {
        let jobs = self.capacity.max(1);
        let page = 64 * 1024;
        let memory = self.max_memory_bytes.clamp(page, 4 << 30) / page * page;

        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(jobs)
            .total_core_instances(jobs.saturating_mul(MAX_CORE_INSTANCES))
            .max_core_instances_per_component(MAX_CORE_INSTANCES)
            .total_memories(jobs.saturating_mul(MAX_MEMORIES))
            .max_memories_per_component(MAX_MEMORIES)
            .max_memories_per_module(MAX_MEMORIES)
            .total_tables(jobs.saturating_mul(MAX_TABLES))
            .max_tables_per_component(MAX_TABLES)
            .max_tables_per_module(MAX_TABLES)
            .table_elements(MAX_TABLE_ELEMENTS)
            .total_stacks(jobs)
            .max_memory_size(usize::try_from(memory).unwrap_or(usize::MAX))
            .linear_memory_keep_resident(64 * 1024)
            .table_keep_resident(16 * 1024);

        let mut config = wasmtime::Config::new();
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
            .memory_reservation(4 << 30)
            .consume_fuel(true)
            .max_wasm_stack(MAX_STACK_BYTES)
            .async_stack_size(MAX_STACK_BYTES * 2)
            .async_stack_zeroing(true)
            .wasm_backtrace_max_frames(None)
            .parallel_compilation(self.parallel_compilation)
            // Determinism.
            .cranelift_nan_canonicalization(true)
            .wasm_relaxed_simd(false)
            .relaxed_simd_deterministic(true)
            // Outside the profile: what is not needed to run programs in `wasi:cli/command` stays out of reach.
            .wasm_memory64(false)
            .wasm_component_model(true);
        config
    }
}
