//! Messages while the account has no capacity.

use super::*;

#[tokio::test(start_paused = true)]
async fn without_room_a_request_is_refused_after_a_while_and_settlements_and_idle_streams_wait_for_ever() {
    let pieces = || vec![data(&encoded(&[3]))];
    let max_held = usize::try_from(crate::limits::MAX_HELD_BYTES_PER_CONNECTION).unwrap();
    let (mut body, accounts) = assembler(pieces(), true, Terms { open: false, ..TERMS });
    let full = accounts.requests.charge(max_held);
    assert_eq!(next(&mut body).await.unwrap_err(), RequestFault::NoCapacity);
    assert_eq!((accounts.counters.waited.get(), accounts.counters.refused.get()), (1, 1));
    drop(full);
    let settlement = Terms { wanted: Wanted::Settlement, ..TERMS };
    for terms in [TERMS, settlement, Terms { open: false, ..settlement }] {
        let (mut body, accounts) = assembler(pieces(), true, terms);
        let full = accounts.requests.charge(max_held);
        assert!(timeout(Duration::from_secs(3_600), next(&mut body)).await.is_err());
        drop(full);
        // The wait did not count as the client's time.
        assert_eq!(next(&mut body).await.unwrap().unwrap().0.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_waits_for_room_for_a_while_and_what_is_whole_for_none() {
    let whole = encoded(&[3]);
    let max_held = usize::try_from(crate::limits::MAX_HELD_BYTES_PER_CONNECTION).unwrap();
    let settlement = Terms { wanted: Wanted::Settlement, ..TERMS };
    let pieces = || vec![data(&whole[..6]), data(&whole[6..])];
    let (mut body, accounts) = assembler(pieces(), true, TERMS);
    // The first piece uses up the capacity.
    let _full = accounts.requests.charge(max_held - 1);
    let begun = Instant::now();
    assert_eq!(next(&mut body).await.unwrap_err(), RequestFault::NoCapacity);
    assert_eq!(begun.elapsed(), CAPACITY_TIMEOUT);
    for terms in [settlement, Terms { open: false, ..settlement }] {
        let (mut body, accounts) = assembler(pieces(), true, terms);
        let _full = accounts.requests.charge(max_held - 1);
        let begun = Instant::now();
        assert_eq!(next(&mut body).await.unwrap().unwrap().0.len(), 3, "it is never refused");
        assert_eq!(begun.elapsed(), SETTLEMENT_CAPACITY_TIMEOUT);
        // A message of which no more arrives is still too slow.
        let (mut body, accounts) = assembler(vec![data(&whole[..6])], false, terms);
        let _full = accounts.requests.charge(max_held - 1);
        let begun = Instant::now();
        assert_eq!(next(&mut body).await.unwrap_err(), RequestFault::TooSlow);
        assert_eq!(begun.elapsed(), SETTLEMENT_CAPACITY_TIMEOUT + BODY_IDLE);
    }
    let (mut body, accounts) = assembler(vec![data(&whole)], true, Terms { open: false, ..TERMS });
    let _full = accounts.requests.charge(max_held - 1);
    let message = next(&mut body).await.unwrap().unwrap();
    assert!(
        next(&mut body).now_or_never().is_some_and(|end| end.unwrap().is_none()),
        "its end needs no room"
    );
    drop(message);
}
