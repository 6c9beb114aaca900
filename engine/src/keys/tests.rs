//! Every kind of key is read as it was written, and refused when it is cut or longer.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ids::{LeaseId, QueueId, ShardId, SubscriptionId, TenantId};

fn queue() -> impl Strategy<Value = QueueRef> {
    (any::<u32>(), any::<u32>()).prop_map(|(department, queue)| QueueRef {
        department: DepartmentId(department),
        queue: QueueId(queue),
    })
}

fn subscription() -> impl Strategy<Value = SubscriptionRef> {
    (queue(), any::<u32>())
        .prop_map(|(queue, id)| SubscriptionRef { queue, subscription: SubscriptionId(id) })
}

fn id() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 1..20).prop_map(Bytes::from)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9-]{1,20}"
}

fn requester() -> impl Strategy<Value = Requester> {
    (any::<u32>(), any::<u32>(), "\\PC{0,20}").prop_map(|(department, tenant, subject)| Requester {
        department: DepartmentId(department),
        tenant: TenantId(tenant),
        subject,
    })
}

fn timer() -> impl Strategy<Value = Timer> {
    prop_oneof![
        (subscription(), any::<u64>()).prop_map(|(of, lease)| Timer::Lease(of, LeaseId(lease))),
        (subscription(), any::<u8>(), any::<u64>()).prop_map(|(of, lane, at)| Timer::Retry(
            of,
            Lane(lane),
            at
        )),
        subscription().prop_map(Timer::ClosedLeases),
    ]
}

fn reads_back<K: Key + PartialEq + std::fmt::Debug>(key: &K) -> Vec<u8> {
    let bytes = key.encode();
    assert_eq!(K::decode(&bytes).as_ref(), Some(key));
    bytes
}

/// For a key that is numbers only.
fn is_exact<K: Key + PartialEq + std::fmt::Debug>(key: &K) {
    let bytes = reads_back(key);
    for end in 0..bytes.len() {
        assert_eq!(K::decode(&bytes[..end]), None, "cut at {end}");
    }
    assert_eq!(K::decode(&[&bytes[..], &[0]].concat()), None, "one byte longer");
}

