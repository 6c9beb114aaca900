//! Requests that were done, and their repeats.

use bytes::Bytes;
use posthouse_engine::{
    outcome::{
        CreateQueueError, DeleteQueueError, Outcome, PurgeQueueError, RedriveError, Redriven,
        UpdateQueueError,
    },
    schema::{Command, Request},
};

use super::{Model, Queue};

const RETENTION: u64 = 24 * 3_600_000;
const LIMIT: usize = 1_024;

#[derive(Debug, Clone)]
pub struct Done {
    department: u32,
    tenant: u32,
    subject: String,
    id: String,
    digest: Bytes,
    at: u64,
    answered: Outcome,
}

/// The department, the kind and the request of a command; `None` without a request.
pub fn asked(command: &Command) -> Option<(u32, &Request)> {
    let (department, request) = match command {
        Command::CreateQueue(command) => (command.department, &command.request),
        Command::UpdateQueue(command) => (command.department, &command.request),
        Command::DeleteQueue(command) => (command.department, &command.request),
        Command::PurgeQueue(command) => (command.department, &command.request),
        Command::RedriveDeadLetters(command) => (command.department, &command.request),
        _ => return None,
    };
    request.as_deref().map(|request| (department, request))
}

impl Done {
    fn is_of(&self, department: u32, request: &Request) -> bool {
        self.is_by(department, request) && self.id == request.id
    }

    fn is_by(&self, department: u32, request: &Request) -> bool {
        (self.department, self.tenant, &self.subject) == (department, request.tenant, &request.subject)
    }
}

impl Model {
    pub fn once(&mut self, command: &Command, department: u32, request: &Request) -> Outcome {
        let open = self.department(department).is_ok();
        if let Some(done) = self.done.iter().find(|done| open && done.is_of(department, request)) {
            if done.digest != request.digest {
                self.noted.push("request id reused");
                return reused(command);
            }
            let answered = again(&done.answered);
            self.noted.push("repeated");
            if self.answers_deleted(&answered) {
                self.noted.push("repeated after its queue was deleted");
            }
            return answered;
        }
        if self.done.iter().any(|done| done.id == request.id && !done.is_by(department, request)) {
            self.noted.push("repeated by another");
        }
        let answered = self.make(command).unwrap();
        if !is_done(&answered) {
            return answered;
        }
        let theirs: Vec<usize> =
            (0..self.done.len()).filter(|at| self.done[*at].is_by(department, request)).collect();
        if theirs.len() == LIMIT {
            self.done.remove(theirs[0]);
        }
        self.done.push(Done {
            department,
            tenant: request.tenant,
            subject: request.subject.clone(),
            id: request.id.clone(),
            digest: request.digest.clone(),
            at: self.now,
            answered: answered.clone(),
        });
        answered
    }

    pub fn forget_requests(&mut self) {
        let (now, before) = (self.now, self.done.len());
        self.done.retain(|done| done.at + RETENTION > now);
        if self.done.len() < before {
            self.noted.push("request forgotten");
        }
    }

    fn answers_deleted(&self, answered: &Outcome) -> bool {
        let (Outcome::CreateQueue(Ok(view)) | Outcome::UpdateQueue(Ok(view))) = answered else {
            return false;
        };
        let is_this = |queue: &&Queue| (queue.id.department, queue.id.queue) == (view.department, view.queue);
        self.queues.iter().find(is_this).is_some_and(|queue| queue.deleted)
    }

    /// When the first request is forgotten.
    pub fn first_forgotten(&self) -> Option<u64> {
        self.done.iter().map(|done| done.at + RETENTION).min()
    }
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::CreateQueue(Ok(_))
            | Outcome::UpdateQueue(Ok(_))
            | Outcome::DeleteQueue(Ok(()))
            | Outcome::PurgeQueue(Ok(_))
            | Outcome::RedriveDeadLetters(Ok(_))
    )
}

/// The answer to a repeat. Of a redrive only the answer is remembered, not the outcomes.
fn again(answered: &Outcome) -> Outcome {
    match answered {
        Outcome::RedriveDeadLetters(Ok(redriven)) => {
            let answer = redriven.answer.clone();
            Outcome::RedriveDeadLetters(Ok(Redriven { outcomes: Vec::new(), answer }))
        }
        answered => answered.clone(),
    }
}

fn reused(command: &Command) -> Outcome {
    match command {
        Command::CreateQueue(_) => Outcome::CreateQueue(Err(CreateQueueError::RequestIdReused)),
        Command::UpdateQueue(_) => Outcome::UpdateQueue(Err(UpdateQueueError::RequestIdReused)),
        Command::DeleteQueue(_) => Outcome::DeleteQueue(Err(DeleteQueueError::RequestIdReused)),
        Command::PurgeQueue(_) => Outcome::PurgeQueue(Err(PurgeQueueError::RequestIdReused)),
        _ => Outcome::RedriveDeadLetters(Err(RedriveError::RequestIdReused)),
    }
}
