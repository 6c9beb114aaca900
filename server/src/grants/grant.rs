//! Grants: `posthouse:<action>:<tenant>/<department>/<queue>[/<subscription>]`, as a token's `scope` lists them.
//!
//! `*` stands for one whole segment; the tenant is always literal. There are no regular expressions, no prefixes, no
//! placeholders and no denials, so matching is a few comparisons and adding a grant never removes a right.

use std::{collections::BTreeSet, fmt};

use thiserror::Error;

use crate::{
    grants::Action,
    limits::MAX_GRANTS,
    names::{
        DepartmentName, DepartmentResource, NameError, QueueName, QueueResource, SubscriptionName,
        SubscriptionResource, TenantName,
    },
};

/// How an item of ours begins. An issuer puts other services' items into the same scope.
const PREFIX: &str = "posthouse:";

/// One action on one name pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    action: Action,
    tenant: TenantName,
    department: Segment<DepartmentName>,
    queue: Segment<QueueName>,
    /// Absent: the queue itself and every subscription of it.
    subscription: Option<Segment<SubscriptionName>>,
}

/// All the grants of one token. Never of more than one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    grants: Vec<Grant>,
    /// The words of its items that open nothing.
    without_effect: Vec<&'static str>,
}

/// The queues of one department on which one of some actions is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueuesGranted {
    /// Whatever they are called.
    Every,
    /// Those with these names.
    Named(BTreeSet<QueueName>),
}

/// Why a scope was refused, and the token with it. Items count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScopeError {
    /// More items of ours than a token may carry.
    #[error("the scope has more than {MAX_GRANTS} items that begin with {PREFIX}")]
    TooMany,
    /// Not of the form of a grant.
    #[error("scope item {item} is not posthouse:<action>:<tenant>/<department>/<queue>[/<subscription>]")]
    Shape {
        /// Which item.
        item: usize,
    },
    /// The action is none of the known ones.
    #[error("scope item {item} names an unknown action")]
    Action {
        /// Which item.
        item: usize,
    },
    /// A segment is no name.
    #[error("scope item {item}: {error}")]
    Name {
        /// Which item.
        item: usize,
        /// The problem.
        error: NameError,
    },
    /// The tenant is not the token's.
    #[error("scope item {item} names another tenant than the token's")]
    Tenant {
        /// Which item.
        item: usize,
    },
    /// The action has no subscription.
    #[error("scope item {item} names a subscription, which its action does not take")]
    Subscription {
        /// Which item.
        item: usize,
    },
}

#[derive(Clone, PartialEq, Eq)]
enum Segment<N> {
    Any,
    Exactly(N),
}

impl Grants {
    /// Reads a whole `scope`. One item of ours that cannot be read refuses all of it; those of other services are
    /// passed over, and there are no more of them than the size of a token allows.
    pub fn parse(scope: &str, tenant: &TenantName) -> Result<Self, ScopeError> {
        let mut own = Self { grants: Vec::new(), without_effect: Vec::new() };
        for (text, item) in scope.split(' ').filter(|text| !text.is_empty()).zip(1..) {
            let Some(text) = text.strip_prefix(PREFIX) else { continue };
            if own.grants.len() + own.without_effect.len() == MAX_GRANTS {
                return Err(ScopeError::TooMany);
            }
            match Item::parse(text, item, tenant)? {
                Item::Grant(grant) => own.grants.push(grant),
                Item::WithoutEffect(action) => own.without_effect.push(action),
            }
        }
        Ok(own)
    }

    /// The actions of its items that open nothing, an entry an item: see [`Action::WITHOUT_EFFECT`].
    pub fn without_effect(&self) -> &[&'static str] {
        &self.without_effect
    }

    /// Whether any of the grants is of `action`, on whatever resource.
    pub fn name(&self, action: Action) -> bool {
        self.grants.iter().any(|grant| grant.action == action)
    }

    /// Whether `action` is allowed on the queue itself.
    pub fn cover_queue(&self, action: Action, queue: &QueueResource) -> bool {
        self.grants.iter().any(|grant| grant.covers_queue(action, queue))
    }

    /// Whether `action` is allowed on the subscription.
    pub fn cover_subscription(&self, action: Action, subscription: &SubscriptionResource) -> bool {
        self.grants.iter().any(|grant| grant.covers_subscription(action, subscription))
    }

