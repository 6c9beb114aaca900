//! Settlements on their way to the machine, and what comes of them.

use posthouse_engine::{
    limits::MAX_NACK_DELAY_MS,
    outcome::SettleOutcome,
    schema::{SettleItem, TokenRef},
};
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
    let (mut items, mut refused) = (Vec::new(), Vec::new());
    for (index, settlement) in settlements.iter().enumerate() {
        match item(settlement) {
            Ok(item) => add(&mut items, item),
            Err(result) => refused.push((index, result)),
        }
    }
    (items, refused)
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
    Ok(SettleItem { token: Some(token), kind: kind.into(), delay_ms, count: 1 })
}

/// Adds a settlement: to the one before it, if that is made in the same way of the deliveries before it in its lease. Mostly
/// all of a lease are, and then take no more of the log than one.
fn add(items: &mut Vec<SettleItem>, item: SettleItem) {
    let follows = |last: &SettleItem| {
        let index = last.token.and_then(|token| token.index.checked_add(last.count));
        let next = last.token.zip(index).map(|(token, index)| TokenRef { index, ..token });
        next.is_some() && next == item.token && (last.kind, last.delay_ms) == (item.kind, item.delay_ms)
    };
    match items.last_mut().filter(|last| follows(last)) {
        Some(last) => last.count += 1,
        None => items.push(item),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one() -> impl Strategy<Value = SettleItem> {
        let index = prop_oneof![20 => 0..6_u32, 1 => u32::MAX - 1..=u32::MAX];
        (1..3_u64, index, 1..3_u64, 1..3_i32, 0..2_u64).prop_map(|(lease, index, nonce, kind, delay_ms)| {
            SettleItem { token: Some(TokenRef { lease, index, nonce }), kind, delay_ms, count: 1 }
        })
    }

    #[test]
    fn the_deliveries_of_a_lease_are_one_item() {
        let ack = |index| {
            let token = Some(TokenRef { lease: 1, index, nonce: 9 });
            SettleItem { token, kind: 1, delay_ms: 0, count: 1 }
        };
        let mut items = Vec::new();
        (0..1_000).chain(1_001..1_003).for_each(|index| add(&mut items, ack(index)));
        assert_eq!(items, [SettleItem { count: 1_000, ..ack(0) }, SettleItem { count: 2, ..ack(1_001) }]);
    }

    fn settlement(index: u32, action: SettleAction) -> Settlement {
        let token = [&7_u64.to_be_bytes()[..], &index.to_be_bytes(), &9_u64.to_be_bytes()].concat();
        Settlement { token: token.into(), action: action.into(), delay: None }
    }

    #[test]
    fn every_settlement_has_its_own_result() {
        let [ack, nothing] = [SettleAction::Ack, SettleAction::Unspecified];
        let settlements =
            vec![settlement(0, ack), settlement(1, nothing), settlement(1, ack), settlement(2, ack)];
        let (items, refused) = items(&settlements);
        let whole: Vec<_> =
            items.iter().map(|item| (item.token.map(|token| token.index), item.count)).collect();
        assert_eq!(whole, [(Some(0), 3)], "a malformed one parts no others");
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
    fn the_answer_is_short_if_all_were_settled() {
        let settlements = vec![settlement(0, SettleAction::Ack), settlement(1, SettleAction::Ack)];
        let outcomes = vec![SettleOutcome::Settled; 2];
        let frame = Decided { settlements, refused: Vec::new(), outcomes }.frame(5);
        assert_eq!(frame, SettledFrame { settle_id: 5, all_settled: 2, results: Vec::new() });
    }

    proptest! {
        #[test]
        fn what_was_added_is_there_in_its_order(settlements in prop::collection::vec(one(), 0..40)) {
            let mut items = Vec::new();
            settlements.iter().for_each(|settlement| add(&mut items, *settlement));
            let apart: Vec<_> = items
                .iter()
                .flat_map(|item| {
                    (0..item.count).map(move |behind| {
                        let token = item.token.map(|token| TokenRef { index: token.index + behind, ..token });
                        SettleItem { token, count: 1, ..*item }
                    })
                })
                .collect();
            prop_assert_eq!(apart, settlements);
        }
    }
}
