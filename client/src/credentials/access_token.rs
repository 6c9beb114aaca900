use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// A token that the program has from its issuer. It is never printed.
///
/// The lifetime is read from the claims of the token; set it with [`AccessToken::expires_at`] if it has none.
#[derive(Clone)]
pub struct AccessToken {
    secret: String,
    expires: Option<SystemTime>,
    /// Time from issue to expiry, by the issuer's clock.
    lifetime: Option<Duration>,
}

#[derive(Default, Deserialize)]
struct Claims {
    exp: Option<f64>,
    iat: Option<f64>,
}

impl AccessToken {
    /// Creates a token from a JWT, without `Bearer`.
    pub fn new(token: impl Into<String>) -> Self {
        let secret = token.into();
        let Claims { exp, iat } = claims(&secret).unwrap_or_default();
        let lifetime = exp.zip(iat).and_then(|(exp, iat)| Duration::try_from_secs_f64(exp - iat).ok());
        Self { secret, expires: exp.and_then(moment), lifetime }
    }

    /// Sets the expiry, if the token does not contain it or contains a wrong one.
    pub fn expires_at(mut self, expires: SystemTime) -> Self {
        (self.expires, self.lifetime) = (Some(expires), None);
        self
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The remaining lifetime of a token that was issued just now; `None` if it is not known.
    ///
    /// The clocks of the issuer and of this program may differ. The result is never more than the full lifetime. A
    /// token that seems to have expired was issued just now all the same, so this program's clock is wrong, and the
    /// full lifetime is used.
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

/// The claims of a token, only to know when to get the next one. The server verifies the token.
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
        // Issued now; two minutes ago; by an issuer whose clock is ten minutes ahead; by one whose clock is ten minutes
        // behind.
        assert!((298..=300).contains(&left(now)));
        assert!((178..=180).contains(&left(now - 120)));
        assert_eq!([left(now + 600), left(now - 600)], [300, 300]);
    }
}
