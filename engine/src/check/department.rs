//! Checks a department: its names and its queues are the same, and its counts are right.

use super::rows::{Department, Rows};
use crate::ids::{DepartmentId, QueueId, QueueRef};

pub(super) fn check(rows: &Rows, id: DepartmentId, department: &Department, problems: &mut Vec<String>) {
    let mut report = |problem: String| problems.push(format!("department {id}: {problem}"));
    let of_this = QueueRef { department: id, queue: QueueId(0) }..=QueueRef {
        department: id,
        queue: QueueId(u32::MAX),
    };
    let queues: Vec<_> = rows.queues.range(of_this).collect();
    if queues.len() != department.row.queues as usize || queues.len() != department.names.len() {
        let (counted, names) = (department.row.queues, department.names.len());
        report(format!("{} queues, counted as {counted}, with {names} names", queues.len()));
    }
    if department.has_reason != department.row.set_aside {
        report(format!("set aside: {}, and says why: {}", department.row.set_aside, department.has_reason));
    }
    if department.parked_timers > 0 && !department.row.set_aside {
        report(format!("{} timers wait for it to be opened, and it is open", department.parked_timers));
    }
    let stored: u64 =
        queues.iter().filter_map(|(_, held)| held.head.as_ref()).map(|head| head.stored_bytes).sum();
    if stored != department.row.stored_bytes {
        report(format!("its queues hold {stored} bytes, counted as {}", department.row.stored_bytes));
    }
    let mut uses = Vec::new();
    for (queue, held) in queues {
        if queue.queue.0 == 0 || queue.queue.0 >= department.row.next_queue {
            report(format!("queue {} was never allocated", queue.queue));
        }
        let Some(definition) = &held.definition else { continue };
        if department.names.get(&definition.name) != Some(&queue.queue) {
            report(format!("queue {} is not found by its name", queue.queue));
        }
        let target = definition.settings.as_ref().map_or("", |settings| &settings.dead_letter_queue);
        if !target.is_empty() {
            uses.push((target.to_owned(), queue.queue));
        }
    }
    uses.sort_unstable();
    if !department.uses.iter().eq(&uses) {
        report(format!("dead-letter queues are {uses:?}, recorded as {:?}", department.uses));
    }
}
