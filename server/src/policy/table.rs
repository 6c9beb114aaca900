//! Which RPC needs which action: one entry per method. A method without an entry cannot be called.

use super::Action;

/// What a caller needs to call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A client certificate with an identity is enough; no token is asked for.
    CertificateOnly,
    /// A token with a grant of one of these actions on the resource that the request names.
    AnyOf(&'static [Action]),
}

/// The entry of the method with this path, for example `/posthouse.v1.Publisher/Publish`.
pub fn access(path: &str) -> Option<Access> {
    TABLE.iter().find(|(listed, _)| *listed == path).map(|(_, access)| *access)
}

/// The method with this path, as a word for figures and records.
pub fn method(path: &str) -> Option<&'static str> {
    let listed = TABLE.iter().find(|(listed, _)| *listed == path);
    listed.map(|(listed, _)| listed.trim_start_matches('/'))
}

const PUBLISH: Access = Access::AnyOf(&[Action::Publish]);
const CONSUME: Access = Access::AnyOf(&[Action::Consume]);
const MANAGE: Access = Access::AnyOf(&[Action::Manage]);
const DESCRIBE: Access = Access::AnyOf(&[Action::Manage, Action::Stats]);

/// The methods most often called come first.
const TABLE: &[(&str, Access)] = &[
    ("/posthouse.v1.Publisher/Publish", PUBLISH),
    ("/posthouse.v1.Publisher/PublishStream", PUBLISH),
    ("/posthouse.v1.Consumer/Consume", CONSUME),
    ("/posthouse.v1.Consumer/Receive", CONSUME),
    ("/posthouse.v1.Consumer/Settle", CONSUME),
    ("/posthouse.v1.Consumer/ExtendLeases", CONSUME),
    ("/posthouse.v1.Queues/CreateQueue", MANAGE),
    ("/posthouse.v1.Queues/GetQueue", DESCRIBE),
    ("/posthouse.v1.Queues/ListQueues", DESCRIBE),
    ("/posthouse.v1.Queues/UpdateQueue", MANAGE),
    ("/posthouse.v1.Queues/DeleteQueue", MANAGE),
    ("/posthouse.v1.Queues/PurgeQueue", MANAGE),
    ("/posthouse.v1.Messages/FindMessage", DESCRIBE),
    ("/posthouse.v1.Messages/ListDeadLetters", DESCRIBE),
    ("/posthouse.v1.Messages/RedriveDeadLetters", MANAGE),
    ("/grpc.health.v1.Health/Check", Access::CertificateOnly),
    ("/grpc.health.v1.Health/Watch", Access::CertificateOnly),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::{Access, TABLE, access};

    /// The path of every method of every service in a descriptor set.
    fn methods(descriptors: &[u8]) -> BTreeSet<String> {
        let set = FileDescriptorSet::decode(descriptors).unwrap();
        let mut paths = BTreeSet::new();
        for file in set.file {
            for service in &file.service {
                for method in &service.method {
                    paths.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        paths
    }

    #[test]
    fn every_method_has_one_entry_and_every_entry_a_method() {
        let mut known = methods(posthouse_proto::FILE_DESCRIPTOR_SET);
        assert!(known.len() >= 12, "the descriptor set seems empty: {known:?}");
        known.extend(methods(tonic_health::pb::FILE_DESCRIPTOR_SET));
        let listed: BTreeSet<String> = TABLE.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed.len(), TABLE.len(), "a method is listed twice");
        assert_eq!(listed, known);
    }

    #[test]
    fn only_health_needs_no_token_and_no_entry_is_empty() {
        for (path, access) in TABLE {
            match access {
                Access::CertificateOnly => assert!(path.starts_with("/grpc.health.v1.Health/"), "{path}"),
                Access::AnyOf(actions) => assert!(!actions.is_empty(), "{path}"),
            }
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
            assert_eq!(access(path), None, "{path}");
        }
    }
}
