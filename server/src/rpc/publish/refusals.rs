//! What is wrong with single messages of a batch, and what is said of it once the batch is decided.

use std::sync::Arc;

use posthouse_engine::outcome::EntryResult;
use posthouse_proto::v1::ErrorReason;
use tonic::Code;

use crate::rpc::wire::status::ApiError;

/// What was found wrong with messages of one batch before it was proposed. Mostly the same is wrong with many: equal errors are
/// in memory once.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// By place in the batch, ascending.
    found: Vec<(usize, Arc<ApiError>)>,
}

impl Refusals {
    /// RecordSlots come in their order.
    pub(crate) fn add(&mut self, slot: usize, error: ApiError) {
        let last = self.found.last().map(|(_, last)| last).filter(|last| ***last == error);
        let error = last.map_or_else(|| Arc::new(error), Arc::clone);
        self.found.push((slot, error));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The error of an atomic batch, whose first bad message spoils it.
    pub(crate) fn of_batch(self) -> ApiError {
        let Some((slot, error)) = self.found.into_iter().next() else {
            return ApiError::fault("a batch was refused for a message, and none was wrong");
        };
        let problem = error.message().to_owned();
        Arc::unwrap_or_clone(error).with_field(format!("messages[{slot}]"), problem)
    }

    /// The errors of the refused results, in their order. A retry is answered as its first attempt was, of which the engine knows
    /// which messages were refused, not why; and a limit may have changed since.
    pub(crate) fn of_results(self, results: &[EntryResult]) -> Vec<Arc<ApiError>> {
        let mut found = self.found.into_iter().peekable();
        let (mut errors, mut before) = (Vec::new(), None);
        for (slot, result) in results.iter().enumerate() {
            let own = found.next_if(|(at, _)| *at == slot).map(|(_, error)| error);
            if *result == EntryResult::Refused {
                let before = || Arc::clone(before.get_or_insert_with(|| Arc::new(refused_before())));
                errors.push(own.unwrap_or_else(before));
            }
        }
        errors
    }
}

fn refused_before() -> ApiError {
    ApiError::new(
        Code::FailedPrecondition,
        ErrorReason::ProducerMessageRefused,
        "an earlier attempt of this batch was told that this message is refused, and a retry is answered as it was; \
         publish it anew, under the session's next sequence",
    )
}

#[cfg(test)]
mod tests {
    use EntryResult::{Duplicate, Refused, Stored};

    use super::*;

    fn refusals(slots: &[usize]) -> Refusals {
        let mut refusals = Refusals::default();
        for slot in slots {
            let text = format!("message {slot}");
            refusals.add(*slot, ApiError::new(Code::InvalidArgument, ErrorReason::MessageTooLarge, text));
        }
        refusals
    }

    /// The errors' texts; of those that were refused before, the reason.
    fn errors(results: &[EntryResult], slots: &[usize]) -> Vec<String> {
        let said = |error: &Arc<ApiError>| match error.reason() {
            ErrorReason::MessageTooLarge => error.message().to_owned(),
            other => other.as_str_name().to_owned(),
        };
        refusals(slots).of_results(results).iter().map(said).collect()
    }

    #[test]
    fn every_refused_message_has_its_own_error() {
        assert_eq!(errors(&[Refused, Stored(1), Refused, Stored(2)], &[0, 2]), ["message 0", "message 2"]);
    }

    #[test]
    fn equal_errors_are_in_memory_once() {
        let mut refusals = Refusals::default();
        for slot in 0..3 {
            let text = if slot < 2 { "the same" } else { "another" };
            refusals.add(slot, ApiError::new(Code::InvalidArgument, ErrorReason::MessageTooLarge, text));
        }
        let errors = refusals.of_results(&[Refused, Refused, Refused, Refused, Refused]);
        assert!(Arc::ptr_eq(&errors[0], &errors[1]) && !Arc::ptr_eq(&errors[1], &errors[2]));
        assert!(Arc::ptr_eq(&errors[3], &errors[4]));
    }

    #[test]
    fn a_retry_is_answered_as_it_was_whatever_would_be_said_now() {
        let results = [Duplicate(Some(1)), Refused, Refused, Duplicate(None)];
        let told = ["ERROR_REASON_PRODUCER_MESSAGE_REFUSED", "message 2"];
        assert_eq!(errors(&results, &[0, 2, 3]), told);
    }
}
