use proptest::prelude::*;

use crate::{
    grants::{Action, Grants, ScopeError},
    names::{DepartmentResource, QueueResource, SubscriptionName, SubscriptionResource, TenantName},
};

fn tenant() -> TenantName {
    "tax".parse().unwrap()
}

fn grants(scope: &str) -> Result<Grants, ScopeError> {
    Grants::parse(scope, &tenant())
}

fn queue(tenant: &str, department: &str, queue: &str) -> QueueResource {
    format!("tenants/{tenant}/departments/{department}/queues/{queue}").parse().unwrap()
}

fn subscription(queue: &QueueResource, name: &str) -> SubscriptionResource {
    queue.subscription(SubscriptionName::parse(name).unwrap())
}

#[test]
fn a_grant_covers_its_pattern_and_nothing_else() {
    let own = grants("posthouse:publish:tax/returns/inbox posthouse:consume:tax/*/inbox/audit").unwrap();
    let inbox = queue("tax", "returns", "inbox");
    assert!(own.cover_queue(Action::Publish, &inbox));
    assert!(!own.cover_queue(Action::Consume, &inbox));
    assert!(!own.cover_queue(Action::Publish, &queue("tax", "returns", "outbox")));
    assert!(!own.cover_queue(Action::Publish, &queue("tax", "customs", "inbox")));
    assert!(!own.cover_queue(Action::Publish, &queue("police", "returns", "inbox")));
    assert!(own.cover_subscription(Action::Consume, &subscription(&inbox, "audit")));
    assert!(!own.cover_subscription(Action::Consume, &subscription(&inbox, "default")));
    assert!(
        own.cover_subscription(Action::Consume, &subscription(&queue("tax", "customs", "inbox"), "audit"))
    );
}

#[test]
fn a_grant_on_a_queue_covers_its_subscriptions() {
    let own = grants("posthouse:consume:tax/returns/*").unwrap();
    assert!(own.cover_subscription(Action::Consume, &subscription(&queue("tax", "returns", "q"), "any")));
    assert!(own.name(Action::Consume) && !own.name(Action::Publish));
}

#[test]
fn one_bad_item_refuses_the_whole_scope() {
    let good = "posthouse:publish:tax/returns/inbox";
    let bad = [
        "posthouse:",
        "posthouse::",
        "posthouse:publish",
        "posthouse:publish:",
        "posthouse:publish:tax",
        "posthouse:publish:tax/returns",
        "posthouse:publish:tax/returns/inbox/s",
        "posthouse:manage:tax/returns/inbox/*",
        "posthouse:consume:tax/returns/inbox/s/x",
        "posthouse:Publish:tax/returns/inbox",
        "posthouse:everything:tax/returns/inbox",
        "posthouse:*:tax/returns/inbox",
        "posthouse:publish:*/returns/inbox",
        "posthouse:publish:police/returns/inbox",
        "posthouse:publish:tax/re*/inbox",
        "posthouse:publish:tax/**/inbox",
        "posthouse:publish:tax//inbox",
        "posthouse:publish:tax/returns/",
        "posthouse:publish:tax/../inbox",
        "posthouse:publish:tax/returns/INBOX",
        "posthouse:publish:tax/returns/in.box",
        "posthouse:publish:tax/{sub}/inbox",
        "posthouse:publish:TAX/returns/q",
        "posthouse:publish:tax/returns/inbox\n",
        "posthouse:publish:tax/returns/i\0",
        "posthouse:publish:tax/returns/ｉ",
        "posthouse:publish:tax/returns/.*",
        "posthouse:publish:tax/returns/%2a",
        "posthouse:publish:tax/returns/inbox\tposthouse:manage:tax/*/*",
    ];
    for item in bad {
        assert!(grants(item).is_err(), "{item:?} was accepted");
        assert!(grants(&format!("{good} {item}")).is_err(), "{item:?} was ignored at the end");
        assert!(grants(&format!("{item} {good}")).is_err(), "{item:?} was ignored at the start");
    }
    assert_eq!(grants("posthouse:publish:police/a/b"), Err(ScopeError::Tenant { item: 1 }));
}

#[test]
fn items_of_other_services_are_passed_over() {
    let good = "posthouse:publish:tax/returns/inbox";
    let own = grants(good).unwrap();
    for item in
        ["", "openid", "posthouse", "publish:tax/*/*", "Posthouse:publish:tax/*/*", "xposthouse:a:b", "a\tb"]
    {
        for scope in [format!("{good} {item}"), format!("{item} {good}"), format!("  {item}  {good}  ")] {
            assert_eq!(grants(&scope), Ok(own.clone()), "{scope:?}");
        }
        assert!(!grants(item).unwrap().name(Action::Publish), "{item:?}");
    }
    assert_eq!(grants("openid  posthouse:publish:police/a/b"), Err(ScopeError::Tenant { item: 2 }));
}

#[test]
fn an_action_that_opens_nothing_refuses_no_token_and_grants_nothing() {
    for action in Action::WITHOUT_EFFECT {
        let scope = format!("posthouse:{action}:tax/*/* posthouse:publish:tax/returns/inbox");
        let own = grants(&scope).unwrap();
        assert_eq!(own.without_effect(), [action]);
        assert_eq!(
            own,
            Grants { without_effect: vec![action], ..grants("posthouse:publish:tax/returns/inbox").unwrap() }
        );
        for malformed in ["police/*/*", "tax/*", "tax/re*/x", "*/a/b", "tax/a/b/c/d"] {
            assert!(grants(&format!("posthouse:{action}:{malformed}")).is_err(), "{action} {malformed}");
        }
    }
    assert!(grants("posthouse:publish:tax/*/*").unwrap().without_effect().is_empty());
}

