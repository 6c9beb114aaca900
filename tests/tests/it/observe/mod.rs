//! What operators see: probes, metrics, records of access, traces.

mod figures;
mod journey;
mod probes;
mod records;
mod traces;
