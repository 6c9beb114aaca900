//! Limits of certificates, tokens, key sets and grants.

use std::time::Duration;

/// Largest token; nothing of a larger one is decoded.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Deepest nesting in a token's header or claims.
pub const MAX_TOKEN_DEPTH: usize = 8;
/// Clock difference forgiven to an issuer in `iat` and `nbf`. `exp` gets none: a token's streams end at `exp`.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(30);
/// Longest `sub`, `client_id` and `iss`.
pub const MAX_CLAIM_TEXT_BYTES: usize = 512;
/// Longest `jti` and `kid`.
pub const MAX_TOKEN_ID_BYTES: usize = 128;
/// Longest SPIFFE id, after the specification.
pub const MAX_SPIFFE_ID_BYTES: usize = 2048;
/// Verified tokens remembered, in each of the cache's two generations.
pub const TOKEN_CACHE_GENERATION: usize = 4096;
/// Keys in one issuer's key set.
pub const MAX_ISSUER_KEYS: usize = 64;
/// Nesting of a key set: the list of keys, and what issuers put into a key beside what is read.
pub const MAX_KEY_SET_DEPTH: usize = 8;
/// Shortest RSA modulus.
pub const MIN_RSA_BITS: usize = 2048;
/// Longest RSA modulus: verification time grows with it.
pub const MAX_RSA_BITS: usize = 8192;

/// Items in one token's scope.
pub const MAX_GRANTS: usize = 64;
