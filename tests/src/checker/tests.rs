//! Planted histories: each broken promise must be found, and no other.

use super::{Property, check};
use crate::{
    history::{Action, Delivery, Event, ServerTime, Token, What},
    payload::{PayloadId, Seen},
};

const SECOND: i64 = 1_000_000_000;
const LEASE: i64 = 30 * SECOND;

/// A history, with one event a nanosecond.
#[derive(Default)]
struct Story {
    events: Vec<Event>,
}

impl Story {
    fn then(mut self, what: What) -> Self {
        self.events.push(Event { at: self.events.len() as u64, what });
        self
    }

    fn publish(self, count: u64) -> Self {
        self.then(What::PublishStarted { payload: payload(count) })
    }

    fn acked(self, count: u64) -> Self {
        self.publish(count).then(What::PublishAcked { payload: payload(count), sequence: Some(count) })
    }

    /// A consumer receives the message with the token of this number, granted in this second.
    fn received(self, count: u64, consumer: u32, token: u8, second: i64) -> Self {
        self.then(What::Delivered(delivery(count, consumer, token, second)))
    }

    fn sent(self, token: u8, action: Action) -> Self {
        self.then(What::SettleSent { token: Token(vec![token]), action })
    }

    fn settled(self, token: u8, action: Action) -> Self {
        self.sent(token, action).then(What::SettleConfirmed { token: Token(vec![token]) })
    }

    fn refused(self, token: u8, action: Action) -> Self {
        let reason = "LEASE_LOST".to_owned();
        self.sent(token, action).then(What::SettleRefused { token: Token(vec![token]), reason })
    }

    #[track_caller]
    fn breaks(self, expected: &[Property]) {
        let verdict = check(&self.then(What::Drained).events);
        let mut broken: Vec<Property> =
            verdict.violations.iter().map(|violation| violation.property).collect();
        broken.sort_unstable();
        broken.dedup();
        assert_eq!(broken, expected, "{verdict}");
    }
}

fn payload(count: u64) -> PayloadId {
    PayloadId { producer: 1, count }
}

fn delivery(count: u64, consumer: u32, token: u8, second: i64) -> Delivery {
    let granted: ServerTime = second * SECOND;
    Delivery {
        consumer,
        token: Token(vec![token]),
        message: format!("message-{count}"),
        sequence: count,
        origin: None,
        payload: Seen::Intact(payload(count)),
        attempt: 1,
        deadline: granted + LEASE,
        lease: LEASE,
        resumed: false,
    }
}

#[test]
fn a_good_history_passes() {
    let story = Story::default()
        .acked(1)
        .acked(2)
        .publish(3)
        .received(1, 1, 1, 0)
        .settled(1, Action::Ack)
        // A nack, another holder, and an expiry.
        .received(2, 1, 2, 0)
        .settled(2, Action::Nack)
        .received(2, 2, 3, 1)
        .received(2, 1, 4, 31)
        .settled(4, Action::Ack)
        .refused(3, Action::Ack)
        // A message whose publish was not confirmed is received; the answer to its settlement was lost with a crash.
        .received(3, 2, 5, 2)
        .sent(5, Action::Ack)
        .then(What::ServerKilled)
        .then(What::ServerReady)
        .received(3, 2, 5, 2)
        .settled(5, Action::Ack)
        // Another that was not confirmed was not stored.
        .publish(4);
    let events = story.then(What::Drained).events;
    let verdict = check(&events);
    assert_eq!(verdict.violations, [], "{verdict}");
    assert_eq!((verdict.acked, verdict.unknown, verdict.leases, verdict.settled), (2, 2, 5, 3));
    assert_eq!(verdict.leased_again, 1);
}

#[test]
fn an_acked_message_that_never_comes_is_lost() {
    Story::default().acked(1).breaks(&[Property::Loss]);
}

#[test]
fn an_acked_message_that_came_unsettled_and_then_no_more_is_lost() {
    Story::default().acked(1).received(1, 1, 1, 0).breaks(&[Property::Loss]);
    Story::default().acked(1).received(1, 1, 1, 0).settled(1, Action::Nack).breaks(&[Property::Loss]);
    Story::default().acked(1).received(1, 1, 1, 0).refused(1, Action::Ack).breaks(&[Property::Loss]);
}

#[test]
fn a_settlement_without_an_answer_may_hold() {
    Story::default().acked(1).received(1, 1, 1, 0).sent(1, Action::Ack).breaks(&[]);
    let again = Story::default().acked(1).received(1, 1, 1, 0).sent(1, Action::Ack).received(1, 2, 2, 40);
    again.settled(2, Action::Ack).breaks(&[]);
}

#[test]
fn an_unacked_message_may_be_lost_but_a_refused_one_may_not_come() {
    Story::default().publish(1).breaks(&[]);
    let refused = Story::default().publish(1).then(What::PublishRefused { payload: payload(1) });
    refused.received(1, 1, 1, 0).settled(1, Action::Ack).breaks(&[Property::Phantom]);
}

#[test]
fn what_was_not_sent_may_not_come() {
    Story::default().received(9, 1, 1, 0).settled(1, Action::Ack).breaks(&[Property::Phantom]);
    let early = Story::default().received(1, 1, 1, 0).settled(1, Action::Ack).acked(1);
    early.breaks(&[Property::Phantom]);
}

#[test]
fn a_corrupted_payload_is_caught() {
    let mut corrupt = delivery(1, 1, 1, 0);
    corrupt.payload = Seen::Corrupt { size: 3 };
    let story = Story::default().acked(1).then(What::Delivered(corrupt)).settled(1, Action::Ack);
    // The original message is lost as well.
    story.breaks(&[Property::Loss, Property::Intact]);
}

