//! Makes the engine's settings of a queue's definition in a request.

use posthouse_engine::{
    ids::{DepartmentId, QueueId},
    limits::{LEASE_DURATION_MS, MAX_MAX_ATTEMPTS, MAX_MAX_MESSAGE_BYTES},
    outcome::QueueView,
    schema::QueueSettings,
};
use posthouse_proto::v1::{ErrorReason, Queue, SubscriptionSettings};
use prost_types::FieldMask;

use crate::{
    names::QueueResource,
    rpc::{
        context::queue_name,
        wire::{convert, status::ApiError},
    },
};

const DEAD_LETTER_FIELD: &str = "default_subscription.dead_letter_queue";
const LEASE_DURATION_FIELD: &str = "default_subscription.lease_duration";

/// The full name of the dead-letter queue of a definition; empty if it has none.
pub(super) fn dead_letter_queue(queue: &Queue) -> &str {
    queue.default_subscription.as_ref().map_or("", |settings| &settings.dead_letter_queue)
}

/// The dead-letter queue that a definition of the queue `name` names, if any. One of another department is refused to
/// every caller.
pub(super) fn named_target(name: &QueueResource, target: &str) -> Result<Option<QueueResource>, ApiError> {
    if target.is_empty() {
        return Ok(None);
    }
    let target = queue_name(DEAD_LETTER_FIELD, target)?;
    if target.department_resource() != name.department_resource() {
        let text = "a dead-letter queue stands in the same department as its queue";
        return Err(ApiError::field(ErrorReason::SettingsInvalid, DEAD_LETTER_FIELD, text));
    }
    Ok(Some(target))
}

/// The settings of a definition for an engine command. The engine replaces 0 and empty by its defaults.
pub(super) fn settings(name: &QueueResource, queue: &Queue) -> Result<QueueSettings, ApiError> {
    let wrong = |field, text: String| ApiError::field(ErrorReason::SettingsInvalid, field, text);
    if queue.max_message_bytes > MAX_MAX_MESSAGE_BYTES {
        let text = format!("at most {MAX_MAX_MESSAGE_BYTES}; send what is larger in parts, or by reference");
        return Err(wrong("max_message_bytes", text).with_limit(MAX_MAX_MESSAGE_BYTES));
    }
    let SubscriptionSettings { lease_duration, max_attempts, dead_letter_queue } =
        queue.default_subscription.clone().unwrap_or_default();
    if max_attempts > MAX_MAX_ATTEMPTS {
        let error = wrong("default_subscription.max_attempts", format!("at most {MAX_MAX_ATTEMPTS}"));
        return Err(error.with_limit(MAX_MAX_ATTEMPTS));
    }
    let lease_duration_ms = lease_duration
        .as_ref()
        .map_or(Ok(0), |lease| convert::millis(LEASE_DURATION_FIELD, lease, LEASE_DURATION_MS))
        .map_err(|error| error.because(ErrorReason::SettingsInvalid))?;
    let dead_letter_queue = named_target(name, &dead_letter_queue)?;
    let dead_letter_queue = dead_letter_queue.map(|target| target.queue.to_string()).unwrap_or_default();
    let max_message_bytes = queue.max_message_bytes;
    Ok(QueueSettings { max_message_bytes, lease_duration_ms, max_attempts, dead_letter_queue })
}

/// The current definition with the fields of the wanted one that the mask names.
pub(super) fn merge(mut current: Queue, wanted: &Queue, mask: &FieldMask) -> Result<Queue, ApiError> {
    let from = wanted.default_subscription.clone().unwrap_or_default();
    let mut to = current.default_subscription.take().unwrap_or_default();
    for path in &mask.paths {
        match path.as_str() {
            "max_message_bytes" => current.max_message_bytes = wanted.max_message_bytes,
            "default_subscription" => to = from.clone(),
            "default_subscription.lease_duration" => to.lease_duration = from.lease_duration,
            "default_subscription.max_attempts" => to.max_attempts = from.max_attempts,
            "default_subscription.dead_letter_queue" => {
                to.dead_letter_queue.clone_from(&from.dead_letter_queue)
            }
            _ => {
                let text = "update_mask takes max_message_bytes, default_subscription and its fields \
                            lease_duration, max_attempts, dead_letter_queue";
                return Err(ApiError::field(ErrorReason::RequestInvalid, "update_mask", text.to_owned()));
            }
        }
    }
    if mask.paths.is_empty() {
        let text = "update_mask is empty; name the fields to change".to_owned();
        return Err(ApiError::field(ErrorReason::RequestInvalid, "update_mask", text));
    }
    current.default_subscription = Some(to);
    Ok(current)
}

/// The view of a queue that is not created yet.
pub(super) fn view_of_new(name: &QueueResource, settings: QueueSettings) -> QueueView {
    QueueView {
        department: DepartmentId(0),
        queue: QueueId(0),
        name: name.queue.to_string(),
        revision: 0,
        created_at_ms: 0,
        updated_at_ms: 0,
        settings,
    }
}
