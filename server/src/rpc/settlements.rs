//! Settlements on their way to the machine, and what comes of them.

use posthouse_engine::{limits::MAX_NACK_DELAY_MS, outcome::SettleOutcome, schema::SettleItem};
use posthouse_proto::v1::{ErrorReason, SettleAction, SettleResult, SettledFrame, Settlement, settle_result};

use super::{convert, status::ApiError};

/// Settlements that were decided.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(super) settlements: Vec<Settlement>,
    /// The malformed ones, each with its place.
    pub(super) refused: Vec<(usize, SettleResult)>,
    /// What the machine did with the others.
    pub(super) outcomes: Vec<SettleOutcome>,
}

impl Decided {
    /// Those the machine has decided, and how.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&Settlement, SettleOutcome)> {
        let mut refused = self.refused.iter().map(|(at, _)| *at).peekable();
        let rest =
            self.settlements.iter().enumerate().filter(move |(at, _)| refused.next_if_eq(at).is_none());
        rest.map(|(_, settlement)| settlement).zip(self.outcomes.iter().copied())
    }

    /// Those that were made.
    pub(crate) fn made(&self) -> impl Iterator<Item = &Settlement> {
        let made = self.outcomes().filter(|(_, outcome)| *outcome == SettleOutcome::Settled);
        made.map(|(settlement, _)| settlement)
    }

    /// One result per settlement, in their order.
    pub(crate) fn results(self) -> Vec<SettleResult> {
        let (mut outcomes, mut refused) = (self.outcomes.into_iter(), self.refused.into_iter().peekable());
        let result = |(index, settlement): (usize, &Settlement)| match refused.next_if(|(at, _)| *at == index)
        {
            Some((_, result)) => result,
            None => {
                let outcome = outcomes.next().unwrap_or(SettleOutcome::TokenInvalid);
                convert::settle_result(outcome, settlement.action())
            }
        };
        self.settlements.iter().enumerate().map(result).collect()
    }

    /// The answer to a frame: short if all were settled.
    pub(crate) fn frame(self, settle_id: u64) -> SettledFrame {
        let settled = self.outcomes.iter().filter(|outcome| **outcome == SettleOutcome::Settled).count();
        if settled == self.settlements.len() {
            let all_settled = u32::try_from(settled).unwrap_or(u32::MAX);
            return SettledFrame { settle_id, all_settled, results: Vec::new() };
        }
        SettledFrame { settle_id, all_settled: 0, results: self.results() }
    }
}

/// As the machine takes them, and those that are malformed, each with its place and its result.
pub(super) fn items(settlements: &[Settlement]) -> (Vec<SettleItem>, Vec<(usize, SettleResult)>) {
    let mut refused = Vec::new();
    let well_formed = settlements.iter().enumerate().filter_map(|(index, settlement)| {
        let refuse = |result| refused.push((index, result));
        item(settlement).map_err(refuse).ok()
    });
    (SettleItem::together(well_formed), refused)
}

fn item(settlement: &Settlement) -> Result<SettleItem, SettleResult> {
    let action = settlement.action();
    let wrong =
        |error: ApiError| SettleResult { result: Some(settle_result::Result::Error(error.to_proto())) };
    let Some(kind) = convert::settle_kind(action) else {
        let text = "a settlement's action is ACK, NACK, RELEASE or DEAD_LETTER";
        return Err(wrong(ApiError::field(ErrorReason::RequestInvalid, "action", text)));
    };
    let token = convert::token_ref(&settlement.token);
    let Some(token) = token else { return Err(convert::settle_result(SettleOutcome::TokenInvalid, action)) };
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
        assert_eq!(items, [first_three()], "a malformed one parts no others");
        let outcomes = vec![SettleOutcome::Settled, SettleOutcome::LeaseLost, SettleOutcome::Settled];
        let decided = Decided { settlements: settlements.clone(), refused, outcomes };
        let made: Vec<_> = decided.made().collect();
        assert_eq!(made, [&settlements[0], &settlements[3]]);
        let frame = decided.frame(5);
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
        // Only a nack has a delay.
        let delayed = Settlement { delay: seconds(5), ..ack(1) };
        let (made, refused) = items(&[short.clone(), ack(0), delayed, late, ack(2), short]);
        assert_eq!(made, [first_three()]);
        assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 3, 5]);
        let invalid = convert::settle_result(SettleOutcome::TokenInvalid, SettleAction::Ack);
        assert_eq!([&refused[0].1, &refused[2].1], [&invalid; 2]);
        assert_ne!(refused[1].1, invalid);
    }

    #[test]
    fn the_answer_is_short_if_all_were_settled() {
        let settlements = vec![settlement(0, SettleAction::Ack), settlement(1, SettleAction::Ack)];
        let outcomes = vec![SettleOutcome::Settled; 2];
        let frame = Decided { settlements, refused: Vec::new(), outcomes }.frame(5);
        assert_eq!(frame, SettledFrame { settle_id: 5, all_settled: 2, results: Vec::new() });
    }
}