proptest! {
    #[test]
    fn of_a_queue(queue in queue(), lane: u8, sequence: u64, producer in id()) {
        is_exact(&QueueKey { queue });
        is_exact(&HeadKey { queue });
        is_exact(&BodyKey { queue, lane: Lane(lane), sequence });
        is_exact(&EntryKey { queue, first_sequence: sequence });
        let key = reads_back(&ProducerKey { queue, producer });
        prop_assert_eq!(ProducerKey::decode(&key[..8]), None);
    }

    #[test]
    fn of_a_subscription(subscription in subscription(), lane: u8, number: u64, lease: u64) {
        let (lane, lease) = (Lane(lane), LeaseId(lease));
        is_exact(&SubscriptionKey { subscription });
        is_exact(&AckChunkKey { subscription, lane, chunk: number });
        is_exact(&LeaseKey { subscription, lease });
        is_exact(&ProgressKey { subscription, lease });
        is_exact(&ClosedLeaseKey { subscription, closed_at_ms: number, lease });
        is_exact(&RetryKey { subscription, lane, sequence: number });
        is_exact(&RelocatedBodyKey { subscription, lane, sequence: number });
    }

    #[test]
    fn of_a_department(department: u32, queue: u32, name in name()) {
        let department = DepartmentId(department);
        is_exact(&DepartmentKey { department });
        is_exact(&SetAsideKey { department });
        is_exact(&DeadLetterUseKey { department, target: name.clone(), queue: QueueId(queue) });
        let key = reads_back(&QueueNameKey { department, name });
        prop_assert_eq!(QueueNameKey::decode(&key[..8]), None);
    }

    #[test]
    fn of_a_requester(requester in requester(), number: u64, id in "\\PC{1,20}") {
        is_exact(&RequesterKey { requester: requester.clone() });
        is_exact(&RequestOrderKey { requester: requester.clone(), number });
        reads_back(&RequestKey { requester: requester.clone(), id });
        // Whoever has a longer subject is somebody else.
        let longer = Requester { subject: format!("{}x", requester.subject), ..requester };
        let id = |requester: &Requester, id: &str| {
            RequestKey { requester: requester.clone(), id: id.into() }.encode()
        };
        prop_assert_ne!(id(&requester, "xy"), id(&longer, "y"));
        let timer = Timer::Requests(requester);
        reads_back(&TimerKey { shard: ShardId(1), due_ms: number, timer });
    }

    #[test]
    fn of_a_publisher(queue in queue(), requester in requester(), used_ms: u64, producer in id()) {
        let Requester { tenant, subject, .. } = requester;
        let publisher = Publisher { queue, tenant, subject };
        is_exact(&PublisherKey { publisher: publisher.clone() });
        let key = reads_back(&ProducerUseKey { publisher: publisher.clone(), used_ms, producer });
        prop_assert!(ProducerUseKey::from(&publisher, used_ms) < key);
        prop_assert!(key < ProducerUseKey::end(&publisher));
        prop_assert!(used_ms == u64::MAX || key < ProducerUseKey::from(&publisher, used_ms + 1));
        prop_assert!(key.starts_with(&queue_prefix(queue)));
        // Whoever has a longer subject is somebody else.
        let longer = Publisher { subject: format!("{}x", publisher.subject), ..publisher };
        prop_assert!(!(ProducerUseKey::from(&longer, 0) <= key && key < ProducerUseKey::end(&longer)));
    }

    #[test]
    fn of_a_shard_and_the_catalogue(shard: u16, tenant: u32, name in name()) {
        is_exact(&ShardKey { shard: ShardId(shard) });
        is_exact(&CatalogueStateKey);
        reads_back(&TenantKey { name: name.clone() });
        reads_back(&CatalogueDepartmentKey { tenant: TenantId(tenant), name });
    }

    #[test]
    fn of_a_timer(shard: u16, due_ms: u64, timer in timer(), queue in queue(), producer in id()) {
        let shard = ShardId(shard);
        is_exact(&TimerKey { shard, due_ms, timer: timer.clone() });
        let department = timer.department();
        let parked = ParkedTimerKey { department, timer: TimerKey { shard, due_ms, timer } };
        is_exact(&parked);
        prop_assert!(parked.encode().starts_with(&ParkedTimerKey::all_of(parked.department)));
        reads_back(&TimerKey { shard, due_ms, timer: Timer::Producer(queue, producer) });
    }

    #[test]
    fn keys_stand_in_order(queue in queue(), one: u64, other: u64) {
        let key = |sequence| body(queue, Lane(0), sequence);
        prop_assert_eq!(key(one).cmp(&key(other)), one.cmp(&other));
        let prefix = queue_prefix(queue);
        prop_assert!(prefix < key(one) && key(one) < after(&prefix));
        prop_assert_eq!(kind_of(&key(one)), Some(Kind::Body as u8));
        prop_assert_eq!(department_of(Family::Body, &key(one)), Some(queue.department));
    }

    #[test]
    fn a_line_is_the_bodies_of_a_lane(
        queue in queue(),
        (lane, sequence) in any::<(u8, u64)>(),
        other in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        let (line, key) = (line(queue, Lane(lane)), body(queue, Lane(lane), sequence));
        prop_assert_eq!(split_line(&key), Some((&line[..], sequence)));
        prop_assert_eq!(&join_line(&line, sequence), &key);
        prop_assert!(key < after_line(&key) && after_line(&key).starts_with(&line));
        prop_assert_eq!(split_line(&other).is_some(), BodyKey::decode(&other).is_some());
        prop_assert_eq!(split_line(&key[1..]), None);
        let queue = QueueKey { queue }.encode();
        prop_assert_eq!(split_line(&queue), None);
    }
}

#[test]
fn kinds_keep_their_numbers() {
    use Kind::*;
    let kinds = [
        Department,
        QueueName,
        DeadLetterUse,
        Queue,
        Head,
        Subscription,
        AckChunk,
        Lease,
        Progress,
        ClosedLease,
        Retry,
        Producer,
        Body,
        RelocatedBody,
        Entry,
        LeaseTimer,
        RetryTimer,
        ProducerTimer,
        ClosedLeasesTimer,
        Shard,
        CatalogueState,
        Tenant,
        CatalogueDepartment,
        Request,
        RequestOrder,
        Requester,
        RequestsTimer,
        SetAside,
        ParkedTimer,
        ProducerUse,
        Publisher,
    ];
    assert!(kinds.iter().map(|kind| *kind as u8).eq((1..=23).chain(41..=48)));
}

