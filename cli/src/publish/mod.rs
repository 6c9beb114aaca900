//! `posthouse publish`: publishes lines, and prints how many of the first ones are durable.

use std::{cell::Cell, path::Path};

use bytes::Bytes;
use posthouse_client::{NewMessage, PublishAck, Publisher};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    args,
    connect::connect,
    exit::Exit,
    failure::{Failure, of_client, of_publish},
    ndjson::read,
    progress::Progress,
    shutdown::{GRACE, Interrupts},
    stdout,
};
use input::{Input, read_ahead};

mod input;
pub mod lines;

/// Most lines without an answer; the publisher bounds their bytes.
const MAX_WAITING: usize = 65_536;

/// The answer to a line that was sent, and the line's length.
type Sent = (PublishAck, u64);

/// Runs the command. The closing line is printed however it ends.
pub async fn publish(context: Option<&Path>, args: &args::Publish, quiet: bool) -> Result<(), Failure> {
    let mut interrupts = Interrupts::watch()?;
    let stored = Cell::new(0);
    let published = publish_input(context, args, quiet, &stored, &mut interrupts).await;
    let closing_line = stdout::write_apart(format!("{{\"stored\": {}}}\n", stored.get()));
    let is_interrupted = interrupts.received();
    let written = tokio::select! {
        written = closing_line => written,
        () = interrupts.next() => Err(not_reported(stored.get())),
        () = sleep(GRACE), if is_interrupted => Err(not_reported(stored.get())),
    };
    published.and(written)
}

fn not_reported(stored: u64) -> Failure {
    Failure::new(
        Exit::TempFail,
        format!("interrupted while nobody read stdout: {stored} lines are stored"),
        "publish again from the line after the last stored one, if there is one",
    )
}

async fn publish_input(
    context: Option<&Path>,
    args: &args::Publish,
    quiet: bool,
    stored: &Cell<u64>,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let input = Input::open(&args.file)?;
    let publisher = tokio::select! {
        publisher = open(context, args) => publisher?,
        () = interrupts.next() => return Err(interrupted()),
    };
    let size = input.size;
    let progress =
        size.map_or_else(|| Progress::counting(quiet, "stored"), |bytes| Progress::of_bytes(quiet, bytes));
    let (sent, acks) = mpsc::channel(MAX_WAITING);
    let sending = send_lines(&publisher, input, args, sent);
    let counting = count_stored(acks, |line_bytes| {
        stored.set(stored.get() + 1);
        progress.add(if size.is_some() { line_bytes } else { 1 });
    });
    tokio::pin!(counting);
    // When sending ends, it closes the channel, and counting ends after the last answer.
    let (sent, in_a_hurry) = tokio::select! {
        counted = &mut counting => return counted,
        sent = sending => (sent, false),
        () = interrupts.next() => (Err(interrupted()), true),
    };
    let counted = tokio::select! {
        counted = &mut counting => counted,
        () = sleep(GRACE), if in_a_hurry => Ok(()),
        () = interrupts.next() => Err(interrupted()),
    };
    counted?;
    sent.map_err(|failure| with_stored_count(failure, stored.get()))
}

/// Adds to a failure which lines were stored, for whoever corrects the input.
fn with_stored_count(mut failure: Failure, stored: u64) -> Failure {
    if failure.exit == Exit::BadData {
        let before = match stored {
            0 => "nothing was stored".to_owned(),
            1 => "the line before it is stored, and nothing after it".to_owned(),
            lines => format!("the {lines} lines before it are stored, and nothing after it"),
        };
        failure.what = format!("{}; {before}", failure.what);
    }
    failure
}

async fn open(context: Option<&Path>, args: &args::Publish) -> Result<Publisher, Failure> {
    let client = connect(context).await?;
    client.publisher(&args.queue).open().await.map_err(|error| of_client(&error))
}

/// Passes every line to the publisher, and its ack to the counter, in order.
async fn send_lines(
    publisher: &Publisher,
    input: Input,
    args: &args::Publish,
    sent: mpsc::Sender<Sent>,
) -> Result<(), Failure> {
    let max_payload = publisher.max_message_bytes();
    let max_line = if args.ndjson { read::max_line_bytes(max_payload) } else { max_payload };
    let mut lines = read_ahead(input, max_line);
    let mut line_number = 0;
    // The first of the empty lines that no other line has followed: at the end of the input they are ignored.
    let mut empty = None;
    while let Some(line) = lines.recv().await {
        line_number += 1;
        let line = line?;
        if args.ndjson && read::is_empty(&line) {
            empty = empty.or(Some(line_number));
            continue;
        }
        if let Some(line_number) = empty {
            return Err(of_line(line_number, &read::LineError::Empty));
        }
        let line_bytes = line.len() as u64 + 1;
        let message = message(line, line_number, args)?;
        let ack = publisher.publish(message).await.map_err(|error| of_publish(line_number, &error))?;
        if sent.send((ack, line_bytes)).await.is_err() {
            // Counting has failed, and its error is reported.
            break;
        }
    }
    Ok(())
}

/// The message of a line. Attributes of the line replace those of the command line.
fn message(line: Bytes, line_number: u64, args: &args::Publish) -> Result<NewMessage, Failure> {
    let of_all = args.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    if !args.ndjson {
        return Ok(NewMessage::new(line).attributes(of_all));
    }
    let read = read::parse(&line).map_err(|error| of_line(line_number, &error))?;
    Ok(NewMessage::new(read.payload).attributes(of_all).attributes(read.attributes))
}

fn of_line(line_number: u64, error: &read::LineError) -> Failure {
    let what = format!("line {line_number}: {error}");
    Failure::new(Exit::BadData, what, "correct the line, and publish again from it on")
}

/// Counts answers up to the first failure: later lines may be stored, but are not counted.
async fn count_stored(mut acks: mpsc::Receiver<Sent>, mut stored: impl FnMut(u64)) -> Result<(), Failure> {
    let mut line_number = 0;
    while let Some((ack, line_bytes)) = acks.recv().await {
        line_number += 1;
        ack.await.map_err(|error| of_publish(line_number, &error))?;
        stored(line_bytes);
    }
    Ok(())
}

fn interrupted() -> Failure {
    Failure::new(Exit::TempFail, "interrupted", "publish again from the line after the last stored one")
}