#[test]
fn nothing_comes_after_its_confirmed_settlement() {
    let story =
        |action| Story::default().acked(1).received(1, 1, 1, 0).settled(1, action).received(1, 2, 2, 40);
    story(Action::Ack).breaks(&[Property::Returned]);
    story(Action::DeadLetter).breaks(&[Property::Loss, Property::Returned]);
    let resumed = Story::default().acked(1).received(1, 1, 1, 0).settled(1, Action::Ack).received(1, 1, 1, 0);
    resumed.breaks(&[Property::Returned]);
}

#[test]
fn an_older_delivery_may_come_late() {
    let story = Story::default().acked(1).received(1, 1, 2, 40).settled(2, Action::Ack);
    story.received(1, 2, 1, 0).breaks(&[]);
}

#[test]
fn two_holders_may_not_both_settle() {
    let story = Story::default().acked(1).received(1, 1, 1, 0).received(1, 2, 2, 40);
    story.settled(1, Action::Ack).settled(2, Action::Ack).breaks(&[Property::Returned]);
}

#[test]
fn leases_may_not_overlap() {
    let story = || Story::default().acked(1).received(1, 1, 1, 0);
    story().received(1, 2, 2, 29).settled(2, Action::Ack).breaks(&[Property::Overlap]);
    story().received(1, 2, 2, 30).settled(2, Action::Ack).breaks(&[]);
    // The order of arrival makes no difference.
    let late = Story::default().acked(1).received(1, 2, 2, 29).received(1, 1, 1, 0);
    late.settled(2, Action::Ack).breaks(&[Property::Overlap]);
}

#[test]
fn a_lease_ends_by_its_holder() {
    let story = || Story::default().acked(1).received(1, 1, 1, 0);
    story().settled(1, Action::Release).received(1, 2, 2, 0).settled(2, Action::Ack).breaks(&[]);
    story().sent(1, Action::Nack).received(1, 2, 2, 1).settled(2, Action::Ack).breaks(&[]);
    story()
        .refused(1, Action::Nack)
        .received(1, 2, 2, 1)
        .settled(2, Action::Ack)
        .breaks(&[Property::Overlap]);
    let closed = story().then(What::ConsumerClosed { consumer: 1 });
    closed.received(1, 2, 2, 1).settled(2, Action::Ack).breaks(&[]);
    let other = story().then(What::ConsumerClosed { consumer: 2 });
    other.received(1, 2, 2, 1).settled(2, Action::Ack).breaks(&[Property::Overlap]);
}

#[test]
fn an_extended_lease_ends_later() {
    let extended = What::Extended { token: Token(vec![1]), deadline: 60 * SECOND };
    let story = || Story::default().acked(1).received(1, 1, 1, 0).then(extended.clone());
    story().received(1, 2, 2, 59).settled(2, Action::Ack).breaks(&[Property::Overlap]);
    story().received(1, 2, 2, 60).settled(2, Action::Ack).breaks(&[]);
}

#[test]
fn a_message_is_stored_once() {
    let mut copy = delivery(1, 2, 2, 0);
    copy.message = "message-7".to_owned();
    copy.sequence = 7;
    let story = Story::default().acked(1).received(1, 1, 1, 0).settled(1, Action::Ack);
    story.then(What::Delivered(copy)).settled(2, Action::Ack).breaks(&[Property::StoredTwice]);
}

#[test]
fn a_dead_letter_is_no_second_message() {
    let mut letter = delivery(1, 2, 2, 0);
    letter.message = "message-7".to_owned();
    letter.sequence = 7;
    letter.origin = Some("message-1".to_owned());
    let story = Story::default().acked(1).received(1, 1, 1, 0).settled(1, Action::DeadLetter);
    story.then(What::Delivered(letter)).settled(2, Action::Ack).breaks(&[]);
}

#[test]
fn a_dead_letter_comes_as_one() {
    let story = Story::default().acked(1).received(1, 1, 1, 0).settled(1, Action::DeadLetter);
    story.breaks(&[Property::Loss]);
}

#[test]
fn two_messages_do_not_share_a_place() {
    let mut other = delivery(2, 1, 2, 0);
    other.message = "message-1".to_owned();
    let story = Story::default().acked(1).acked(2).received(1, 1, 1, 0).settled(1, Action::Ack);
    let story = story.then(What::Delivered(other)).settled(2, Action::Ack);
    // One of them is received after the other's settlement, too, and with another id than its ack said.
    let verdict = check(&story.then(What::Drained).events);
    assert!(verdict.breaks(Property::StoredTwice), "{verdict}");
}

#[test]
fn a_message_comes_where_its_ack_said() {
    let elsewhere = What::PublishAcked { payload: payload(1), sequence: Some(5) };
    let story = Story::default().publish(1).then(elsewhere).received(1, 1, 1, 0);
    story.settled(1, Action::Ack).breaks(&[Property::StoredTwice]);
}

#[test]
fn attempts_do_not_fall() {
    let mut second = delivery(1, 2, 2, 30);
    second.attempt = 2;
    let story = Story::default().acked(1).received(1, 1, 1, 0).then(What::Delivered(second));
    story.received(1, 1, 3, 60).settled(3, Action::Ack).breaks(&[Property::Attempts]);
}

#[test]
fn a_history_without_an_end_proves_nothing() {
    let story = Story::default().acked(1);
    let verdict = check(&story.events);
    assert!(verdict.breaks(Property::Drained) && !verdict.breaks(Property::Loss), "{verdict}");
}
