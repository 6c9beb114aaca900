use std::{sync::Arc, time::Duration};

use super::{Denied, Resource, authorize, authorize_any, authorize_list};
use crate::{
    identity::{Principal, testing::principal},
    names::{QueueResource, SubscriptionName},
    policy::Action,
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
    let permit = authorize(&caller, Action::Consume, &subscription.clone().into()).unwrap();
    assert_eq!(permit.queue(), &queue(INBOX));
    assert_eq!(permit.subscription(), Some(&subscription.subscription));
    assert_eq!(permit.action(), Action::Consume);
    assert!(Arc::ptr_eq(permit.principal(), &caller));
}

#[test]
fn an_existing_and_a_missing_foreign_queue_look_the_same() {
    let caller = caller("posthouse:publish:tax/*/*");
    let answers =
        ["tenants/police/departments/d/queues/there", "tenants/police/departments/d/queues/not-there", INBOX]
            .map(|name| authorize(&caller, Action::Consume, &queue(name).into()).unwrap_err());
    assert_eq!(answers, [Denied::GrantMissing; 3]);
}

#[test]
fn either_action_opens() {
    let actions = [Action::Manage, Action::Stats];
    let resource = Resource::from(queue(INBOX));
    assert!(authorize_any(&caller("posthouse:stats:tax/returns/inbox"), &actions, &resource).is_ok());
    assert!(authorize_any(&caller("posthouse:manage:tax/returns/inbox"), &actions, &resource).is_ok());
    assert!(authorize_any(&caller("posthouse:consume:tax/returns/inbox"), &actions, &resource).is_err());
    assert!(authorize_any(&caller("posthouse:manage:tax/*/*"), &[], &resource).is_err());
}

#[test]
fn a_list_shows_only_what_is_granted() {
    let department = queue(INBOX).department_resource();
    let caller = caller("posthouse:stats:tax/returns/inbox posthouse:consume:tax/returns/*");
    let permit = authorize_list(&caller, &[Action::Manage, Action::Stats], &department).unwrap();
    assert!(permit.covers(&queue(INBOX)));
    assert!(!permit.covers(&queue("tenants/tax/departments/returns/queues/outbox")));
    assert!(!permit.covers(&queue("tenants/tax/departments/customs/queues/inbox")));
    let foreign = "tenants/police/departments/returns".parse().unwrap();
    assert_eq!(authorize_list(&caller, &[Action::Stats], &foreign).unwrap_err(), Denied::GrantMissing);
    assert_eq!(authorize_list(&caller, &[Action::Manage], &department).unwrap_err(), Denied::GrantMissing);
}

#[test]
fn a_permit_ends_with_its_token() {
    let caller = caller("posthouse:publish:tax/*/*");
    let permit = authorize(&caller, Action::Publish, &queue(INBOX).into()).unwrap();
    let end = caller.expires_at;
    assert_eq!(permit.check_again(end - Duration::from_secs(1)), Ok(()));
    assert_eq!(permit.check_again(end), Err(Denied::Expired));
    assert_eq!(permit.check_again(end + Duration::from_secs(1)), Err(Denied::Expired));
}

#[test]
fn a_fresh_token_replaces_every_right() {
    let permit =
        authorize(&caller("posthouse:publish:tax/*/*"), Action::Publish, &queue(INBOX).into()).unwrap();
    assert!(permit.renew(&caller("posthouse:publish:tax/returns/inbox")).is_ok());
    assert_eq!(permit.renew(&caller("posthouse:publish:tax/customs/*")).unwrap_err(), Denied::GrantMissing);
    let other = Arc::new(principal("tax", "other", "posthouse:publish:tax/*/*"));
    assert_eq!(permit.renew(&other).unwrap_err(), Denied::OtherCaller);
    let foreign = Arc::new(principal("police", "app", "posthouse:publish:police/*/*"));
    assert_eq!(permit.renew(&foreign).unwrap_err(), Denied::OtherCaller);
}
