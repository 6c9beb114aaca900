use super::*;

/// A slot, and the token that evicts it.
struct Occupied(SourceSlot, CancellationToken);

fn enter(source_slots: &Arc<SourceSlots>, address: &str) -> Result<Occupied, Full> {
    enter_as(source_slots, address, Stage::Silent)
}

fn enter_as(source_slots: &Arc<SourceSlots>, address: &str, stage: Stage) -> Result<Occupied, Full> {
    let token = CancellationToken::new();
    let slot = source_slots.enter(address.parse().unwrap(), usize::MAX, stage, token.clone())?;
    Ok(Occupied(slot, token))
}

fn evicted(held: &[Occupied]) -> usize {
    held.iter().filter(|held| held.1.is_cancelled()).count()
}

#[test]
fn the_oldest_silent_one_of_a_host_gives_way_and_one_that_speaks_does_not() {
    let source_slots = SourceSlots::new(Limits { all: 100, network: 100, site: 100, host: 3 });
    let mut held: Vec<_> = (0..3).map(|_| enter(&source_slots, "192.0.2.1").unwrap()).collect();
    held[0].0.reached(Stage::Begun);
    held.push(enter(&source_slots, "192.0.2.1").unwrap());
    assert!(held[1].1.is_cancelled() && evicted(&held) == 1, "the oldest that is silent");
    for one in &held {
        one.0.reached(Stage::Begun);
    }
    assert_eq!(enter(&source_slots, "192.0.2.1").err(), Some(Full::Source));
    // Another host is not concerned.
    let other = enter(&source_slots, "192.0.2.2").unwrap();
    assert_eq!(source_slots.count(), 4);
    drop(held.remove(0));
    assert!(enter(&source_slots, "192.0.2.1").is_ok());
    drop((held, other));
    assert_eq!(source_slots.count(), 0);
    assert!(source_slots.state().nodes.is_empty(), "nothing is remembered of who is not here");
}

#[test]
fn a_host_is_one_source_whatever_its_addresses_and_a_network_has_its_own_limit() {
    let source_slots = SourceSlots::new(Limits { all: 1000, network: 8, site: 4, host: 2 });
    for (addresses, max) in [
        (["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:0:5::", "2001:db8::3"].as_slice(), 2),
        (
            &[
                "2001:db8:1:100::",
                "2001:db8:1:101::",
                "2001:db8:1:102::",
                "2001:db8:1:103::",
                "2001:db8:1:1ff::",
            ],
            4,
        ),
        (&["::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"], 2),
    ] {
        let held: Vec<_> = addresses
            .iter()
            .filter_map(|address| enter_as(&source_slots, address, Stage::Begun).ok())
            .collect();
        assert_eq!(held.len(), max, "{addresses:?}");
    }
    let network: Vec<_> = (0..20)
        .filter_map(|host| enter_as(&source_slots, &format!("198.51.100.{host}"), Stage::Begun).ok())
        .collect();
    assert_eq!(network.len(), 4, "an IPv4 network is one site");
    let network: Vec<_> = (0..20)
        .filter_map(|site| enter_as(&source_slots, &format!("2001:db8:2:{site:x}00::"), Stage::Begun).ok())
        .collect();
    assert_eq!(network.len(), 8);
}

#[test]
fn whoever_has_most_gives_way_to_whoever_has_fewer() {
    let source_slots = SourceSlots::new(Limits { all: 120, network: 120, site: 120, host: 60 });
    let greedy: Vec<_> =
        (0..60).map(|_| enter_as(&source_slots, "192.0.2.1", Stage::Named).unwrap()).collect();
    let second: Vec<_> =
        (0..60).map(|_| enter_as(&source_slots, "198.51.100.1", Stage::Begun).unwrap()).collect();
    let callers: Vec<_> =
        (0..20).map(|_| enter_as(&source_slots, "203.0.113.1", Stage::Begun).unwrap()).collect();
    assert_eq!((evicted(&greedy) + evicted(&second), evicted(&callers)), (20, 0));
    assert!(evicted(&greedy).abs_diff(evicted(&second)) <= 1, "both give way alike");
    assert_eq!(source_slots.count(), 120);
    // No connection is evicted for the host that has most.
    assert_eq!(enter(&source_slots, "198.51.100.1").err(), Some(Full::All));
}

