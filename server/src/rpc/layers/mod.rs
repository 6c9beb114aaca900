//! The layers that every call passes before it reaches its handler, from the outside in: `watch` observes how the call
//! ends, `auth` admits it, `tenant_slot` counts its connection, `envelope` checks its headers, `intake` assembles its
//! request, and `changes` completes and records a change of a queue. `call` has the facts about the call.

pub(super) mod auth;
pub(super) mod call;
pub(super) mod changes;
pub(super) mod envelope;
pub(super) mod intake;
pub(super) mod tenant_slot;
pub(super) mod watch;
