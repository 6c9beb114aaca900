//! A token's header and claims, read strictly: a member of the wrong type is an error, never an absent member.

use super::{
    Malformed,
    json::{Json, Object, parse_object},
};
use crate::limits::{MAX_CLAIM_TEXT_BYTES, MAX_TOKEN_DEPTH, MAX_TOKEN_ID_BYTES};

/// What the header says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: String,
}

/// What the claims say. Types and lengths are checked, meanings are not.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    /// Exactly one, written as a string or as a list of one.
    pub(super) aud: String,
    pub(super) exp: u64,
    pub(super) iat: u64,
    pub(super) nbf: Option<u64>,
    pub(super) jti: String,
    pub(super) client_id: String,
    pub(super) tenant: String,
    pub(super) scope: String,
    /// `cnf` → `x5t#S256`, decoded.
    pub(super) certificate_sha256: Option<[u8; 32]>,
}

/// Members that would make the verifier fetch, trust or unpack what the token brings along.
const FORBIDDEN: [&str; 7] = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip"];

const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];

impl Header {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Malformed> {
        let members = parse_object(json, MAX_TOKEN_DEPTH).ok_or(Malformed::Json { part: "header" })?;
        if let Some(member) = FORBIDDEN.into_iter().find(|member| members.contains_key(*member)) {
            return Err(Malformed::Forbidden { member });
        }
        if !TYPES.contains(&text(&members, "typ", MAX_TOKEN_ID_BYTES)?.as_str()) {
            return Err(Malformed::Member { member: "typ", expected: "at+jwt or application/at+jwt" });
        }
        Ok(Self {
            alg: text(&members, "alg", MAX_TOKEN_ID_BYTES)?,
            kid: text(&members, "kid", MAX_TOKEN_ID_BYTES)?,
        })
    }
}

impl Claims {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Malformed> {
        let members = parse_object(json, MAX_TOKEN_DEPTH).ok_or(Malformed::Json { part: "claims" })?;
        Ok(Self {
            iss: text(&members, "iss", MAX_CLAIM_TEXT_BYTES)?,
            sub: text(&members, "sub", MAX_CLAIM_TEXT_BYTES)?,
            aud: audience(&members)?,
            exp: seconds(&members, "exp")?,
            iat: seconds(&members, "iat")?,
            nbf: members.contains_key("nbf").then(|| seconds(&members, "nbf")).transpose()?,
            jti: text(&members, "jti", MAX_TOKEN_ID_BYTES)?,
            client_id: text(&members, "client_id", MAX_CLAIM_TEXT_BYTES)?,
            tenant: text(&members, "tenant", MAX_CLAIM_TEXT_BYTES)?,
            scope: scope(&members)?,
            certificate_sha256: confirmation(&members)?,
        })
    }
}

fn required<'a>(members: &'a Object, member: &'static str) -> Result<&'a Json, Malformed> {
    members.get(member).ok_or(Malformed::Missing { member })
}

/// A printable text: it ends up in logs and audit rows.
fn text(members: &Object, member: &'static str, max: usize) -> Result<String, Malformed> {
    match required(members, member)? {
        Json::Text(text) if (1..=max).contains(&text.len()) && !text.chars().any(char::is_control) => {
            Ok(text.clone())
        }
        _ => Err(Malformed::Member {
            member,
            expected: "a text of moderate length without control characters",
        }),
    }
}

fn seconds(members: &Object, member: &'static str) -> Result<u64, Malformed> {
    match required(members, member)? {
        Json::Unsigned(seconds) => Ok(*seconds),
        _ => Err(Malformed::Member { member, expected: "a whole number of seconds since 1970" }),
    }
}

fn audience(members: &Object) -> Result<String, Malformed> {
    let one = match required(members, "aud")? {
        Json::Text(text) => Some(text),
        Json::Array(values) => match values.as_slice() {
            [Json::Text(text)] => Some(text),
            _ => None,
        },
        _ => None,
    };
    one.cloned().ok_or(Malformed::Member { member: "aud", expected: "one audience" })
}

fn scope(members: &Object) -> Result<String, Malformed> {
    match required(members, "scope")? {
        Json::Text(text) => Ok(text.clone()),
        _ => Err(Malformed::Member { member: "scope", expected: "a text" }),
    }
}

fn confirmation(members: &Object) -> Result<Option<[u8; 32]>, Malformed> {
    let wrong = Malformed::Member { member: "cnf", expected: "an object with a SHA-256 as x5t#S256" };
    match members.get("cnf") {
        None => Ok(None),
        Some(Json::Object(methods)) => match methods.get("x5t#S256") {
            Some(Json::Text(text)) => decode_hash(text).map(Some).ok_or(wrong),
            // A token bound by a method that is not known here is bound to something that was not shown.
            _ => Err(wrong),
        },
        Some(_) => Err(wrong),
    }
}

fn decode_hash(text: &str) -> Option<[u8; 32]> {
    use base64::Engine as _;
    let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
    hash.try_into().ok()
}
