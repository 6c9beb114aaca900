use futures_util::FutureExt as _;

use super::*;

const MIB: usize = 1 << 20;

fn ledger() -> Ledger {
    Ledger::new(Budget { server: 16 << 20, tenant: 12 << 20, tenant_least: 4 << 20, connection: 8 << 20 })
}

fn tenant(name: &str) -> Option<TenantName> {
    Some(name.parse().unwrap())
}

fn has_capacity(account: &Account) -> bool {
    account.has_capacity(Wanted::Request)
}

#[test]
fn a_connection_a_tenant_and_the_server_have_a_limit_each() {
    let ledger = ledger();
    let (tax, police) = (tenant("tax"), tenant("police"));
    let (first, second) = (ledger.open(tax.as_ref()), ledger.open(tax.as_ref()));
    let of_first = first.charge(8 * MIB);
    assert!(!has_capacity(&first), "the connection's limit");
    assert!(has_capacity(&second), "another connection of the tenant");
    let of_second = second.charge(4 * MIB);
    assert!(!has_capacity(&second), "the tenant's limit");
    let third = ledger.open(police.as_ref());
    let of_third = third.charge(4 * MIB);
    assert!(!has_capacity(&third), "the server's limit, and more than what the tenant has in any case");
    drop(of_second);
    assert!(has_capacity(&second) && has_capacity(&third));
    drop((of_first, of_third));
    assert_eq!(ledger.server.used(), 0);
}

#[test]
fn a_tenant_has_room_for_its_least_whatever_the_others_hold() {
    let ledger = ledger();
    let held: Vec<_> = ["a", "b", "c"].map(|name| ledger.open(tenant(name).as_ref()).charge(8 * MIB)).into();
    let other = ledger.open(tenant("d").as_ref());
    assert!(ledger.server.used() > 16 << 20 && has_capacity(&other));
    let own = other.charge(4 * MIB);
    assert!(!has_capacity(&other));
    drop((held, own));
    assert!(has_capacity(&other));
}

#[test]
fn who_holds_little_may_settle_though_the_tenant_holds_all_it_may() {
    let ledger = ledger();
    let tax = tenant("tax");
    let _all = [ledger.open(tax.as_ref()).charge(8 * MIB), ledger.open(tax.as_ref()).charge(4 * MIB)];
    let other = ledger.open(tax.as_ref());
    assert!(!other.has_capacity(Wanted::Request) && other.has_capacity(Wanted::Settlement));
    let much = other.charge(MIB);
    assert!(!other.has_capacity(Wanted::Settlement));
    drop(much);
    // Many connections that hold little have no effect.
    let source_slots: Vec<_> = std::iter::repeat_with(|| ledger.open(tax.as_ref()))
        .take_while(|one| one.has_capacity(Wanted::Settlement))
        .map(|one| one.charge(256 << 10))
        .collect();
    assert_eq!(source_slots.len(), 12, "a quarter more than the tenant may hold");
    // Settlements that waited long enough are read on, within a limit.
    let overdue: Vec<_> =
        std::iter::repeat_with(|| other.has_capacity(Wanted::Overdue).then(|| other.charge(MIB)))
            .map_while(|charge| charge)
            .collect();
    assert_eq!(overdue.len(), 3, "a half more");
}

#[test]
fn a_charge_is_split_grown_and_shrunk_and_nothing_of_it_is_lost() {
    let ledger = ledger();
    let account = ledger.open(None);
    let mut charge = account.charge(100);
    let mut part = charge.split(30);
    part.grow(5);
    charge.shrink(1_000);
    assert_eq!((charge.bytes(), part.bytes(), ledger.server.used()), (0, 35, 35));
    assert_eq!(part.split(100).bytes(), 35);
    part.set(7);
    assert_eq!((part.bytes(), ledger.server.used()), (7, 7));
    part.set(3);
    drop((charge, part));
    assert_eq!(ledger.server.used(), 0);
}

#[test]
fn what_must_fit_is_taken_whole_or_not_at_all() {
    let ledger = ledger();
    let account = ledger.open(None);
    let alone = account.try_charge(9 * MIB).unwrap();
    assert!(account.try_charge(1).is_none());
    drop(alone);
    let _some = account.try_charge(6 * MIB).unwrap();
    assert!(account.try_charge(3 * MIB).is_none());
    assert!(account.try_charge(2 * MIB).is_some());
    assert_eq!(ledger.server.used(), 6 << 20);
}

#[tokio::test]
async fn who_waits_goes_on_when_there_is_room_at_the_level_that_had_none() {
    let ledger = ledger();
    let (tax, police) = (tenant("tax"), tenant("police"));
    let account = ledger.open(tax.as_ref());
    let of_connection = account.charge(8 * MIB);
    let mut waiting = Box::pin(account.clone().capacity(Wanted::Request));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(of_connection);
    waiting.await;
    let tenant_slot = [ledger.open(tax.as_ref()).charge(8 * MIB), ledger.open(tax.as_ref()).charge(8 * MIB)];
    let mut waiting = Box::pin(account.clone().capacity(Wanted::Request));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(tenant_slot);
    waiting.await;
    let of_others = ledger.open(police.as_ref()).charge(32 * MIB);
    let of_own = account.charge(5 * MIB);
    let mut waiting = Box::pin(account.clone().capacity(Wanted::Request));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(of_others);
    waiting.await;
    drop(of_own);
    assert_eq!(ledger.server.used(), 0);
}

#[test]
fn requests_without_a_token_take_no_room_from_those_with_one_nor_from_another_ones_probes() {
    let accounts = Accounts::new(Counters::for_tests());
    let (tax, police) = (tenant("tax"), tenant("police"));
    let held: Vec<_> = std::iter::repeat_with(|| accounts.open(tax.as_ref()).tokenless)
        .take_while(|account| account.has_capacity(Wanted::Request))
        .map(|account| account.charge(16 << 10))
        .collect();
    assert!(held.len() > 10);
    let other = accounts.open(tax.as_ref());
    assert!(has_capacity(&other.requests) && other.tokenless.has_capacity(Wanted::One));
    let _one = other.tokenless.charge(16 << 10);
    assert!(!other.tokenless.has_capacity(Wanted::One), "as much as all of the tenant's may have is held");
    assert!(has_capacity(&accounts.open(police.as_ref()).tokenless));
    assert_eq!(accounts.held().0, (held.len() as u64 + 1) * (16 << 10));
}
