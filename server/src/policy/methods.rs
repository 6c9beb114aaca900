//! Every RPC, once: its path, its kind, and all the checks that it asks for. A method without an entry cannot be
//! called, and a handler can make no permit but those of its method's entry ([`Admission`](super::Admission)).
//!
//! The first check of a method is of the resource that its request names; the others are of further resources that a
//! request may name (a dead-letter queue, the target of a redrive) or of each item that it would show.

use crate::{
    grants::Action,
    names::{QueueResource, SubscriptionResource},
};

/// What a call does: it decides what is recorded of the call, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It changes nothing.
    Read,
    /// It changes definitions, or moves or removes messages without consuming them: each call is recorded.
    Change,
    /// It publishes, leases or settles: recorded by the batch, where the configuration asks for it.
    Messages,
    /// It goes on until one side ends it.
    Stream,
}

/// The entry of one method.
#[derive(Debug)]
pub struct Method {
    /// For example `/posthouse.v1.Publisher/Publish`.
    pub path: &'static str,
    /// What a call of it does.
    pub kind: Kind,
    /// The checks. A method without any needs a client certificate with an identity, and no token.
    pub checks: &'static [Rule],
}

/// One check: its name, and the actions of which a grant of any one is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its type's name.
    pub name: &'static str,
    /// A grant of one of these on the resource opens it.
    pub any_of: &'static [Action],
}

/// The type of a check: what a [`Permit`](super::Permit) is for.
pub trait Check: Copy + std::fmt::Debug + Send + Sync + 'static {
    /// The rule of the check.
    const RULE: Rule;
    /// The kind of resource that is checked.
    type Resource: super::Resource;
}

/// The type of a method.
pub trait Rpc: Copy + std::fmt::Debug + Send + Sync + 'static {
    /// Its entry.
    const METHOD: Method;
}

/// The method's entry has this check.
pub trait Asks<C: Check>: Rpc {}

/// The entry of the method with this path.
pub fn find(path: &str) -> Option<&'static Method> {
    TABLE.iter().find(|method| method.path == path)
}

impl Method {
    /// The method as a word for figures and records, for example `posthouse.v1.Publisher/Publish`.
    pub fn name(&self) -> &'static str {
        self.path.trim_start_matches('/')
    }

    /// It frees capacity: it is not refused for what its tenant uses.
    pub fn frees_capacity(&self) -> bool {
        [Settle::METHOD.path, ExtendLeases::METHOD.path].contains(&self.path)
    }

    /// The actions of which a grant on the resource that the request names is enough; `None`: no token is asked for.
    pub fn opened_by(&self) -> Option<&'static [Action]> {
        self.checks.first().map(|rule| rule.any_of)
    }
}

macro_rules! checks {
    ($($(#[$doc:meta])* $check:ident($resource:ty) = [$($action:ident),+];)*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $check;

        impl Check for $check {
            const RULE: Rule = Rule { name: stringify!($check), any_of: &[$(Action::$action),+] };
            type Resource = $resource;
        })*
    };
}

macro_rules! methods {
    ($($kind:ident $method:ident = $path:literal, [$($check:ident),*];)*) => {
        $(#[doc = concat!("`", $path, "`")]
        #[derive(Clone, Copy, Debug)]
        pub struct $method;

        impl Rpc for $method {
            const METHOD: Method =
                Method { path: $path, kind: Kind::$kind, checks: &[$(<$check as Check>::RULE),*] };
        }

        $(impl Asks<$check> for $method {})*)*

        /// All methods, the most frequent first.
        pub const TABLE: &[Method] = &[$($method::METHOD),*];
    };
}

checks! {
    /// The queue that messages are published to.
    Publishing(QueueResource) = [Publish];
    /// The subscription whose messages are leased and settled.
    Consuming(SubscriptionResource) = [Consume];
    /// The queue that is created, changed, purged or deleted.
    Managing(QueueResource) = [Manage];
    /// The queue whose definition, counts or positions of messages are returned.
    Describing(QueueResource) = [Manage, Stats];
    /// Each queue that a list would show.
    Listing(QueueResource) = [Manage, Stats];
    /// The queue that another names as its dead-letter queue, whether or not it exists: messages that are given up are
    /// published there.
    NamingDeadLetterQueue(QueueResource) = [Publish, Manage];
    /// The subscription whose dead letters are listed.
    ListingDeadLetters(SubscriptionResource) = [Manage, Stats, DeadLetter];
    /// The subscription whose dead letters are redriven.
    Redriving(SubscriptionResource) = [Manage, DeadLetter];
    /// The one queue that they all go to, if the request names one.
    RedrivingTo(QueueResource) = [Publish, Manage];
    /// Each queue that they go back to.
    RedrivingBack(QueueResource) = [Publish, Manage, DeadLetter];
}

methods! {
    Messages Publish = "/posthouse.v1.Publisher/Publish", [Publishing];
    Stream PublishStream = "/posthouse.v1.Publisher/PublishStream", [Publishing];
    Stream Consume = "/posthouse.v1.Consumer/Consume", [Consuming];
    Messages Receive = "/posthouse.v1.Consumer/Receive", [Consuming];
    Messages Settle = "/posthouse.v1.Consumer/Settle", [Consuming];
    Messages ExtendLeases = "/posthouse.v1.Consumer/ExtendLeases", [Consuming];
    Change CreateQueue = "/posthouse.v1.Queues/CreateQueue", [Managing, NamingDeadLetterQueue];
    Read GetQueue = "/posthouse.v1.Queues/GetQueue", [Describing];
    Read ListQueues = "/posthouse.v1.Queues/ListQueues", [Listing];
    Change UpdateQueue = "/posthouse.v1.Queues/UpdateQueue", [Managing, NamingDeadLetterQueue];
    Change DeleteQueue = "/posthouse.v1.Queues/DeleteQueue", [Managing];
    Change PurgeQueue = "/posthouse.v1.Queues/PurgeQueue", [Managing];
    Read FindMessage = "/posthouse.v1.Messages/FindMessage", [Describing];
    Read ListDeadLetters = "/posthouse.v1.Messages/ListDeadLetters", [ListingDeadLetters];
    Change RedriveDeadLetters =
        "/posthouse.v1.Messages/RedriveDeadLetters", [Redriving, RedrivingTo, RedrivingBack];
    Read HealthCheck = "/grpc.health.v1.Health/Check", [];
    Stream HealthWatch = "/grpc.health.v1.Health/Watch", [];
}

#[cfg(test)]
mod tests;
