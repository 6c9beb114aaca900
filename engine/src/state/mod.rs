//! What the machine keeps in memory of a queue. All of it is derived from rows, and none of it is needed to know an
//! outcome.
//!
//! # The life of a sequence
//!
//! A queue numbers its messages from 1. A message is *free* until it is leased. A delivery that ends without a
//! settlement makes it free again, at once or after it has *waited*. A settlement ends its life for the subscription;
//! its body and the entry of its publish are deleted later. Six watermarks say how far a queue is. Each is a
//! sequence:
//!
//! ```text
//! queue         1         trimmed         passed           reached        next_sequence
//!               |-- deleted --|-- not needed --|-- some settled --|-- newest --|
//!
//! subscription  |------- settled or relocated --------|---- some settled ------|
//!                                      the higher of floor and copied
//!
//! of the queue: every message below ...
//!   next_sequence  was published. Rises with every publish.
//!   reached        is not behind the newest settled or relocated message, in every subscription. Rises by
//!                  whole publishes. The bytes from passed to reached say when to relocate what waits there.
//!   passed         is below floor or copied in every subscription: its body is not needed where it was
//!                  published. Rises by whole publishes.
//!   trimmed        has no body where it was published, and no entry. Rises to passed, once STRIDE messages
//!                  or TRIM_BYTES are between them.
//! of a subscription: every message below ...
//!   floor          is settled, or is one of at most MAX_RELOCATED_PER_CHUNK of its chunk whose bodies are
//!                  relocated. Rises over settled messages, and over such a chunk when it is far behind the
//!                  newest settled message.
//!   copied         is settled, or its body is relocated. Rises when few unsettled messages keep much
//!                  from being trimmed.
//! ```
//!
//! At the end of each batch `trimmed <= passed <= max(floor, copied) <= next_sequence` and `reached <=
//! next_sequence`; a `reached` below `passed` says nothing. `floor.rs` moves the floor, `machine/relocate.rs` moves
//! `copied` and `reached`, and `machine/flush.rs` moves the others.

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
