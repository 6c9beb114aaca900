//! `posthouse publish`: lines in, and one line out that tells how many of the first ones are durable.

use std::io::Write as _;
use std::path::Path;

use posthouse_client::{NewMessage, PublishAck, Publisher};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use crate::args;
use crate::connect::connect;
use crate::exit::{Exit, Failure};
use crate::failure::{of_client, of_publish, of_stdout};
use crate::shutdown::Interrupts;
use input::{Input, read_ahead};

mod input;
pub mod lines;

/// Lines that wait for their answer; the publisher bounds their bytes.
const MAX_WAITING: usize = 65_536;
/// How long an interrupted publish waits for what it has sent.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the command. Its last line is written however it ends.
pub async fn publish(context: Option<&Path>, args: &args::Publish) -> Result<(), Failure> {
    let mut stored = 0;
    let published = publish_input(context, args, &mut stored).await;
    let written = writeln!(std::io::stdout(), "{{\"stored\": {stored}}}").map_err(|error| of_stdout(&error));
    published.and(written)
}

async fn publish_input(
    context: Option<&Path>,
    args: &args::Publish,
    stored: &mut u64,
) -> Result<(), Failure> {
    let mut interrupts = Interrupts::watch()?;
    let input = Input::open(&args.file)?;
    let publisher = tokio::select! {
        publisher = open(context, args) => publisher?,
        () = interrupts.next() => return Err(interrupted()),
    };
    let (sent, acks) = mpsc::channel(MAX_WAITING);
    let sending = send_lines(&publisher, input, args, sent);
    let counting = count_stored(acks, stored);
    tokio::pin!(counting);
    // When sending ends, for whatever reason, its end of the channel goes, and counting ends after the last answer.
    let sent = tokio::select! {
        counted = &mut counting => return counted,
        sent = sending => sent,
        () = interrupts.next() => Err(interrupted()),
    };
    let in_a_hurry = sent.is_err();
    let counted = tokio::select! {
        counted = &mut counting => counted,
        () = sleep(GRACE), if in_a_hurry => Ok(()),
        () = interrupts.next() => Err(interrupted()),
    };
    counted.and(sent)
}

async fn open(context: Option<&Path>, args: &args::Publish) -> Result<Publisher, Failure> {
    let client = connect(context).await?;
    client.publisher(&args.queue).open().await.map_err(|error| of_client(&error))
}

/// Hands every line to the publisher, and its ack on, in order.
async fn send_lines(
    publisher: &Publisher,
    input: Input,
    args: &args::Publish,
    sent: mpsc::Sender<PublishAck>,
) -> Result<(), Failure> {
    let mut lines = read_ahead(input, publisher.max_message_bytes());
    let mut line_number = 0;
    while let Some(line) = lines.recv().await {
        line_number += 1;
        let attributes = args.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let message = NewMessage::new(line?).attributes(attributes);
        let ack = publisher.publish(message).await.map_err(|error| of_publish(line_number, &error))?;
        if sent.send(ack).await.is_err() {
            // Counting has failed, and tells why.
            break;
        }
    }
    Ok(())
}

/// Counts answers up to the first that is a failure: what follows it may be stored, but is not counted.
async fn count_stored(mut acks: mpsc::Receiver<PublishAck>, stored: &mut u64) -> Result<(), Failure> {
    while let Some(ack) = acks.recv().await {
        ack.await.map_err(|error| of_publish(*stored + 1, &error))?;
        *stored += 1;
    }
    Ok(())
}

fn interrupted() -> Failure {
    Failure::new(Exit::TempFail, "interrupted", "publish again from the line after the last stored one")
}
