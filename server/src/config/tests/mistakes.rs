//! Problems of a configuration are reported with line and key, all at once.

use super::{GOOD, errors, folder, load_in};

/// What to replace in the good configuration, the replacement, and how one of the errors then begins.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "\"127.0.0.1:0\"",
        "\"localhost\"",
        "line 2: server.listen: must be an address and a port, for example 127.0.0.1:7443",
    ),
    ("data_dir = \"data\"", "", "line 1: server.data_dir: is missing"),
    ("data_dir = \"data\"", "data_dir = 7", "line 3: server.data_dir: must be a string that is not empty"),
    (
        "data_dir = \"data\"",
        "data_dir = \"d\"\nshards = 3",
        "line 4: server.shards: must be a whole number from 4 to 1024",
    ),
    (
        "data_dir = \"data\"",
        "data_dir = \"d\"\nshards = -8",
        "line 4: server.shards: must be a whole number from 4 to 1024",
    ),
    (
        "data_dir = \"data\"",
        "data_dir = \"d\"\nshard = 8",
        "line 4: server.shard: unknown key; remove it or correct its name",
    ),
    ("[server]", "[extra]\n[server]", "line 1: extra: unknown key; remove it or correct its name"),
    ("\"server.key\"", "\"other.key\"", "line 7: tls.key: the server's certificate and key cannot be used"),
    ("\"server.key\"", "\"server.pem\"", "line 7: tls.key: server.pem has no private key in PEM"),
    ("\"server.pem\"", "\"none.pem\"", "line 6: tls.certificate: cannot read none.pem"),
    ("\"server.pem\"", "\"empty.pem\"", "line 6: tls.certificate: empty.pem has no certificate in PEM"),
    ("\"server.pem\"", "\"broken.pem\"", "line 6: tls.certificate: broken.pem is not valid PEM"),
    ("\"server.pem\"", "\".\"", "line 6: tls.certificate: cannot read .: it is not a regular file"),
    ("\"posthouse.internal\"", "\"Posthouse\"", "line 10: identity.trust_domain: must be 1 to 255 of"),
    (
        "audience = \"posthouse\"",
        "audience = \"\"",
        "line 11: identity.audience: must be a string that is not empty",
    ),
    (
        "\"ca.pem\"",
        "\"leaf.pem\"",
        "line 14: authority[1].certificates: leaf.pem has a certificate that is not an authority's",
    ),
    (
        "\"jwks.json\"",
        "\"ca.pem\"",
        "line 19: issuer[1].jwks: ca.pem: it is not a JSON object with a list \"keys\"",
    ),
    // Nothing is ever fetched: a text that looks like a URL is the name of a file.
    ("\"jwks.json\"", "\"https://127.0.0.1:1/jwks.json\"", "line 19: issuer[1].jwks: cannot read"),
    ("\"jwks.json\"", "\"http://169.254.169.254/latest\"", "line 19: issuer[1].jwks: cannot read"),
    ("\"jwks.json\"", "\"file:///etc/passwd\"", "line 19: issuer[1].jwks: cannot read"),
    (
        "jwks = \"jwks.json\"",
        "jwks = \"jwks.json\"\nbinding = \"none\"",
        "line 20: issuer[1].binding: must be",
    ),
    (
        "departments = [",
        "departments = [\"identity-cards\", ",
        "line 24: tenant[1].departments: is listed twice",
    ),
    (
        "departments = [",
        "departments = [\"A\", ",
        "line 24: tenant[1].departments: the department has 'A' at byte 0",
    ),
    ("departments = [", "departments = []\nx = [", "line 24: tenant[1].departments: must not be empty"),
    (
        "departments = [",
        "max_stored_bytes = 1000\ndepartments = [",
        "line 24: tenant[1].max_stored_bytes: must be a whole number from 16777216 to",
    ),
    (
        "departments = [",
        "max_message_bytes = 99999999\ndepartments = [",
        "line 24: tenant[1].max_message_bytes: must be a whole number from 1 to 4128768",
    ),
    (
        "data_dir = \"data\"",
        "data_dir = \"d\"\nmax_connections = 5",
        "line 4: server.max_connections: must be a whole number from 16 to 1048576",
    ),
    (
        "data_dir = \"data\"",
        "data_dir = \"d\"\nmin_free_disk_bytes = \"1 GiB\"",
        "line 4: server.min_free_disk_bytes: must be a whole number from 268435456 to",
    ),
];

