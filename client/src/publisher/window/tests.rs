//! The window with a server that keeps sessions, over streams that break while requests are in flight.

use std::{
    collections::{HashMap, VecDeque},
    mem,
};

use bytes::Bytes;
use posthouse_proto::{
    google::rpc,
    v1::{
        self, PublishResult, publish_result, publish_stream_request as request,
        publish_stream_response::{AllStored, BatchResult, Results, batch_result::Outcome},
    },
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::oneshot, time::Instant};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Step, Window};
use crate::{
    answer_group::Responder,
    publisher::{
        PublishError, Stored,
        batch::{AcceptedMessage, Batch},
    },
};

const POISON: &[u8] = b"poison";

fn refused(code: Code, reason: &str) -> Outcome {
    let details = ErrorDetails::with_error_info(reason, "posthouse.v1", HashMap::new());
    let details = Status::with_error_details(code, "", details);
    let details = <rpc::Status as prost::Message>::decode(details.details()).unwrap().details;
    Outcome::Error(rpc::Status { code: code.into(), message: String::new(), details })
}

/// What the server does before it checks sequences.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Mood {
    Willing,
    Overloaded,
    /// It refuses for good, also what it has stored.
    Refusing,
}

/// The state of one producer in the server.
#[derive(Default)]
struct Server {
    epoch: u64,
    next: u64,
    stored: Vec<Bytes>,
}

impl Server {
    fn open(&mut self, epoch: u64) -> u64 {
        if epoch > self.epoch {
            (self.epoch, self.next) = (epoch, 0);
        }
        self.next
    }

    fn accept(&mut self, epoch: u64, batch: request::Batch, mood: Mood) -> BatchResult {
        let count = batch.messages.len() as u64;
        let outcome = if epoch < self.epoch {
            refused(Code::FailedPrecondition, "PRODUCER_FENCED")
        } else if mood == Mood::Overloaded {
            refused(Code::ResourceExhausted, "SERVER_OVERLOADED")
        } else if mood == Mood::Refusing || batch.messages[0].payload == POISON {
            refused(Code::InvalidArgument, "BATCH_INVALID")
        } else if batch.first_sequence > self.next {
            refused(Code::FailedPrecondition, "PRODUCER_SEQUENCE_GAP")
        } else if batch.first_sequence < self.next {
            assert!(batch.first_sequence + count <= self.next, "the boundaries moved");
            let duplicate = publish_result::Result::Duplicate(publish_result::Duplicate::default());
            let results = vec![PublishResult { result: Some(duplicate) }; count as usize];
            Outcome::Results(Results { all_stored: None, results })
        } else {
            self.next += count;
            self.stored.extend(batch.messages.into_iter().map(|message| message.payload));
            let all = AllStored { count: count as u32, ..AllStored::default() };
            Outcome::Results(Results { all_stored: Some(all), results: Vec::new() })
        };
        BatchResult { batch_id: batch.batch_id, outcome: Some(outcome) }
    }
}

/// One run: what is in flight, and the answer to each message.
struct Run {
    random: StdRng,
    window: Window,
    server: Server,
    epoch: u64,
    requests: VecDeque<request::Batch>,
    answers: VecDeque<BatchResult>,
    /// Requests of ended streams that the server has not read yet.
    stragglers: VecDeque<(u64, request::Batch)>,
    published: Vec<(Bytes, oneshot::Receiver<Result<Stored, PublishError>>)>,
}

impl Run {
    fn push(&mut self) {
        let mut batch = Batch::default();
        for index in 0..self.random.random_range(1..4) {
            let poisoned = index == 0 && self.random.random_bool(0.05);
            let number = self.published.len().to_string();
            let payload = if poisoned { Bytes::from_static(POISON) } else { Bytes::from(number) };
            let (responder, ack) = oneshot::channel();
            let message = v1::NewMessage { payload: payload.clone(), ..v1::NewMessage::default() };
            batch.push(AcceptedMessage {
                message,
                responder: Responder::One(responder),
                bytes: 1,
                reserved: 1,
                deadline: None,
            });
            self.published.push((payload, ack));
        }
        self.window.push(batch);
    }

