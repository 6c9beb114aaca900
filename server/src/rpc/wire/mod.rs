//! Between the types of the schema and those of the engine: values, errors, and the encoding of deliveries.

pub(crate) mod convert;
pub(super) mod code_name;
pub(super) mod deadline;
pub(super) mod delivery;
pub(super) mod status;

mod caller_errors;
mod engine_errors;
mod refusals;
