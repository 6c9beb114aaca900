//! The table of metrics: name, kind, labels, and help. `docs/metrics.md` is made of this table.
//!
//! No label holds a queue's or a client's name. A tenant's name is in a label only where the configuration asks for it.

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, from 0 at start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations into buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// As Prometheus shows it, with its unit.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The labels of its series.
    pub labels: &'static [&'static str],
    /// Its help text.
    pub help: &'static str,
}

/// From 50 µs, which a fast disk takes to sync, to 10 s.
const FAST: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];
/// From 1 ms to a day: how long messages wait.
const LONG: &[f64] =
    &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0, 86_400.0];
/// Powers of four up to 4,096.
const SIZES: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0];

macro_rules! table {
    ($($ident:ident = $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(pub(super) const $ident: Definition =
            Definition { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)*
        /// All of them, in the order of the documentation.
        pub const TABLE: &[Definition] = &[$($ident),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

table! {
    BUILD = Gauge, "posthouse_build_info", ["version"], "Always 1; the label says which version runs.";
    STATE = Gauge, "posthouse_server_state", ["state"], "1 for the state the server is in: starting, serving or draining; 0 for the others.";
    SHARDS = Gauge, "posthouse_shards", [], "Shards of this node.";
    SHARDS_HALTED = Gauge, "posthouse_shards_halted", ["reason"], "Shards that a failed check has halted, by the reason of the check. If it is not 0, read the log, and operations.md.";
    SET_ASIDE = Gauge, "posthouse_departments_set_aside", [], "Departments that an operator has set aside. They are not served until an operator opens them again.";
    CLOCK_AHEAD = Gauge, "posthouse_clock_wall_ahead_seconds", [], "Seconds by which the wall clock is ahead of the time of batches, by which leases and retries are due. A difference of more than a second, either way, means that a clock was set or is wrong.";
    EXPIRY_HALTED = Gauge, "posthouse_clock_expiry_halted", [], "1 while nothing expires because the clock had jumped ahead at start.";

    CONNECTIONS = Gauge, "posthouse_connections_open", [], "Connections on the data port, handshakes included.";
    CONNECTIONS_REFUSED = Counter, "posthouse_connections_refused_total", ["reason"], "Connections closed before a call with a good token was served, by reason: full (the server has as many as allowed), strangers_full or source_full (too many without a good token, in all or of one address or network), gave_way (closed for a newer one when these were full), tenant_full (its first call with a good token was refused, since its tenant has as many as allowed), no_h2.";
    CONNECTIONS_STRANGERS = Gauge, "posthouse_connections_strangers", [], "Connections on the data port on which no call has brought a good token yet, handshakes included. They may be at most a quarter of all.";
    CONNECTIONS_FLOODED = Counter, "posthouse_connections_flooded_total", ["kind"], "Connections closed because of more HTTP/2 control frames than the data that moved allows, by the kind of the last frame: ping, settings, window_update, priority, reset, continuation, headers, empty_data, padded_data, small_data, other. No client library sends that many: find the client that does.";
    HANDSHAKES = Counter, "posthouse_handshakes_total", ["result"], "TLS handshakes by result: ok, no_identity (the certificate has no usable identity), timeout, or the cause of the failure.";

    HELD = Gauge, "posthouse_held_bytes", ["what"], "Bytes charged to connections: requests that are not handled and answers that are not sent (requests); deliveries that are not sent (deliveries); requests that stay in memory because a payload is a piece of them (kept).";
    HELD_WAITED = Counter, "posthouse_held_waits_total", [], "Times that a request waited because its connection, its tenant or the server held as many bytes as allowed.";
    HELD_REFUSED = Counter, "posthouse_held_refusals_total", [], "Calls refused with SERVER_OVERLOADED because no bytes were free for their request or answer.";
    UNREAD = Counter, "posthouse_answers_unread_total", [], "Calls ended because their client did not read its answers.";

    RPCS = Counter, "posthouse_rpcs_total", ["method", "code"], "Calls that have ended, by gRPC code; a stream that the client dropped ends as CANCELLED.";
    RPC_DURATION = Histogram(FAST), "posthouse_rpc_duration_seconds", ["method"], "Duration of unary calls, the wait of Receive included.";
    STREAMS = Gauge, "posthouse_streams_open", ["method"], "Streams that are open.";
    REFUSALS = Counter, "posthouse_rpc_refusals_total", ["reason"], "Calls and streams that ended in an error, by its reason.";
    AUTH_REFUSALS = Counter, "posthouse_auth_refusals_total", ["reason"], "Calls refused because of their certificate or token before they reached a handler, by reason.";
    THROTTLED_CALLS = Counter, "posthouse_auth_throttled_calls_total", ["by"], "Calls refused before their token was checked: because too many calls of the connection had failed (connection), or too many tokens with the certificate (certificate).";
    WARNINGS_LEFT_OUT = Counter, "posthouse_connection_warnings_left_out_total", ["kind"], "Warnings about connections that were not logged because there were too many of the kind from the tenant: no_identity, tenant_full, auth_failures, flooded, authority_gone.";
    CALLS_LIMITED = Counter, "posthouse_calls_limited_total", [], "Calls refused because their tenant has reached max_calls_per_second.";
    TOKEN_CACHE = Counter, "posthouse_token_cache_lookups_total", ["result"], "Tokens recognised without checking their signature again (hit), and the others (miss).";
    GRANTS_WITHOUT_EFFECT = Counter, "posthouse_token_grants_without_effect_total", ["action"], "Grants of actions that allow nothing (browse, scale, audit.read, token.issue, token.revoke), in tokens whose signature was verified. Their issuer should leave them out.";

    PUBLISHED = Counter, "posthouse_messages_published_total", [], "Messages stored.";
    PUBLISHED_BYTES = Counter, "posthouse_messages_published_bytes_total", [], "Payload and attribute bytes of the batches in which messages were stored.";
    DUPLICATES = Counter, "posthouse_messages_duplicate_total", [], "Messages of a producer session that were stored before and not stored again.";
    REJECTED = Counter, "posthouse_messages_rejected_total", ["reason"], "Messages and batches that were not stored, by reason; a batch that is refused as a whole counts once.";
    PUBLISH_BATCH = Histogram(SIZES), "posthouse_publish_batch_messages", [], "Messages of one publish batch.";
    DELIVERED = Counter, "posthouse_messages_delivered_total", [], "Deliveries sent to consumers, those of Receive included.";
    DELIVERED_BYTES = Counter, "posthouse_messages_delivered_bytes_total", [], "Payload bytes of deliveries.";
    REDELIVERED = Counter, "posthouse_messages_redelivered_total", [], "Deliveries of messages that had failed before.";
    RESUMED = Counter, "posthouse_messages_resumed_total", [], "Deliveries sent again to a session on a new stream.";
    WAITING = Histogram(LONG), "posthouse_message_waiting_seconds", [], "Time from the publish of a message to its first delivery.";
    SETTLED = Counter, "posthouse_messages_settled_total", ["action"], "Settlements made: ack, nack, release, dead_letter.";
    SETTLE_REFUSED = Counter, "posthouse_settlements_refused_total", ["reason"], "Settlements not made, by reason; already_settled is a repeat, which succeeds.";
    EXPIRED = Counter, "posthouse_leases_expired_total", [], "Deliveries whose lease ran out before they were settled.";
    DEAD = Counter, "posthouse_messages_dead_total", ["how"], "Messages given up: moved to a dead-letter queue, or parked where they are.";

    TENANT_PUBLISHED = Counter, "posthouse_tenant_messages_published_total", ["tenant"], "Messages stored. Only with tenants = true under [metrics], and only for configured tenants.";
    TENANT_PUBLISHED_BYTES = Counter, "posthouse_tenant_messages_published_bytes_total", ["tenant"], "Payload and attribute bytes of the batches in which messages were stored. Only with tenants = true.";
    TENANT_DELIVERED = Counter, "posthouse_tenant_messages_delivered_total", ["tenant"], "Deliveries sent. Only with tenants = true.";
    TENANT_SETTLED = Counter, "posthouse_tenant_messages_settled_total", ["tenant"], "Settlements made. Only with tenants = true.";

    GATE_WAITING = Gauge, "posthouse_publish_batches_waiting", [], "Publish batches that wait at the fair gate, because as many bytes as allowed are on their way to the disk.";
    GATE_BYTES = Gauge, "posthouse_publish_pipeline_bytes", [], "Bytes of publish batches that are on their way to the disk.";
    COMMIT = Histogram(FAST), "posthouse_commit_duration_seconds", [], "Time from the proposal of a shard's batch until it is synced and its worker has received it.";
    COMMAND_BATCH = Histogram(SIZES), "posthouse_batch_commands", [], "Commands of one batch of a shard.";
    APPLY = Histogram(FAST), "posthouse_apply_duration_seconds", [], "Applying one batch: the machine, and the write to the store.";
    LOG_WRITE = Histogram(FAST), "posthouse_log_write_duration_seconds", [], "Writing one group to the log, without the sync.";
    LOG_SYNC = Histogram(FAST), "posthouse_log_sync_duration_seconds", [], "Syncing one group of the log.";
    LOG_GROUP = Histogram(SIZES), "posthouse_log_group_entries", [], "Entries that one sync made durable.";
    LOG_BYTES = Counter, "posthouse_log_written_bytes_total", [], "Bytes written to the log.";
    LOG_QUEUED = Gauge, "posthouse_log_queued_entries", [], "Proposals that wait for the disk.";
    LOG_QUEUED_BYTES = Gauge, "posthouse_log_queued_bytes", [], "Bytes of the proposals that wait for the disk.";
    LOG_SEGMENTS = Gauge, "posthouse_log_segments", [], "Segment files of the log that are still needed, the one being written included.";
    LOG_UNTRIMMED = Gauge, "posthouse_log_since_trim_bytes", [], "Bytes of log since the store was last flushed: about what a restart replays.";
    REPLAYED = Gauge, "posthouse_replayed_batches", [], "Batches that the last start replayed.";
    START_DURATION = Gauge, "posthouse_start_duration_seconds", [], "From the start of the server until it served.";

    FLUSHES = Counter, "posthouse_store_flushes_total", ["result"], "Flushes of the store that the server asked for: ok or failed.";
    FLUSH_DURATION = Histogram(FAST), "posthouse_store_flush_duration_seconds", [], "Flushes of the store that succeeded.";
    STORE_CACHE = Gauge, "posthouse_store_block_cache_bytes", [], "Blocks of the store in memory.";
    STORE_MEMTABLES = Gauge, "posthouse_store_memtable_bytes", [], "Bytes of rows in memory that wait for a flush of the store, and of memtables that iterators still use.";
    STORE_READERS = Gauge, "posthouse_store_table_reader_bytes", [], "Memory of the store's open files outside its block cache.";
    STORE_PENDING = Gauge, "posthouse_store_pending_compaction_bytes", [], "Estimated bytes that compaction still has to rewrite.";
    STORE_LIVE = Gauge, "posthouse_store_live_data_bytes", [], "Estimated bytes of live data in the store.";
    STORE_FILES = Gauge, "posthouse_store_file_bytes", [], "All files of the store's tables, those not deleted yet included.";
    STORE_ERRORS = Counter, "posthouse_store_background_errors_total", [], "Flushes and compactions of the store that failed. If it is not 0, check the disk and the log.";
    STORE_STOPPED = Gauge, "posthouse_store_writes_stopped", [], "1 while writes wait for compaction.";
    STORE_BATCHES = Counter, "posthouse_store_batch_bytes_total", [], "Bytes of the batches of rows that the store was given.";
    STORE_WRITTEN = Counter, "posthouse_store_table_bytes_total", ["by"], "Bytes of the store's tables: written by flush, read by compaction_read, written by compaction_write. The sum of flush and compaction_write, divided by the bytes of the batches, is the store's write amplification.";
    STORE_STALLED = Counter, "posthouse_store_write_stall_seconds_total", [], "How long writes were held back for flushes and compactions.";
    STORE_TOMBSTONES = Counter, "posthouse_store_skipped_tombstones_total", [], "Deleted rows that reads of the shards skipped. It should not grow faster than deliveries.";
    STORE_HITS = Counter, "posthouse_store_block_reads_total", ["from"], "Blocks that reads of the shards got from the cache or from the disk.";

    BODIES = Counter, "posthouse_body_cache_reads_total", ["result"], "Message bodies read for deliveries: from memory (hit) or from the store (miss).";
    BODIES_BYTES = Gauge, "posthouse_body_cache_bytes", [], "Message bodies in memory.";

    DISK_FREE = Gauge, "posthouse_disk_free_bytes", [], "Free space on the disk of the data folder.";
    DISK_FULL = Gauge, "posthouse_disk_publish_refused", [], "1 while publishes are refused because the disk is nearly full.";

    CERTIFICATE = Gauge, "posthouse_certificate_not_after_timestamp_seconds", [], "When the server's certificate ends, Unix time.";
    RELOADS = Counter, "posthouse_reloads_total", ["what", "result"], "Reloads of changed files, by what (certificate, authority, key_set) and result (ok, failed); after a failure the old file stays in force.";

    ACCESS_RECORDS = Counter, "posthouse_access_records_total", [], "Access records written.";
    ACCESS_WAITING = Gauge, "posthouse_access_records_waiting", [], "Access records that are not written yet.";
    ACCESS_BLOCKED = Gauge, "posthouse_access_records_blocked", [], "1 while no further access record can be queued, because none can be written: calls that are recorded are refused or wait, and the server is not ready. If it is 1, check the destination of the records.";
    ACCESS_WAITS = Counter, "posthouse_access_record_waits_total", [], "Times that a call waited for a slot for its access record.";
    ACCESS_FAILURES = Counter, "posthouse_access_write_failures_total", [], "Attempts to write access records that failed. Nothing is lost: each is tried again.";
    ACCESS_RELEASED = Counter, "posthouse_access_deliveries_released_total", [], "Leases returned without counting an attempt, because their delivery could not be recorded in time.";
    LINES_DROPPED = Counter, "posthouse_log_lines_dropped_total", [], "Lines of the program's log that were dropped, because they were not read fast enough or could not be written.";
    SPANS = Counter, "posthouse_spans_total", ["result"], "Spans by result: started, and of these exported or failed (not accepted by the collector).";

    SCRAPES = Counter, "posthouse_management_requests_total", ["path"], "Requests to the management listener.";
    MANAGEMENT_CLOSED = Counter, "posthouse_management_connections_closed_total", ["reason"], "Connections to the management listener that were closed without an answer: late (no request in time), gave_way (for another one when there were too many), full.";

    CPU = Counter, "process_cpu_seconds_total", [], "User and system time of the process.";
    RESIDENT = Gauge, "process_resident_memory_bytes", [], "Resident memory of the process.";
    FDS = Gauge, "process_open_fds", [], "Open file descriptors.";
    MAX_FDS = Gauge, "process_max_fds", [], "File descriptors the process may open.";
    THREADS = Gauge, "process_threads", [], "Threads of the process.";
    STARTED = Gauge, "process_start_time_seconds", [], "When the process started, Unix time.";
}
