mod mistakes;
mod page;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use jsonwebtoken::Algorithm;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use super::{Config, ConfigErrors, Severity};
use crate::identity::{
    Binding,
    testing::{Signer, authority, leaf},
};

const GOOD: &str = r#"[server]
listen = "127.0.0.1:0"
data_dir = "data"

[tls]
certificate = "server.pem"
key = "server.key"

[identity]
trust_domain = "posthouse.internal"
audience = "posthouse"

[[authority]]
certificates = "ca.pem"
tenants = ["civil-affairs"]

[[issuer]]
issuer = "https://issuer.civil-affairs.posthouse.internal"
jwks = "jwks.json"
tenants = ["civil-affairs"]

[[tenant]]
name = "civil-affairs"
departments = ["household-registry", "identity-cards"]
"#;

/// A folder with everything that the good configuration names, and some bad files.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o600)).unwrap();
    };
    let ca = authority("Civil Affairs");
    let key = KeyPair::generate().unwrap();
    let certificate = leaf(&[]).signed_by(&key, &ca).unwrap();
    write("ca.pem", &ca.pem());
    write("server.pem", &certificate.pem());
    write("server.key", &key.serialize_pem());
    write("other.key", &KeyPair::generate().unwrap().serialize_pem());
    let jwk = Signer::new("key-1", Algorithm::EdDSA).jwk();
    write("jwks.json", &json!({"keys": [jwk]}).to_string());
    write("oct.json", r#"{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0LXZhbHVl"},{"kty":"EC"}]}"#);
    write("empty.pem", "");
    write("broken.pem", "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n");
    let self_signed = CertificateParams::new(vec!["x".to_owned()]).unwrap();
    write("leaf.pem", &self_signed.self_signed(&KeyPair::generate().unwrap()).unwrap().pem());
    folder
}

fn load_in(folder: &Path, text: &str) -> Result<Config, ConfigErrors> {
    let path = folder.join("posthouse.toml");
    fs::write(&path, text).unwrap();
    Config::load(&path)
}

/// The good configuration with one replacement; the errors as text without the head line.
fn errors(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    let folder = folder();
    let errors = load_in(folder.path(), &GOOD.replace(from, to)).unwrap_err();
    errors
        .errors
        .iter()
        .map(|e| e.to_string().replace(&format!("{}/", folder.path().display()), ""))
        .collect()
}

#[test]
fn a_good_configuration_is_read_with_its_defaults() {
    let folder = folder();
    let config = load_in(folder.path(), GOOD).unwrap();
    assert_eq!(config.server.shards, 64);
    assert_eq!(config.server.drain_deadline, Duration::from_secs(25));
    assert_eq!(config.server.data_dir, folder.path().join("data"));
    assert_eq!(config.identity.tokens.max_lifetime, Duration::from_secs(3600));
    assert_eq!(config.issuers[0].binding, Binding::CertificateHash);
    assert_eq!(config.tenants[0].departments.len(), 2);
    assert_eq!(config.authorities[0].roots.len(), 1);
    assert_eq!(config.server.max_connections, 16_384);
    assert_eq!(config.server.min_free_disk_bytes, 256 << 20);
    assert_eq!(config.tenants[0].caps.max_stored_bytes, 256 << 30);
    assert_eq!(config.files.key_sets, [folder.path().join("jwks.json")]);
}

