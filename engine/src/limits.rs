//! The limits of the engine, with the relations between them asserted.

/// The version of the machine; a batch of a newer version is refused. Code that changes an outcome or a row depends
/// on the version of the batch, so that an old log replays as it was answered.
pub const MACHINE_VERSION: u32 = 7;
/// From this version on, batches carry the wall clock's time, requests with an id are remembered, and a purge keeps
/// the leases that it closes.
pub const VERSION_OF_WALL_TIME: u32 = 6;
/// From this version on, producer sessions are limited by subject, and idle ones are forgotten for new ones.
pub const VERSION_OF_FAIR_SESSIONS: u32 = 7;
/// Sequences of one ack chunk.
pub const CHUNK: u64 = 4_096;
/// Bodies are trimmed when this many messages can be trimmed.
pub const STRIDE: u64 = 4 * CHUNK;
/// Bodies are also trimmed when those that can be hold this many bytes: large messages must not stay for long, and
/// small ones must not be trimmed one by one.
pub const TRIM_BYTES: u64 = 4 * (1 << 20);
/// Publishes read at once when a floor has jumped far.
pub const PASSING_PAGE: usize = 1_024;
/// The floor may pass a chunk with unsettled messages when the newest settled message is this many chunks ahead.
pub const PASS_AFTER_CHUNKS: u64 = 16;
/// The most unsettled messages of a chunk that the floor passes; their bodies are relocated.
pub const MAX_RELOCATED_PER_CHUNK: u32 = 64;
/// Bytes of reached publishes from which on the unsettled messages among them are examined for relocation.
pub const RELOCATE_FROM_BYTES: u64 = 64 * (1 << 20);
/// Bodies are relocated if that frees this many times their own bytes.
pub const RELOCATE_GAIN: u64 = 4;
/// Messages that must be settled before a queue is examined for relocation again.
pub const EXAMINE_AGAIN_AFTER: u64 = 16;
/// Messages examined for each message that must be settled before the next examination.
pub const EXAMINED_PER_SETTLED: u64 = 4;
/// Messages that one examination reads.
pub const MAX_EXAMINED: u64 = 4_096;
/// Publishes that one batch adds to the reached ones.
pub const MAX_REACH: usize = 4_096;
/// Bodies that one batch relocates. The rest is left to the next batch.
pub const MAX_RELOCATED: usize = 1_024;
/// Bytes of the bodies that one batch relocates.
pub const MAX_RELOCATED_BYTES: u64 = 16 * (1 << 20);
/// Deliveries of one lease.
pub const MAX_LEASE_ITEMS: usize = 1_024;
/// Messages of one publish.
pub const MAX_PUBLISH_ENTRIES: usize = 1_024;
/// Settlements or extensions of one command.
pub const MAX_SETTLE_ITEMS: usize = 1_024;
/// Dead letters of one redrive.
pub const MAX_REDRIVE_ITEMS: usize = 1_000;
/// Dead letters that the leader passed over, of one redrive.
pub const MAX_REDRIVE_PASSED_OVER: usize = 4_096;
/// Skipped dead letters that the answer to a redrive names; the others are only counted.
pub const MAX_REDRIVE_NAMED: usize = 100;
/// Queues that the dead letters of one redrive came from; their names are stored with its answer.
pub const MAX_REDRIVE_ORIGINS: usize = 64;
/// Bytes that one redrive moves. The rest is left to the next redrive.
pub const MAX_REDRIVE_BYTES: u64 = 16 * (1 << 20);
/// Rows that one scan for dead letters reads.
pub const DEAD_LETTER_SCAN_ROWS: usize = 2_048;
/// Bytes of bodies that one scan for dead letters reads: bodies are read only of messages whose publish was trimmed.
pub const DEAD_LETTER_SCAN_BYTES: usize = 8 * (1 << 20);
/// Publishes read at once where a subscription delivers.
pub const READING_PAGE: usize = 64;
/// The newest publishes of a queue that are in memory, for consumers that keep up.
pub const RECENT_ENTRIES: usize = 256;
/// The time for which a closed lease is remembered.
pub const CLOSED_LEASE_RETENTION_MS: u64 = 60_000;
/// Closed leases that a subscription remembers.
pub const MAX_CLOSED_LEASES: u32 = 10_000;
/// Closed leases that one timer forgets.
pub const CLOSED_LEASES_PER_TIMER: usize = 256;
/// The time for which a request that was done is remembered.
pub const REQUEST_RETENTION_MS: u64 = 24 * 3_600_000;
/// Requests of one subject that a department remembers; then the oldest is forgotten.
pub const MAX_REQUESTS: u64 = 1_024;
/// Requests that one timer forgets.
pub const REQUESTS_PER_TIMER: usize = 256;
/// Bytes of a request's id.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// Bytes of a request's digest.
pub const REQUEST_DIGEST_BYTES: usize = 32;
/// Shortest and longest lease.
pub const LEASE_DURATION_MS: std::ops::RangeInclusive<u64> = 1_000..=12 * 3_600_000;
/// The lease duration of a queue that sets none.
pub const DEFAULT_LEASE_DURATION_MS: u64 = 30_000;
/// The attempts of a queue that sets none.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 16;
/// The most attempts that can be set.
pub const MAX_MAX_ATTEMPTS: u32 = 1_000;
/// The longest delay of a nack.
pub const MAX_NACK_DELAY_MS: u64 = 30 * 24 * 3_600_000;
/// The largest payload of a queue that sets none.
pub const DEFAULT_MAX_MESSAGE_BYTES: u32 = 1 << 20;
/// The highest limit of payloads that can be set.
pub const MAX_MAX_MESSAGE_BYTES: u32 = 4 * (1 << 20) - 64 * 1024;
/// The time without use after which a producer session is forgotten.
pub const PRODUCER_RETENTION_MS: u64 = 7 * 24 * 3_600_000;
/// Batches of a producer session whose results are remembered.
pub const PRODUCER_PAST_BATCHES: usize = 8;
/// The newest messages of a producer session of which it is known whether they were refused: more than a client has
/// in flight.
pub const PRODUCER_KNOWN_MESSAGES: u64 = 64 * MAX_PUBLISH_ENTRIES as u64;
/// Runs of refused messages that are known of a producer session, besides those of its remembered batches.
pub const PRODUCER_REFUSED_RUNS: usize = 1_024;
/// Producer sessions of one subject in one queue. For one more the longest idle one is forgotten, if it was not used
/// for [`PRODUCER_SAFE_MS`]; else the new one is refused with LIMIT_REACHED, and can be tried again when that time is
/// over. Sessions of other subjects are neither counted nor forgotten.
pub const MAX_PRODUCERS_OF_SUBJECT: u32 = 10_000;
/// A producer session that was used within this time is never forgotten.
pub const PRODUCER_SAFE_MS: u64 = 3_600_000;
/// The most that the order of use may lag behind the last use of a producer session, so that not every publish writes
/// a row of that order. Sessions that are examined for a new one get their exact order.
pub const PRODUCER_REORDER_MS: u64 = 600_000;
/// Sessions that are examined for one new session.
pub const MAX_PRODUCERS_EXAMINED: usize = 64;
/// Producer sessions of one queue before [`VERSION_OF_FAIR_SESSIONS`].
pub const MAX_PRODUCERS_OF_OLD: u32 = 100_000;
/// The longest name of a queue; the API allows less.
pub const MAX_NAME_BYTES: usize = 255;
/// Queues of one department.
pub const MAX_QUEUES: u32 = 100_000;
/// The time after which a message whose dead-letter queue is missing is tried again.
pub const MISSING_TARGET_RETRY_MS: u64 = 60_000;

const _: () = assert!(PRODUCER_REORDER_MS < PRODUCER_SAFE_MS && PRODUCER_SAFE_MS < PRODUCER_RETENTION_MS);
const _: () = assert!(STRIDE.is_multiple_of(CHUNK));
const _: () = assert!(MAX_REDRIVE_BYTES > MAX_MAX_MESSAGE_BYTES as u64);
const _: () = assert!(MAX_RELOCATED_BYTES > MAX_MAX_MESSAGE_BYTES as u64);
const _: () = assert!(RELOCATE_FROM_BYTES > TRIM_BYTES);
const _: () = assert!(MAX_RELOCATED_PER_CHUNK as u64 <= CHUNK / 16);
