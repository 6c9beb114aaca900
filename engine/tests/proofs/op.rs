//! The steps of a case, with free choices that the driver turns into commands as the state allows.

use proptest::{collection::vec, prelude::*};

/// A choice among the things that exist when it is made.
pub type Choice = u16;

#[derive(Debug, Clone)]
pub enum Op {
    Configure {
        department: bool,
        closed: bool,
        older: bool,
    },
    LeaderStarted,
    Create {
        department: bool,
        name: u8,
        attempts: u32,
        target: u8,
        request: Request,
    },
    Update {
        name: u8,
        attempts: u32,
        target: u8,
        revision: u8,
        request: Request,
    },
    Delete {
        name: u8,
        revision: u8,
        request: Request,
    },
    Purge {
        name: u8,
        request: Request,
    },
    /// A change with a request, repeated.
    Repeat {
        change: Choice,
    },
    Publish {
        queue: Choice,
        sizes: Vec<u8>,
        atomic: bool,
        producer: Option<Producer>,
        /// How often: mostly once, or until the first is not among the remembered batches of the session.
        times: u8,
    },
    /// A publish of a session, sent again.
    Republish {
        publish: Choice,
    },
    Grant {
        queue: Choice,
        holder: u8,
        picks: Vec<Choice>,
        duration_s: u64,
    },
    Settle {
        token: Choice,
        items: Vec<Item>,
    },
    Extend {
        token: Choice,
        others: Vec<(Choice, Corruption)>,
        duration_s: u64,
    },
    Release {
        queue: Choice,
        holder: u8,
    },
    Redrive {
        queue: Choice,
        picks: Vec<Choice>,
        /// Why the leader passes each over, or 0.
        passed_over: Vec<u8>,
        /// The target queue, or none.
        target: Option<Choice>,
        request: Request,
    },
    Tick(u64),
    /// The wall clock is set to this many milliseconds ahead of the time of batches.
    SetClock(i64),
    Advance {
        first: u32,
    },
    /// Many messages at once, for long cases.
    Flood {
        queue: Choice,
        publishes: u8,
    },
    /// Many acks at once, in order, except for one message in `leave`.
    Drain {
        queue: Choice,
        leases: u8,
        leave: u16,
    },
}

/// The caller and the id of a request.
#[derive(Debug, Clone, Copy)]
pub enum Request {
    None,
    /// A request id of before machine version 6.
    Old(u8),
    Of {
        subject: u8,
        id: u8,
    },
}

#[derive(Debug, Clone)]
pub struct Producer {
    pub id: u8,
    pub epoch_ahead: i8,
    pub sequence_ahead: i8,
    pub foreign: bool,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub token: Choice,
    pub corruption: Corruption,
    pub kind: i32,
    pub delay_ms: u64,
    pub count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    None,
    Nonce,
    Index,
    Lease,
    Holder,
}

/// The steps of one case, by batches.
pub fn case() -> impl Strategy<Value = Vec<Vec<Op>>> {
    vec(vec(op(), 1..6), 1..30)
}

