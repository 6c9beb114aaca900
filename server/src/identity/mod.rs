//! Identity: the caller, by the client certificate and the token.
//!
//! The door passes on the leaf of a chain that it has verified, and [`ConnIdentity`] is made of it once for each
//! connection. Each call brings a token, and [`TokenVerifier`] makes a [`Principal`] of both. Only this module reads
//! certificates' fields, tokens and key sets.

mod binding;
mod cache;
mod certificate;
mod claims;
mod error;
mod fields;
mod json;
mod keys;
mod principal;
mod spiffe;
#[cfg(test)]
pub(crate) mod testing;
mod token;

pub use binding::Binding;
pub use certificate::{ConnIdentity, RefusedIdentity, is_authority, not_after, sha256};
pub use error::{CertificateError, IdentityError, Malformed};
pub use fields::{CertificateFields, CertificateTime};
pub use keys::{KeyLife, KeyRemark, KeySet, KeySetError, SignatureAlgorithm};
pub use principal::Principal;
pub use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
pub use token::{Issuer, TokenPolicy, TokenVerifier, malformed};