/// The layouts of the table in the module's documentation, `.` for a byte of zero.
#[test]
fn every_key_keeps_its_layout() {
    let (department, queue, lane) = (DepartmentId(u32::from(b'd')), QueueId(u32::from(b'q')), Lane(b'l'));
    let at = QueueRef { department, queue };
    let subscription = SubscriptionRef { queue: at, subscription: SubscriptionId(u32::from(b's')) };
    let (tenant, shard, subject) = (TenantId(u32::from(b't')), ShardId(u16::from(b'h')), String::from("sub"));
    let (sequence, lease) = (u64::from(b'n'), LeaseId(u64::from(b'e')));
    let (name, producer, time) = (String::from("name"), Bytes::from_static(b"pro"), u64::from(b'm'));
    let requester = Requester { department, tenant, subject: subject.clone() };
    let publisher = Publisher { queue: at, tenant, subject };
    let timer = |timer| TimerKey { shard, due_ms: time, timer };
    let lease_timer = timer(Timer::Lease(subscription, lease));
    let (target, closed_at_ms, used_ms, id) = (name.clone(), time, time, String::from("id"));
    let keys = [
        (DepartmentKey { department }.encode(), "...d....K"),
        (QueueNameKey { department, name: name.clone() }.encode(), "...d....Kname"),
        (DeadLetterUseKey { department, target, queue }.encode(), "...d....K.\x04name...q"),
        (QueueKey { queue: at }.encode(), "...d...qK"),
        (HeadKey { queue: at }.encode(), "...d...qK"),
        (SubscriptionKey { subscription }.encode(), "...d...qK...s"),
        (AckChunkKey { subscription, lane, chunk: sequence }.encode(), "...d...qK...sl.......n"),
        (LeaseKey { subscription, lease }.encode(), "...d...qK...s.......e"),
        (ProgressKey { subscription, lease }.encode(), "...d...qK...s.......e"),
        (ClosedLeaseKey { subscription, closed_at_ms, lease }.encode(), "...d...qK...s.......m.......e"),
        (RetryKey { subscription, lane, sequence }.encode(), "...d...qK...sl.......n"),
        (ProducerKey { queue: at, producer: producer.clone() }.encode(), "...d...qKpro"),
        (BodyKey { queue: at, lane, sequence }.encode(), "...d...qKl.......n"),
        (RelocatedBodyKey { subscription, lane, sequence }.encode(), "...d...qK...sl.......n"),
        (EntryKey { queue: at, first_sequence: sequence }.encode(), "...d...qK.......n"),
        (lease_timer.encode(), ".h.......mK...d...q...s.......e"),
        (timer(Timer::Retry(subscription, lane, sequence)).encode(), ".h.......mK...d...q...sl.......n"),
        (timer(Timer::Producer(at, producer.clone())).encode(), ".h.......mK...d...qpro"),
        (timer(Timer::ClosedLeases(subscription)).encode(), ".h.......mK...d...q...s"),
        (ShardKey { shard }.encode(), ".hK"),
        (CatalogueStateKey.encode(), "\u{ff}\u{ff}K"),
        (TenantKey { name: name.clone() }.encode(), "\u{ff}\u{ff}Kname"),
        (CatalogueDepartmentKey { tenant, name }.encode(), "\u{ff}\u{ff}K...tname"),
        (RequestKey { requester: requester.clone(), id }.encode(), "...d....K...t.\x03subid"),
        (
            RequestOrderKey { requester: requester.clone(), number: sequence }.encode(),
            "...d....K...t.\x03sub.......n",
        ),
        (RequesterKey { requester: requester.clone() }.encode(), "...d....K...t.\x03sub"),
        (timer(Timer::Requests(requester)).encode(), ".h.......mK...d...tsub"),
        (SetAsideKey { department }.encode(), "...d....K"),
        (
            ParkedTimerKey { department, timer: lease_timer }.encode(),
            "...d....K.h.......m\x10...d...q...s.......e",
        ),
        (
            ProducerUseKey { publisher: publisher.clone(), used_ms, producer }.encode(),
            "...d...qK...t.\x03sub.......mpro",
        ),
        (PublisherKey { publisher }.encode(), "...d...qK...t.\x03sub"),
    ];
    for (kind, (key, layout)) in (1..=23).chain(41..=48).zip(keys) {
        let byte = |sign| match sign {
            '.' => 0,
            'K' => kind,
            sign => u8::try_from(u32::from(sign)).unwrap(),
        };
        assert_eq!(key, layout.chars().map(byte).collect::<Vec<u8>>(), "kind {kind}");
    }
}

#[test]
fn a_prefix_of_the_highest_bytes_has_an_end() {
    assert_eq!(after(&[1, 255]), vec![2]);
    assert!(after(&[255, 255]) > vec![255, 255, 255, 255]);
}
