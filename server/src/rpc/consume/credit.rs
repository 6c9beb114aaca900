//! The credit of a consume stream: how much its client may still be sent.

use posthouse_proto::v1::{Credit as WireCredit, ErrorReason};
use tonic::Code;

use crate::{
    dispatch::{Credit, Leased},
    limits,
    rpc::wire::status::ApiError,
};

/// Message credits of one stream that dispatch has at once. They suffice for the next reads; with more, messages that
/// are leased and wait here for the network would be withheld from other consumers.
const WINDOW: i64 = 2_048;

/// A stream's credits. They may fall below zero: resumed leases are sent whatever the credit, and so is one large
/// message.
#[derive(Debug, Default)]
pub(crate) struct CreditBalance {
    messages: i64,
    bytes: i64,
    /// Message credits that dispatch does not have yet.
    held_back: i64,
    /// Message credits that dispatch has, or has used for deliveries that wait here.
    in_window: i64,
}

impl CreditBalance {
    /// Adds credit that the client has sent, and returns the credit that dispatch gets now.
    pub(crate) fn add(&mut self, more: &WireCredit) -> Result<Credit, ApiError> {
        let messages = self.messages.saturating_add(i64::from(more.messages));
        let bytes = self.bytes.saturating_add(i64::try_from(more.bytes).unwrap_or(i64::MAX));
        if messages > i64::from(limits::MAX_CREDIT_MESSAGES) {
            return Err(over("messages", u64::from(limits::MAX_CREDIT_MESSAGES)));
        }
        if bytes > i64::try_from(limits::MAX_CREDIT_BYTES).unwrap_or(i64::MAX) {
            return Err(over("bytes", limits::MAX_CREDIT_BYTES));
        }
        (self.messages, self.bytes) = (messages, bytes);
        self.held_back = self.held_back.saturating_add(i64::from(more.messages));
        Ok(Credit { messages: self.release(), bytes: more.bytes })
    }

    /// Deducts the credit that dispatch has used for these leases.
    pub(crate) fn deduct(&mut self, leased: &[Leased]) {
        self.messages = self.messages.saturating_sub(i64::try_from(leased.len()).unwrap_or(i64::MAX));
        let bytes = leased.iter().map(|leased| i64::from(leased.size)).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// So many leases have left the backlog. Those that were `not_sent` get their credit back. Returns the credit that
    /// dispatch gets now.
    pub(crate) fn sent(&mut self, count: usize, not_sent: &[Leased]) -> Credit {
        let bytes: u64 = not_sent.iter().map(|leased| u64::from(leased.size)).sum();
        let back = i64::try_from(not_sent.len()).unwrap_or(0);
        self.messages = self.messages.saturating_add(back);
        self.bytes = self.bytes.saturating_add(i64::try_from(bytes).unwrap_or(0));
        self.held_back = self.held_back.saturating_add(back);
        self.in_window = self.in_window.saturating_sub(i64::try_from(count).unwrap_or(0));
        Credit { messages: self.release(), bytes }
    }

    /// Moves held-back message credits into the window, and returns how many.
    fn release(&mut self) -> u32 {
        let now = self.held_back.min(WINDOW.saturating_sub(self.in_window)).max(0);
        self.held_back -= now;
        self.in_window += now;
        u32::try_from(now).unwrap_or(0)
    }
}

fn over(field: &'static str, limit: u64) -> ApiError {
    let text =
        format!("the balance of {field} credits would pass {limit}; add credit as deliveries are settled");
    let error = ApiError::new(Code::OutOfRange, ErrorReason::RequestInvalid, text.clone());
    error.with_field(field, text).with_limit(limit)
}

#[cfg(test)]
mod tests {
    use posthouse_engine::{
        ids::LeaseId,
        outcome::{GrantedItem, LiveDelivery},
    };

    use super::*;

    fn leased(count: u64, size: u32) -> Vec<Leased> {
        let live = |sequence| LiveDelivery {
            lease: LeaseId(1),
            nonce: 0,
            deadline_ms: 0,
            item: GrantedItem { index: 0, sequence, attempt: 1 },
        };
        (1..=count).map(|sequence| Leased { live: live(sequence), size }).collect()
    }

    fn credit(messages: u32, bytes: u64) -> WireCredit {
        WireCredit { messages, bytes }
    }

    #[test]
    fn dispatch_has_a_window_of_the_credit_and_the_rest_follows_what_was_sent() {
        let mut balance = CreditBalance::default();
        assert_eq!(balance.add(&credit(6_000, 0)).unwrap().messages, 2_048);
        balance.deduct(&leased(2_000, 0));
        assert_eq!(balance.sent(2_000, &[]).messages, 2_000);
        balance.deduct(&leased(2_048, 0));
        assert_eq!(balance.sent(2_048, &[]).messages, 1_952);
        assert_eq!(balance.sent(1_952, &[]).messages, 0);
    }

    #[test]
    fn what_is_resumed_comes_off_and_the_balance_does_not_grow_by_it() {
        let mut balance = CreditBalance::default();
        assert_eq!(balance.add(&credit(100_000, 1 << 30)).unwrap().messages, 2_048);
        let resumed = leased(60_000, 10);
        balance.deduct(&resumed);
        // Dispatch has 2,048 less 60,000 credits, and gets so many that it has 2,048 again.
        assert_eq!(balance.sent(60_000, &[]).messages, 60_000);
        balance.add(&credit(60_000, 600_000)).unwrap();
        assert_eq!(balance.add(&credit(1, 0)).unwrap_err().code(), Code::OutOfRange);
    }

    #[test]
    fn a_message_larger_than_all_credit_leaves_no_trace_once_it_is_settled() {
        let mut balance = CreditBalance::default();
        balance.add(&credit(1, 100)).unwrap();
        for _ in 0..4_000 {
            balance.deduct(&leased(1, 1 << 20));
            balance.sent(1, &[]);
            balance.add(&credit(1, 1 << 20)).unwrap();
        }
        assert_eq!((balance.messages, balance.bytes), (1, 100));
    }

    #[test]
    fn the_credit_of_a_purged_message_comes_back() {
        let mut balance = CreditBalance::default();
        balance.add(&credit(10, 1_000)).unwrap();
        let all = leased(10, 50);
        balance.deduct(&all);
        let back = balance.sent(10, &all[..4]);
        assert_eq!((back.messages, back.bytes), (4, 200));
        assert_eq!((balance.messages, balance.bytes), (4, 700));
    }
}
