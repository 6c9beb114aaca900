//! What a client may still be sent, as its stream's handler keeps it.

use posthouse_proto::v1::{Credit as WireCredit, ErrorReason};
use tonic::Code;

use crate::{
    dispatch::{Credit, Leased},
    limits,
    rpc::wire::status::ApiError,
};

/// Message credits that dispatch has of one stream: enough for the reads that follow, and no more, since what is leased and
/// waits here for the network is kept from other consumers.
const WINDOW: i64 = 2_048;

/// A stream's credits. They may fall below zero: what is resumed is sent in any case, and so is one large message.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    messages: i64,
    bytes: i64,
    /// Message credits that dispatch does not have yet.
    held_back: i64,
    /// Message credits that dispatch has, or has used for deliveries that wait here.
    on_the_way: i64,
}

impl Balance {
    /// The client gives more; what of it dispatch gets now.
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
        Ok(Credit { messages: self.give(), bytes: more.bytes })
    }

    /// Dispatch has used credit for these.
    pub(crate) fn take(&mut self, leased: &[Leased]) {
        self.messages = self.messages.saturating_sub(i64::try_from(leased.len()).unwrap_or(i64::MAX));
        let bytes = leased.iter().map(|leased| i64::from(leased.size)).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// These have left, but for the `gone` ones, whose message was purged and whose credit comes back; what dispatch
    /// gets now.
    pub(crate) fn sent(&mut self, count: usize, gone: &[Leased]) -> Credit {
        let bytes: u64 = gone.iter().map(|leased| u64::from(leased.size)).sum();
        let back = i64::try_from(gone.len()).unwrap_or(0);
        self.messages = self.messages.saturating_add(back);
        self.bytes = self.bytes.saturating_add(i64::try_from(bytes).unwrap_or(0));
        self.held_back = self.held_back.saturating_add(back);
        self.on_the_way = self.on_the_way.saturating_sub(i64::try_from(count).unwrap_or(0));
        Credit { messages: self.give(), bytes }
    }

    fn give(&mut self) -> u32 {
        let now = self.held_back.min(WINDOW.saturating_sub(self.on_the_way)).max(0);
        self.held_back -= now;
        self.on_the_way += now;
        u32::try_from(now).unwrap_or(0)
    }
}

fn over(field: &'static str, most: u64) -> ApiError {
    let text =
        format!("the balance of {field} credits would pass {most}; add credit as deliveries are settled");
    let error = ApiError::new(Code::OutOfRange, ErrorReason::RequestInvalid, text.clone());
    error.with_field(field, text).with_limit(most)
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
        let mut balance = Balance::default();
        assert_eq!(balance.add(&credit(6_000, 0)).unwrap().messages, 2_048);
        balance.take(&leased(2_000, 0));
        assert_eq!(balance.sent(2_000, &[]).messages, 2_000);
        balance.take(&leased(2_048, 0));
        assert_eq!(balance.sent(2_048, &[]).messages, 1_952);
        assert_eq!(balance.sent(1_952, &[]).messages, 0);
    }

    #[test]
    fn what_is_resumed_comes_off_and_the_balance_does_not_grow_by_it() {
        let mut balance = Balance::default();
        assert_eq!(balance.add(&credit(100_000, 1 << 30)).unwrap().messages, 2_048);
        let resumed = leased(60_000, 10);
        balance.take(&resumed);
        // Dispatch stands at 2,048 less 60,000, and gets as much as brings it back.
        assert_eq!(balance.sent(60_000, &[]).messages, 60_000);
        balance.add(&credit(60_000, 600_000)).unwrap();
        assert_eq!(balance.add(&credit(1, 0)).unwrap_err().code(), Code::OutOfRange);
    }

    #[test]
    fn a_message_larger_than_all_credit_leaves_no_trace_once_it_is_settled() {
        let mut balance = Balance::default();
        balance.add(&credit(1, 100)).unwrap();
        for _ in 0..4_000 {
            balance.take(&leased(1, 1 << 20));
            balance.sent(1, &[]);
            balance.add(&credit(1, 1 << 20)).unwrap();
        }
        assert_eq!((balance.messages, balance.bytes), (1, 100));
    }

    #[test]
    fn the_credit_of_a_purged_message_comes_back() {
        let mut balance = Balance::default();
        balance.add(&credit(10, 1_000)).unwrap();
        let all = leased(10, 50);
        balance.take(&all);
        let back = balance.sent(10, &all[..4]);
        assert_eq!((back.messages, back.bytes), (4, 200));
        assert_eq!((balance.messages, balance.bytes), (4, 700));
    }
}
