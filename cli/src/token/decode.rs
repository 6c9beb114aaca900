//! Decodes a token without its signature.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// The largest token that a server reads.
pub const MAX_BYTES: usize = posthouse_server::limits::MAX_TOKEN_BYTES;

/// Header and claims of a token. The signature is left out on purpose.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Header: algorithm and key id.
    pub header: Map<String, Value>,
    /// Claims of the token.
    pub claims: Map<String, Value>,
}

/// Why a text is not a token. It repeats nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// The text is longer than a server accepts.
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLong,
    /// A character that no token has.
    #[error("the character at byte {0} belongs in no token")]
    Character(usize),
    /// The text does not have three parts.
    #[error("it has {0} parts; a signed token has three, with dots between them")]
    Parts(usize),
    /// A part that is not base64url.
    #[error("its {0} is not base64url without padding")]
    Base64(&'static str),
    /// A part that is not a JSON object.
    #[error("its {0} is not a JSON object")]
    Json(&'static str),
    /// The signature is empty.
    #[error("its signature is empty: it is not signed")]
    Unsigned,
}

impl Decoded {
    /// Decodes a token.
    pub fn of(text: &str) -> Result<Self, DecodeError> {
        if text.is_empty() {
            return Err(DecodeError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(DecodeError::TooLong);
        }
        let is_foreign = |byte: u8| !(byte.is_ascii_alphanumeric() || b"-_.=+/".contains(&byte));
        if let Some(at) = text.bytes().position(is_foreign) {
            return Err(DecodeError::Character(at));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts[..] else { return Err(DecodeError::Parts(parts.len())) };
        let decoded = Self { header: object(header, "header")?, claims: object(claims, "claims part")? };
        if signature.is_empty() {
            return Err(DecodeError::Unsigned);
        }
        URL_SAFE_NO_PAD.decode(signature).map_err(|_| DecodeError::Base64("signature"))?;
        Ok(decoded)
    }
}

fn object(part: &str, name: &'static str) -> Result<Map<String, Value>, DecodeError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| DecodeError::Base64(name))?;
    match serde_json::from_slice(&json) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(DecodeError::Json(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn header_and_claims_are_read() {
        let text = format!("{}.{}.c2ln", part(r#"{"alg":"EdDSA"}"#), part(r#"{"sub":"x"}"#));
        let decoded = Decoded::of(&text).unwrap();
        assert_eq!(decoded.header["alg"], "EdDSA");
        assert_eq!(decoded.claims["sub"], "x");
    }

    #[test]
    fn each_fault_of_a_token_has_its_own_error() {
        let (header, claims) = (part("{}"), part("{}"));
        for (text, error) in [
            (String::new(), DecodeError::Empty),
            ("a".repeat(MAX_BYTES + 1), DecodeError::TooLong),
            ("a b.c.d".into(), DecodeError::Character(1)),
            ("a.b".into(), DecodeError::Parts(2)),
            ("a.b.c.d.e".into(), DecodeError::Parts(5)),
            (format!("!{header}.{claims}.c2ln"), DecodeError::Character(0)),
            (format!("{header}=.{claims}.c2ln"), DecodeError::Base64("header")),
            (format!("{header}.{}.c2ln", part("[1]")), DecodeError::Json("claims part")),
            (format!("{header}.{}.c2ln", part("{")), DecodeError::Json("claims part")),
            (format!("{header}.{claims}."), DecodeError::Unsigned),
            (format!("{header}.{claims}.c"), DecodeError::Base64("signature")),
        ] {
            assert_eq!(Decoded::of(&text), Err(error), "{text:?}");
        }
    }
}
