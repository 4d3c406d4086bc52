//! Grids, plans, data and results: everything that needs no tensors.
//!
//! Data flows one way:
//!
//! ```text
//! sweeps/*.toml ─▶ grid ─▶ plan ─▶ run ─▶ results
//! ```
//!
//! 1. [`grid`] reads a TOML file, with `extends`, overlays and overrides, and expands its axes.
//! 2. [`job`] defines a job: every field that can change a result, validated, and the id, which is
//!    the hash of all of them.
//! 3. [`plan`] lists the jobs of a grid. Jobs of one shape form a *cohort* ([`plan::cohort`]), whose
//!    networks train as one stack of tensors; costs and measured speeds decide how wide it is, and
//!    shards share a plan among machines.
//! 4. [`run`] hands cohorts to workers and their records to the journal. A
//!    [`Trainer`](run::trainer::Trainer) trains them: libtorch in the program, a fake in the pool's
//!    tests.
//! 5. [`results`] are CSV files that are only appended to, by one writer, and synced before a job
//!    counts as finished. All commands use the same readers.
//!
//! [`data`] reads and fetches data sets; [`cli`] holds the arguments that both programs parse and the
//! hand-over between them; [`console`] is the only place that prints.
//!
//! Three rules hold for all of it:
//!
//! * **A job's result depends on the job alone**: not on the jobs beside it, the number of workers,
//!   the order, or an interruption. Every random draw comes from a stream that is named by seed, purpose
//!   and epoch ([`rng`]).
//! * **Measurements are kept.** A finished job is on disk before the next one starts. A run that
//!   diverged is a result; a run that the machine cut short is not, and is tried again.
//! * **A bad grid changes nothing.** The error names file, line and key before anything is written.

pub mod atomic;
pub mod cache;
pub mod cli;
pub mod console;
pub mod data;
pub mod execution;
pub mod fmt;
pub mod grid;
pub mod job;
pub mod memory;
pub mod plan;
pub mod results;
pub mod rng;
pub mod run;
pub mod table;
pub mod text;
pub mod text_table;
pub mod usage;
