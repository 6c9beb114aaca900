//! The wire schema of Posthouse (package `posthouse.v1`) and the code generated from it. One message, the codec, and how
//! bodies are cut are by hand, for speed; on the wire they are what would be generated.
//!
//! The messages and services are documented in `proto/posthouse/v1/*.proto`; those comments are repeated here.

// They panic when stdout or stderr is gone, and wait while nobody reads it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod codec;
mod delivery_batch;
mod split_body;

pub use codec::{SizedCodec, SizedEncoder};
pub use delivery_batch::{DeliveryBatch, EncodedDeliveries};
#[allow(deprecated, reason = "former names, for one release")]
pub use split_body::{Parted, parted};
pub use split_body::{SplitBody, split_body};

/// Package `posthouse`.
pub mod posthouse {
    /// Messages and services of package `posthouse.v1`.
    #[allow(missing_docs, clippy::all, clippy::pedantic, clippy::too_many_lines)]
    pub mod v1 {
        pub use crate::DeliveryBatch;

        tonic::include_proto!("posthouse.v1");
    }
}

pub use posthouse::v1;

/// The public error model of gRPC (package `google.rpc`).
pub mod google {
    /// Package `google.rpc`.
    #[allow(missing_docs, clippy::all)]
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// The encoded `FileDescriptorSet` of everything above, for reflection and for checks over every method.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/posthouse.bin"));
