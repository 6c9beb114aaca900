//! Commands that may have a request.

use bytes::Bytes;
use posthouse_engine::schema::{
    Command, CreateQueue, DeleteQueue, PurgeQueue, QueueSettings, RedriveDeadLetters, Request, UpdateQueue,
};
use prost::Message;

use super::{Driver, NAMES};
use crate::op::{self, Choice, Op};

impl Driver {
    /// A change of a queue's definition, or a repeat of one.
    pub(super) fn define(&mut self, op: &Op) {
        match op {
            Op::Create { department, name, attempts, target, request } => {
                let (name, settings) = (NAMES[*name as usize].into(), Some(settings(*attempts, *target)));
                let mut command = CreateQueue {
                    department: 1 + u32::from(*department),
                    name,
                    settings,
                    ..CreateQueue::default()
                };
                if let op::Request::Old(id) = request {
                    command.request_id = format!("request {id}");
                }
                let request = asked(*request, "create", &command);
                self.change(Command::CreateQueue(CreateQueue { request, ..command }));
            }
            Op::Update { name, attempts, target, revision, request } => {
                let (name, settings) = (NAMES[*name as usize].into(), Some(settings(*attempts, *target)));
                let expected_revision = u64::from(*revision);
                let command = UpdateQueue { department: 1, name, settings, expected_revision, request: None };
                let request = asked(*request, "update", &command);
                self.change(Command::UpdateQueue(UpdateQueue { request, ..command }));
            }
            Op::Delete { name, revision, request } => {
                let (name, expected_revision) = (NAMES[*name as usize].into(), u64::from(*revision));
                let command = DeleteQueue { department: 1, name, expected_revision, request: None };
                let request = asked(*request, "delete", &command);
                self.change(Command::DeleteQueue(DeleteQueue { request, ..command }));
            }
            Op::Purge { name, request } => {
                let command = PurgeQueue { department: 1, name: NAMES[*name as usize].into(), request: None };
                let request = asked(*request, "purge", &command);
                self.change(Command::PurgeQueue(PurgeQueue { request, ..command }));
            }
            Op::Repeat { change } => {
                let recent = self.changes.len().min(8);
                let Some(back) = (*change as usize).checked_rem(recent) else { return };
                self.send(self.changes[self.changes.len() - 1 - back].clone());
            }
            _ => unreachable!(),
        }
    }

    /// A redrive, mostly of a queue that has dead letters, and of these.
    pub(super) fn redrive(
        &mut self,
        choice: Choice,
        picks: &[Choice],
        passed_over: &[u8],
        target: Option<Choice>,
        request: op::Request,
    ) {
        let queues = &self.model.queues;
        let with: Vec<_> = queues.iter().filter(|queue| !queue.dead_letters().is_empty()).collect();
        let id = match (choice as usize / 4).checked_rem(with.len()) {
            Some(at) if !choice.is_multiple_of(4) => with[at].id,
            _ => match self.queue(choice) {
                Some(id) => id,
                None => return,
            },
        };
        let held = queues.iter().find(|queue| queue.id == id).unwrap();
        let dead = held.dead_letters();
        let pick = |pick: &Choice| match dead.get(*pick as usize % (dead.len() + 2)) {
            Some(sequence) => *sequence,
            None => u64::from(*pick) % (held.messages.len() as u64 + 3),
        };
        let sequences: Vec<u64> = picks.iter().map(pick).collect();
        let command = RedriveDeadLetters {
            department: id.department.0,
            queue: id.queue.0,
            subscription: 1,
            target_queue: target.map_or(0, |target| 1 + u32::from(target) % 6),
            passed_over: passed_over.iter().copied().take(sequences.len()).collect(),
            next_sequence: u64::from(choice % 3) * held.messages.len() as u64,
            origins: sequences.iter().take(choice as usize % 3).map(u64::to_string).collect(),
            sequences,
            request: None,
        };
        let request = asked(request, "redrive", &command);
        self.change(Command::RedriveDeadLetters(RedriveDeadLetters { request, ..command }));
    }

    fn change(&mut self, command: Command) {
        if format!("{command:?}").contains("request: Some") {
            self.changes.push(command.clone());
        }
        self.send(command);
    }
}

/// The request of a command. Its digest is of the whole command, as a proposer makes it.
fn asked(request: op::Request, method: &str, command: &impl Message) -> Option<Box<Request>> {
    let op::Request::Of { subject, id } = request else { return None };
    let sum = method.bytes().chain(command.encode_to_vec());
    let sum = sum.fold(7u64, |sum, byte| sum.rotate_left(9).wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    let digest = Bytes::from(sum.to_be_bytes().repeat(4));
    let (id, subject) = (format!("request {id}"), format!("operator {subject}"));
    Some(Box::new(Request { id, tenant: 10, subject, digest }))
}

fn settings(max_attempts: u32, target: u8) -> QueueSettings {
    let dead_letter_queue = NAMES.get(target as usize).copied().unwrap_or_default().into();
    QueueSettings { max_attempts, dead_letter_queue, ..QueueSettings::default() }
}
