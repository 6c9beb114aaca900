//! Every cap of the engine, with the relations between them asserted.

/// The version of the machine: a batch of a newer one is refused. What changes an outcome or a row is asked of the batch's own
/// version, so that an old log replays as it was answered.
pub const MACHINE_VERSION: u32 = 7;
/// From this version on: requests with an id are remembered, a purge tells those whose leases it ends, and batches carry the
/// wall clock's time.
pub const VERSION_OF_WALL_TIME: u32 = 6;
/// From this version on: producer sessions are limited by subject, and those that are idle make room.
pub const VERSION_OF_FAIR_SESSIONS: u32 = 7;
/// Sequences of one ack chunk.
pub const CHUNK: u64 = 4_096;
/// Bodies are trimmed, publish by publish, when this many messages can be ...
pub const STRIDE: u64 = 4 * CHUNK;
/// ... or when they hold so many bytes: large messages must not lie dead for long, and small ones must not be trimmed
/// one by one.
pub const TRIM_BYTES: u64 = 4 * (1 << 20);
/// Publishes read at once when a queue's floor has jumped far.
pub const PASSING_PAGE: usize = 1_024;
/// A chunk is passed by the floor, its stragglers relocated, when the settled head is this many chunks ahead ...
pub const PASS_AFTER_CHUNKS: u64 = 16;
/// ... and no more than this many of its messages are unsettled.
pub const MAX_RELOCATED_PER_CHUNK: u32 = 64;
/// Publishes behind messages that still wait are looked at when they hold so many bytes: what waits is relocated ...
pub const RELOCATE_FROM_BYTES: u64 = 64 * (1 << 20);
/// ... if the copies free so many times their own bytes.
pub const RELOCATE_GAIN: u64 = 4;
/// When they would not, so many more messages must be settled before it is asked again ...
pub const EXAMINE_AGAIN_AFTER: u64 = 16;
/// ... and one for so many that were looked at, of which there are at most ...
pub const EXAMINED_PER_SETTLED: u64 = 4;
/// ... so many.
pub const MAX_EXAMINED: u64 = 4_096;
/// Publishes that one batch adds to those that are looked at.
pub const MAX_REACH: usize = 4_096;
/// Messages that one batch relocated bodies ...
pub const MAX_RELOCATED: usize = 1_024;
/// ... and their bytes. What is left is for the next.
pub const MAX_RELOCATED_BYTES: u64 = 16 * (1 << 20);
/// Deliveries of one lease.
pub const MAX_LEASE_ITEMS: usize = 1_024;
/// Messages of one publish.
pub const MAX_PUBLISH_ENTRIES: usize = 1_024;
/// Settlements or extensions of one command.
pub const MAX_SETTLE_ITEMS: usize = 1_024;
/// Dead letters of one redrive.
pub const MAX_REDRIVE_ITEMS: usize = 1_000;
/// Of dead letters that the leader passed over, the most that one redrive tells of.
pub const MAX_REDRIVE_PASSED_OVER: usize = 4_096;
/// Skipped dead letters that an answer to a redrive names; the others are only counted.
pub const MAX_REDRIVE_NAMED: usize = 100;
/// Queues that the dead letters of one redrive came from: their names are kept with its answer.
pub const MAX_REDRIVE_ORIGINS: usize = 64;
/// A redrive that has moved so many bytes leaves the rest for the next.
pub const MAX_REDRIVE_BYTES: u64 = 16 * (1 << 20);
/// Rows that one look for dead letters reads.
pub const DEAD_LETTER_SCAN_ROWS: usize = 2_048;
/// Bytes of bodies that it reads: of dead letters so old that nothing but a copy of the body is left.
pub const DEAD_LETTER_SCAN_BYTES: usize = 8 * (1 << 20);
/// Publishes read at once where a subscription's deliveries are.
pub const READING_PAGE: usize = 64;
/// Publishes of a queue that are held in memory, for consumers that keep up.
pub const RECENT_ENTRIES: usize = 256;
/// How long a closed lease is remembered.
pub const CLOSED_LEASE_RETENTION_MS: u64 = 60_000;
/// How many closed leases a subscription remembers.
pub const MAX_CLOSED_LEASES: u32 = 10_000;
/// How many closed leases one timer forgets.
pub const CLOSED_LEASES_PER_TIMER: usize = 256;
/// How long a request that was done is remembered.
pub const REQUEST_RETENTION_MS: u64 = 24 * 3_600_000;
/// How many requests of one subject a department remembers; then the oldest is forgotten.
pub const MAX_REQUESTS: u64 = 1_024;
/// How many requests one timer forgets.
pub const REQUESTS_PER_TIMER: usize = 256;
/// Bytes of a request's id.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// Bytes of a request's digest.
pub const REQUEST_DIGEST_BYTES: usize = 32;
/// Shortest and longest lease.
pub const LEASE_DURATION_MS: std::ops::RangeInclusive<u64> = 1_000..=12 * 3_600_000;
/// Lease duration unless set.
pub const DEFAULT_LEASE_DURATION_MS: u64 = 30_000;
/// Attempts unless set.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 16;
/// Most attempts that can be set.
pub const MAX_MAX_ATTEMPTS: u32 = 1_000;
/// Longest nack delay.
pub const MAX_NACK_DELAY_MS: u64 = 30 * 24 * 3_600_000;
/// Largest payload unless set.
pub const DEFAULT_MAX_MESSAGE_BYTES: u32 = 1 << 20;
/// Largest payload that can be set.
pub const MAX_MAX_MESSAGE_BYTES: u32 = 4 * (1 << 20) - 64 * 1024;
/// A producer session is forgotten after this long without use.
pub const PRODUCER_RETENTION_MS: u64 = 7 * 24 * 3_600_000;
/// Batches of a producer session whose results are kept.
pub const PRODUCER_PAST_BATCHES: usize = 8;
/// Messages of a producer session, up to its newest, of which it is known whether they were refused: more than a client has on
/// their way.
pub const PRODUCER_KNOWN_MESSAGES: u64 = 64 * MAX_PUBLISH_ENTRIES as u64;
/// Runs of refused messages that are known of a producer session; those of its last batches come on top.
pub const PRODUCER_REFUSED_RUNS: usize = 1_024;
/// Producer sessions of one subject in one queue. One more makes the longest idle one be forgotten, if that was not used for
/// [`PRODUCER_SAFE_MS`]; else it is refused with LIMIT_REACHED, and tried again when that time is over. Sessions of others are
/// neither counted nor forgotten.
pub const MAX_PRODUCERS_OF_SUBJECT: u32 = 10_000;
/// A producer session that was used within this time is never forgotten.
pub const PRODUCER_SAFE_MS: u64 = 3_600_000;
/// A producer session takes its new place in the order of use when it was used so long after the time it stands there with: no row is
/// written for that by every publish. What is looked at for an idle one is put in its exact place ...
pub const PRODUCER_REORDER_MS: u64 = 600_000;
/// ... and so many are looked at for one new session.
pub const MAX_PRODUCERS_EXAMINED: usize = 64;
/// Producer sessions of one queue, before [`VERSION_OF_FAIR_SESSIONS`].
pub const MAX_PRODUCERS_OF_OLD: u32 = 100_000;
/// Longest name of a queue; the wire allows less.
pub const MAX_NAME_BYTES: usize = 255;
/// Queues of one department.
pub const MAX_QUEUES: u32 = 100_000;
/// A message whose dead-letter target is missing is tried again after this long.
pub const MISSING_TARGET_RETRY_MS: u64 = 60_000;

const _: () = assert!(PRODUCER_REORDER_MS < PRODUCER_SAFE_MS && PRODUCER_SAFE_MS < PRODUCER_RETENTION_MS);
const _: () = assert!(STRIDE.is_multiple_of(CHUNK));
const _: () = assert!(MAX_REDRIVE_BYTES > MAX_MAX_MESSAGE_BYTES as u64);
const _: () = assert!(MAX_RELOCATED_BYTES > MAX_MAX_MESSAGE_BYTES as u64);
const _: () = assert!(RELOCATE_FROM_BYTES > TRIM_BYTES);
const _: () = assert!(MAX_RELOCATED_PER_CHUNK as u64 <= CHUNK / 16);
