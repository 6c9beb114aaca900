use tonic::Code;

use crate::{
    error::Refusal,
    retry::{FailureClass, classify_refusal},
};

pub(super) const GAP: &str = "PRODUCER_SEQUENCE_GAP";

/// Why the server refused the oldest batch, and for that reason all later ones.
#[derive(Debug)]
pub(super) enum Rewind {
    Passing(Refusal),
    Dropping(Refusal),
    /// The server does not know the last sequence of this session.
    Unknown,
}

/// What a refusal of the oldest batch means; `Err` if nothing more can be published.
pub(super) fn verdict(refusal: Refusal) -> Result<Rewind, Refusal> {
    if refusal.reason() == Some(GAP) {
        return Ok(Rewind::Unknown);
    }
    let about_the_batch = matches!(refusal.code(), Code::InvalidArgument | Code::OutOfRange)
        || matches!(refusal.reason(), Some("MESSAGE_TOO_LARGE" | "ATTRIBUTES_INVALID" | "BATCH_INVALID"));
    if about_the_batch {
        return Ok(Rewind::Dropping(refusal));
    }
    match classify_refusal(&refusal) {
        FailureClass::Transient | FailureClass::Credentials => Ok(Rewind::Passing(refusal)),
        FailureClass::Permanent => Err(refusal),
    }
}
