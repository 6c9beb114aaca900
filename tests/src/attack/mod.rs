//! What one caller can do to a server and to its neighbours: floods of frames, calls and handshakes, and requests and
//! answers that hold memory.
//!
//! Each attack goes on until it is dropped. When the server resets a stream, closes the connection or refuses, that is
//! counted, and the attack is tried again.
//!
//! * `target`: the server, and the attacker's credentials
//! * `tally`: what is counted
//! * `line`, `streams`, `calls`: raw HTTP/2 over TLS at full speed, illegal frames included
//! * `control`, `handshakes`, `calling`: the floods
//! * `bodies`, `amplified`, `answers`: the attacks that hold memory
//! * `list`: all attacks by name

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

/// A running attack; it ends when it is dropped.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An attack.
#[derive(Clone, Copy)]
pub struct Attack {
    /// Its name on the command line.
    pub name: &'static str,
    /// The resource that it uses up.
    pub kind: Kind,
    /// What is prepared before it, by correct calls.
    pub prepare: Prepare,
    /// Begins it with this number of connections, unless it has a number of its own.
    pub run: fn(Target, usize) -> Running,
}

/// The resource that an attack uses up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server's processor time.
    Flood,
    /// The server's memory.
    Hold,
    /// The server's connection slots.
    Slots,
}

/// What an attack needs on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// Only its queue.
    Nothing,
    /// This many further queues.
    Queues(usize),
    /// This many messages of 1 MiB, more than the server keeps in memory.
    Messages(usize),
    /// This many dead letters.
    DeadLetters(usize),
}

/// Why a connection or stream ended: the server's reason, if there is one.
pub(crate) type Ended = String;

/// Repeats an attack on many connections.
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
