//! Makes an engine command's items of settlements, and results of the engine's outcomes.

use std::sync::Arc;

use posthouse_engine::{limits::MAX_NACK_DELAY_MS, outcome::SettleOutcome, schema::SettleItem};
use posthouse_proto::v1::{ErrorReason, SettleAction, SettleResult, SettledFrame, Settlement, settle_result};

use crate::rpc::wire::{convert, status::ApiError};

/// Settlements that the engine has decided, and those that were malformed.
#[derive(Debug)]
pub(crate) struct DecidedSettlements {
    pub(super) settlements: Vec<Settlement>,
    /// The answers to malformed settlements, each with the settlement's index.
    pub(super) refused: Vec<(usize, SettlementAnswer)>,
    /// The engine's outcomes of the other settlements, in their order.
    pub(super) outcomes: Vec<SettleOutcome>,
}

impl DecidedSettlements {
    /// The settlements that the engine has decided, each with its outcome.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&Settlement, SettleOutcome)> {
        let mut refused = self.refused.iter().map(|(at, _)| *at).peekable();
        let rest =
            self.settlements.iter().enumerate().filter(move |(at, _)| refused.next_if_eq(at).is_none());
        rest.map(|(_, settlement)| settlement).zip(self.outcomes.iter().copied())
    }

    /// The settlements that were made.
    pub(crate) fn made(&self) -> impl Iterator<Item = &Settlement> {
        let made = self.outcomes().filter(|(_, outcome)| *outcome == SettleOutcome::Settled);
        made.map(|(settlement, _)| settlement)
    }

    /// One answer per settlement, in their order.
    fn answers(self) -> Vec<SettlementAnswer> {
        let (mut outcomes, mut refused) = (self.outcomes.into_iter(), self.refused.into_iter().peekable());
        let answer = |(index, settlement): (usize, &Settlement)| match refused.next_if(|(at, _)| *at == index)
        {
            Some((_, answer)) => answer,
            None => {
                let outcome = outcomes.next().unwrap_or(SettleOutcome::TokenInvalid);
                SettlementAnswer::Outcome(outcome, settlement.action())
            }
        };
        self.settlements.iter().enumerate().map(answer).collect()
    }

    /// One result of the schema per settlement, in their order.
    pub(crate) fn results(self) -> Vec<SettleResult> {
        results(&self.answers())
    }

    /// The answer to the frame of this id. It has only the count of settlements if all were made.
    pub(crate) fn answer(self, settle_id: u64) -> SettledAnswer {
        let settled = self.outcomes.iter().filter(|outcome| **outcome == SettleOutcome::Settled).count();
        if settled == self.settlements.len() {
            let all_settled = u32::try_from(settled).unwrap_or(u32::MAX);
            return SettledAnswer { settle_id, all_settled, answers: Vec::new() };
        }
        SettledAnswer { settle_id, all_settled: 0, answers: self.answers() }
    }
}

/// The answer to one settlement. It is encoded when it is sent: a settlement of two bytes may have an error of more
/// than a hundred.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SettlementAnswer {
    /// The engine's outcome.
    Outcome(SettleOutcome, SettleAction),
    /// The error of a malformed settlement. Equal errors that follow each other are in memory once.
    Refused(Arc<ApiError>),
}

/// The answer to a frame of settlements.
#[derive(Debug, PartialEq)]
pub(crate) struct SettledAnswer {
    settle_id: u64,
    all_settled: u32,
    answers: Vec<SettlementAnswer>,
}

impl SettledAnswer {
    /// About its bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        use SettlementAnswer::Refused;
        let differ =
            |pair: &[SettlementAnswer]| matches!(pair, [Refused(a), Refused(b)] if !Arc::ptr_eq(a, b));
        let errors = self.answers.windows(2).filter(|pair| differ(pair)).count();
        self.answers.len() * size_of::<SettlementAnswer>() + errors * 512
    }

    /// The answer in the schema's type.
    pub(crate) fn frame(self) -> SettledFrame {
        let Self { settle_id, all_settled, answers } = self;
        SettledFrame { settle_id, all_settled, results: results(&answers) }
    }
}

fn results(answers: &[SettlementAnswer]) -> Vec<SettleResult> {
    map_runs(answers, |answer| match answer {
        SettlementAnswer::Outcome(outcome, action) => convert::settle_result(*outcome, *action),
        SettlementAnswer::Refused(error) => {
            SettleResult { result: Some(settle_result::Result::Error(error.to_proto())) }
        }
    })
}

/// Maps all items, and calls `map` once for equal items that follow each other.
pub(super) fn map_runs<T: PartialEq, R: Clone>(items: &[T], map: impl Fn(&T) -> R) -> Vec<R> {
    let mut results = Vec::with_capacity(items.len());
    for run in items.chunk_by(PartialEq::eq) {
        if let Some(first) = run.first() {
            results.extend(std::iter::repeat_n(map(first), run.len()));
        }
    }
    results
}

