//! Creates a queue with one subscription.

use super::settings;
use crate::{
    halt::Halt,
    ids::{
        DEFAULT_SUBSCRIPTION, DEFAULT_SUBSCRIPTION_NAME, DepartmentId, QueueId, QueueRef, SubscriptionRef,
    },
    keys::{HeadKey, QueueKey, QueueNameKey, SubscriptionKey},
    limits::{MAX_QUEUES, VERSION_OF_WALL_TIME},
    machine::Transaction,
    outcome::{CreateQueueError, QueueView},
    schema::{CreateQueue, DepartmentRow, QueueHeadRow, QueueNameRow, QueueRow, SubscriptionRow},
    state::view,
};

pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: CreateQueue,
) -> Result<Result<QueueView, CreateQueueError>, Halt> {
    let id = DepartmentId(command.department);
    let department = match txn.open_department(id)? {
        Ok(row) => *row,
        Err(error) => return Ok(Err(error.into())),
    };
    if let Some(queue) = txn.find_queue(id, &command.name)? {
        let request = command.request.as_deref().filter(|_| txn.version >= VERSION_OF_WALL_TIME);
        let request_id = request.map_or(&command.request_id, |request| &request.id);
        return existing(txn, queue, request_id);
    }
    if department.queues >= MAX_QUEUES {
        return Ok(Err(CreateQueueError::TooMany(MAX_QUEUES)));
    }
    let requested = command.settings.unwrap_or_default();
    let settings = match settings::usable(txn, id, &command.name, requested)? {
        Ok(settings) => settings,
        Err(error) => return Ok(Err(CreateQueueError::Settings(error))),
    };
    let queue = QueueRef { department: id, queue: QueueId(department.next_queue) };
    settings::record_target(txn, id, queue.queue, &settings.dead_letter_queue, true);
    let row = QueueRow {
        name: command.name,
        revision: 1,
        created_at_ms: txn.wall,
        updated_at_ms: txn.wall,
        settings: Some(settings.clone()),
        request_id: command.request_id,
    };
    let Some(next_queue) = department.next_queue.checked_add(1) else {
        return Err(Halt::Invariant(format!("department {id} has used up its queue ids")));
    };
    let queues = department.queues + 1;
    txn.put_department(id, DepartmentRow { next_queue, queues, ..department });
    put_rows(txn, queue, &row);
    Ok(Ok(view(queue, &row, &settings)))
}

/// The answer if the name is taken. Before requests were remembered, the queue itself knew the call that created it:
/// a repeat of that call is answered as the first was.
fn existing(
    txn: &mut Transaction<'_>,
    id: QueueRef,
    request_id: &str,
) -> Result<Result<QueueView, CreateQueueError>, Halt> {
    let Some(queue) = txn.borrow_queue(id)? else {
        return Err(Halt::Corrupt(format!("queue {id:?} has a name but no definition")));
    };
    let repeated = !request_id.is_empty() && queue.definition.request_id == request_id;
    let view = queue.view();
    txn.return_queue(queue);
    Ok(if repeated { Ok(view) } else { Err(CreateQueueError::AlreadyExists) })
}

fn put_rows(txn: &mut Transaction<'_>, queue: QueueRef, row: &QueueRow) {
    let name = QueueNameKey { department: queue.department, name: row.name.clone() };
    txn.rows.put(&name, &QueueNameRow { queue: queue.queue.0 });
    txn.rows.put(&QueueKey { queue }, row);
    let head = QueueHeadRow { next_sequence: 1, trimmed: 1, passed: 1, ..QueueHeadRow::default() };
    txn.rows.put(&HeadKey { queue }, &head);
    let subscription = SubscriptionRef { queue, subscription: DEFAULT_SUBSCRIPTION };
    let row = SubscriptionRow {
        name: DEFAULT_SUBSCRIPTION_NAME.into(),
        next_lease: 1,
        first_open: 1,
        floor: 1,
        ..SubscriptionRow::default()
    };
    txn.rows.put(&SubscriptionKey { subscription }, &row);
}
