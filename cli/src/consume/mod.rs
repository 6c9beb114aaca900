//! `posthouse consume`: messages to stdout, acknowledged once they are written and flushed.

use std::path::Path;

use futures_util::FutureExt as _;
use posthouse_client::{Consumer, Delivery, Event};

use crate::{
    args,
    connect::connect,
    exit::Exit,
    failure::{Failure, of_client, of_consume},
    progress::Progress,
    shutdown::Interrupts,
};
use acks::Acks;
use sink::Sink;

mod acks;
mod sink;

/// Most deliveries that are written and flushed together.
const BATCH_MESSAGES: usize = 512;
/// Most unsettled deliveries, written or not.
const CREDIT_MESSAGES: u32 = 2048;

/// Runs the command.
pub async fn consume(context: Option<&Path>, args: &args::Consume, quiet: bool) -> Result<(), Failure> {
    let mut interrupts = Interrupts::watch()?;
    let mut sink = Sink::stdout(args.output(), args.raw)?;
    let consumer = tokio::select! {
        consumer = open(context, args) => consumer?,
        () = interrupts.next() => return ending(args),
    };
    let mut acks = Acks::default();
    // On a terminal that shows messages, a progress line would be in the way.
    let quiet = quiet || Sink::is_terminal();
    let progress = match args.count {
        Some(count) => Progress::of(quiet, count, "written"),
        None => Progress::counting(quiet, "written"),
    };
    let consumed = tokio::select! {
        consumed = pass_on(&consumer, args, &mut sink, &mut acks, &progress) => consumed,
        () = interrupts.next() => ending(args),
    };
    drop(progress);
    // Closing releases unacknowledged deliveries and waits for the answers to the others; a second signal ends the
    // wait.
    let closed = tokio::select! {
        closed = consumer.close() => closed.map_err(|error| of_consume(&error)),
        () = interrupts.next() => Ok(()),
    };
    consumed.and(closed).and(acks.finish().await)
}

async fn open(context: Option<&Path>, args: &args::Consume) -> Result<Consumer, Failure> {
    let client = connect(context).await?;
    // No more credit than --count, so that the other messages stay available to others.
    let wanted = args.count.and_then(|count| u32::try_from(count).ok()).unwrap_or(CREDIT_MESSAGES);
    let builder = client.consumer(&args.queue).credit_messages(wanted.min(CREDIT_MESSAGES));
    builder.open().await.map_err(|error| of_client(&error))
}

/// A signal is the regular end of a consumer without --count and --until-empty.
fn ending(args: &args::Consume) -> Result<(), Failure> {
    if args.count.is_none() && !args.until_empty {
        return Ok(());
    }
    Err(Failure::new(Exit::TempFail, "interrupted", "run it again for the rest"))
}

/// Writes messages until the count is reached, the queue is empty, or something fails.
async fn pass_on(
    consumer: &Consumer,
    args: &args::Consume,
    sink: &mut Sink,
    acks: &mut Acks,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut wanted = args.count.unwrap_or(u64::MAX);
    while wanted > 0 {
        let first = consumer.next_event().await.map_err(|error| of_consume(&error))?;
        let first = match first {
            Some(Event::Delivery(delivery)) => delivery,
            Some(Event::Idle { .. }) if args.until_empty => return Ok(()),
            Some(_) => continue,
            None => return Ok(()),
        };
        let limit = usize::try_from(wanted).unwrap_or(usize::MAX).min(BATCH_MESSAGES);
        let (mut batch, idle) = gather(consumer, first, limit)?;
        sink.write(&mut batch).await?;
        wanted -= batch.len() as u64;
        progress.add(batch.len() as u64);
        if wanted == 0 {
            // Otherwise the acks would return credit, and more messages would be delivered.
            consumer.stop();
        }
        acks.add(batch).await;
        if idle && args.until_empty {
            return Ok(());
        }
    }
    Ok(())
}

/// The first delivery and those that are available at once, and whether the queue was empty after them.
fn gather(consumer: &Consumer, first: Delivery, limit: usize) -> Result<(Vec<Delivery>, bool), Failure> {
    let mut batch = vec![first];
    while batch.len() < limit {
        match consumer.next_event().now_or_never() {
            Some(Ok(Some(Event::Delivery(delivery)))) => batch.push(delivery),
            Some(Ok(Some(_))) => return Ok((batch, true)),
            Some(Err(error)) => return Err(of_consume(&error)),
            Some(Ok(None)) | None => break,
        }
    }
    Ok((batch, false))
}
