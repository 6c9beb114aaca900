//! Permits: a grant applied to one concrete resource, for one principal.

use std::{sync::Arc, time::SystemTime};

use thiserror::Error;

use super::Action;
use crate::{
    identity::Principal,
    names::{DepartmentResource, QueueResource, SubscriptionName, SubscriptionResource},
};

/// What an action is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A queue.
    Queue(QueueResource),
    /// A subscription of a queue.
    Subscription(SubscriptionResource),
}

/// The right of one principal to do one action on one resource. Only [`authorize`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    principal: Arc<Principal>,
    action: Action,
    resource: Resource,
}

/// The right to list a department: only the queues that it [covers](ListPermit::covers) may be shown.
#[derive(Clone, Debug)]
pub struct ListPermit {
    principal: Arc<Principal>,
    actions: Vec<Action>,
    department: DepartmentResource,
}

/// Why a right is refused. It does not tell whether the resource exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// No grant of the token covers the action on the resource.
    #[error("the token has no grant for this action on this resource")]
    GrantMissing,
    /// The method is not one that anybody may call.
    #[error("this method may not be called")]
    MethodNotAllowed,
    /// The token, or the certificate it came with, has expired since.
    #[error("the token has expired")]
    Expired,
    /// The key that signed the token is no longer in its issuer's key set.
    #[error("the token's key is no longer in its issuer's key set; get a token of a key that is")]
    KeyRemoved,
    /// A fresh token is of another tenant or subject than the one it was to replace.
    #[error("the fresh token is of another tenant or subject")]
    OtherCaller,
}

/// Applies the principal's grants to one resource.
pub fn authorize(principal: &Arc<Principal>, action: Action, resource: &Resource) -> Result<Permit, Denied> {
    // The tenants are compared before any grant is, and once more by each grant.
    if resource.queue().tenant != principal.tenant {
        return Err(Denied::GrantMissing);
    }
    let covered = match resource {
        Resource::Queue(queue) => principal.grants.cover_queue(action, queue),
        Resource::Subscription(subscription) => principal.grants.cover_subscription(action, subscription),
    };
    if !covered {
        return Err(Denied::GrantMissing);
    }
    Ok(Permit { principal: Arc::clone(principal), action, resource: resource.clone() })
}

/// As [`authorize`], for methods that more than one action opens: the first that is granted counts.
pub fn authorize_any(
    principal: &Arc<Principal>,
    actions: &[Action],
    resource: &Resource,
) -> Result<Permit, Denied> {
    let granted = actions.iter().find_map(|action| authorize(principal, *action, resource).ok());
    granted.ok_or(Denied::GrantMissing)
}

/// The right to list those queues of a department on which one of `actions` is granted.
pub fn authorize_list(
    principal: &Arc<Principal>,
    actions: &[Action],
    department: &DepartmentResource,
) -> Result<ListPermit, Denied> {
    let actions: Vec<Action> =
        actions.iter().copied().filter(|action| principal.grants.reach_into(*action, department)).collect();
    if actions.is_empty() || department.tenant != principal.tenant {
        return Err(Denied::GrantMissing);
    }
    Ok(ListPermit { principal: Arc::clone(principal), actions, department: department.clone() })
}

impl Resource {
    /// The queue it is, or belongs to.
    pub fn queue(&self) -> &QueueResource {
        match self {
            Self::Queue(queue) => queue,
            Self::Subscription(subscription) => &subscription.queue,
        }
    }
}

impl From<QueueResource> for Resource {
    fn from(queue: QueueResource) -> Self {
        Self::Queue(queue)
    }
}

impl From<SubscriptionResource> for Resource {
    fn from(subscription: SubscriptionResource) -> Self {
        Self::Subscription(subscription)
    }
}

impl Permit {
    /// Who may.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// What may be done.
    pub fn action(&self) -> Action {
        self.action
    }

    /// What it may be done to.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The queue, or the subscription's queue.
    pub fn queue(&self) -> &QueueResource {
        self.resource.queue()
    }

    /// The subscription, if the permit is for one.
    pub fn subscription(&self) -> Option<&SubscriptionName> {
        match &self.resource {
            Resource::Queue(_) => None,
            Resource::Subscription(subscription) => Some(&subscription.subscription),
        }
    }

    /// Before each delivery, and whenever time has passed: does the right still hold?
    pub fn check_again(&self, now: SystemTime) -> Result<(), Denied> {
        if now >= self.principal.expires_at {
            return Err(Denied::Expired);
        }
        if self.principal.key.has_ended() {
            return Err(Denied::KeyRemoved);
        }
        authorize(&self.principal, self.action, &self.resource).map(drop)
    }

    /// The same right under a fresh token, which replaces every right of the old one.
    pub fn renew(&self, fresh: &Arc<Principal>) -> Result<Self, Denied> {
        if !self.principal.is_same_caller(fresh) {
            return Err(Denied::OtherCaller);
        }
        authorize(fresh, self.action, &self.resource)
    }
}

impl ListPermit {
    /// Who may.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// The department whose queues may be listed.
    pub fn department(&self) -> &DepartmentResource {
        &self.department
    }

    /// Whether this queue may be shown.
    pub fn covers(&self, queue: &QueueResource) -> bool {
        queue.tenant == self.department.tenant
            && queue.department == self.department.department
            && self.actions.iter().any(|action| self.principal.grants.cover_queue(*action, queue))
    }
}

#[cfg(test)]
mod tests;
