//! Deletes a queue: its rows at once, its timers when they fire.

use super::settings;
use crate::{
    effect::Effect,
    halt::Halt,
    ids::DepartmentId,
    keys::{self, QueueNameKey},
    kv::Family,
    machine::Transaction,
    outcome::DeleteQueueError,
    schema::{DeleteQueue, DepartmentRow},
};

pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: &DeleteQueue,
) -> Result<Result<(), DeleteQueueError>, Halt> {
    let department = DepartmentId(command.department);
    let row = match txn.open_department(department)? {
        Ok(row) => *row,
        Err(error) => return Ok(Err(error.into())),
    };
    let Some(id) = txn.find_queue(department, &command.name)? else {
        return Ok(Err(DeleteQueueError::NotFound));
    };
    let Some(queue) = txn.borrow_queue(id)? else {
        return Err(Halt::Corrupt(format!("queue {id:?} has a name but no definition")));
    };
    let revision = queue.definition.revision;
    if command.expected_revision != 0 && command.expected_revision != revision {
        txn.return_queue(queue);
        return Ok(Err(DeleteQueueError::RevisionMismatch(revision)));
    }
    for family in [Family::Body, Family::Entry, Family::State] {
        txn.rows.delete_prefix(family, keys::queue_prefix(id));
    }
    txn.rows.delete(&QueueNameKey { department, name: command.name.clone() });
    settings::record_target(txn, department, id.queue, &queue.settings.dead_letter_queue, false);
    txn.put_department(department, DepartmentRow { queues: row.queues.saturating_sub(1), ..row });
    txn.forget(&queue);
    txn.effects.push(Effect::Deleted(id));
    Ok(Ok(()))
}
