//! Departments that are set aside: commands are refused before any of their fields but the department is read, and
//! timers that are due wait until the department is opened again.

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
        // The configuration is recorded, and does not open the department.
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

/// Parks a timer that is due if its department is set aside. Returns whether it did.
pub(super) fn park(txn: &mut Transaction<'_>, timer: &TimerKey) -> Result<bool, Halt> {
    let department = timer.timer.department();
    let parked = txn.is_set_aside(department)?;
    if parked {
        txn.rows.put(&ParkedTimerKey { department, timer: timer.clone() }, &());
    }
    Ok(parked)
}
