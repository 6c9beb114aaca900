use proptest::prelude::*;

use super::{
    DepartmentResource, NameError, NameKind, QueueName, QueueResource, SubscriptionResource, TenantName,
};

fn queue(text: &str) -> Result<QueueResource, NameError> {
    text.parse()
}

#[test]
fn a_resource_name_reads_back() {
    let text = "tenants/civil-affairs/departments/identity-cards/queues/applications";
    let resource = queue(text).unwrap();
    assert_eq!(resource.tenant.as_str(), "civil-affairs");
    assert_eq!(resource.department.as_str(), "identity-cards");
    assert_eq!(resource.queue.as_str(), "applications");
    assert_eq!(resource.to_string(), text);
}

#[test]
fn the_error_says_what_where_and_the_limit() {
    let error = queue("tenants/civil/departments/Cards/queues/q").unwrap_err();
    assert_eq!(error, NameError::Character { kind: NameKind::Department, character: 'C', position: 0 });
    assert_eq!(error.to_string(), "the department has 'C' at byte 0; only a-z, 0-9 and '-' are allowed");
    let error = QueueName::parse(&"q".repeat(64)).unwrap_err();
    assert_eq!(error.to_string(), "the queue has 64 bytes; at most 63 are allowed");
    assert_eq!(error.kind(), NameKind::Queue);
    assert!(QueueName::parse(&"q".repeat(63)).is_ok());
}

#[test]
fn hostile_names_are_refused() {
    let long = "a".repeat(64 * 1024);
    let hostile = [
        "",
        ".",
        "..",
        "a.b",
        "a/b",
        "a\\b",
        "a b",
        "a\r\nb",
        "a\nb",
        "a\0b",
        "A",
        "a_b",
        "a%2fb",
        "%00",
        "*",
        "a*",
        "?",
        "[a]",
        "(a+)+",
        "${a}",
        "{a}",
        "a:b",
        "а",
        "ａ",
        "a\u{200b}",
        "a\u{0301}",
        "ı",
        "ß",
        "🏤",
        "a\u{202e}b",
        "\u{feff}a",
        "a\t",
        "a\x7f",
        "a'",
        "a\"",
        "a;b",
        "a,b",
        "a@b",
        "a#b",
        long.as_str(),
    ];
    for name in hostile {
        assert!(TenantName::parse(name).is_err(), "{name:?} was accepted");
        let error = queue(&format!("tenants/t/departments/d/queues/{name}")).unwrap_err();
        let shown = error.to_string();
        assert!(shown.len() < 200 && shown.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{shown:?}");
    }
}

#[test]
fn other_paths_are_refused() {
    for path in [
        "",
        "/",
        "tenants",
        "tenants/t",
        "/tenants/t/departments/d/queues/q",
        "tenants/t/departments/d/queues/q/",
        "tenants/t/departments/d/queues/q/x",
        "tenants/t/queues/q",
        "tenants/t/departments/d/topics/q",
        "tenants//departments/d/queues/q",
        "Tenants/t/departments/d/queues/q",
        "tenants/t/departments/d/queues",
        "tenants/t/departments/../queues/q",
        "tenants/t/departments/d/queues/q\n",
        "tenants/t/departments/d",
    ] {
        assert!(queue(path).is_err(), "{path:?} was accepted");
    }
    assert!("tenants/t/departments/d".parse::<DepartmentResource>().is_ok());
    assert!("tenants/t/departments/d/queues/q/subscriptions/s".parse::<SubscriptionResource>().is_ok());
}

#[test]
fn an_empty_subscription_is_the_default_one() {
    let name = "tenants/t/departments/d/queues/q";
    assert_eq!(SubscriptionResource::from_request(name, "").unwrap().subscription.as_str(), "default");
    assert_eq!(SubscriptionResource::from_request(name, "s").unwrap().subscription.as_str(), "s");
    assert!(SubscriptionResource::from_request(name, "S").is_err());
}

proptest! {
    #[test]
    fn every_segment_of_the_alphabet_reads_back(
        t in "[a-z0-9-]{1,63}", d in "[a-z0-9-]{1,63}", q in "[a-z0-9-]{1,63}", s in "[a-z0-9-]{1,63}"
    ) {
        let text = format!("tenants/{t}/departments/{d}/queues/{q}/subscriptions/{s}");
        let resource: SubscriptionResource = text.parse().unwrap();
        prop_assert_eq!(resource.to_string(), text);
        let department = resource.queue.department_resource();
        let again: DepartmentResource = department.to_string().parse().unwrap();
        prop_assert_eq!(&again, &department);
        prop_assert_eq!(&department.queue(resource.queue.queue.clone()), &resource.queue);
        prop_assert_eq!(resource.queue.subscription(resource.subscription.clone()), resource);
    }

    #[test]
    fn what_is_accepted_is_of_the_alphabet(text in "\\PC{0,70}|[a-z0-9./_-]{0,70}") {
        let good = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        prop_assert_eq!(QueueName::parse(&text).is_ok(), good);
    }

    #[test]
    fn any_text_is_answered_and_what_is_accepted_reads_back(text in "\\PC*|(tenants|departments|queues|[a-z/]){0,12}") {
        if let Ok(resource) = queue(&text) {
            prop_assert_eq!(resource.to_string(), text);
        }
    }
}
