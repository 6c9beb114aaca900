//! Commands and timers of a department that is set aside: the ones are refused before anything of them is looked at, the others
//! wait until it is opened again.

use crate::{
    halt::Halt,
    ids::DepartmentId,
    keys::{ParkedTimerKey, TimerKey},
    machine::Transaction,
    outcome::{DepartmentError, Outcome, SubscriptionError},
    schema::Command,
};

/// The department that a command names.
pub(crate) const fn department_of(command: &Command) -> Option<DepartmentId> {
    Some(DepartmentId(match command {
        Command::LeaderStarted(_) | Command::Advance(_) => return None,
        Command::ConfigureDepartment(command) => command.department,
        Command::CreateQueue(command) => command.department,
        Command::UpdateQueue(command) => command.department,
        Command::DeleteQueue(command) => command.department,
        Command::PurgeQueue(command) => command.department,
        Command::Publish(command) => command.department,
        Command::Grant(command) => command.department,
        Command::Settle(command) => command.department,
        Command::Extend(command) => command.department,
        Command::ReleaseHolder(command) => command.department,
        Command::RedriveDeadLetters(command) => command.department,
    }))
}

/// The answer to a command whose department is set aside.
pub(super) fn refusal(txn: &mut Transaction<'_>, command: &Command) -> Result<Option<Outcome>, Halt> {
    const SET_ASIDE: DepartmentError = DepartmentError::SetAside;
    const SUBSCRIPTION: SubscriptionError = SubscriptionError::Department(SET_ASIDE);
    let Some(department) = department_of(command) else { return Ok(None) };
    if !txn.is_set_aside(department)? {
        return Ok(None);
    }
    Ok(match command {
        // What the configuration says is noted, and opens nothing.
        Command::ConfigureDepartment(_) | Command::LeaderStarted(_) | Command::Advance(_) => None,
        Command::CreateQueue(_) => Some(Outcome::CreateQueue(Err(SET_ASIDE.into()))),
        Command::UpdateQueue(_) => Some(Outcome::UpdateQueue(Err(SET_ASIDE.into()))),
        Command::DeleteQueue(_) => Some(Outcome::DeleteQueue(Err(SET_ASIDE.into()))),
        Command::PurgeQueue(_) => Some(Outcome::PurgeQueue(Err(SET_ASIDE.into()))),
        Command::Publish(_) => Some(Outcome::Publish(Err(SET_ASIDE.into()))),
        Command::Grant(_) => Some(Outcome::Grant(Err(SUBSCRIPTION))),
        Command::Settle(_) => Some(Outcome::Settle(Err(SUBSCRIPTION))),
        Command::Extend(_) => Some(Outcome::Extend(Err(SUBSCRIPTION))),
        Command::ReleaseHolder(_) => Some(Outcome::ReleaseHolder(Err(SUBSCRIPTION))),
        Command::RedriveDeadLetters(_) => Some(Outcome::RedriveDeadLetters(Err(SUBSCRIPTION.into()))),
    })
}

/// Whether a timer that is due has been put where it waits, because its department is set aside.
pub(super) fn park(txn: &mut Transaction<'_>, timer: &TimerKey) -> Result<bool, Halt> {
    let department = timer.timer.department();
    let parked = txn.is_set_aside(department)?;
    if parked {
        txn.rows.put(&ParkedTimerKey { department, timer: timer.clone() }, &());
    }
    Ok(parked)
}
