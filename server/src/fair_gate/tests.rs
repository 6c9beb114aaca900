use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, stream::FuturesUnordered, task::noop_waker_ref};
use posthouse_engine::ids::TenantId;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{ConnectionKey, FairGate, FairGateLimits, Pass};

/// Without pauses, which go by the real clock: a test of the order that is delayed by a millisecond would meet one.
const LIMITS: FairGateLimits = FairGateLimits { alone: 1_000, shared: 300, each: 10, all: 2_000, pauses: 0 };
const WITH_PAUSES: FairGateLimits = FairGateLimits { pauses: 3, ..LIMITS };

fn now(fair_gate: &Arc<FairGate>, tenant: u32, bytes: usize) -> Option<Pass> {
    fair_gate.enter(TenantId(tenant), ConnectionKey(0), bytes).now_or_never()
}

#[test]
fn one_tenant_has_all_the_room() {
    let fair_gate = FairGate::new(LIMITS);
    let passes: Vec<_> = (0..10).map(|_| now(&fair_gate, 1, 100).unwrap()).collect();
    assert!(now(&fair_gate, 1, 100).is_none());
    assert_eq!(fair_gate.figures(), (0, 1_000));
    drop(passes);
    assert_eq!(fair_gate.figures(), (0, 0));
    // A batch that is larger than the whole capacity passes alone.
    let large = now(&fair_gate, 1, 5_000).unwrap();
    assert!(now(&fair_gate, 1, 1).is_none());
    drop(large);
    assert!(now(&fair_gate, 1, 1).is_some());
}

#[test]
fn who_has_little_inside_goes_in_whatever_others_have() {
    let fair_gate = FairGate::new(LIMITS);
    let _large: Vec<_> = (0..10).map(|_| now(&fair_gate, 1, 100).unwrap()).collect();
    let first = now(&fair_gate, 2, 6).unwrap();
    assert!(now(&fair_gate, 2, 6).is_none(), "it has 6 of 10 inside");
    let _second = now(&fair_gate, 2, 4).unwrap();
    let _another = now(&fair_gate, 3, 10).unwrap();
    drop(first);
    assert!(now(&fair_gate, 2, 6).is_some());
}

#[test]
fn while_several_publish_there_is_little_inside() {
    let fair_gate = FairGate::new(LIMITS);
    let _neighbour = now(&fair_gate, 2, 1).unwrap();
    let passes: Vec<_> = (0..3).map(|_| now(&fair_gate, 1, 100).unwrap()).collect();
    assert!(now(&fair_gate, 1, 100).is_none());
    drop(passes);
    assert!(now(&fair_gate, 1, 5_000).is_some());
}

/// Lets waiting batches through one by one, and returns their order.
fn order(fair_gate: &Arc<FairGate>, waiting: &[(u32, usize, usize)]) -> Vec<usize> {
    let hold = now(fair_gate, 9, 5_000).unwrap();
    let mut all: FuturesUnordered<_> = FuturesUnordered::new();
    for (number, (tenant, connection, bytes)) in waiting.iter().enumerate() {
        let mut entering = Box::pin(fair_gate.enter(TenantId(*tenant), ConnectionKey(*connection), *bytes));
        assert!(entering.as_mut().now_or_never().is_none());
        all.push(entering.map(move |pass| (number, pass)));
    }
    drop(hold);
    let mut order = Vec::new();
    let mut context = std::task::Context::from_waker(noop_waker_ref());
    while let std::task::Poll::Ready(Some((number, pass))) =
        futures_util::Stream::poll_next(pin!(&mut all), &mut context)
    {
        order.push(number);
        drop(pass);
    }
    order
}

#[test]
fn tenants_take_turns_by_what_they_have_had_and_so_do_their_connections() {
    let fair_gate = FairGate::new(LIMITS);
    // One tenant has four batches on two connections, another one that arrived last.
    let order = order(&fair_gate, &[(1, 1, 900), (1, 1, 900), (1, 1, 900), (1, 2, 900), (2, 3, 900)]);
    assert_eq!(order, [0, 4, 3, 1, 2]);
    assert_eq!(fair_gate.figures(), (0, 0));
}

#[test]
fn small_batches_are_not_passed_over_for_large_ones() {
    let fair_gate = FairGate::new(LIMITS);
    let mut waiting = vec![(1, 1, 900); 4];
    waiting.extend([(2, 2, 300); 4]);
    // Three of the small are as many bytes as one of the large.
    assert_eq!(order(&fair_gate, &waiting), [0, 4, 5, 6, 1, 7, 2, 3]);
}

