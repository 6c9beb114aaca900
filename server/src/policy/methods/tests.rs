use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::{
    FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto, method_options::IdempotencyLevel,
};

use super::{Kind, TABLE, find};

/// The methods of our services and of the health service, by path.
fn described() -> BTreeMap<String, MethodDescriptorProto> {
    let mut methods = BTreeMap::new();
    for descriptors in [posthouse_proto::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET] {
        for file in FileDescriptorSet::decode(descriptors).unwrap().file {
            for service in &file.service {
                methods.extend(of_service(file.package(), service));
            }
        }
    }
    assert!(methods.len() >= 17, "the descriptor sets seem empty: {methods:?}");
    methods
}

fn of_service<'a>(
    package: &'a str,
    service: &'a ServiceDescriptorProto,
) -> impl Iterator<Item = (String, MethodDescriptorProto)> + 'a {
    service
        .method
        .iter()
        .map(move |method| (format!("/{package}.{}/{}", service.name(), method.name()), method.clone()))
}

/// The faults of the table for these methods: those without an entry, and those whose kind is not the schema's.
fn faults(methods: &BTreeMap<String, MethodDescriptorProto>) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, method) in methods {
        let Some(entry) = find(path) else {
            faults.push(format!("{path} has no entry"));
            continue;
        };
        let streams = method.client_streaming() || method.server_streaming();
        let reads = method
            .options
            .as_ref()
            .is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects)
            || path == "/grpc.health.v1.Health/Check";
        let consumes = ["/posthouse.v1.Publisher/", "/posthouse.v1.Consumer/"]
            .iter()
            .any(|service| path.starts_with(service));
        let kind = match (streams, reads, consumes) {
            (true, ..) => Kind::Stream,
            (false, true, _) => Kind::Read,
            (false, false, true) => Kind::Messages,
            (false, false, false) => Kind::Change,
        };
        if entry.kind != kind {
            faults.push(format!("{path} is listed as {:?}, but the schema says {kind:?}", entry.kind));
        }
    }
    faults
}

#[test]
fn every_method_has_one_entry_of_its_kind_and_every_entry_a_method() {
    let described = described();
    assert_eq!(faults(&described), Vec::<String>::new());
    let listed: BTreeSet<&str> = TABLE.iter().map(|method| method.path).collect();
    assert_eq!(listed.len(), TABLE.len(), "a method is listed twice");
    assert_eq!(listed, described.keys().map(String::as_str).collect());
}

#[test]
fn a_method_that_somebody_forgets_is_found() {
    let mut described = described();
    let added = MethodDescriptorProto { name: Some("DropEverything".to_owned()), ..Default::default() };
    described.insert("/posthouse.v1.Queues/DropEverything".to_owned(), added);
    // One that begins to change something, and its entry still says that it reads.
    described.get_mut("/posthouse.v1.Queues/GetQueue").unwrap().options = None;
    let expected = [
        "/posthouse.v1.Queues/DropEverything has no entry",
        "/posthouse.v1.Queues/GetQueue is listed as Read, but the schema says Change",
    ];
    assert_eq!(faults(&described), expected);
}

#[test]
fn only_health_needs_no_token_and_no_check_is_empty() {
    for method in TABLE {
        let health = method.path.starts_with("/grpc.health.v1.Health/");
        assert_eq!(method.opened_by().is_none(), health, "{}", method.path);
        assert!(method.checks.iter().all(|rule| !rule.any_of.is_empty()), "{}", method.path);
    }
}

#[test]
fn what_is_not_listed_has_no_entry() {
    for path in [
        "",
        "/",
        "*",
        "/posthouse.v1.Publisher",
        "/posthouse.v1.Publisher/",
        "/posthouse.v1.Publisher/publish",
        "/posthouse.v1.Publisher/Publish/",
        "//posthouse.v1.Publisher/Publish",
        "/posthouse.v1.Publisher/Publish?x",
        "/posthouse.v1.Publisher/../Queues/PurgeQueue",
        "/posthouse.v1.Publisher/%50ublish",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        assert!(find(path).is_none(), "{path}");
    }
}
