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
    /// How long it is valid from its issue on, by its issuer's clock.
    lifetime: Option<Duration>,
}

#[derive(Default, Deserialize)]
struct Claims {
    exp: Option<f64>,
    iat: Option<f64>,
}

impl AccessToken {
    /// A token: the JWT alone, without `Bearer`.
    pub fn new(token: impl Into<String>) -> Self {
        let secret = token.into();
        let Claims { exp, iat } = claims(&secret).unwrap_or_default();
        let lifetime = exp.zip(iat).and_then(|(exp, iat)| Duration::try_from_secs_f64(exp - iat).ok());
        Self { secret, expires: exp.and_then(moment), lifetime }
    }

    /// When it expires, if the token does not say so itself, or says it wrongly.
    pub fn expires_at(mut self, expires: SystemTime) -> Self {
        (self.expires, self.lifetime) = (Some(expires), None);
        self
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// How much longer it is valid, for one that was given just now; `None`: it cannot be told.
    ///
    /// The issuer's clock and ours may differ. Nothing is valid for longer than from its issue on; and one that is over by our
    /// clock was given all the same, so that our clock is no judge of it: the server is.
    pub(super) fn life_left(&self) -> Option<Duration> {
        let left = self.expires.and_then(|expires| expires.duration_since(SystemTime::now()).ok());
        match (left, self.lifetime) {
            (Some(left), Some(lifetime)) => Some(left.min(lifetime)),
            (left, lifetime) => left.or(lifetime),
        }
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Only to know when to ask for the next one; whether the token is good is for the server to say.
fn claims(token: &str) -> Option<Claims> {
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn moment(seconds: f64) -> Option<SystemTime> {
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
        assert_eq!(token(r#"{"exp":1}"#).life_left(), None, "it was given now, so that our clock is wrong");
        for opaque in [token("{}"), token(r#"{"exp":-1}"#), token("["), AccessToken::new("opaque")] {
            assert_eq!(opaque.life_left(), None, "{opaque:?}");
        }
        assert!(!format!("{:?}", AccessToken::new("secret.secret.secret")).contains("secret"));
    }

    #[test]
    fn a_clock_that_is_wrong_neither_spends_a_token_nor_makes_it_last() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let left = |issued: u64| {
            let claims = format!(r#"{{"iat":{issued},"exp":{}}}"#, issued + 300);
            AccessToken::new(format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims)))
                .life_left()
                .unwrap()
                .as_secs()
        };
        // As issued just now, two minutes ago, and by an issuer whose clock is ten minutes ahead of ours, or behind.
        assert!((298..=300).contains(&left(now)));
        assert!((178..=180).contains(&left(now - 120)));
        assert_eq!([left(now + 600), left(now - 600)], [300, 300]);
    }
}