/// Fewer steps, of many messages each, mostly in one queue. All drains leave the same messages.
pub fn long_case() -> impl Strategy<Value = Vec<Vec<Op>>> {
    let queue = || prop_oneof![9 => Just(2u16), 1 => any::<Choice>()];
    let leave = prop_oneof![Just(70u16), Just(140), Just(700)];
    let op = prop_oneof![
        4 => (queue(), 4u8..24).prop_map(|(queue, publishes)| Op::Flood { queue, publishes }),
        4 => (queue(), 8u8..48, leave).prop_map(|(queue, leases, leave)| Op::Drain { queue, leases, leave }),
        2 => op(),
    ];
    vec(vec(op, 1..3), 10..26)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => (any::<bool>(), prop::bool::weighted(0.3), prop::bool::weighted(0.2))
            .prop_map(|(department, closed, older)| Op::Configure { department, closed, older }),
        1 => Just(Op::LeaderStarted),
        3 => (prop::bool::weighted(0.1), name(), 0u32..4, target(), request())
            .prop_map(|(department, name, attempts, target, request)| {
                Op::Create { department, name, attempts, target, request }
            }),
        2 => (name(), 0u32..4, target(), revision(), request())
            .prop_map(|(name, attempts, target, revision, request)| {
                Op::Update { name, attempts, target, revision, request }
            }),
        1 => (name(), revision(), request())
            .prop_map(|(name, revision, request)| Op::Delete { name, revision, request }),
        1 => (name(), request()).prop_map(|(name, request)| Op::Purge { name, request }),
        3 => any::<Choice>().prop_map(|change| Op::Repeat { change }),
        10 => (any::<Choice>(), vec(any::<u8>(), 0..6), prop::bool::weighted(0.2), producer(), times())
            .prop_map(|(queue, sizes, atomic, producer, times)| {
                Op::Publish { queue, sizes, atomic, producer, times }
            }),
        3 => any::<Choice>().prop_map(|publish| Op::Republish { publish }),
        10 => (any::<Choice>(), 0u8..4, vec(any::<Choice>(), 1..8), 0u64..60)
            .prop_map(|(queue, holder, picks, duration_s)| Op::Grant { queue, holder, picks, duration_s }),
        14 => (any::<Choice>(), vec(item(), 1..6)).prop_map(|(token, items)| Op::Settle { token, items }),
        3 => (any::<Choice>(), vec((any::<Choice>(), corruption()), 0..5), 0u64..100)
            .prop_map(|(token, others, duration_s)| Op::Extend { token, others, duration_s }),
        1 => (any::<Choice>(), 0u8..4).prop_map(|(queue, holder)| Op::Release { queue, holder }),
        6 => redrive(),
        5 => tick_ms().prop_map(Op::Tick),
        1 => prop_oneof![1 => Just(0), 2 => -900_000i64..3_000_000].prop_map(Op::SetClock),
        5 => (0u32..4).prop_map(|first| Op::Advance { first }),
    ]
}

fn tick_ms() -> impl Strategy<Value = u64> {
    const FOUR_DAYS_MS: u64 = 4 * 24 * 3_600_000;
    prop_oneof![6 => 0u64..15_000, 2 => 0u64..40_000, 1 => 0u64..200_000, 1 => Just(FOUR_DAYS_MS)]
}

fn redrive() -> impl Strategy<Value = Op> {
    let passed_over =
        prop_oneof![2 => Just(Vec::new()), 1 => vec(prop_oneof![2 => Just(0u8), 1 => 1u8..5], 5)];
    let target = prop::option::weighted(0.3, any::<Choice>());
    (any::<Choice>(), vec(any::<Choice>(), 1..6), passed_over, target, request()).prop_map(
        |(queue, picks, passed_over, target, request)| Op::Redrive {
            queue,
            picks,
            passed_over,
            target,
            request,
        },
    )
}

/// Mostly none; ids are chosen repeatedly.
fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        3 => Just(Request::None),
        1 => (1u8..3).prop_map(Request::Old),
        4 => (0u8..2, 0u8..6).prop_map(|(subject, id)| Request::Of { subject, id }),
    ]
}

fn times() -> impl Strategy<Value = u8> {
    prop_oneof![12 => Just(1u8), 1 => 9u8..12]
}

fn name() -> impl Strategy<Value = u8> {
    0u8..4
}

/// Mostly no dead-letter queue.
fn target() -> impl Strategy<Value = u8> {
    prop_oneof![2 => Just(u8::MAX), 3 => 0u8..5]
}

fn revision() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0), 1 => 1u8..3]
}

fn producer() -> impl Strategy<Value = Option<Producer>> {
    let ahead = || prop_oneof![8 => Just(0i8), 1 => -8i8..0, 1 => 1i8..3];
    let producer = (0u8..3, ahead(), ahead(), prop::bool::weighted(0.05)).prop_map(
        |(id, epoch_ahead, sequence_ahead, foreign)| Producer { id, epoch_ahead, sequence_ahead, foreign },
    );
    prop::option::of(producer)
}

fn corruption() -> impl Strategy<Value = Corruption> {
    use Corruption::{Holder, Index, Lease, Nonce, None};
    prop_oneof![20 => Just(None), 1 => Just(Nonce), 1 => Just(Index), 1 => Just(Lease), 1 => Just(Holder)]
}

fn item() -> impl Strategy<Value = Item> {
    let delay = prop_oneof![2 => Just(0u64), 1 => 1u64..100_000];
    (
        any::<Choice>(),
        corruption(),
        prop_oneof![4 => Just(1), 4 => Just(2), 1 => Just(3), 1 => Just(4)],
        delay,
        prop_oneof![4 => Just(0), 1 => 1..5u32],
    )
        .prop_map(|(token, corruption, kind, delay_ms, count)| Item {
            token,
            corruption,
            kind,
            delay_ms,
            count,
        })
}
