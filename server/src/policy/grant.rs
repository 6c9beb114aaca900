//! Grants: `posthouse:<action>:<tenant>/<department>/<queue>[/<subscription>]`, as a token's `scope` lists them.
//!
//! `*` stands for one whole segment; the tenant is always literal. There are no regular expressions, no prefixes, no
//! placeholders and no denials, so matching is a few comparisons and adding a grant never takes a right away.

use std::fmt;

use thiserror::Error;

use super::Action;
use crate::{
    limits::MAX_GRANTS,
    names::{
        DepartmentName, DepartmentResource, NameError, QueueName, QueueResource, SubscriptionName,
        SubscriptionResource, TenantName,
    },
};

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
pub struct Grants(Vec<Grant>);

/// Why a scope was refused, and the token with it. Items count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScopeError {
    /// More items than a token may carry.
    #[error("the scope has more than {MAX_GRANTS} items")]
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
        /// What is wrong with it.
        error: NameError,
    },
    /// The tenant is not the token's.
    #[error("scope item {item} names another tenant than the token's")]
    Tenant {
        /// Which item.
        item: usize,
    },
    /// The action takes no subscription.
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
    /// Reads a whole `scope`. One item that cannot be read refuses all of it.
    pub fn parse(scope: &str, tenant: &TenantName) -> Result<Self, ScopeError> {
        if scope.split(' ').nth(MAX_GRANTS).is_some() {
            return Err(ScopeError::TooMany);
        }
        let grants = scope.split(' ').zip(1..).map(|(text, item)| Grant::parse(text, item, tenant));
        Ok(Self(grants.collect::<Result<_, _>>()?))
    }

    /// Whether any of the grants is of `action`, on whatever resource.
    pub fn name(&self, action: Action) -> bool {
        self.0.iter().any(|grant| grant.action == action)
    }

    /// Whether `action` is allowed on the queue itself.
    pub fn cover_queue(&self, action: Action, queue: &QueueResource) -> bool {
        self.0.iter().any(|grant| grant.covers_queue(action, queue))
    }

    /// Whether `action` is allowed on the subscription.
    pub fn cover_subscription(&self, action: Action, subscription: &SubscriptionResource) -> bool {
        self.0.iter().any(|grant| grant.covers_subscription(action, subscription))
    }

    /// Whether `action` is allowed on some queue that the department has or could have.
    pub fn reach_into(&self, action: Action, department: &DepartmentResource) -> bool {
        self.0.iter().any(|grant| {
            grant.action == action
                && grant.subscription.is_none()
                && grant.tenant == department.tenant
                && grant.department.covers(&department.department)
        })
    }
}

impl Grant {
    fn parse(text: &str, item: usize, tenant: &TenantName) -> Result<Self, ScopeError> {
        let shape = ScopeError::Shape { item };
        let (action, pattern) = text
            .strip_prefix("posthouse:")
            .and_then(|rest| rest.split_once(':'))
            .ok_or_else(|| shape.clone())?;
        let action = action.parse::<Action>().map_err(|_| ScopeError::Action { item })?;
        let mut parts = pattern.split('/');
        let (Some(owner), Some(department), Some(queue), subscription, None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(shape);
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
