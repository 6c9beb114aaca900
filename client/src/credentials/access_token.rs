use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// A token that the program got from its issuer. It is never printed.
///
/// How long it is valid is read from the token itself; [`AccessToken::expires_at`] says it where that cannot be.
#[derive(Clone)]
pub struct AccessToken {
    secret: String,
    expires: Option<SystemTime>,
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
}

impl AccessToken {
    /// A token: the JWT alone, without `Bearer`.
    pub fn new(token: impl Into<String>) -> Self {
        let secret = token.into();
        let expires = expiry(&secret);
        Self { secret, expires }
    }

    /// When it expires, if the token does not say so itself, or says it wrongly.
    pub fn expires_at(mut self, expires: SystemTime) -> Self {
        self.expires = Some(expires);
        self
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// How much longer it is valid; `None`: it does not say.
    pub(super) fn life_left(&self) -> Option<Duration> {
        Some(self.expires?.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Only to know when to ask for the next one; whether the token is good is for the server to say.
fn expiry(token: &str) -> Option<SystemTime> {
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let seconds = serde_json::from_slice::<Claims>(&claims).ok()?.exp?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use base64::Engine as _;

    use super::{AccessToken, URL_SAFE_NO_PAD};

    #[test]
    fn the_expiry_is_read_from_the_token() {
        let token = |claims: &str| AccessToken::new(format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims)));
        let known = token(r#"{"iss":"i","exp":4102444800}"#);
        assert_eq!(known.expires, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800)));
        assert!(known.life_left().is_some_and(|left| left > Duration::from_secs(1)));
        assert_eq!(token(r#"{"exp":1}"#).life_left(), Some(Duration::ZERO));
        for opaque in [token("{}"), token(r#"{"exp":-1}"#), token("["), AccessToken::new("opaque")] {
            assert_eq!(opaque.life_left(), None, "{opaque:?}");
        }
        assert!(!format!("{:?}", AccessToken::new("secret.secret.secret")).contains("secret"));
    }
}
