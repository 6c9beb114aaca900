//! The wire schema of Posthouse (package `posthouse.v1`) and the code generated from it. Written by hand, for speed,
//! are the message `DeliveryBatch`, the codec, and the split of bodies at message prefixes; the bytes on the wire are
//! the same.
//!
//! The messages and services are documented in `proto/posthouse/v1/*.proto`, and those comments are repeated here.

// The `print` macros panic when stdout or stderr is closed, and block while nobody reads it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod codec;
mod delivery_batch;
mod split_body;

pub use codec::{SizedCodec, SizedEncoder};
pub use delivery_batch::{DeliveryBatch, EncodedDeliveries};
pub use split_body::{SplitBody, split_body};

/// The package `posthouse`.
pub mod posthouse {
    /// The messages and services of the package `posthouse.v1`.
    #[allow(missing_docs, clippy::all, clippy::pedantic, clippy::too_many_lines)]
    pub mod v1 {
        pub use crate::DeliveryBatch;

        tonic::include_proto!("posthouse.v1");
    }
}

pub use posthouse::v1;

/// The public error model of gRPC, package `google.rpc`.
pub mod google {
    /// The package `google.rpc`.
    #[allow(missing_docs, clippy::all)]
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// The encoded `FileDescriptorSet` of all packages above, for reflection and for checks over all methods.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/posthouse.bin"));
