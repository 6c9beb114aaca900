//! Requests with an id. A request that was done is remembered for a day, and its repeat gets the same answer. A
//! request that was refused changed nothing: it is not remembered, and its repeat is tried again.

use crate::{
    halt::Halt,
    ids::{DepartmentId, QueueId, QueueRef, TenantId},
    keys::{RequestKey, RequestOrderKey, Requester, RequesterKey, Timer},
    limits::{
        MAX_REQUEST_ID_BYTES, MAX_REQUESTS, REQUEST_DIGEST_BYTES, REQUEST_RETENTION_MS, REQUESTS_PER_TIMER,
        VERSION_OF_WALL_TIME,
    },
    machine::Transaction,
    outcome::{
        Change, CreateQueueError, DeleteQueueError, Outcome, PurgeQueueError, QueueView, RedriveError,
        Redriven, UpdateQueueError,
    },
    overlay::Overlay,
    schema::{
        QueueRow, Request, RequestOrderRow, RequestRow, RequesterRow,
        request_row::{Answer, EmptyAnswer, QueueAnswer},
    },
    state,
};

/// The change that a command makes, with its request.
pub(super) struct RequestedChange {
    change: Change,
    department: DepartmentId,
    request: Request,
}

/// The request of a command, if it has one and its batch knows of requests.
pub(super) fn of(
    txn: &Transaction<'_>,
    change: Change,
    department: u32,
    request: Option<&Request>,
) -> Option<RequestedChange> {
    let request = request.filter(|_| txn.version >= VERSION_OF_WALL_TIME)?.clone();
    Some(RequestedChange { change, department: DepartmentId(department), request })
}