#[test]
fn at_most_64_items_of_ours() {
    let scope = |count: usize| vec!["posthouse:publish:tax/returns/inbox"; count].join(" ");
    assert!(grants(&scope(64)).is_ok());
    assert_eq!(grants(&scope(65)), Err(ScopeError::TooMany));
    // Others' items, and blanks, do not count; ours that open nothing do.
    assert_eq!(
        grants(&format!("{} {}{}", vec!["a"; 500].join("  "), scope(64), " ".repeat(500))),
        grants(&scope(64))
    );
    assert_eq!(grants(&format!("{} posthouse:browse:tax/*/*", scope(64))), Err(ScopeError::TooMany));
}

/// A grant as the model has it: plain strings, `*` compared as text.
#[derive(Clone, Debug)]
struct Model {
    action: Action,
    department: String,
    queue: String,
    subscription: Option<String>,
}

impl Model {
    fn text(&self) -> String {
        let base = format!("posthouse:{}:tax/{}/{}", self.action, self.department, self.queue);
        self.subscription.as_ref().map_or_else(|| base.clone(), |name| format!("{base}/{name}"))
    }

    fn allows(&self, action: Action, path: &[&str]) -> bool {
        let own = [Some("tax"), Some(&*self.department), Some(&*self.queue), self.subscription.as_deref()];
        let own: Vec<&str> = own.into_iter().flatten().collect();
        self.action == action
            && own.len() <= path.len()
            && own.iter().zip(path).all(|(mine, theirs)| *mine == "*" || mine == theirs)
    }
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![2 => "[ab]", 1 => Just("*".to_owned()), 1 => "[a-z0-9-]{1,63}"]
}

fn model() -> impl Strategy<Value = Model> {
    let action = prop::sample::select(Action::ALL.to_vec());
    (action, segment(), segment(), prop::option::of(segment())).prop_map(
        |(action, department, queue, subscription)| {
            let subscription = subscription.filter(|_| action.names_subscriptions());
            Model { action, department, queue, subscription }
        },
    )
}

fn scope(models: &[Model]) -> String {
    models.iter().map(Model::text).collect::<Vec<_>>().join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_matcher_agrees_with_the_model(
        models in prop::collection::vec(model(), 1..6), action in prop::sample::select(Action::ALL.to_vec()),
        t in "tax|police|a", d in "[ab]", q in "[ab]", s in "[ab]"
    ) {
        let own = grants(&scope(&models)).unwrap();
        let queue = queue(&t, &d, &q);
        let expected = models.iter().any(|m| m.allows(action, &[&t, &d, &q]));
        prop_assert_eq!(own.cover_queue(action, &queue), expected);
        let expected = models.iter().any(|m| m.allows(action, &[&t, &d, &q, &s]));
        prop_assert_eq!(own.cover_subscription(action, &subscription(&queue, &s)), expected);
        // A department can be listed exactly when some queue of it could be shown.
        let department: DepartmentResource = queue.department_resource();
        let reaches = models.iter().any(|m| {
            let name = if m.queue == "*" { "a" } else { &m.queue };
            m.allows(action, &[&t, &d, name])
        });
        prop_assert_eq!(own.reach_into(action, &department), reaches);
    }

    #[test]
    fn adding_a_grant_takes_nothing_away(
        models in prop::collection::vec(model(), 1..5), more in model(),
        action in prop::sample::select(Action::ALL.to_vec()), d in "[ab]", q in "[ab]", s in "[ab]"
    ) {
        let before = grants(&scope(&models)).unwrap();
        let after = grants(&format!("{} {}", scope(&models), more.text())).unwrap();
        let queue = queue("tax", &d, &q);
        prop_assert!(!before.cover_queue(action, &queue) || after.cover_queue(action, &queue));
        let subscription = subscription(&queue, &s);
        let covered = before.cover_subscription(action, &subscription);
        prop_assert!(!covered || after.cover_subscription(action, &subscription));
    }

    #[test]
    fn nothing_covers_another_tenant(
        models in prop::collection::vec(model(), 1..8), action in prop::sample::select(Action::ALL.to_vec()),
        t in "[a-z0-9-]{1,63}", d in "[ab]", q in "[ab]", s in "[ab]"
    ) {
        prop_assume!(t != "tax");
        let own = grants(&scope(&models)).unwrap();
        let queue = queue(&t, &d, &q);
        prop_assert!(!own.cover_queue(action, &queue));
        prop_assert!(!own.cover_subscription(action, &subscription(&queue, &s)));
        prop_assert!(!own.reach_into(action, &queue.department_resource()));
    }

    #[test]
    fn any_text_is_answered_and_what_is_accepted_is_of_one_tenant(text in "\\PC{0,80}|[a-z:/* .-]{0,80}") {
        if grants(&text).is_ok() {
            let mut ours = text.split(' ').filter(|item| item.starts_with("posthouse:"));
            prop_assert!(ours.all(|item| item.split(':').nth(2).unwrap().starts_with("tax/")));
        }
    }
}