/// The items of an engine command, and the answers to malformed settlements, each with the settlement's index.
pub(super) fn items(settlements: &[Settlement]) -> (Vec<SettleItem>, Vec<(usize, SettlementAnswer)>) {
    let mut refused = Vec::<(usize, SettlementAnswer)>::new();
    let well_formed = settlements.iter().enumerate().filter_map(|(index, settlement)| {
        let refuse = |answer| {
            let last = refused.last().map(|(_, last)| last).filter(|last| **last == answer);
            let answer = last.cloned().unwrap_or(answer);
            refused.push((index, answer));
        };
        item(settlement).map_err(refuse).ok()
    });
    (SettleItem::coalesce(well_formed), refused)
}

fn item(settlement: &Settlement) -> Result<SettleItem, SettlementAnswer> {
    let action = settlement.action();
    let wrong = |error: ApiError| SettlementAnswer::Refused(Arc::new(error));
    let Some(kind) = convert::settle_kind(action) else {
        let text = "a settlement's action is ACK, NACK, RELEASE or DEAD_LETTER";
        return Err(wrong(ApiError::field(ErrorReason::RequestInvalid, "action", text)));
    };
    let token = convert::token_ref(&settlement.token);
    let Some(token) = token else {
        return Err(SettlementAnswer::Outcome(SettleOutcome::TokenInvalid, action));
    };
    let delay_ms = match (&settlement.delay, action) {
        (Some(delay), SettleAction::Nack) => {
            convert::millis("delay", delay, 0..=MAX_NACK_DELAY_MS).map_err(wrong)?
        }
        _ => 0,
    };
    Ok(SettleItem::one(token, kind, delay_ms))
}

#[cfg(test)]
mod tests {
    use posthouse_engine::schema::{SettleKind, TokenRef};

    use super::*;

    fn settlement(index: u32, action: SettleAction) -> Settlement {
        let token = [&7_u64.to_be_bytes()[..], &index.to_be_bytes(), &9_u64.to_be_bytes()].concat();
        Settlement { token: token.into(), action: action.into(), delay: None }
    }

    fn first_three() -> SettleItem {
        let token = TokenRef { lease: 7, index: 0, nonce: 9 };
        SettleItem { count: 3, ..SettleItem::one(token, SettleKind::Ack, 0) }
    }

    #[test]
    fn every_settlement_has_its_own_result() {
        let [ack, nothing] = [SettleAction::Ack, SettleAction::Unspecified];
        let settlements =
            vec![settlement(0, ack), settlement(1, nothing), settlement(1, ack), settlement(2, ack)];
        let (items, refused) = items(&settlements);
        assert_eq!(items, [first_three()], "a malformed settlement splits no run of others");
        let outcomes = vec![SettleOutcome::Settled, SettleOutcome::LeaseLost, SettleOutcome::Settled];
        let decided = DecidedSettlements { settlements: settlements.clone(), refused, outcomes };
        let made: Vec<_> = decided.made().collect();
        assert_eq!(made, [&settlements[0], &settlements[3]]);
        let frame = decided.answer(5).frame();
        assert_eq!((frame.settle_id, frame.all_settled, frame.results.len()), (5, 0, 4));
        let settled = convert::settle_result(SettleOutcome::Settled, ack);
        let lost = convert::settle_result(SettleOutcome::LeaseLost, ack);
        assert_eq!([&frame.results[0], &frame.results[2], &frame.results[3]], [&settled, &lost, &settled]);
        assert!(matches!(&frame.results[1].result, Some(settle_result::Result::Error(_))));
        assert_ne!(frame.results[1], lost);
    }

    #[test]
    fn what_is_malformed_is_refused_alone() {
        let ack = |index| settlement(index, SettleAction::Ack);
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let short = Settlement { token: vec![1; 19].into(), ..ack(0) };
        let late = Settlement { delay: seconds(i64::MAX), ..settlement(1, SettleAction::Nack) };
        // The delay of any action but a nack is ignored.
        let delayed = Settlement { delay: seconds(5), ..ack(1) };
        let (made, refused) = items(&[short.clone(), ack(0), delayed, late, ack(2), short]);
        assert_eq!(made, [first_three()]);
        assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 3, 5]);
        let invalid = SettlementAnswer::Outcome(SettleOutcome::TokenInvalid, SettleAction::Ack);
        assert_eq!([&refused[0].1, &refused[2].1], [&invalid; 2]);
        assert_ne!(refused[1].1, invalid);
    }

    #[test]
    fn the_answer_is_short_if_all_were_settled() {
        let settlements = vec![settlement(0, SettleAction::Ack), settlement(1, SettleAction::Ack)];
        let outcomes = vec![SettleOutcome::Settled; 2];
        let frame = DecidedSettlements { settlements, refused: Vec::new(), outcomes }.answer(5).frame();
        assert_eq!(frame, SettledFrame { settle_id: 5, all_settled: 2, results: Vec::new() });
    }

    #[test]
    fn equal_errors_are_in_memory_once_and_each_settlement_is_answered() {
        let settlements = vec![settlement(0, SettleAction::Unspecified); 1_000];
        let (_, refused) = items(&settlements);
        let decided = DecidedSettlements { settlements, refused, outcomes: Vec::new() };
        let answer = decided.answer(1);
        assert!(answer.bytes() < 64 * 1_000, "{}", answer.bytes());
        let frame = answer.frame();
        assert_eq!(frame.results.len(), 1_000);
        assert!(frame.results.iter().all(|result| *result == frame.results[0]));
    }
}
