//! Views of queues, messages and dead letters.

use posthouse_engine::{
    ids::{DepartmentId, QueueId, QueueRef},
    outcome::QueueView,
    schema::{DeadLetterCause, DeadLetterOrigin, QueueSettings},
    views::{MessageState, MessageStatus, Stats},
};
use posthouse_proto::v1::{self, DeadLetter, DeadLetterReason, QueueStats};

use crate::{
    clock::Now,
    names::QueueResource,
    rpc::wire::convert::{duration, message_id, timestamp},
};

/// A queue's definition.
pub(crate) fn queue(name: &QueueResource, view: &QueueView) -> v1::Queue {
    let QueueSettings { max_message_bytes, lease_duration_ms, max_attempts, dead_letter_queue } =
        view.settings.clone();
    let dead_letter_queue = if dead_letter_queue.is_empty() {
        String::new()
    } else {
        format!("tenants/{}/departments/{}/queues/{dead_letter_queue}", name.tenant, name.department)
    };
    v1::Queue {
        name: name.to_string(),
        uid: queue_uid(QueueRef { department: view.department, queue: view.queue }),
        etag: view.revision.to_string(),
        create_time: Some(timestamp(view.created_at_ms)),
        update_time: Some(timestamp(view.updated_at_ms)),
        max_message_bytes,
        default_subscription: Some(v1::SubscriptionSettings {
            lease_duration: Some(duration(lease_duration_ms)),
            max_attempts,
            dead_letter_queue,
        }),
        stats: None,
    }
}

/// The identity of a queue, which distinguishes it from a later queue of the same name.
pub(crate) fn queue_uid(at: QueueRef) -> String {
    format!("{:08x}{:08x}", at.department.0, at.queue.0)
}

/// The statistics of a queue at the time `now`.
pub(crate) fn stats(stats: &Stats, now: Now) -> QueueStats {
    let Stats { counts, sums, .. } = stats;
    QueueStats {
        ready: counts.ready,
        in_flight: counts.in_flight,
        waiting: counts.waiting,
        parked: counts.parked,
        last_sequence: counts.last_sequence,
        oldest_unsettled_time: stats.oldest_unsettled_ms.map(timestamp),
        stored_bytes: stats.stored_bytes,
        published: stats.published,
        delivered: sums.delivered,
        acked: sums.acked,
        nacked: sums.nacked,
        expired: sums.expired,
        released: sums.released,
        dead_lettered: sums.dead_lettered,
        purged: sums.purged,
        first_delivered: sums.first_delivered,
        waiting_time_sum: Some(duration(sums.waiting_ms)),
        processing_time_sum: Some(duration(sums.processing_ms)),
        last_publish_time: stats.last_published_ms.map(timestamp),
        last_ack_time: (sums.acked > 0).then(|| timestamp(sums.last_acked_at_ms)),
        first_publish_time: stats.first_published_ms.map(timestamp),
        as_of: Some(timestamp(now.wall_ms)),
        oldest_unsettled_age: stats.oldest_published_ms.map(|at| duration(now.age_ms(at))),
        steady_time: Some(duration(now.stamp_ms)),
    }
}

/// The state of a message at the time `now`.
pub(crate) fn message_status(
    at: QueueRef,
    queue: &QueueResource,
    status: MessageStatus,
    now: Now,
) -> v1::MessageStatus {
    let mut wire = v1::MessageStatus {
        message_id: message_id(at, status.sequence),
        queue: queue.to_string(),
        sequence: status.sequence,
        publish_time: status.published_at_ms.map(timestamp),
        payload_bytes: status.payload_bytes.unwrap_or(0),
        failed_attempts: status.failed_attempts,
        dead_letter: status.origin.map(|origin| dead_letter(at, queue, origin)),
        ..v1::MessageStatus::default()
    };
    let state = match status.state {
        MessageState::Ready => v1::MessageState::Ready,
        MessageState::Leased { deadline_ms } => {
            wire.lease_deadline = Some(timestamp(now.shown_ms(deadline_ms)));
            wire.lease_time_left = Some(duration(now.left_ms(deadline_ms)));
            v1::MessageState::Leased
        }
        MessageState::Waiting { due_ms } => {
            wire.retry_time = due_ms.map(|due| timestamp(now.shown_ms(due)));
            wire.retry_time_left = due_ms.map(|due| duration(now.left_ms(due)));
            v1::MessageState::Waiting
        }
        MessageState::Parked(cause) => {
            wire.parked_reason = reason(cause).into();
            v1::MessageState::Parked
        }
        MessageState::Settled => v1::MessageState::Settled,
    };
    wire.state = state.into();
    wire
}

/// Why a message is in this dead-letter queue, and which queue of the same department it came from.
pub(crate) fn dead_letter(at: QueueRef, queue: &QueueResource, origin: DeadLetterOrigin) -> DeadLetter {
    let source = QueueRef { department: DepartmentId(at.department.0), queue: QueueId(origin.queue_id) };
    DeadLetter {
        reason: reason(origin.cause()).into(),
        source_queue: format!("{}/queues/{}", queue.department_resource(), origin.queue),
        source_message_id: message_id(source, origin.sequence),
        source_sequence: origin.sequence,
        source_publish_time: Some(timestamp(origin.published_at_ms)),
        attempts: origin.attempts,
        source_subscription: origin.subscription,
    }
}

const fn reason(cause: DeadLetterCause) -> DeadLetterReason {
    match cause {
        DeadLetterCause::Unspecified => DeadLetterReason::Unspecified,
        DeadLetterCause::MaxAttempts => DeadLetterReason::MaxAttempts,
        DeadLetterCause::Consumer => DeadLetterReason::Consumer,
    }
}
