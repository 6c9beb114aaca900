//! How each command is applied: one verb a file.

mod advance;
mod close_lease;
mod configure_department;
mod create_queue;
mod dead_letter;
mod delete_queue;
pub(crate) mod entry;
mod expire;
mod extend;
pub(crate) mod failure;
mod grant;
mod leader_started;
pub(crate) mod message;
mod producer;
mod publish;
mod publisher;
mod purge_queue;
mod redrive;
mod redrive_answer;
mod release_holder;
pub(crate) mod request;
mod set_aside;
mod settings;
mod settle;
mod token;
mod update_queue;

pub(crate) use set_aside::department_of;

use crate::{
    halt::Halt,
    ids::{DepartmentId, Lane, QueueId, QueueRef, SubscriptionId, SubscriptionRef},
    machine::Transaction,
    outcome::{Change, Outcome, SubscriptionError},
    schema::Command,
    state::SubscriptionContext,
};

/// Applies one command.
pub(crate) fn command(txn: &mut Transaction<'_>, command: Command) -> Result<Outcome, Halt> {
    if let Some(refused) = set_aside::refusal(txn, &command)? {
        return Ok(refused);
    }
    Ok(match command {
        Command::LeaderStarted(_) => leader_started::apply(txn),
        Command::ConfigureDepartment(command) => {
            Outcome::ConfigureDepartment(configure_department::apply(txn, &command)?)
        }
        Command::CreateQueue(command) => {
            let requested = request::of(txn, Change::Create, command.department, command.request.as_deref());
            request::once(txn, requested, |txn| Ok(Outcome::CreateQueue(create_queue::apply(txn, command)?)))?
        }
        Command::UpdateQueue(command) => {
            let requested = request::of(txn, Change::Update, command.department, command.request.as_deref());
            request::once(txn, requested, |txn| Ok(Outcome::UpdateQueue(update_queue::apply(txn, command)?)))?
        }
        Command::DeleteQueue(command) => {
            let requested = request::of(txn, Change::Delete, command.department, command.request.as_deref());
            request::once(txn, requested, |txn| {
                Ok(Outcome::DeleteQueue(delete_queue::apply(txn, &command)?))
            })?
        }
        Command::PurgeQueue(command) => {
            let requested = request::of(txn, Change::Purge, command.department, command.request.as_deref());
            request::once(txn, requested, |txn| Ok(Outcome::PurgeQueue(purge_queue::apply(txn, &command)?)))?
        }
        Command::Publish(command) => Outcome::Publish(publish::apply(txn, command)?),
        Command::Grant(command) => Outcome::Grant(grant::apply(txn, command)?),
        Command::Settle(command) => Outcome::Settle(settle::apply(txn, &command)?),
        Command::Extend(command) => Outcome::Extend(extend::apply(txn, &command)?),
        Command::ReleaseHolder(command) => Outcome::ReleaseHolder(release_holder::apply(txn, &command)?),
        Command::Advance(command) => Outcome::Advance(advance::apply(txn, &command)?),
        Command::RedriveDeadLetters(command) => {
            let requested = request::of(txn, Change::Redrive, command.department, command.request.as_deref());
            request::once(txn, requested, |txn| {
                Ok(Outcome::RedriveDeadLetters(redrive::apply(txn, &command)?))
            })?
        }
    })
}

fn queue_ref(department: u32, queue: u32) -> QueueRef {
    QueueRef { department: DepartmentId(department), queue: QueueId(queue) }
}

fn subscription_ref(department: u32, queue: u32, subscription: u32) -> SubscriptionRef {
    SubscriptionRef { queue: queue_ref(department, queue), subscription: SubscriptionId(subscription) }
}

/// The lane that a command names.
fn lane(number: u32) -> Result<Lane, Halt> {
    Lane::of(number).ok_or(Halt::Malformed("a lane but the default"))
}

/// Runs a command on a subscription of an open department.
fn on_subscription<T>(
    txn: &mut Transaction<'_>,
    id: SubscriptionRef,
    run: impl FnOnce(&mut Transaction<'_>, SubscriptionContext<'_>) -> Result<T, Halt>,
) -> Result<Result<T, SubscriptionError>, Halt> {
    if let Err(error) = txn.open_department(id.queue.department)? {
        return Ok(Err(error.into()));
    }
    on_any_subscription(txn, id, run)
}

/// Runs on a subscription whatever the state of its department: timers fire in a closed one too.
fn on_any_subscription<T>(
    txn: &mut Transaction<'_>,
    id: SubscriptionRef,
    run: impl FnOnce(&mut Transaction<'_>, SubscriptionContext<'_>) -> Result<T, Halt>,
) -> Result<Result<T, SubscriptionError>, Halt> {
    let Some(mut queue) = txn.borrow_queue(id.queue)? else {
        return Ok(Err(SubscriptionError::QueueNotFound));
    };
    let done = match queue.context(id.subscription) {
        Some(context) => Ok(run(txn, context)?),
        None => Err(SubscriptionError::SubscriptionNotFound),
    };
    txn.return_queue(queue);
    Ok(done)
}
