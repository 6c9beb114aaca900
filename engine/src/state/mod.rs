//! What the machine holds in memory of a queue: all of it derived from rows, none of it needed to know an outcome.

mod bits;
pub(crate) mod chunk;
mod entries;
mod floor;
mod free;
mod lease;
mod queue;
mod subscription;

pub(crate) use chunk::Chunk;
pub(crate) use entries::{Entries, Entry};
pub(crate) use lease::{Index, OpenLease, deltas};
pub(crate) use queue::{Queue, SubscriptionContext, view};
pub(crate) use subscription::Subscription;