    fn serve(&mut self) {
        // The server reads the requests of old connections first.
        if let Some((epoch, batch)) = self.stragglers.pop_front() {
            self.server.accept(epoch, batch, Mood::Willing);
        } else if let Some(batch) = self.requests.pop_front() {
            let mood = match self.random.random_range(0..100) {
                0..5 => Mood::Overloaded,
                5..7 => Mood::Refusing,
                _ => Mood::Willing,
            };
            let answer = self.server.accept(self.epoch, batch, mood);
            self.answers.push_back(answer);
        }
    }

    fn break_off(&mut self) {
        let keep = self.random.random_range(0..=self.requests.len());
        let lost = self.requests.split_off(keep);
        drop(lost);
        let epoch = self.epoch;
        self.stragglers.extend(self.requests.drain(..).map(|batch| (epoch, batch)));
        self.answers.clear();
        self.window.stream_ended();
        self.open();
    }

    fn open(&mut self) {
        while !self.window.opened(self.server.open(self.epoch)) {
            self.new_epoch();
        }
    }

    fn new_epoch(&mut self) {
        self.epoch += 1;
        self.window.new_epoch();
    }

    fn answer(&mut self) {
        let Some(answer) = self.answers.pop_front() else { return };
        match self.window.answer(answer) {
            Step::Progress | Step::Wait | Step::Pause(_) | Step::Resend => {}
            Step::NewEpoch => {
                assert!(self.requests.is_empty() && self.answers.is_empty());
                self.window.stream_ended();
                self.new_epoch();
                self.open();
            }
            Step::Stop(error) => panic!("{error}"),
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..15 => self.push(),
            15..40 => {
                if self.window.in_flight() < 8 {
                    self.requests.extend(self.window.send(Instant::now()));
                }
            }
            40..68 => self.serve(),
            68..98 => self.answer(),
            _ => self.break_off(),
        }
    }
}

#[test]
fn everything_is_stored_once_and_in_order() {
    for seed in 0..3000 {
        let mut run = Run {
            random: StdRng::seed_from_u64(seed),
            window: Window::default(),
            server: Server::default(),
            epoch: 1,
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            stragglers: VecDeque::new(),
            published: Vec::new(),
        };
        run.open();
        for _ in 0..1500 {
            run.step();
        }
        // From here on nothing fails.
        let mut left = 10_000;
        while !run.window.is_empty() {
            run.requests.extend(run.window.send(Instant::now()));
            run.serve();
            run.answer();
            left -= 1;
            assert!(left > 0, "seed {seed}: no end");
        }
        let published = mem::take(&mut run.published);
        let mut freed = 0;
        let mut stored = VecDeque::from(mem::take(&mut run.server.stored));
        for (payload, mut ack) in published {
            freed += 1;
            match ack.try_recv().unwrap() {
                Ok(_) => assert_eq!(stored.pop_front(), Some(payload), "seed {seed}"),
                Err(PublishError::InDoubt(_)) => _ = stored.pop_front_if(|it| *it == payload),
                Err(error) => assert!(matches!(error, PublishError::Refused(_)), "seed {seed}: {error}"),
            }
        }
        assert!(stored.is_empty(), "seed {seed}: stored twice or without an answer");
        assert_eq!(run.window.drain_freed().bytes, freed, "seed {seed}");
    }
}

#[test]
fn a_session_that_contradicts_its_answers_needs_a_new_epoch() {
    let mut window = Window::default();
    assert!(window.opened(0) && !window.opened(1));
    let mut batch = Batch::default();
    let message = v1::NewMessage::default();
    batch.push(AcceptedMessage {
        message,
        responder: Responder::Discard,
        bytes: 1,
        reserved: 1,
        deadline: None,
    });
    window.push(batch);
    assert_eq!(window.send(Instant::now()).unwrap().first_sequence, 0);
    window.stream_ended();
    // The one batch may be stored or not; two cannot be.
    assert!(window.opened(0) && window.opened(1) && !window.opened(2));
    assert_eq!(window.send(Instant::now()).unwrap().first_sequence, 0);
    window.new_epoch();
    assert!(window.opened(0) && !window.opened(1));
}
