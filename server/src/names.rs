//! Names of tenants, departments, queues and subscriptions, and the resource names made of them.
//!
//! A segment is 1 to 63 of `a-z`, `0-9` and `-`, and nothing else: no dots, no case, no Unicode. So names that look
//! alike are equal, and a name can neither leave its segment of a path nor break a log line.

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

use crate::limits::MAX_NAME_BYTES;

/// The kind of a refused name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A tenant's segment.
    Tenant,
    /// A department's segment.
    Department,
    /// A queue's segment.
    Queue,
    /// A subscription's segment.
    Subscription,
    /// `tenants/{tenant}/departments/{department}`.
    DepartmentResource,
    /// `tenants/{tenant}/departments/{department}/queues/{queue}`.
    QueueResource,
    /// `tenants/{tenant}/departments/{department}/queues/{queue}/subscriptions/{subscription}`.
    SubscriptionResource,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "tenant",
            Self::Department => "department",
            Self::Queue => "queue",
            Self::Subscription => "subscription",
            Self::DepartmentResource => "department's resource name",
            Self::QueueResource => "queue's resource name",
            Self::SubscriptionResource => "subscription's resource name",
        })
    }
}

/// Why a name was refused. It repeats nothing of the input but one escaped character.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// There is nothing.
    #[error("the {kind} is empty; it takes 1 to {MAX_NAME_BYTES} of a-z, 0-9 and '-'")]
    Empty {
        /// The expected kind of name.
        kind: NameKind,
    },
    /// More bytes than a segment may have.
    #[error("the {kind} has {length} bytes; at most {MAX_NAME_BYTES} are allowed")]
    TooLong {
        /// The expected kind of name.
        kind: NameKind,
        /// How many bytes it had.
        length: usize,
    },
    /// A character outside the alphabet.
    #[error(
        "the {kind} has '{}' at byte {position}; only a-z, 0-9 and '-' are allowed",
        .character.escape_default()
    )]
    Character {
        /// The expected kind of name.
        kind: NameKind,
        /// The first offending character.
        character: char,
        /// Its position, in bytes from 0.
        position: usize,
    },
    /// The path has other parts than the resource has.
    #[error("this is no {kind}; expected {expected}")]
    Shape {
        /// The expected kind of name.
        kind: NameKind,
        /// The pattern to follow.
        expected: &'static str,
    },
}

impl NameError {
    /// The kind that was expected.
    pub fn kind(&self) -> NameKind {
        match self {
            Self::Empty { kind }
            | Self::TooLong { kind, .. }
            | Self::Character { kind, .. }
            | Self::Shape { kind, .. } => *kind,
        }
    }
}

fn check_segment(kind: NameKind, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { kind, length: text.len() });
    }
    match text.char_indices().find(|(_, c)| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        None => Ok(()),
        Some((position, character)) => Err(NameError::Character { kind, character, position }),
    }
}

macro_rules! segment {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps a name.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check_segment($kind, text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

segment!(
    /// The name of a tenant: an agency, the security boundary.
    TenantName,
    NameKind::Tenant
);
segment!(
    /// The name of a department, unique in its tenant.
    DepartmentName,
    NameKind::Department
);
segment!(
    /// The name of a queue, unique in its department.
    QueueName,
    NameKind::Queue
);
segment!(
    /// The name of a subscription, unique in its queue.
    SubscriptionName,
    NameKind::Subscription
);

impl SubscriptionName {
    /// Every queue is born with the subscription `default`.
    pub fn default_subscription() -> Self {
        Self("default".into())
    }
}

/// `tenants/{tenant}/departments/{department}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DepartmentResource {
    /// The tenant that it belongs to.
    pub tenant: TenantName,
    /// Its name there.
    pub department: DepartmentName,
}

/// `tenants/{tenant}/departments/{department}/queues/{queue}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueResource {
    /// The tenant that it belongs to.
    pub tenant: TenantName,
    /// The department it belongs to.
    pub department: DepartmentName,
    /// Its name there.
    pub queue: QueueName,
}

