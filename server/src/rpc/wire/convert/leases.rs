//! Tokens of deliveries, settlements and extensions of leases.

use posthouse_engine::{
    ids::LeaseId,
    outcome::{ExtendOutcome, LiveDelivery, SettleOutcome},
    schema::{SettleKind, TokenRef},
};
use posthouse_proto::v1::{
    ErrorReason, ExtendResult, SettleAction, SettleResult, extend_result, settle_result,
};
use tonic::Code;

use crate::{
    clock::Now,
    rpc::wire::{
        convert::{duration, timestamp},
        status::ApiError,
    },
};

/// Bytes of a delivery's token: 8 of the lease, 4 of the index and 8 of the nonce, big-endian.
pub(crate) const TOKEN_BYTES: usize = 20;

/// The token of a delivery.
pub(crate) fn token(delivery: &LiveDelivery) -> [u8; TOKEN_BYTES] {
    let mut token = [0; TOKEN_BYTES];
    token[..8].copy_from_slice(&delivery.lease.0.to_be_bytes());
    token[8..12].copy_from_slice(&delivery.item.index.to_be_bytes());
    token[12..].copy_from_slice(&delivery.nonce.to_be_bytes());
    token
}

/// The parts of a token; `None` if the bytes are no token.
pub(crate) fn token_ref(token: &[u8]) -> Option<TokenRef> {
    let token: &[u8; TOKEN_BYTES] = token.try_into().ok()?;
    let lease = u64::from_be_bytes(token.first_chunk().copied()?);
    let index = u32::from_be_bytes(token.get(8..12)?.try_into().ok()?);
    let nonce = u64::from_be_bytes(token.last_chunk().copied()?);
    Some(TokenRef { lease: LeaseId(lease).0, index, nonce })
}

/// The engine's kind of a settlement; `None` for an action that is no settlement.
pub(crate) fn settle_kind(action: SettleAction) -> Option<SettleKind> {
    match action {
        SettleAction::Unspecified => None,
        SettleAction::Ack => Some(SettleKind::Ack),
        SettleAction::Nack => Some(SettleKind::Nack),
        SettleAction::Release => Some(SettleKind::Release),
        SettleAction::DeadLetter => Some(SettleKind::DeadLetter),
    }
}

fn settle_action(kind: SettleKind) -> i32 {
    match kind {
        SettleKind::Unspecified => SettleAction::Unspecified,
        SettleKind::Ack => SettleAction::Ack,
        SettleKind::Nack => SettleAction::Nack,
        SettleKind::Release => SettleAction::Release,
        SettleKind::DeadLetter => SettleAction::DeadLetter,
    }
    .into()
}

/// The result of one settlement.
pub(crate) fn settle_result(outcome: SettleOutcome, asked: SettleAction) -> SettleResult {
    let settled = |action: i32| settle_result::Settled { action };
    let result = match outcome {
        SettleOutcome::Settled => settle_result::Result::Settled(settled(asked.into())),
        SettleOutcome::AlreadySettled(kind) => {
            settle_result::Result::AlreadySettled(settled(settle_action(kind)))
        }
        SettleOutcome::TokenInvalid => settle_result::Result::Error(token_invalid().to_proto()),
        SettleOutcome::LeaseLost => settle_result::Result::Error(lease_lost().to_proto()),
        SettleOutcome::SettledByAnother => settle_result::Result::Error(settled_by_another().to_proto()),
        SettleOutcome::MessagePurged => settle_result::Result::Error(message_purged().to_proto()),
    };
    SettleResult { result: Some(result) }
}

/// The result of one extension at the time `now`.
pub(crate) fn extend_result(outcome: ExtendOutcome, now: Now) -> ExtendResult {
    let mut lease_time_left = None;
    let result = match outcome {
        ExtendOutcome::Extended(ms) => {
            lease_time_left = Some(duration(now.left_ms(ms)));
            extend_result::Result::LeaseDeadline(timestamp(now.shown_ms(ms)))
        }
        ExtendOutcome::TokenInvalid => extend_result::Result::Error(token_invalid().to_proto()),
        ExtendOutcome::AlreadySettled(_) | ExtendOutcome::LeaseLost => {
            extend_result::Result::Error(lease_lost().to_proto())
        }
        ExtendOutcome::SettledByAnother => extend_result::Result::Error(settled_by_another().to_proto()),
        ExtendOutcome::MessagePurged => extend_result::Result::Error(message_purged().to_proto()),
    };
    ExtendResult { result: Some(result), lease_time_left }
}

/// The result of each extension of a frame whose lease duration is refused.
pub(crate) fn refused_extension(error: &ApiError) -> ExtendResult {
    let result = Some(extend_result::Result::Error(error.to_proto()));
    ExtendResult { result, lease_time_left: None }
}

fn token_invalid() -> ApiError {
    let text = "this is no token of a delivery to this caller; send it back as it came";
    ApiError::new(Code::InvalidArgument, ErrorReason::DeliveryTokenInvalid, text)
}

fn lease_lost() -> ApiError {
    let text = "the lease has ended; another consumer may have the message: drop this delivery's work";
    ApiError::new(Code::FailedPrecondition, ErrorReason::LeaseLost, text)
}

fn settled_by_another() -> ApiError {
    let text = "the lease had ended and the message was settled under a later one: drop this delivery's work";
    ApiError::new(Code::FailedPrecondition, ErrorReason::SettledByAnother, text)
}

fn message_purged() -> ApiError {
    let text = "the message was purged and does not come again, to anybody: drop this delivery's work";
    ApiError::new(Code::FailedPrecondition, ErrorReason::MessagePurged, text)
}
