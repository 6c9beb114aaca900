//! What every call passes before it reaches its handler, from the outside in: `watch` records how it ends, `auth` admits
//! it, `tenant_slot` counts its connection, `envelope` checks its headers, `intake` puts its request together, and
//! `changes` makes a change of a queue to its end.

pub(super) mod auth;
pub(super) mod changes;
pub(super) mod envelope;
pub(super) mod intake;
pub(super) mod tenant_slot;
pub(super) mod watch;
