//! Token issuers: they mint a tenant's tokens, and publish the key set that verifies them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use rcgen::KeyPair;
use serde::Serialize;

/// Why a token could not be minted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key cannot be made or read.
    #[error("the issuer's key cannot be used: {0}")]
    Key(#[from] rcgen::Error),
    /// The token library could not sign.
    #[error("signing a token failed: {0}")]
    Token(#[from] jsonwebtoken::errors::Error),
}

/// Algorithm of an issuer's signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (`EdDSA`).
    EdDsa,
    /// ECDSA over P-256.
    Es256,
}

/// An issuer of tokens with its signing key.
pub struct Issuer {
    url: String,
    key_id: String,
    algorithm: Algorithm,
    key: KeyPair,
    signing_key: EncodingKey,
}

impl Issuer {
    /// A new issuer with a new key; `url` is the `iss` of its tokens.
    pub fn new(url: &str, algorithm: Algorithm) -> Result<Self, TokenError> {
        let curve = match algorithm {
            Algorithm::EdDsa => &rcgen::PKCS_ED25519,
            Algorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        };
        Self::load(url, &KeyPair::generate_for(curve)?.serialize_pem())
    }

    /// An issuer with a stored key, whose kind decides the algorithm.
    pub fn load(url: &str, key_pem: &str) -> Result<Self, TokenError> {
        let key = KeyPair::from_pem(key_pem)?;
        let (algorithm, signing_key) = if key.is_compatible(&rcgen::PKCS_ED25519) {
            (Algorithm::EdDsa, EncodingKey::from_ed_der(key.serialized_der()))
        } else {
            (Algorithm::Es256, EncodingKey::from_ec_der(key.serialized_der()))
        };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key_raw());
        let key_id = URL_SAFE_NO_PAD.encode(digest.as_ref());
        Ok(Self { url: url.to_owned(), key_id, algorithm, key, signing_key })
    }

    /// The `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The `kid` of its tokens.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Private key of the issuer. Whoever has it can mint any token of its tenants.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Public key of the issuer as a JSON Web Key Set.
    pub fn key_set(&self) -> String {
        let public = self.key.public_key_raw();
        let mut key = serde_json::json!({ "kid": self.key_id, "use": "sig" });
        match self.algorithm {
            Algorithm::EdDsa => {
                key["kty"] = "OKP".into();
                key["crv"] = "Ed25519".into();
                key["alg"] = "EdDSA".into();
                key["x"] = URL_SAFE_NO_PAD.encode(public).into();
            }
            // An uncompressed point: the byte 4, then both coordinates.
            Algorithm::Es256 => {
                let (x, y) = public.get(1..).unwrap_or_default().split_at(public.len() / 2);
                key["kty"] = "EC".into();
                key["crv"] = "P-256".into();
                key["alg"] = "ES256".into();
                key["x"] = URL_SAFE_NO_PAD.encode(x).into();
                key["y"] = URL_SAFE_NO_PAD.encode(y).into();
            }
        }
        format!("{:#}\n", serde_json::json!({ "keys": [key] }))
    }

    /// Header of its tokens.
    pub fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm.jws());
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.key_id.clone());
        header
    }

    /// Mints a token with these claims: [`Claims`], or any other JSON object.
    pub fn mint(&self, claims: &impl Serialize) -> Result<String, TokenError> {
        self.mint_with(&self.header(), claims)
    }

    /// Mints a token with another header, which a server must refuse.
    pub fn mint_with(&self, header: &Header, claims: &impl Serialize) -> Result<String, TokenError> {
        Ok(jsonwebtoken::encode(header, claims, &self.signing_key)?)
    }
}

impl Algorithm {
    fn jws(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
        }
    }
}

/// The claims of a token. All fields are public, so that tests can mint tokens that must be refused.
#[derive(Debug, Clone, Serialize)]
pub struct Claims {
    /// The issuer's URL.
    pub iss: String,
    /// Subject: who the token speaks for.
    pub sub: String,
    /// Audience: the service that the token is for.
    pub aud: String,
    /// Time of issue, in seconds since 1970.
    pub iat: u64,
    /// Expiry, in seconds since 1970.
    pub exp: u64,
    /// Id of the token.
    pub jti: String,
    /// The client that the token was issued to.
    pub client_id: String,
    /// Tenant of the subject.
    pub tenant: String,
    /// Grants, separated by spaces.
    pub scope: String,
    /// The certificate that the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
}

/// The claim that binds a token to a certificate (RFC 8705).
#[derive(Debug, Clone, Serialize)]
pub struct Confirmation {
    /// Thumbprint of the certificate, see [`super::authority::thumbprint`].
    #[serde(rename = "x5t#S256")]
    pub thumbprint: String,
}

impl Claims {
    /// Claims for a tenant's subject, valid from now on for `lifetime`, and bound to a certificate.
    pub fn bound(issuer: &Issuer, tenant: &str, subject: &str, thumbprint: &str, lifetime: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            iss: issuer.url.clone(),
            sub: subject.to_owned(),
            aud: super::AUDIENCE.to_owned(),
            iat: now,
            exp: now + lifetime.as_secs(),
            jti: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()),
            client_id: subject.to_owned(),
            tenant: tenant.to_owned(),
            scope: all_data_rights(tenant),
            cnf: Some(Confirmation { thumbprint: thumbprint.to_owned() }),
        }
    }
}

/// A `scope` with every data right on every queue of a tenant.
pub fn all_data_rights(tenant: &str) -> String {
    let grant = |action| format!("posthouse:{action}:{tenant}/*/*");
    ["publish", "consume", "manage", "dlq", "stats"].map(grant).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};

    /// Verifies a token with a key set, as a server does.
    fn verifies(token: &str, key_set: &str, algorithm: Algorithm) -> bool {
        let keys: JwkSet = serde_json::from_str(key_set).unwrap();
        let key_id = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(keys.find(&key_id).unwrap()).unwrap();
        let mut validation = Validation::new(algorithm.jws());
        validation.set_audience(&[super::super::AUDIENCE]);
        #[allow(clippy::disallowed_methods)] // The server's own check is tested with the server.
        jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).is_ok()
    }

    #[test]
    fn a_key_set_verifies_its_issuers_tokens_and_no_others() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            let issuer = Issuer::new("https://issuer.example", algorithm).unwrap();
            let again = Issuer::load("https://issuer.example", &issuer.key_pem()).unwrap();
            let claims = Claims::bound(&again, "taxation", "someone", "thumb", Duration::from_secs(60));
            let token = again.mint(&claims).unwrap();
            assert!(verifies(&token, &issuer.key_set(), algorithm), "{algorithm:?}");

            let mut forger = Issuer::new("https://issuer.example", algorithm).unwrap();
            forger.key_id.clone_from(&issuer.key_id);
            let forged = forger.mint(&claims).unwrap();
            assert!(!verifies(&forged, &issuer.key_set(), algorithm), "{algorithm:?}");
        }
    }

    #[test]
    fn a_bound_token_names_its_certificate_and_only_its_tenant() {
        let issuer = Issuer::new("https://issuer.example", Algorithm::EdDsa).unwrap();
        let claims = Claims::bound(&issuer, "taxation", "someone", "thumb", Duration::from_secs(60));
        let claims = serde_json::to_value(claims).unwrap();
        assert_eq!(claims["cnf"]["x5t#S256"], "thumb");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
        let scope = claims["scope"].as_str().unwrap();
        assert!(scope.split(' ').all(|grant| grant.ends_with(":taxation/*/*")), "{scope}");
    }
}