    /// Whether `action` is allowed on some queue that the department has or could have.
    pub fn reach_into(&self, action: Action, department: &DepartmentResource) -> bool {
        self.grants.iter().any(|grant| grant.reaches_into(action, department))
    }

    /// The queues of a department on which one of `actions` is granted, as far as names go.
    pub(crate) fn queues_granted(
        &self,
        actions: &[Action],
        department: &DepartmentResource,
    ) -> QueuesGranted {
        let mut names = BTreeSet::new();
        for action in actions {
            for grant in self.grants.iter().filter(|grant| grant.reaches_into(*action, department)) {
                match &grant.queue {
                    Segment::Any => return QueuesGranted::Every,
                    Segment::Exactly(name) => _ = names.insert(name.clone()),
                }
            }
        }
        QueuesGranted::Named(names)
    }
}

/// One item of ours.
enum Item {
    Grant(Grant),
    /// Of an action that opens nothing.
    WithoutEffect(&'static str),
}

impl Item {
    fn parse(text: &str, item: usize, tenant: &TenantName) -> Result<Self, ScopeError> {
        let (action, pattern) = text.split_once(':').ok_or(ScopeError::Shape { item })?;
        if let Some(known) = Action::WITHOUT_EFFECT.into_iter().find(|word| *word == action) {
            // Its pattern must follow the rules nevertheless; it does not matter which of them had a subscription.
            Grant::parse(Action::Stats, pattern, item, tenant)?;
            return Ok(Self::WithoutEffect(known));
        }
        let action = action.parse::<Action>().map_err(|_| ScopeError::Action { item })?;
        Grant::parse(action, pattern, item, tenant).map(Self::Grant)
    }
}

impl Grant {
    fn parse(action: Action, pattern: &str, item: usize, tenant: &TenantName) -> Result<Self, ScopeError> {
        let mut parts = pattern.split('/');
        let (Some(owner), Some(department), Some(queue), subscription, None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ScopeError::Shape { item });
        };
        let name = |error| ScopeError::Name { item, error };
        let owner = TenantName::parse(owner).map_err(name)?;
        if owner != *tenant {
            return Err(ScopeError::Tenant { item });
        }
        if subscription.is_some() && !action.names_subscriptions() {
            return Err(ScopeError::Subscription { item });
        }
        Ok(Self {
            action,
            tenant: owner,
            department: Segment::parse(department, DepartmentName::parse).map_err(name)?,
            queue: Segment::parse(queue, QueueName::parse).map_err(name)?,
            subscription: subscription
                .map(|text| Segment::parse(text, SubscriptionName::parse))
                .transpose()
                .map_err(name)?,
        })
    }

    fn covers_queue(&self, action: Action, queue: &QueueResource) -> bool {
        self.subscription.is_none() && self.matches_queue(action, queue)
    }

    fn covers_subscription(&self, action: Action, subscription: &SubscriptionResource) -> bool {
        self.matches_queue(action, &subscription.queue)
            && self.subscription.as_ref().is_none_or(|segment| segment.covers(&subscription.subscription))
    }

    /// Whether it is of the action on some queue that the department has or could have.
    fn reaches_into(&self, action: Action, department: &DepartmentResource) -> bool {
        self.action == action
            && self.subscription.is_none()
            && self.tenant == department.tenant
            && self.department.covers(&department.department)
    }

    fn matches_queue(&self, action: Action, queue: &QueueResource) -> bool {
        self.action == action
            && self.tenant == queue.tenant
            && self.department.covers(&queue.department)
            && self.queue.covers(&queue.queue)
    }
}

impl<N: PartialEq> Segment<N> {
    fn parse(text: &str, name: impl FnOnce(&str) -> Result<N, NameError>) -> Result<Self, NameError> {
        if text == "*" { Ok(Self::Any) } else { name(text).map(Self::Exactly) }
    }

    fn covers(&self, name: &N) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(own) => own == name,
        }
    }
}

impl<N: fmt::Display> fmt::Display for Segment<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exactly(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "posthouse:{}:{}/{}/{}", self.action, self.tenant, self.department, self.queue)?;
        match &self.subscription {
            Some(subscription) => write!(f, "/{subscription}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
