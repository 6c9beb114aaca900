//! Messages as lines of JSON. What [`mod@write`] makes of a delivery, [`read`] takes as a message.
//!
//! A line is one object:
//!
//! | key | value | written | read |
//! |---|---|---|---|
//! | `payload` | text | when it is UTF-8 | one of these two, |
//! | `payload_base64` | base64, standard alphabet, padded | when it is not | and only one |
//! | `attributes` | object of texts | always | may be absent |
//! | `id`, `sequence`, `publish_time`, `attempt` | facts of the delivery | always | passed over |
//! | `dead_letter` | why, and where it came from | of a dead letter | passed over |
//!
//! No other key, and none twice.

mod json;
pub mod read;
pub mod write;