#[test]
fn each_mistake_is_told_with_line_and_key() {
    for (from, to, expected) in MISTAKES {
        let errors = errors(from, to);
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{to:?} gave {errors:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[server]\nlisten = 1\n[tls]\nkey = \"x\"\n[[issuer]]\njwks = \"oct.json\"\ntenants = [\"a\"]\n\
                [[tenant]]\nname = \"B\"\nwhat = 1\n";
    let folder = folder();
    let errors = load_in(folder.path(), text).unwrap_err();
    let shown = errors.to_string();
    for expected in [
        "identity: is missing",
        "authority: is missing",
        "server.listen",
        "server.data_dir: is missing",
        "tls.certificate: is missing",
        "tls.key: cannot read",
        "issuer[1].issuer: is missing",
        "key 1: it is a secret",
        "issuer[1].tenants: there is no [[tenant]] with the name a",
        "tenant[1].name: the tenant has 'B'",
        "tenant[1].departments: is missing",
        "tenant[1].what: unknown key",
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in {shown}");
    }
    assert!(!shown.contains("c2VjcmV0"), "a secret is shown");
    let lines: Vec<_> = errors.errors.iter().map(|error| error.line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

/// Ten different mistakes, and the line and key that each must be reported with.
const TEN_MISTAKES: (&str, [(usize, &str, &str); 10]) = (
    r#"[server]
listen = "localhost"
data_dir = "data"
shards = 3
colour = "red"

[tls]
certificate = "nowhere.pem"
key = "server.key"

[identity]
trust_domain = "posthouse.internal"
audience = 7

[[authority]]
certificates = "leaf.pem"
tenants = ["nobody"]

[[issuer]]
issuer = "https://issuer.civil-affairs.posthouse.internal"
jwks = "oct.json"
tenants = ["civil-affairs"]
binding = "none"

[[tenant]]
name = "civil-affairs"
departments = ["household-registry"]

[[tenant]]
name = "civil-affairs"
departments = ["Identity Cards"]
"#,
    [
        (2, "server.listen", "must be an address and a port"),
        (4, "server.shards", "from 4 to 1024"),
        (5, "server.colour", "unknown key"),
        (8, "tls.certificate", "cannot read"),
        (13, "identity.audience", "must be a string"),
        (16, "authority[1].certificates", "not an authority's"),
        (17, "authority[1].tenants", "there is no [[tenant]] with the name nobody"),
        (21, "issuer[1].jwks", "key 1: it is a secret"),
        (23, "issuer[1].binding", "must be"),
        (30, "tenant[2].name", "declared twice"),
    ],
);

#[test]
fn ten_mistakes_are_told_at_once_with_line_and_key() {
    let folder = folder();
    let (text, expected) = TEN_MISTAKES;
    let errors = load_in(folder.path(), text).unwrap_err().errors;
    for (line, key, problem) in expected {
        let found = errors.iter().find(|error| error.line == Some(line) && error.key == key);
        let found = found.unwrap_or_else(|| panic!("line {line}, {key} is not in {errors:#?}"));
        assert!(found.problem.contains(problem), "{found:?}");
    }
    // The department's name is wrong besides, and nothing else is.
    assert_eq!(errors.len(), expected.len() + 1, "{errors:#?}");
    assert!(errors.is_sorted_by_key(|error| error.line));
}

#[test]
fn duplicates_are_refused() {
    let (_, sections) = GOOD.split_once("[[authority]]").unwrap();
    let folder = folder();
    let shown = load_in(folder.path(), &format!("{GOOD}[[authority]]{sections}")).unwrap_err().to_string();
    for expected in [
        "this tenant is declared twice",
        "this issuer is declared twice",
        "has a certificate that is listed already",
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in {shown}");
    }
}

#[test]
fn syntax_errors_have_lines() {
    assert!(errors("[tls]", "[tls")[0].starts_with("line 5: "), "{:?}", errors("[tls]", "[tls"));
    let twice = errors("data_dir", "listen = \"127.0.0.1:1\"\ndata_dir");
    assert!(twice[0].starts_with("line 3: "), "{twice:?}");
}