#[test]
fn many_networks_of_one_site_count_as_one() {
    let source_slots = SourceSlots::new(Limits { all: 40, network: 40, site: 40, host: 40 });
    // One slot for each of the /64 of a /48, and three for a host elsewhere.
    let three: Vec<_> =
        (0..3).map(|_| enter_as(&source_slots, "2001:db8:9::1", Stage::Begun).unwrap()).collect();
    let spread: Vec<_> = (0..37)
        .map(|host| enter_as(&source_slots, &format!("2001:db8:0:{host:x}::1"), Stage::Begun).unwrap())
        .collect();
    let newcomer = enter_as(&source_slots, "2001:db8:7::1", Stage::Begun).unwrap();
    assert_eq!((evicted(&three), evicted(&spread), evicted(&[newcomer])), (0, 1, 0));
}

#[test]
fn who_was_named_a_while_ago_gives_way_to_a_newcomer_of_its_host() {
    let source_slots = SourceSlots::new(Limits { all: 9, network: 9, site: 9, host: 3 });
    let held: Vec<_> = (0..3).map(|_| enter_as(&source_slots, "192.0.2.1", Stage::Begun).unwrap()).collect();
    held[1].0.reached(Stage::Named);
    held[2].0.reached(Stage::Named);
    assert_eq!(
        enter(&source_slots, "192.0.2.1").err(),
        Some(Full::Source),
        "their first calls may be on their way"
    );
    let long_ago = Instant::now().checked_sub(STRANGER_PATIENCE).unwrap();
    let mut state = source_slots.state();
    for member in state.nodes.get_mut(&host("192.0.2.1".parse().unwrap())).unwrap().members.values_mut() {
        member.since = long_ago;
    }
    drop(state);
    let mut newcomers = vec![enter_as(&source_slots, "192.0.2.1", Stage::Named).unwrap()];
    assert!(held[1].1.is_cancelled() && evicted(&held) == 1, "the oldest that is named");
    newcomers.push(enter_as(&source_slots, "192.0.2.1", Stage::Named).unwrap());
    assert!(held[2].1.is_cancelled());
    assert_eq!(enter(&source_slots, "192.0.2.1").err(), Some(Full::Source));
    assert_eq!((evicted(&held), evicted(&newcomers)), (2, 0), "a handshake under way does not give way");
}

#[test]
fn those_who_have_one_each_put_out_only_the_silent() {
    let source_slots = SourceSlots::new(Limits { all: 4, network: 4, site: 4, host: 4 });
    let held: Vec<_> =
        (0..4).map(|net| enter_as(&source_slots, &format!("192.0.{net}.1"), Stage::Begun).unwrap()).collect();
    assert_eq!(enter(&source_slots, "192.0.9.1").err(), Some(Full::All));
    for one in &held {
        one.0.reached(Stage::Silent);
    }
    assert!(enter(&source_slots, "192.0.9.1").is_ok());
    assert_eq!(evicted(&held), 1);
}

#[test]
fn one_that_is_answered_gives_way_to_nobody() {
    let source_slots = SourceSlots::new(Limits { all: 2, network: 2, site: 2, host: 2 });
    let held: Vec<_> =
        (0..2).map(|_| enter_as(&source_slots, "192.0.2.1", Stage::Answered).unwrap()).collect();
    assert_eq!(enter(&source_slots, "198.51.100.1").err(), Some(Full::All));
    drop(held);
    assert!(enter(&source_slots, "198.51.100.1").is_ok());
}

#[test]
fn shares_are_parts_of_the_whole() {
    assert_eq!(Limits::shares_of(4096), Limits { all: 4096, network: 3072, site: 2560, host: 2048 });
    assert_eq!(Limits::shares_of(20), Limits { all: 20, network: 16, site: 16, host: 16 });
    assert_eq!(Limits::shares_of(4), Limits { all: 4, network: 4, site: 4, host: 4 });
}