/// `tenants/{tenant}/departments/{department}/queues/{queue}/subscriptions/{subscription}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionResource {
    /// The queue it is a view of.
    pub queue: QueueResource,
    /// Its name there.
    pub subscription: SubscriptionName,
}

impl DepartmentResource {
    /// Reads a resource name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        text.parse()
    }

    /// The resource of one of this department's queues.
    pub fn queue(&self, queue: QueueName) -> QueueResource {
        QueueResource { tenant: self.tenant.clone(), department: self.department.clone(), queue }
    }
}

impl QueueResource {
    /// Reads a resource name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        text.parse()
    }

    /// The department this queue belongs to.
    pub fn department_resource(&self) -> DepartmentResource {
        DepartmentResource { tenant: self.tenant.clone(), department: self.department.clone() }
    }

    /// The resource of one of this queue's subscriptions.
    pub fn subscription(&self, subscription: SubscriptionName) -> SubscriptionResource {
        SubscriptionResource { queue: self.clone(), subscription }
    }
}

impl SubscriptionResource {
    /// Reads a resource name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        text.parse()
    }

    /// From the two fields that requests carry: the queue's resource name and a subscription, empty for `default`.
    pub fn from_request(queue: &str, subscription: &str) -> Result<Self, NameError> {
        let queue = queue.parse::<QueueResource>()?;
        let subscription = match subscription {
            "" => SubscriptionName::default_subscription(),
            name => SubscriptionName::parse(name)?,
        };
        Ok(Self { queue, subscription })
    }
}

/// Splits `text` at '/' into exactly these collections and the names after them.
fn split<'a, const N: usize>(text: &'a str, collections: [&str; N]) -> Option<[&'a str; N]> {
    let mut parts = text.split('/');
    let mut names = [""; N];
    for (collection, name) in collections.iter().zip(&mut names) {
        if parts.next()? != *collection {
            return None;
        }
        *name = parts.next()?;
    }
    parts.next().is_none().then_some(names)
}

impl FromStr for DepartmentResource {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shape = NameError::Shape {
            kind: NameKind::DepartmentResource,
            expected: "tenants/{tenant}/departments/{department}",
        };
        let [tenant, department] = split(text, ["tenants", "departments"]).ok_or(shape)?;
        Ok(Self { tenant: TenantName::parse(tenant)?, department: DepartmentName::parse(department)? })
    }
}

impl FromStr for QueueResource {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shape = NameError::Shape {
            kind: NameKind::QueueResource,
            expected: "tenants/{tenant}/departments/{department}/queues/{queue}",
        };
        let [tenant, department, queue] = split(text, ["tenants", "departments", "queues"]).ok_or(shape)?;
        Ok(Self {
            tenant: TenantName::parse(tenant)?,
            department: DepartmentName::parse(department)?,
            queue: QueueName::parse(queue)?,
        })
    }
}

impl FromStr for SubscriptionResource {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shape = NameError::Shape {
            kind: NameKind::SubscriptionResource,
            expected: "tenants/{tenant}/departments/{department}/queues/{queue}/subscriptions/{subscription}",
        };
        let [tenant, department, queue, subscription] =
            split(text, ["tenants", "departments", "queues", "subscriptions"]).ok_or(shape)?;
        let queue = QueueResource {
            tenant: TenantName::parse(tenant)?,
            department: DepartmentName::parse(department)?,
            queue: QueueName::parse(queue)?,
        };
        Ok(Self { queue, subscription: SubscriptionName::parse(subscription)? })
    }
}

impl fmt::Display for DepartmentResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenants/{}/departments/{}", self.tenant, self.department)
    }
}

impl fmt::Display for QueueResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenants/{}/departments/{}/queues/{}", self.tenant, self.department, self.queue)
    }
}

impl fmt::Display for SubscriptionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/subscriptions/{}", self.queue, self.subscription)
    }
}

#[cfg(test)]
mod tests;
