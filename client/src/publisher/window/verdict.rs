use tonic::Code;

use crate::{
    error::Refusal,
    retry::{FailureClass, classify_refusal},
};

pub(super) const GAP: &str = "PRODUCER_SEQUENCE_GAP";

/// Why the oldest batch was refused, and so all behind it.
#[derive(Debug)]
pub(super) enum Rewind {
    Passing(Refusal),
    Dropping(Refusal),
    /// The server does not know how far this session had come.
    Unknown,
}

/// What a refusal of the oldest batch means; `Err`: that nothing more can be published.
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
