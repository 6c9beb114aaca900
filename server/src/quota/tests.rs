use posthouse_engine::views::Usage;

use super::*;

fn quota() -> (Quota, Arc<Usages>) {
    let caps = TenantCaps {
        max_stored_bytes: 1_000,
        max_queues: 3,
        max_streams: 2,
        max_message_bytes: 100,
        max_connections: None,
        max_calls_per_second: Some(2),
    };
    let usages = Arc::new(Usages::default());
    let tenants = [
        ("tax".parse().unwrap(), caps, vec![DepartmentId(1), DepartmentId(2)]),
        ("police".parse().unwrap(), caps, vec![DepartmentId(3)]),
    ];
    (Quota::new(tenants, &usages), usages)
}

fn tenant(quota: &Quota, name: &str) -> Arc<TenantQuota> {
    Arc::clone(quota.tenant(&name.parse().unwrap()).unwrap())
}

#[test]
fn a_tenant_is_charged_with_all_its_departments_and_no_others() {
    let (quota, usages) = quota();
    let (tax, police) = (tenant(&quota, "tax"), tenant(&quota, "police"));
    tax.check_stored(1_000).unwrap();
    usages.set(DepartmentId(1), Usage { stored_bytes: 600, queues: 1 });
    usages.set(DepartmentId(2), Usage { stored_bytes: 300, queues: 2 });
    tax.check_stored(100).unwrap();
    let exceeded = tax.check_stored(101).unwrap_err();
    assert_eq!((exceeded.cap, exceeded.limit, exceeded.used), (Cap::StoredBytes, 1_000, 900));
    assert!(exceeded.description().contains("max_stored_bytes is 1000 and 900 are stored"));
    assert_eq!(tax.check_queues().unwrap_err().used, 3);
    police.check_stored(1_000).unwrap();
    police.check_queues().unwrap();
    // It is consumed.
    usages.set(DepartmentId(1), Usage { stored_bytes: 0, queues: 0 });
    tax.check_stored(700).unwrap();
    tax.check_queues().unwrap();
}

#[test]
fn a_place_for_a_stream_is_given_back() {
    let (quota, _) = quota();
    let tax = tenant(&quota, "tax");
    let (first, _second) = (tax.open_stream().unwrap(), tax.open_stream().unwrap());
    assert_eq!(tax.open_stream().unwrap_err().cap, Cap::Streams);
    tenant(&quota, "police").open_stream().unwrap();
    drop(first);
    tax.open_stream().unwrap();
    assert_eq!(tax.streams(), 1);
}

#[test]
fn who_shows_no_token_has_a_part_of_the_streams() {
    let (quota, _) = quota();
    let tax = tenant(&quota, "tax");
    let watch = tax.open_tokenless_stream().unwrap();
    assert_eq!(tax.open_tokenless_stream().unwrap_err().limit, 1, "of two, one at least");
    let own = tax.open_stream().unwrap();
    assert_eq!(tax.open_stream().unwrap_err().limit, 2);
    drop(watch);
    let other = tax.open_stream().unwrap();
    // All are used by others.
    assert_eq!(tax.open_tokenless_stream().unwrap_err().limit, 2);
    drop((own, other));
    assert_eq!(tax.streams(), 0);
    tax.open_tokenless_stream().unwrap();
}

#[test]
fn messages_have_a_size() {
    let (quota, _) = quota();
    let tax = tenant(&quota, "tax");
    tax.check_message_bytes(100).unwrap();
    assert_eq!(tax.check_message_bytes(101).unwrap_err().cap, Cap::MessageBytes);
    assert!(quota.tenant(&"nobody".parse().unwrap()).is_none());
}

#[test]
fn calls_are_counted_by_the_second_and_settlements_are_never_refused() {
    let (quota, _) = quota();
    let (tax, now) = (tenant(&quota, "tax"), Instant::now());
    tax.check_calls(false, now).unwrap();
    // Half of them are the others' whatever is settled.
    (0..10).for_each(|_| tax.check_calls(true, now).unwrap());
    tax.check_calls(false, now).unwrap();
    let refused = tax.check_calls(false, now).unwrap_err();
    assert_eq!((refused.cap, refused.limit), (Cap::CallsPerSecond, 2));
    assert!(refused.wait.is_some_and(|wait| wait <= Duration::from_millis(500)));
    tax.check_calls(true, now).unwrap();
    // Another tenant has its own.
    tenant(&quota, "police").check_calls(false, now).unwrap();
    tax.check_calls(false, now + Duration::from_secs(2)).unwrap();
}
