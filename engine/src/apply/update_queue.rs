//! Changes the settings of a queue.

use super::settings;
use crate::{
    effect::Effect,
    halt::Halt,
    ids::DepartmentId,
    keys::QueueKey,
    machine::Transaction,
    outcome::{QueueView, UpdateQueueError},
    schema::{QueueSettings, UpdateQueue},
    state::Queue,
};

pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: UpdateQueue,
) -> Result<Result<QueueView, UpdateQueueError>, Halt> {
    let department = DepartmentId(command.department);
    if let Err(error) = txn.open_department(department)? {
        return Ok(Err(error.into()));
    }
    let Some(id) = txn.find_queue(department, &command.name)? else {
        return Ok(Err(UpdateQueueError::NotFound));
    };
    let requested = command.settings.ok_or(Halt::Malformed("an update without settings"))?;
    let settings = settings::usable(txn, department, &command.name, requested)?;
    let Some(mut queue) = txn.borrow_queue(id)? else {
        return Err(Halt::Corrupt(format!("queue {id:?} has a name but no definition")));
    };
    let revision = queue.definition.revision;
    let updated = if command.expected_revision != 0 && command.expected_revision != revision {
        Err(UpdateQueueError::RevisionMismatch(revision))
    } else {
        settings.map_err(UpdateQueueError::Settings).map(|settings| {
            update(txn, &mut queue, settings);
            queue.view()
        })
    };
    txn.return_queue(queue);
    Ok(updated)
}

/// If the settings are the same, the revision does not change.
fn update(txn: &mut Transaction<'_>, queue: &mut Queue, settings: QueueSettings) {
    if queue.settings == settings {
        return;
    }
    let id = queue.id;
    settings::record_target(txn, id.department, id.queue, &queue.settings.dead_letter_queue, false);
    settings::record_target(txn, id.department, id.queue, &settings.dead_letter_queue, true);
    queue.definition.settings = Some(settings.clone());
    queue.definition.revision += 1;
    queue.definition.updated_at_ms = txn.wall;
    queue.settings = settings;
    txn.rows.put(&QueueKey { queue: id }, &queue.definition);
    txn.effects.push(Effect::Redefined(id));
}
