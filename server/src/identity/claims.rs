//! A token's header and claims, read strictly: a member of the wrong type is an error, never an absent member.

use super::{
    Malformed,
    json::{Json, Object, parse_object},
};
use crate::limits::{MAX_CLAIM_TEXT_BYTES, MAX_TOKEN_DEPTH, MAX_TOKEN_ID_BYTES};

/// The values of the header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: String,
}

/// The values of the claims. Types and lengths are checked, meanings are not.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    /// Every audience it names, at least one.
    pub(super) aud: Vec<String>,
    /// A fraction of a second was rounded down here, and up in the two below: never to more than the token says.
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

/// Names of a media type: upper and lower case are the same (RFC 7515 section 4.1.9).
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// How a fraction of a second is rounded.
#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

impl Header {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Malformed> {
        let members = parse_object(json, MAX_TOKEN_DEPTH).ok_or(Malformed::Json { part: "header" })?;
        if let Some(member) = FORBIDDEN.into_iter().find(|member| members.contains_key(*member)) {
            return Err(Malformed::Forbidden { member });
        }
        let typ = text(&members, "typ", MAX_TOKEN_ID_BYTES)?;
        if !TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)) {
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
            exp: seconds(&members, "exp", Round::Down)?,
            iat: seconds(&members, "iat", Round::Up)?,
            nbf: members.contains_key("nbf").then(|| seconds(&members, "nbf", Round::Up)).transpose()?,
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

fn seconds(members: &Object, member: &'static str, round: Round) -> Result<u64, Malformed> {
    let seconds = match required(members, member)? {
        Json::Unsigned(seconds) => Some(*seconds),
        Json::OtherNumber(text) => decimal(text, round),
        _ => None,
    };
    seconds.ok_or(Malformed::Member {
        member,
        expected: "a number of seconds since 1970, without sign or exponent",
    })
}

/// Digits, a point and digits. Other forms of a JSON number are no time that an issuer would write.
fn decimal(text: &str, round: Round) -> Option<u64> {
    let (whole, fraction) = text.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = whole.parse::<u64>().ok().filter(|_| digits(whole) && digits(fraction))?;
    let is_whole = fraction.bytes().all(|digit| digit == b'0');
    match round {
        Round::Up if !is_whole => whole.checked_add(1),
        Round::Up | Round::Down => Some(whole),
    }
}

/// A text, or a list of texts that is not empty.
fn audience(members: &Object) -> Result<Vec<String>, Malformed> {
    let named = match required(members, "aud")? {
        Json::Text(text) => Some(vec![text.clone()]),
        Json::Array(values) if !values.is_empty() => values.iter().map(as_text).collect(),
        _ => None,
    };
    named.ok_or(Malformed::Member { member: "aud", expected: "a text, or a list of texts" })
}

fn as_text(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => Some(text.clone()),
        _ => None,
    }
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
