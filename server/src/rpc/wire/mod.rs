//! Between the wire's types and the engine's: values, errors, and the encoding of deliveries.

pub(crate) mod convert;
pub(super) mod deadline;
pub(super) mod delivery;
mod engine_errors;
pub(super) mod status;
