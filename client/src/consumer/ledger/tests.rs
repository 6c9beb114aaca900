use std::slice;

use bytes::Bytes;
use posthouse_proto::v1::{Credit, Delivery, Message};

use tokio::time::Instant;

use super::{Arrival, Duration, Lease, Ledger};

const LEASE: Duration = Duration::from_secs(30);

fn deliver(ledger: &mut Ledger, token: &'static str) -> Option<Lease> {
    deliver_at(ledger, token, Instant::now())
}

fn deliver_at(ledger: &mut Ledger, token: &'static str, now: Instant) -> Option<Lease> {
    match ledger.deliver(&delivery(token), now, LEASE) {
        Arrival::New(slot) => Some(Lease { token: token.into(), slot }),
        _ => None,
    }
}

fn delivery(token: &'static str) -> Delivery {
    let message = Message { payload: Bytes::from_static(&[7; 10]), ..Message::default() };
    Delivery { token: token.into(), message: Some(message), ..Delivery::default() }
}

fn credit(messages: u32, bytes: u64) -> Credit {
    Credit { messages, bytes }
}

#[test]
fn credits_come_back_once() {
    let mut ledger = Ledger::new(credit(4, 100));
    assert_eq!(ledger.begin_stream(), credit(4, 100));
    let [a, b] = ["a", "b"].map(|token| deliver(&mut ledger, token).unwrap());
    assert!(!ledger.is_owed());
    ledger.settle(&a);
    assert!(ledger.is_much_owed());
    ledger.remove(&a);
    assert_eq!(ledger.drain_owed(), credit(1, 10));
    ledger.remove(&b);
    assert_eq!(ledger.drain_owed(), credit(1, 10));
    ledger.remove(&b);
    assert!(!ledger.is_owed() && ledger.is_empty());
}

#[test]
fn a_lease_does_not_find_what_has_its_slot_now() {
    let mut ledger = Ledger::new(credit(4, 100));
    ledger.begin_stream();
    let old = deliver(&mut ledger, "old").unwrap();
    ledger.remove(&old);
    ledger.drain_owed();
    let new = deliver(&mut ledger, "new").unwrap();
    assert_eq!(old.slot, new.slot);
    assert!(!ledger.lose(&old) && !ledger.extended(&old, Instant::now()));
    ledger.remove(&old);
    assert!(!ledger.is_owed() && ledger.lose(&new));
}

#[test]
fn a_resumed_delivery_is_known_when_others_have_the_slots() {
    let mut ledger = Ledger::new(credit(4, 100));
    ledger.begin_stream();
    let [a, b] = ["a", "b"].map(|token| deliver(&mut ledger, token).unwrap());
    ledger.begin_stream();
    ledger.remove(&a);
    let mut resumed = |token| {
        let delivery = Delivery { resumed: true, ..delivery(token) };
        ledger.deliver(&delivery, Instant::now(), LEASE)
    };
    assert_eq!(resumed("c"), Arrival::New(a.slot));
    assert!(matches!(resumed("a"), Arrival::New(_)), "it was removed");
    assert_eq!(resumed("b"), Arrival::Resumed);
    assert!(ledger.finish_resuming().is_empty());
    ledger.remove(&b);
    assert!(!ledger.is_empty());
}

#[test]
fn a_resumed_delivery_is_known_and_charged_again() {
    let mut ledger = Ledger::new(credit(4, 100));
    ledger.begin_stream();
    let [held, settling, lost] =
        ["held", "settling", "lost"].map(|token| deliver(&mut ledger, token).unwrap());
    ledger.settle(&settling);
    ledger.begin_stream();
    assert!(!ledger.is_owed());
    assert!(deliver(&mut ledger, "held").is_none() && deliver(&mut ledger, "settling").is_none());
    assert_eq!(ledger.finish_resuming(), slice::from_ref(&lost));
    // The credit of the delivery in settlement is free at once, and that of the held one when it is settled; the lost
    // one used no credit of this stream.
    assert_eq!(ledger.drain_owed(), credit(1, 10));
    ledger.settle(&held);
    assert_eq!(ledger.drain_owed(), credit(1, 10));
    ledger.settle(&lost);
    assert!(!ledger.is_owed());
}

#[test]
fn how_long_a_lease_lasts_is_what_the_server_says() {
    let (mut ledger, start) = (Ledger::new(credit(9, 100)), Instant::now() + 10 * LEASE);
    let after = |seconds| start + Duration::from_secs(seconds);
    let left = |token, seconds| Delivery {
        lease_time_left: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..delivery(token)
    };
    let mut deliver = |delivery: Delivery| match ledger.deliver(&delivery, start, LEASE) {
        Arrival::New(slot) => Lease { token: delivery.token, slot },
        other => panic!("{other:?}"),
    };
    let [little, whole, _longer] =
        [("little", 5), ("whole", 30), ("longer", 300)].map(|(t, s)| deliver(left(t, s)));
    let (age, limit) = (LEASE / 3, Duration::from_secs(60));
    assert_eq!(ledger.collect_due(start, age, limit), [little], "the others have time");
    assert_eq!(ledger.collect_due(after(11), age, limit).len(), 3);
    assert_eq!(ledger.expire(after(5)), (vec!["little".into()], Some(after(30))));
    // On the next stream the server sends other times.
    ledger.begin_stream();
    assert_eq!(ledger.deliver(&left("little", 7), after(10), LEASE), Arrival::Revived);
    assert_eq!(ledger.deliver(&left("whole", 2), after(10), LEASE), Arrival::Resumed);
    assert_eq!(ledger.collect_due(after(10), age, limit).len(), 2);
    assert_eq!(ledger.expire(after(13)), (vec!["whole".into()], Some(after(17))));
    assert!(!ledger.lose(&whole));
}

#[test]
fn leases_are_kept_while_they_are_worked_under() {
    let (mut ledger, start) = (Ledger::new(credit(9, 100)), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);
    let (age, limit) = (LEASE / 3, Duration::from_secs(60));
    let [waits, worked_on, settling] =
        ["waits", "worked-on", "settling"].map(|token| deliver_at(&mut ledger, token, start).unwrap());
    ledger.settle(&settling);
    assert!(ledger.collect_due(after(9), age, limit).is_empty());
    ledger.mark_waiting(slice::from_ref(&waits), after(11));
    assert_eq!(ledger.collect_due(after(11), age, limit), slice::from_ref(&worked_on));
    assert!(ledger.collect_due(after(12), age, limit).is_empty(), "it was asked for");
    assert!(!ledger.extended(&worked_on, after(41)));
    assert_eq!(ledger.expire(after(29)), (Vec::new(), Some(after(30))));
    assert_eq!(ledger.expire(after(30)), (vec!["waits".into()], Some(after(41))));
    ledger.begin_stream();
    assert_eq!(ledger.deliver(&delivery("waits"), after(31), LEASE), Arrival::Revived);
    ledger.finish_resuming();
    assert_eq!(ledger.expire(after(41)).0.len(), 2);
    assert!(ledger.collect_due(after(61), age, limit).is_empty(), "long enough");
    assert!(!ledger.lose(&waits), "it was told");
    assert!(ledger.extended(&waits, after(90)), "good after all");
    assert!(ledger.lose(&waits) && ledger.settle(&waits));
    assert!(!ledger.settle(&waits));
}