#[test]
fn every_setting_is_read() {
    let text = GOOD
        .replace(
            "data_dir = \"data\"",
            "data_dir = \"/var/lib/posthouse\"\nshards = 8\ndrain_deadline_seconds = 5",
        )
        .replace("audience = \"posthouse\"", "audience = \"posthouse\"\nmax_token_lifetime_seconds = 90000")
        .replace("jwks = \"jwks.json\"", "jwks = \"jwks.json\"\nbinding = \"spiffe\"");
    let config = load_in(folder().path(), &text).unwrap();
    assert_eq!(config.server.data_dir, Path::new("/var/lib/posthouse"));
    assert_eq!((config.server.shards, config.server.drain_deadline), (8, Duration::from_secs(5)));
    assert_eq!(config.identity.tokens.max_lifetime, Duration::from_secs(90_000));
    assert_eq!(config.issuers[0].binding, Binding::SpiffeId);
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_told() {
    let folder = folder();
    let error = Config::load(&folder.path().join("none.toml")).unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
    let path = folder.path().join("bytes.toml");
    for (bytes, text) in [
        (&b"\xff\xfe["[..], "it is UTF-16 (little-endian); save it as UTF-8"),
        (b"\0[\0s", "it is UTF-16 (big-endian)"),
        (b"[server]\n# \xe9", "it is not UTF-8 (byte 12 is wrong)"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = Config::load(&path).unwrap_err().to_string();
        assert!(error.contains(text), "{text:?} is not in {error}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_any_file() {
    let folder = folder();
    for file in ["ca.pem", "server.pem", "server.key", "jwks.json"] {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        fs::write(folder.path().join(file), format!("\u{feff}{text}")).unwrap();
    }
    load_in(folder.path(), &format!("\u{feff}{GOOD}")).unwrap();
    for file in ["ca.pem", "server.pem", "server.key", "jwks.json"] {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::write(folder.path().join(file), wide).unwrap();
        let text = load_in(folder.path(), GOOD).unwrap_err().to_string();
        assert!(text.contains(file) && text.contains("UTF-16"), "{text}");
        fs::write(folder.path().join(file), text).unwrap();
    }
}

#[test]
fn what_clients_would_refuse_and_what_is_passed_over_is_noted() {
    let folder = folder();
    assert_eq!(load_in(folder.path(), GOOD).unwrap().notices, []);
    let text = GOOD
        .replace("key = \"server.key\"", "key = \"server.key\"\nnames = [\"localhost\", \"queue.example\"]")
        .replace("jwks.json", "mixed.json");
    let good = Signer::new("good", Algorithm::EdDSA).jwk();
    let mut enc = Signer::new("enc", Algorithm::ES256).jwk();
    enc["use"] = json!("enc");
    let broken = json!({"kty": "EC", "crv": "P-256", "kid": "broken"});
    fs::write(folder.path().join("mixed.json"), json!({"keys": [broken, good, enc]}).to_string()).unwrap();
    fs::set_permissions(folder.path().join("server.key"), Permissions::from_mode(0o604)).unwrap();
    let config = load_in(folder.path(), &text).unwrap();
    let text: Vec<_> =
        config.notices.iter().map(|notice| (notice.severity, notice.what.line, &*notice.what.key)).collect();
    let expected = [
        (Severity::Refused, Some(6), "tls.certificate"),
        (Severity::Warning, Some(7), "tls.key"),
        (Severity::Warning, Some(20), "issuer[1].jwks"),
        (Severity::Information, Some(20), "issuer[1].jwks"),
    ];
    assert_eq!(text, expected, "{:#?}", config.notices);
    assert!(config.notices[0].what.problem.contains("the name queue.example"), "{:?}", config.notices[0]);
    assert!(config.notices[1].what.problem.contains("everybody (mode 0604)"), "{:?}", config.notices[1]);
}

#[test]
fn what_clients_would_refuse_is_told_with_all_that_is_wrong() {
    let errors =
        errors("key = \"server.key\"", "key = \"server.key\"\nnames = [\"queue.example\"]\ncolour = 1");
    let [certificate, colour] = &errors[..] else { panic!("{errors:#?}") };
    assert!(certificate.starts_with("line 6: tls.certificate: clients refuse server.pem"), "{certificate}");
    assert!(colour.starts_with("line 9: tls.colour: unknown key"), "{colour}");
}

#[test]
fn names_that_no_client_can_ask_for_are_refused() {
    for (names, expected) in [
        ("[]", "line 8: tls.names: must not be empty"),
        ("[\"*.example\"]", "line 8: tls.names: must be a DNS name without wildcards"),
        ("[\"a b\"]", "line 8: tls.names: must be a DNS name"),
        ("[\"a\", \"A\"]", "line 8: tls.names: is listed twice"),
        ("\"a\"", "line 8: tls.names: must be a list of strings"),
    ] {
        let errors = errors("key = \"server.key\"", &format!("key = \"server.key\"\nnames = {names}"));
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{names} gave {errors:#?}");
    }
}
