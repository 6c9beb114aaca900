//! What is on disk besides the log: the data folder, and the rows in RocksDB.
//!
//! The store's own write-ahead log is off. A batch is durable because it is in the [log](crate::log); the store flushes
//! all column families at once when the [`Flusher`] asks, and only then may the log be trimmed.

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod crash_tests;
mod drop_trimmed;
mod errors;
mod flusher;
mod health;
mod lock;
mod meter;
mod node;
mod open;
mod options;
mod packs;
#[cfg(test)]
mod packs_tests;
mod read;
mod read_bodies;
mod recent;
mod rocks;
mod trims;
#[cfg(test)]
mod trims_tests;

pub(crate) use self::meter::{ReadCost, ReadMeter};
pub use self::{
    errors::{StoreError, StoreOpenError},
    flusher::{Applied, FlushError, Flusher, FlusherOptions},
    health::{StoreHealth, StoreWritten},
    lock::lock_patiently,
    node::{DataDir, DataDirError, NodeId},
    options::StoreOptions,
    read_bodies::Amount,
    rocks::Store,
};
