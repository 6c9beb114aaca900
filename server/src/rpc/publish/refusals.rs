//! The errors of single messages of a batch, which are answered once the batch is decided.

use std::sync::Arc;

use posthouse_engine::outcome::EntryResult;
use posthouse_proto::v1::ErrorReason;
use tonic::Code;

use crate::rpc::wire::status::ApiError;

/// The errors of messages of one batch that were found before it was proposed. Equal errors that follow each other are
/// in memory once.
#[derive(Debug, Default)]
pub(crate) struct MessageRefusals {
    /// Each error with the message's index in the batch, by ascending index.
    found: Vec<(usize, Arc<ApiError>)>,
}

impl MessageRefusals {
    /// Adds the error of the message at this index. Indexes must ascend.
    pub(crate) fn add(&mut self, index: usize, error: ApiError) {
        let last = self.found.last().map(|(_, last)| last).filter(|last| ***last == error);
        let error = last.map_or_else(|| Arc::new(error), Arc::clone);
        self.found.push((index, error));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The error of an atomic batch, which is that of its first refused message.
    pub(crate) fn of_batch(self) -> ApiError {
        let Some((index, error)) = self.found.into_iter().next() else {
            return ApiError::fault("a batch was refused for a message, and none was wrong");
        };
        let problem = error.message().to_owned();
        Arc::unwrap_or_clone(error).with_field(format!("messages[{index}]"), problem)
    }

    /// The errors of the refused results, in their order. A retry is answered like its first attempt. Of that, the
    /// engine knows which messages were refused, but not why; and a limit may have changed since.
    pub(crate) fn of_results(self, results: &[EntryResult]) -> Vec<Arc<ApiError>> {
        let mut found = self.found.into_iter().peekable();
        let (mut errors, mut before) = (Vec::new(), None);
        for (index, result) in results.iter().enumerate() {
            let own = found.next_if(|(at, _)| *at == index).map(|(_, error)| error);
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
        "an earlier attempt of this batch was told that this message is refused, and a retry is answered as it \
         was; publish it anew, under the session's next sequence",
    )
}

#[cfg(test)]
mod tests {
    use EntryResult::{Duplicate, Refused, Stored};

    use super::*;

    fn refusals(indexes: &[usize]) -> MessageRefusals {
        let mut refusals = MessageRefusals::default();
        for index in indexes {
            let text = format!("message {index}");
            refusals.add(*index, ApiError::new(Code::InvalidArgument, ErrorReason::MessageTooLarge, text));
        }
        refusals
    }

    /// The text of each error; of a message that an earlier attempt was refused for, the reason.
    fn errors(results: &[EntryResult], indexes: &[usize]) -> Vec<String> {
        let text = |error: &Arc<ApiError>| match error.reason() {
            ErrorReason::MessageTooLarge => error.message().to_owned(),
            other => other.as_str_name().to_owned(),
        };
        refusals(indexes).of_results(results).iter().map(text).collect()
    }

    #[test]
    fn every_refused_message_has_its_own_error() {
        assert_eq!(errors(&[Refused, Stored(1), Refused, Stored(2)], &[0, 2]), ["message 0", "message 2"]);
    }

    #[test]
    fn equal_errors_are_in_memory_once() {
        let mut refusals = MessageRefusals::default();
        for index in 0..3 {
            let text = if index < 2 { "the same" } else { "another" };
            refusals.add(index, ApiError::new(Code::InvalidArgument, ErrorReason::MessageTooLarge, text));
        }
        let errors = refusals.of_results(&[Refused, Refused, Refused, Refused, Refused]);
        assert!(Arc::ptr_eq(&errors[0], &errors[1]) && !Arc::ptr_eq(&errors[1], &errors[2]));
        assert!(Arc::ptr_eq(&errors[3], &errors[4]));
    }

    #[test]
    fn a_retry_is_answered_as_it_was_whatever_would_be_said_now() {
        let results = [Duplicate(Some(1)), Refused, Refused, Duplicate(None)];
        let expected = ["ERROR_REASON_PRODUCER_MESSAGE_REFUSED", "message 2"];
        assert_eq!(errors(&results, &[0, 2, 3]), expected);
    }
}
