//! Limits of one tenant, and its share of the publishes on their way to the disk.

use std::ops::RangeInclusive;

/// Bytes of stored messages of one tenant unless configured.
pub const DEFAULT_TENANT_STORED_BYTES: u64 = 256 << 30;
/// `tenant.max_stored_bytes`: above what the engine keeps of a queue's settled messages before it removes them.
pub const TENANT_STORED_BYTES: RangeInclusive<u64> = 16 << 20..=1 << 60;
/// Queues of one tenant unless configured.
pub const DEFAULT_TENANT_QUEUES: u64 = 10_000;
/// Most queues of one tenant that may be configured.
pub const MAX_TENANT_QUEUES: u64 = 10_000_000;
/// Publish and consume streams at once of one tenant unless configured.
pub const DEFAULT_TENANT_STREAMS: u64 = 10_000;
/// The part of a tenant's streams that callers without a token may have in sum: `Health/Watch` needs none.
pub const TOKENLESS_STREAMS_PART: u64 = 8;
/// Most streams of one tenant that may be configured.
pub const MAX_TENANT_STREAMS: u64 = 10_000_000;

/// Calls in a second that can be allowed a tenant; unless set, there is no limit. One call more is refused with
/// LIMIT_REACHED and RetryInfo; settlements and extensions are counted and never refused.
pub const MAX_TENANT_CALLS_PER_SECOND: u64 = 1_000_000;

/// Bytes of publishes that may be on their way to the disk while one tenant publishes: enough to keep the disk busy.
/// Further publishes wait, and are not refused.
pub const PUBLISH_BYTES_ALONE: usize = 16 << 20;
/// Those bytes of all tenants while several publish: each tenant's next batch waits as long as the disk takes for them.
pub const PUBLISH_BYTES_SHARED: usize = 4 << 20;
/// Bytes of the same that every tenant may have, whatever others have: who publishes little does not wait.
pub const PUBLISH_BYTES_OF_EACH: usize = 1 << 20;
/// What all tenants may have of them in sum in any case.
pub const PUBLISH_BYTES_OF_ALL: usize = 56 << 20;
/// While several tenants publish, a batch beyond what each may have waits this many times as long as the last one took.
pub const PUBLISH_PAUSES: u32 = 5;
/// The bytes that a message counts for there besides its own: the work to apply it.
pub const PUBLISH_MESSAGE_BYTES: usize = 128;
