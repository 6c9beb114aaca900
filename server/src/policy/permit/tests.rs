use std::{sync::Arc, time::Duration};

use crate::{
    grants::QueuesGranted,
    identity::{Principal, testing::principal},
    names::{QueueResource, SubscriptionName},
    policy::{
        Admission, Permit,
        methods::{
            Consuming, CreateQueue, Describing, FindMessage, Listing, NamingDeadLetterQueue, Publishing,
            Redriving,
        },
        permit::{Denied, authorize, filter},
    },
};

fn caller(scope: &str) -> Arc<Principal> {
    Arc::new(principal("tax", "app", scope))
}

fn queue(text: &str) -> QueueResource {
    text.parse().unwrap()
}

const INBOX: &str = "tenants/tax/departments/returns/queues/inbox";

#[test]
fn a_permit_knows_what_it_is_for() {
    let caller = caller("posthouse:consume:tax/returns/*");
    let subscription = queue(INBOX).subscription(SubscriptionName::default_subscription());
    let permit: Permit<Consuming> = authorize(&caller, &subscription).unwrap();
    assert_eq!(permit.queue(), &queue(INBOX));
    assert_eq!(permit.subscription(), Some(&subscription.subscription));
    assert!(Arc::ptr_eq(permit.principal(), &caller));
}

#[test]
fn an_existing_and_a_missing_foreign_queue_look_the_same() {
    let caller = caller("posthouse:publish:tax/*/*");
    let names =
        ["tenants/police/departments/d/queues/there", "tenants/police/departments/d/queues/not-there"];
    let answers = names.map(|name| authorize::<Publishing>(&caller, &queue(name)).unwrap_err());
    assert_eq!(answers, [Denied::GrantMissing; 2]);
    assert_eq!(authorize::<Describing>(&caller, &queue(INBOX)).unwrap_err(), Denied::GrantMissing);
}

#[test]
fn either_action_opens() {
    let described = |scope| authorize::<Describing>(&caller(scope), &queue(INBOX)).is_ok();
    assert!(described("posthouse:stats:tax/returns/inbox"));
    assert!(described("posthouse:manage:tax/returns/inbox"));
    assert!(!described("posthouse:consume:tax/returns/inbox"));
    let named = |scope| authorize::<NamingDeadLetterQueue>(&caller(scope), &queue(INBOX)).is_ok();
    assert!(named("posthouse:publish:tax/returns/inbox") && named("posthouse:manage:tax/returns/*"));
    assert!(!named("posthouse:consume:tax/*/* posthouse:dlq:tax/*/* posthouse:manage:tax/returns/outbox"));
}

#[test]
fn a_grant_on_a_subscription_opens_its_dead_letters_and_no_others() {
    let caller = caller("posthouse:dlq:tax/returns/inbox/default");
    let named = |name| queue(INBOX).subscription(SubscriptionName::parse(name).unwrap());
    assert!(authorize::<Redriving>(&caller, &named("default")).is_ok());
    assert_eq!(authorize::<Redriving>(&caller, &named("audit")).unwrap_err(), Denied::GrantMissing);
}

#[test]
fn a_list_shows_only_what_is_granted() {
    let department = queue(INBOX).department_resource();
    let reader = caller("posthouse:stats:tax/returns/inbox posthouse:consume:tax/returns/*");
    let shown = filter::<Listing>(&reader, &department).unwrap();
    assert_eq!(shown.queues(), &QueuesGranted::Named([queue(INBOX).queue].into()));
    let foreign = "tenants/police/departments/returns".parse().unwrap();
    assert_eq!(filter::<Listing>(&reader, &foreign).unwrap_err(), Denied::GrantMissing);
    let publisher = caller("posthouse:publish:tax/*/*");
    assert_eq!(filter::<Listing>(&publisher, &department).unwrap_err(), Denied::GrantMissing);
}

#[test]
fn a_permit_ends_with_its_token() {
    let caller = caller("posthouse:publish:tax/*/*");
    let permit: Permit<Publishing> = authorize(&caller, &queue(INBOX)).unwrap();
    let end = caller.expires_at;
    assert_eq!(permit.check_again(end - Duration::from_secs(1)), Ok(()));
    assert_eq!(permit.check_again(end), Err(Denied::Expired));
    assert_eq!(permit.check_again(end + Duration::from_secs(1)), Err(Denied::Expired));
}

#[test]
fn a_fresh_token_replaces_every_right() {
    let permit: Permit<Publishing> = authorize(&caller("posthouse:publish:tax/*/*"), &queue(INBOX)).unwrap();
    assert!(permit.renew(&caller("posthouse:publish:tax/returns/inbox")).is_ok());
    assert_eq!(permit.renew(&caller("posthouse:publish:tax/customs/*")).unwrap_err(), Denied::GrantMissing);
    let other = Arc::new(principal("tax", "other", "posthouse:publish:tax/*/*"));
    assert_eq!(permit.renew(&other).unwrap_err(), Denied::OtherCaller);
    let foreign = Arc::new(principal("police", "app", "posthouse:publish:police/*/*"));
    assert_eq!(permit.renew(&foreign).unwrap_err(), Denied::OtherCaller);
}

#[test]
fn a_call_is_admitted_to_its_own_method_only() {
    use crate::policy::{Admitted, methods};
    let entry = methods::find("/posthouse.v1.Queues/CreateQueue").unwrap();
    let admitted = Admitted::new(entry, caller("posthouse:manage:tax/*/*")).unwrap();
    assert!(admitted.to::<CreateQueue>().is_some());
    assert!(admitted.to::<FindMessage>().is_none());
    let refused = Admitted::new(entry, caller("posthouse:publish:tax/*/*"));
    assert_eq!(refused.unwrap_err(), Denied::GrantMissing);
    // A grant that only passes a further check does not open the method.
    let health = methods::find("/grpc.health.v1.Health/Check").unwrap();
    assert_eq!(Admitted::new(health, caller("posthouse:manage:tax/*/*")).unwrap_err(), Denied::GrantMissing);
}

#[test]
fn only_granted_names_are_looked_for() {
    use QueuesGranted::{Every, Named};
    let department = queue(INBOX).department_resource();
    let granted =
        |scope| Admission::<FindMessage>::for_tests(caller(scope)).queues_granted::<Describing>(&department);
    assert_eq!(granted("posthouse:manage:tax/returns/a posthouse:stats:tax/*/*"), Every);
    let names = |names: &[&str]| Named(names.iter().map(|name| name.parse().unwrap()).collect());
    let scope = "posthouse:manage:tax/returns/a posthouse:stats:tax/*/b posthouse:stats:tax/customs/c \
                 posthouse:publish:tax/returns/d posthouse:stats:tax/returns/e/default";
    assert_eq!(granted(scope), names(&["a", "b"]));
    assert_eq!(granted("posthouse:publish:tax/*/*"), names(&[]));
}
