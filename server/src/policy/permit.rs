//! Permits: a check that a principal has passed on one concrete resource.

use std::{marker::PhantomData, sync::Arc, time::SystemTime};

use thiserror::Error;

use crate::{
    grants::{Action, Grants, QueuesGranted},
    identity::Principal,
    names::{DepartmentResource, QueueResource, SubscriptionName, SubscriptionResource},
    policy::methods::Check,
};

/// The resource of a check.
pub trait Resource: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The queue it is, or belongs to.
    fn queue(&self) -> &QueueResource;

    /// Its subscription, if it is one.
    fn subscription(&self) -> Option<&SubscriptionName>;

    /// Whether these grants allow `action` on it.
    fn is_covered(&self, action: Action, grants: &Grants) -> bool;
}

/// The right of one principal to do on one resource what `C` stands for. Only an [`Admission`](super::Admission) to a
/// method that asks for `C` makes one.
#[derive(Clone, Debug)]
pub struct Permit<C: Check> {
    principal: Arc<Principal>,
    resource: C::Resource,
    check: PhantomData<C>,
}

/// The right to list a department: only its queues may be shown.
#[derive(Clone, Debug)]
pub struct Filter<C: Check<Resource = QueueResource>> {
    department: DepartmentResource,
    queues: QueuesGranted,
    check: PhantomData<C>,
}

/// Why a right is refused. It does not depend on whether the resource exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// No grant of the token covers the action on the resource.
    #[error("the token has no grant for this action on this resource")]
    GrantMissing,
    /// The method is not one that anybody may call.
    #[error("this method may not be called")]
    MethodNotAllowed,
    /// The token has expired since. (`door` closes a connection when its certificate ends.)
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
pub(super) fn authorize<C: Check>(
    principal: &Arc<Principal>,
    resource: &C::Resource,
) -> Result<Permit<C>, Denied> {
    // The tenants are compared before any grant is, and once more by each grant.
    if resource.queue().tenant != principal.tenant {
        return Err(Denied::GrantMissing);
    }
    let covered = |action: &Action| resource.is_covered(*action, &principal.grants);
    if !C::RULE.any_of.iter().any(covered) {
        return Err(Denied::GrantMissing);
    }
    Ok(Permit { principal: Arc::clone(principal), resource: resource.clone(), check: PhantomData })
}

/// The right to list those queues of a department that pass the check.
pub(super) fn filter<C: Check<Resource = QueueResource>>(
    principal: &Arc<Principal>,
    department: &DepartmentResource,
) -> Result<Filter<C>, Denied> {
    let reaches = |action: &Action| principal.grants.reach_into(*action, department);
    if department.tenant != principal.tenant || !C::RULE.any_of.iter().any(reaches) {
        return Err(Denied::GrantMissing);
    }
    let queues = principal.grants.queues_granted(C::RULE.any_of, department);
    Ok(Filter { department: department.clone(), queues, check: PhantomData })
}

impl Resource for QueueResource {
    fn queue(&self) -> &QueueResource {
        self
    }

    fn subscription(&self) -> Option<&SubscriptionName> {
        None
    }

    fn is_covered(&self, action: Action, grants: &Grants) -> bool {
        grants.cover_queue(action, self)
    }
}

impl Resource for SubscriptionResource {
    fn queue(&self) -> &QueueResource {
        &self.queue
    }

    fn subscription(&self) -> Option<&SubscriptionName> {
        Some(&self.subscription)
    }

    fn is_covered(&self, action: Action, grants: &Grants) -> bool {
        grants.cover_subscription(action, self)
    }
}

impl<C: Check> Permit<C> {
    /// The caller.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Its queue, or the queue of its subscription.
    pub fn queue(&self) -> &QueueResource {
        self.resource.queue()
    }

    /// The subscription, if the permit is for one.
    pub fn subscription(&self) -> Option<&SubscriptionName> {
        self.resource.subscription()
    }

    /// Whether the right still holds. Checked before each delivery and each publish, and at intervals on an open
    /// stream.
    pub fn check_again(&self, now: SystemTime) -> Result<(), Denied> {
        if now >= self.principal.expires_at {
            return Err(Denied::Expired);
        }
        if self.principal.key.has_ended() {
            return Err(Denied::KeyRemoved);
        }
        authorize::<C>(&self.principal, &self.resource).map(drop)
    }

    /// The right under a fresh token, which replaces every right of the old one.
    pub fn renew(&self, fresh: &Arc<Principal>) -> Result<Self, Denied> {
        if !self.principal.is_same_caller(fresh) {
            return Err(Denied::OtherCaller);
        }
        authorize(fresh, &self.resource)
    }
}

impl<C: Check<Resource = QueueResource>> Filter<C> {
    /// The department whose queues may be listed.
    pub fn department(&self) -> &DepartmentResource {
        &self.department
    }

    /// Which may be shown.
    pub(crate) fn queues(&self) -> &QueuesGranted {
        &self.queues
    }
}

#[cfg(test)]
mod tests;
