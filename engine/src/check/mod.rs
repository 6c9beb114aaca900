//! The invariants of a shard's rows. Tests check them after every step, `posthouse store check` on a stopped server.

mod ack;
mod department;
mod leases;
mod producers;
mod queue;
mod requests;
mod rows;

use crate::{
    ids::{DepartmentId, ShardId},
    kv::Kv,
};
use rows::Rows;

/// Checks all rows of a shard against each other.
///
/// # Errors
/// The problems, a line each.
pub fn check(shard: ShardId, kv: &dyn Kv) -> Result<(), Vec<String>> {
    check_some(shard, None, kv)
}

/// Checks the rows of one department of a shard.
///
/// # Errors
/// The problems, a line each.
pub fn check_department(shard: ShardId, department: DepartmentId, kv: &dyn Kv) -> Result<(), Vec<String>> {
    check_some(shard, Some(department), kv)
}

fn check_some(shard: ShardId, only: Option<DepartmentId>, kv: &dyn Kv) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    match Rows::read(shard, only, kv, &mut problems) {
        Err(halt) => problems.push(halt.to_string()),
        Ok(rows) => {
            for (timer, dues) in &rows.timers {
                if dues.first().is_some_and(|due| *due < rows.shard.fired_ms) {
                    problems.push(format!("{timer:?} is due before {}", rows.shard.fired_ms));
                }
            }
            for (id, department) in &rows.departments {
                department::check(&rows, *id, department, &mut problems);
            }
            for (requester, held) in &rows.requesters {
                requests::check(&rows, requester, held, &mut problems);
            }
            for (id, queue) in &rows.queues {
                queue::check(&rows, *id, queue, &mut problems);
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
