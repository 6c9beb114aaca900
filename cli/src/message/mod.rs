//! `posthouse message find`, and `posthouse dead-letters`.

use posthouse_client::{Client, Error, ErrorKind, MessageState, MessageStatus};

use crate::{
    args,
    failure::{Failure, of_client},
    stdout,
};

pub mod dead_letters;
mod show;

/// The dead letter that a settled message may have become.
enum Destination {
    /// The message is not settled, or its queue has no dead-letter queue.
    None,
    /// The message is this dead letter.
    DeadLetter(Box<MessageStatus>),
    /// The message is not, or no longer, among the dead letters of this queue.
    NotIn(String),
    /// The token has no grant for this queue, or the queue does not exist.
    Unseen(String),
}

/// Finds a message, and its dead letter.
pub async fn find(client: &Client, args: &args::Find) -> Result<(), Failure> {
    let found = async {
        let status = client.messages().find(&args.message_id).await?;
        let destination = destination(client, &status).await?;
        Ok((status, destination))
    };
    let (status, destination) = found.await.map_err(|error: Error| of_client(&error))?;
    if !args.json {
        return stdout::text(show::text(&status, &destination));
    }
    let mut object = show::object(&status);
    if let Destination::DeadLetter(letter) = &destination {
        object["became"] = show::object(letter);
    }
    stdout::write(stdout::json(&object))
}

async fn destination(client: &Client, status: &MessageStatus) -> Result<Destination, Error> {
    if status.state != MessageState::Settled {
        return Ok(Destination::None);
    }
    let Some(target) = client.queues().get(&status.queue).await?.dead_letter_queue else {
        return Ok(Destination::None);
    };
    match client.messages().dead_letter_of(&target, &status.message_id).await {
        Ok(Some(letter)) => Ok(Destination::DeadLetter(Box::new(letter))),
        Ok(None) => Ok(Destination::NotIn(target)),
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => {
            Ok(Destination::Unseen(target))
        }
        Err(error) => Err(error),
    }
}
