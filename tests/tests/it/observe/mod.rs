//! What operators see: probes, metrics, access records, traces.

mod figures;
mod journey;
mod probes;
mod records;
mod traces;
