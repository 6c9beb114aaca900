//! A call that was let in, and the permits that its method may have.

use std::{marker::PhantomData, sync::Arc};

use crate::{
    grants::QueuesGranted,
    identity::Principal,
    names::{DepartmentResource, QueueResource},
    policy::{
        Denied, Filter, Permit,
        methods::{Asks, Check, Method, Rpc},
        permit::{authorize, filter},
    },
};

/// In a request's extensions: which method it is, and who calls it.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    method: &'static Method,
    principal: Arc<Principal>,
}

/// A call of the method `M`. It makes the permits that the method's entry asks for, and no others: what a handler needs
/// and its entry does not name does not compile.
#[derive(Clone, Debug)]
pub struct Admission<M: Rpc> {
    principal: Arc<Principal>,
    method: PhantomData<M>,
}

impl Admitted {
    /// Admits a principal whose token could open the method on some resource; the handler checks the resource.
    pub(crate) fn new(method: &'static Method, principal: Arc<Principal>) -> Result<Self, Denied> {
        let opens = |actions: &[_]| actions.iter().any(|action| principal.grants.name(*action));
        if !method.opened_by().is_some_and(opens) {
            return Err(Denied::GrantMissing);
        }
        Ok(Self { method, principal })
    }

    /// `None` if the call is of another method.
    pub(crate) fn to<M: Rpc>(&self) -> Option<Admission<M>> {
        let known = self.method.path == M::METHOD.path;
        known.then(|| Admission { principal: Arc::clone(&self.principal), method: PhantomData })
    }
}

impl<M: Rpc> Admission<M> {
    /// The caller.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// The right to do on this resource what the check stands for.
    pub fn permit<C: Check>(&self, resource: &C::Resource) -> Result<Permit<C>, Denied>
    where
        M: Asks<C>,
    {
        authorize(&self.principal, resource)
    }

    /// The right to show those queues of a department that pass the check.
    pub fn filter<C: Check<Resource = QueueResource>>(
        &self,
        department: &DepartmentResource,
    ) -> Result<Filter<C>, Denied>
    where
        M: Asks<C>,
    {
        filter(&self.principal, department)
    }

    /// Which queues of a department would pass the check, for a search by a name that is not known yet.
    pub(crate) fn queues_granted<C: Check<Resource = QueueResource>>(
        &self,
        department: &DepartmentResource,
    ) -> QueuesGranted
    where
        M: Asks<C>,
    {
        self.principal.grants.queues_granted(C::RULE.any_of, department)
    }

    #[cfg(test)]
    pub(crate) fn for_tests(principal: Arc<Principal>) -> Self {
        Self { principal, method: PhantomData }
    }
}