#[test]
fn who_goes_away_leaves_the_line_and_gives_its_turn_to_the_next() {
    let fair_gate = FairGate::new(LIMITS);
    let hold = now(&fair_gate, 1, 5_000).unwrap();
    let mut cancelled = Box::pin(fair_gate.enter(TenantId(1), ConnectionKey(1), 500));
    let mut stays = Box::pin(fair_gate.enter(TenantId(1), ConnectionKey(2), 500));
    assert!(cancelled.as_mut().now_or_never().is_none() && stays.as_mut().now_or_never().is_none());
    assert_eq!(fair_gate.figures(), (2, 5_000));
    drop(cancelled);
    assert_eq!(fair_gate.figures(), (1, 5_000));
    drop(hold);
    let pass = stays.now_or_never().unwrap();
    // A batch that may pass, and whose call is dropped before it is polled.
    let mut late = Box::pin(fair_gate.enter(TenantId(1), ConnectionKey(1), 900));
    assert!(late.as_mut().now_or_never().is_none());
    drop(pass);
    assert_eq!(fair_gate.figures(), (0, 900));
    drop(late);
    assert_eq!(fair_gate.figures(), (0, 0));
}

/// In any order of events: no batch is forgotten, the limit is never passed, and tenants that always wait get the same.
#[tokio::test]
async fn everybody_gets_in_and_all_is_given_back() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let fair_gate = FairGate::new(WITH_PAUSES);
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for number in 0..400 {
        let (fair_gate, sender) = (Arc::clone(&fair_gate), sender.clone());
        let (tenant, connection) = (number % 4, chance.random_range(0..3));
        let bytes = chance.random_range(1..200);
        let (patient, yields) = (chance.random_bool(0.9), chance.random_range(0..6));
        tasks.push(tokio::spawn(async move {
            let entering = fair_gate.enter(TenantId(tenant), ConnectionKey(connection), bytes);
            if patient {
                let pass = entering.await;
                let (_, inside) = fair_gate.figures();
                assert!(inside <= LIMITS.alone + 4 * LIMITS.each, "{inside} inside");
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                sender.send(tenant).unwrap();
                drop(pass);
            } else {
                tokio::select! { biased; _ = entering => {}, () = tokio::task::yield_now() => {} }
            }
        }));
    }
    drop(sender);
    for task in tasks {
        task.await.unwrap();
    }
    let mut counts = BTreeMap::new();
    while let Some(tenant) = received.recv().await {
        *counts.entry(tenant).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 4);
    assert_eq!(fair_gate.figures(), (0, 0));
}

/// Each connection sends one batch at a time, and the next one as soon as one is decided.
#[test]
fn connections_with_one_batch_at_a_time_take_turns() {
    for tenants in [[1, 1, 1, 1], [1, 2, 3, 4]] {
        let fair_gate = FairGate::new(LIMITS);
        let enter = |number: usize| {
            let entering = fair_gate.enter(TenantId(tenants[number]), ConnectionKey(number), 900);
            Box::pin(entering.map(move |pass| (number, pass)))
        };
        let hold = now(&fair_gate, 9, 5_000).unwrap();
        let mut all: FuturesUnordered<_> = (0..tenants.len()).map(enter).collect();
        let mut context = std::task::Context::from_waker(noop_waker_ref());
        assert!(futures_util::Stream::poll_next(pin!(&mut all), &mut context).is_pending());
        drop(hold);
        let mut admitted = BTreeMap::<usize, usize>::new();
        let mut last = None;
        for _ in 0..400 {
            let next = futures_util::Stream::poll_next(pin!(&mut all), &mut context);
            let std::task::Poll::Ready(Some((number, pass))) = next else { panic!("nobody is let in") };
            *admitted.entry(number).or_default() += 1;
            // The batch before enters again before this one leaves.
            all.extend(last.replace(number).map(enter));
            assert!(futures_util::Stream::poll_next(pin!(&mut all), &mut context).is_pending());
            drop(pass);
        }
        assert!(
            admitted.len() == tenants.len() && admitted.values().all(|admitted| *admitted >= 95),
            "{tenants:?}: {admitted:?}"
        );
        drop(all);
        assert_eq!(fair_gate.figures(), (0, 0));
    }
}

#[test]
fn what_many_tenants_have_in_any_case_has_a_bound() {
    let fair_gate = FairGate::new(LIMITS);
    let passes: Vec<_> = (0..1_000).filter_map(|tenant| now(&fair_gate, tenant, 10)).collect();
    let (_, inside) = fair_gate.figures();
    assert!((2_000..=2_300).contains(&inside), "{inside}");
    drop(passes);
    assert!(now(&fair_gate, 1, 10).is_some());
}

#[tokio::test]
async fn who_waits_for_a_pause_gets_in_though_the_batch_before_ends_on_a_thread_of_its_own_and_nobody_comes()
{
    let fair_gate = FairGate::new(WITH_PAUSES);
    let neighbour = now(&fair_gate, 2, 1).unwrap();
    let large = now(&fair_gate, 1, 900).unwrap();
    drop(neighbour);
    let entering = tokio::spawn({
        let fair_gate = Arc::clone(&fair_gate);
        async move { drop(fair_gate.enter(TenantId(1), ConnectionKey(1), 900).await) }
    });
    while fair_gate.figures().0 == 0 {
        tokio::task::yield_now().await;
    }
    // Long enough for a pause.
    let ended = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(large);
    });
    ended.join().unwrap();
    assert_eq!(fair_gate.figures().0, 1, "it waits for the pause");
    tokio::time::timeout(Duration::from_secs(30), entering).await.expect("nobody lets it in").unwrap();
    assert_eq!(fair_gate.figures(), (0, 0));
}
