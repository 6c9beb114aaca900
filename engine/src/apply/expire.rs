//! A lease's timer is due: what is still open and past its deadline is lost to the holder.

use super::{close_lease, failure};
use crate::{
    halt::Halt,
    ids::LeaseId,
    keys::Timer,
    machine::Turn,
    state::{Index, Place},
};

pub(super) fn due(
    turn: &mut Turn<'_>,
    place: &mut Place<'_>,
    lease: LeaseId,
    due_ms: u64,
) -> Result<(), Halt> {
    let held = &mut *place.subscription;
    let Some(open) = held.leases.get_mut(&lease.0).filter(|open| open.timer_ms == due_ms) else {
        return Ok(());
    };
    let now = turn.now;
    let over: Vec<usize> = open.open().filter(|index| open.deadline(*index) <= now).collect();
    let mut lost = Vec::with_capacity(over.len());
    for index in over {
        open.end(index, Index::Lost)?;
        lost.push((open.sequences[index], open.attempt(index)));
    }
    turn.tally.expired += lost.len() as u64;
    let counts = open.leader_epoch == turn.shard_row.leader_epoch;
    let next = open.first_deadline();
    if let Some(next) = next {
        open.timer_ms = next;
        turn.put_timer(next, Timer::Lease(held.id, lease));
    }
    held.lease_changed(lease.0);
    held.sums().expired += lost.len() as u64;
    for (sequence, attempt) in lost {
        place.subscription.unlease(sequence)?;
        if counts {
            failure::failed(turn, place, sequence, attempt, 0)?;
        } else {
            failure::came_back(turn, place.subscription, sequence);
        }
    }
    if next.is_none() {
        close_lease::close(turn, place.subscription, lease.0)?;
    }
    Ok(())
}