/// Makes a change, unless its request was done before: then returns the earlier answer.
pub(super) fn once(
    txn: &mut Transaction<'_>,
    requested: Option<RequestedChange>,
    make: impl FnOnce(&mut Transaction<'_>) -> Result<Outcome, Halt>,
) -> Result<Outcome, Halt> {
    let Some(RequestedChange { change, department, request }) = requested else { return make(txn) };
    check(&request)?;
    // In a closed department nothing is done and no earlier answer is given: the change itself is refused.
    if txn.open_department(department)?.is_err() {
        return make(txn);
    }
    if let Some(outcome) = find(&txn.rows, department, &request, change)? {
        return Ok(outcome);
    }
    let outcome = make(txn)?;
    if let Some(answer) = answer(&outcome) {
        remember(txn, department, request, answer)?;
    }
    Ok(outcome)
}

/// The outcome of a request that is remembered; a refusal, if its id is another request's.
pub(crate) fn find(
    rows: &Overlay<'_>,
    department: DepartmentId,
    request: &Request,
    change: Change,
) -> Result<Option<Outcome>, Halt> {
    let key = RequestKey { requester: requester(department, request), id: request.id.clone() };
    let Some(row) = rows.row(&key)? else { return Ok(None) };
    let Some(answer) = row.answer else {
        return Err(Halt::Corrupt(format!(
            "request {} of department {department} has no answer",
            row.number
        )));
    };
    if row.digest != request.digest {
        return Ok(Some(reused(change)));
    }
    Ok(Some(match (change, answer) {
        (Change::Create, Answer::Created(answer)) => Outcome::CreateQueue(Ok(view(department, answer)?)),
        (Change::Update, Answer::Updated(answer)) => Outcome::UpdateQueue(Ok(view(department, answer)?)),
        (Change::Delete, Answer::Deleted(_)) => Outcome::DeleteQueue(Ok(())),
        (Change::Purge, Answer::Purged(purged)) => Outcome::PurgeQueue(Ok(purged)),
        (Change::Redrive, Answer::Redriven(answer)) => {
            Outcome::RedriveDeadLetters(Ok(Redriven { outcomes: Vec::new(), answer }))
        }
        _ => reused(change),
    }))
}

/// The timer of a requester: forgets the requests that are old enough, and sets the timer for the next.
pub(super) fn due(txn: &mut Transaction<'_>, requester: Requester) -> Result<(), Halt> {
    let key = RequesterKey { requester };
    let Some(mut row) = txn.rows.row(&key)? else { return Ok(()) };
    let mut forgotten = 0;
    while row.first < row.next {
        let oldest = order(&txn.rows, &key.requester, row.first)?;
        let forget_at = oldest.done_at_ms.saturating_add(REQUEST_RETENTION_MS);
        if forget_at > txn.now || forgotten == REQUESTS_PER_TIMER {
            txn.put_timer(forget_at.max(txn.now), Timer::Requests(key.requester.clone()));
            txn.rows.put(&key, &row);
            return Ok(());
        }
        forget(txn, &key.requester, &mut row, oldest);
        forgotten += 1;
    }
    txn.rows.delete(&key);
    Ok(())
}

fn remember(
    txn: &mut Transaction<'_>,
    department: DepartmentId,
    request: Request,
    answer: Answer,
) -> Result<(), Halt> {
    let requester = requester(department, &request);
    let key = RequesterKey { requester: requester.clone() };
    let mut row = match txn.rows.row(&key)? {
        Some(row) => row,
        None => {
            txn.put_timer(txn.after(REQUEST_RETENTION_MS), Timer::Requests(requester.clone()));
            RequesterRow { first: 1, next: 1 }
        }
    };
    if row.next - row.first >= MAX_REQUESTS {
        let oldest = order(&txn.rows, &requester, row.first)?;
        forget(txn, &requester, &mut row, oldest);
    }
    let number = row.next;
    row.next += 1;
    txn.rows.put(&key, &row);
    let order = RequestOrderRow { id: request.id.clone(), done_at_ms: txn.now };
    txn.rows.put(&RequestOrderKey { requester: requester.clone(), number }, &order);
    let done = RequestRow { digest: request.digest, number, answer: Some(answer) };
    txn.rows.put(&RequestKey { requester, id: request.id }, &done);
    Ok(())
}

fn forget(txn: &mut Transaction<'_>, requester: &Requester, row: &mut RequesterRow, oldest: RequestOrderRow) {
    txn.rows.delete(&RequestKey { requester: requester.clone(), id: oldest.id });
    txn.rows.delete(&RequestOrderKey { requester: requester.clone(), number: row.first });
    row.first += 1;
}

fn order(rows: &Overlay<'_>, requester: &Requester, number: u64) -> Result<RequestOrderRow, Halt> {
    let row = rows.row(&RequestOrderKey { requester: requester.clone(), number })?;
    row.ok_or_else(|| Halt::Corrupt(format!("request {number} of {requester:?} is not in order")))
}

fn check(request: &Request) -> Result<(), Halt> {
    let id = 1..=MAX_REQUEST_ID_BYTES;
    let subject = request.subject.len() <= usize::from(u16::MAX);
    if id.contains(&request.id.len()) && subject && request.digest.len() == REQUEST_DIGEST_BYTES {
        Ok(())
    } else {
        Err(Halt::Malformed("a request without its id or its digest"))
    }
}

fn requester(department: DepartmentId, request: &Request) -> Requester {
    Requester { department, tenant: TenantId(request.tenant), subject: request.subject.clone() }
}

/// The answer that is remembered of a change; `None` if the change was refused.
fn answer(outcome: &Outcome) -> Option<Answer> {
    match outcome {
        Outcome::CreateQueue(Ok(view)) => Some(Answer::Created(queue_answer(view))),
        Outcome::UpdateQueue(Ok(view)) => Some(Answer::Updated(queue_answer(view))),
        Outcome::DeleteQueue(Ok(())) => Some(Answer::Deleted(EmptyAnswer {})),
        Outcome::PurgeQueue(Ok(purged)) => Some(Answer::Purged(*purged)),
        Outcome::RedriveDeadLetters(Ok(redriven)) => Some(Answer::Redriven(redriven.answer.clone())),
        _ => None,
    }
}

fn queue_answer(view: &QueueView) -> QueueAnswer {
    let definition = QueueRow {
        name: view.name.clone(),
        revision: view.revision,
        created_at_ms: view.created_at_ms,
        updated_at_ms: view.updated_at_ms,
        settings: Some(view.settings.clone()),
        request_id: String::new(),
    };
    QueueAnswer { queue: view.queue.0, definition: Some(definition) }
}

fn view(department: DepartmentId, answer: QueueAnswer) -> Result<QueueView, Halt> {
    let queue = QueueRef { department, queue: QueueId(answer.queue) };
    let definition = answer.definition.unwrap_or_default();
    match &definition.settings {
        Some(settings) => Ok(state::view(queue, &definition, settings)),
        None => Err(Halt::Corrupt(format!("the answer of a request has {queue:?} without its definition"))),
    }
}

const fn reused(change: Change) -> Outcome {
    match change {
        Change::Create => Outcome::CreateQueue(Err(CreateQueueError::RequestIdReused)),
        Change::Update => Outcome::UpdateQueue(Err(UpdateQueueError::RequestIdReused)),
        Change::Delete => Outcome::DeleteQueue(Err(DeleteQueueError::RequestIdReused)),
        Change::Purge => Outcome::PurgeQueue(Err(PurgeQueueError::RequestIdReused)),
        Change::Redrive => Outcome::RedriveDeadLetters(Err(RedriveError::RequestIdReused)),
    }
}
