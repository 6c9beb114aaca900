//! A queue's settings change.

use super::settings;
use crate::{
    effect::Effect,
    halt::Halt,
    ids::DepartmentId,
    keys::QueueKey,
    machine::Turn,
    outcome::{QueueView, UpdateQueueError},
    schema::{QueueSettings, UpdateQueue},
    state::Queue,
};

pub(super) fn apply(
    turn: &mut Turn<'_>,
    command: UpdateQueue,
) -> Result<Result<QueueView, UpdateQueueError>, Halt> {
    let department = DepartmentId(command.department);
    if let Err(error) = turn.open_department(department)? {
        return Ok(Err(error.into()));
    }
    let Some(id) = turn.find_queue(department, &command.name)? else {
        return Ok(Err(UpdateQueueError::NotFound));
    };
    let given = command.settings.ok_or(Halt::Malformed("an update without settings"))?;
    let settings = settings::usable(turn, department, &command.name, given)?;
    let Some(mut queue) = turn.take(id)? else {
        return Err(Halt::Corrupt(format!("queue {id:?} has a name but no definition")));
    };
    let revision = queue.definition.revision;
    let updated = if command.expected_revision != 0 && command.expected_revision != revision {
        Err(UpdateQueueError::RevisionMismatch(revision))
    } else {
        settings.map_err(UpdateQueueError::Settings).map(|settings| {
            update(turn, &mut queue, settings);
            queue.view()
        })
    };
    turn.give(queue);
    Ok(updated)
}

/// A definition that stays the same keeps its revision.
fn update(turn: &mut Turn<'_>, queue: &mut Queue, settings: QueueSettings) {
    if queue.settings == settings {
        return;
    }
    let id = queue.id;
    settings::note_target(turn, id.department, id.queue, &queue.settings.dead_letter_queue, false);
    settings::note_target(turn, id.department, id.queue, &settings.dead_letter_queue, true);
    queue.definition.settings = Some(settings.clone());
    queue.definition.revision += 1;
    queue.definition.updated_at_ms = turn.wall;
    queue.settings = settings;
    turn.rows.put(&QueueKey { queue: id }, &queue.definition);
    turn.effects.push(Effect::Redefined(id));
}
