//! What one caller can do to a server and to its neighbours: floods of frames, calls and handshakes, and holds of
//! memory.
//!
//! Each attack goes on until it is dropped. What the server does about it (it resets a stream, closes the connection,
//! refuses) is counted, and the attack is tried again.
//!
//! * `target`: whom it is done to, and with which credentials
//! * `tally`: what came of it
//! * `line`, `streams`, `calls`: raw HTTP/2 over TLS, at full speed, also what is illegal
//! * `control`, `handshakes`, `calling`: the floods
//! * `bodies`, `amplified`, `answers`: the holds
//! * `list`: all of them, by name

mod answers;
mod bodies;
mod calling;
mod calls;
mod control;
mod amplified;
mod handshakes;
mod line;
mod list;
mod prepare;
mod random;
mod streams;
mod tally;
mod target;
mod tokens;

use std::{future::Future, pin::Pin, time::Duration};

use tokio::task::JoinSet;

pub use list::{all, begin, named, silence};
pub use prepare::prepare;
pub use tally::{Counts, Tally};
pub use target::Target;
pub use tokens::add_rsa_key;

/// What an attack does, until it is dropped.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An attack.
#[derive(Clone, Copy)]
pub struct Attack {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it makes much of.
    pub kind: Kind,
    /// What is done once before it, by calls that are in order: queues and messages.
    pub prepare: Prepare,
    /// Begins it with so many connections, where it does not bring its own number.
    pub run: fn(Target, usize) -> Running,
}

/// What an attack makes much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work of the server.
    Flood,
    /// Memory of the server.
    Hold,
    /// Places for connections.
    Slots,
}

/// What an attack needs of the server before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// Nothing but its queue.
    Nothing,
    /// So many more queues.
    Queues(usize),
    /// So many messages of 1 MiB, more than the server keeps in memory.
    Messages(usize),
    /// So many dead letters.
    DeadLetters(usize),
}

/// Why something ended: in the server's words, if it had any.
pub(crate) type Ended = String;

/// Does the same on many connections, each again and again.
pub(crate) async fn again<F>(
    target: Target,
    connections: usize,
    pause: Duration,
    once: impl Fn(Target, usize) -> F,
) where
    F: Future<Output = Result<(), Ended>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        tasks.spawn(one(number, once(target.clone(), number)));
    }
    while let Some(ended) = tasks.join_next().await {
        let Ok((number, ended)) = ended else { continue };
        if let Err(why) = ended {
            target.tally.ended(&why);
        }
        let next = once(target.clone(), number);
        tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            one(number, next).await
        });
    }
}

async fn one(number: usize, once: impl Future<Output = Result<(), Ended>>) -> (usize, Result<(), Ended>) {
    (number, once.await)
}

/// How long an attacker waits before it connects again.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);
