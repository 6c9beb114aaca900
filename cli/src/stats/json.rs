//! Counts of a queue, for programs.

use std::time::{Duration, SystemTime};

use posthouse_client::QueueStats;
use serde_json::{Value, json};

use crate::time::rfc3339;

/// All counts; an unknown value is null.
pub fn object(stats: &QueueStats) -> Value {
    let moment = |moment: Option<SystemTime>| moment.map(rfc3339);
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "ready": stats.ready,
        "in_flight": stats.in_flight,
        "waiting": stats.waiting,
        "parked": stats.parked,
        "last_sequence": stats.last_sequence,
        "oldest_unsettled_time": moment(stats.oldest_unsettled_time),
        "oldest_unsettled_seconds": seconds(stats.oldest_age()),
        "stored_bytes": stats.stored_bytes,
        "published": stats.published,
        "delivered": stats.delivered,
        "acked": stats.acked,
        "nacked": stats.nacked,
        "expired": stats.expired,
        "released": stats.released,
        "dead_lettered": stats.dead_lettered,
        "purged": stats.purged,
        "average_waiting_seconds": seconds(stats.average_waiting_time()),
        "average_processing_seconds": seconds(stats.average_processing_time()),
        "first_publish_time": moment(stats.first_publish_time),
        "last_publish_time": moment(stats.last_publish_time),
        "last_ack_time": moment(stats.last_ack_time),
        "as_of": rfc3339(stats.as_of),
    })
}
