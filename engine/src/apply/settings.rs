//! The settings of a queue: defaults, limits, and which queue may be the dead-letter queue of another.

use crate::{
    halt::Halt,
    ids::{DepartmentId, QueueId},
    keys::{self, DeadLetterUseKey, QueueKey},
    kv::{Family, Kv as _},
    limits::{
        DEFAULT_LEASE_DURATION_MS, DEFAULT_MAX_ATTEMPTS, DEFAULT_MAX_MESSAGE_BYTES, LEASE_DURATION_MS,
        MAX_MAX_ATTEMPTS, MAX_MAX_MESSAGE_BYTES, MAX_NAME_BYTES,
    },
    machine::Transaction,
    outcome::SettingsError,
    schema::QueueSettings,
};

/// The settings with defaults in the place of zeros, if a queue of this name may have them.
pub(super) fn usable(
    txn: &Transaction<'_>,
    department: DepartmentId,
    name: &str,
    settings: QueueSettings,
) -> Result<Result<QueueSettings, SettingsError>, Halt> {
    let settings = settings.with_defaults();
    if let Some(field) = out_of_range(name, &settings) {
        return Ok(Err(SettingsError::OutOfRange(field)));
    }
    let target = &settings.dead_letter_queue;
    if target.is_empty() {
        return Ok(Ok(settings));
    }
    if target == name {
        return Ok(Err(SettingsError::DeadLetterSelf));
    }
    let chained = has_target(txn, department, target)? || is_target(txn, department, name)?;
    Ok(if chained { Err(SettingsError::DeadLetterChain) } else { Ok(settings) })
}

/// Records that a queue uses another as its dead-letter queue, or that it does not any more.
pub(super) fn record_target(
    txn: &mut Transaction<'_>,
    department: DepartmentId,
    queue: QueueId,
    target: &str,
    uses: bool,
) {
    if target.is_empty() {
        return;
    }
    let key = DeadLetterUseKey { department, target: target.into(), queue };
    if uses {
        txn.rows.put(&key, &());
    } else {
        txn.rows.delete(&key);
    }
}

impl QueueSettings {
    /// The settings with defaults in the place of zeros.
    #[must_use]
    pub fn with_defaults(self) -> Self {
        let or = |value, default| if value == 0 { default } else { value };
        Self {
            max_message_bytes: or(self.max_message_bytes, DEFAULT_MAX_MESSAGE_BYTES),
            max_attempts: or(self.max_attempts, DEFAULT_MAX_ATTEMPTS),
            lease_duration_ms: match self.lease_duration_ms {
                0 => DEFAULT_LEASE_DURATION_MS,
                duration => duration,
            },
            dead_letter_queue: self.dead_letter_queue,
        }
    }
}

fn out_of_range(name: &str, settings: &QueueSettings) -> Option<&'static str> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        Some("name")
    } else if settings.max_message_bytes > MAX_MAX_MESSAGE_BYTES {
        Some("max_message_bytes")
    } else if !LEASE_DURATION_MS.contains(&settings.lease_duration_ms) {
        Some("lease_duration")
    } else if settings.max_attempts > MAX_MAX_ATTEMPTS {
        Some("max_attempts")
    } else if settings.dead_letter_queue.len() > MAX_NAME_BYTES {
        Some("dead_letter_queue")
    } else {
        None
    }
}

/// Whether the queue of a name has a dead-letter queue.
fn has_target(txn: &Transaction<'_>, department: DepartmentId, name: &str) -> Result<bool, Halt> {
    let Some(queue) = txn.find_queue(department, name)? else { return Ok(false) };
    let settings = txn.rows.row(&QueueKey { queue })?.and_then(|row| row.settings);
    Ok(settings.is_some_and(|settings| !settings.dead_letter_queue.is_empty()))
}

/// Whether a queue uses the queue of a name as its dead-letter queue.
fn is_target(txn: &Transaction<'_>, department: DepartmentId, name: &str) -> Result<bool, Halt> {
    let users = DeadLetterUseKey::users(department, name);
    Ok(!txn.rows.range(Family::State, &users, &keys::after(&users), 1)?.is_empty())
}
