//! The access record of one batch of published, delivered or settled messages.

use crate::{
    observe::{Action, Caller, Record},
    policy::{Check, Permit},
};

/// A record of an action that the permit's caller does, without its counts.
pub(super) fn record<C: Check>(action: Action, method: &'static str, permit: &Permit<C>) -> Record<'static> {
    let mut record = Record::new(action, method, Caller::of(Some(permit.principal()), None));
    record.queue = permit.queue().to_string();
    record.subscription = permit.subscription().map(ToString::to_string).unwrap_or_default();
    record
}
