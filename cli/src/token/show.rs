//! A token's contents, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthouse_server::{
    grants::{Action, Grants},
    identity::Malformed,
    names::TenantName,
};
use posthouse_text::shown;
use serde_json::{Map, Value};

use super::{Certificate, decode::Decoded};
use crate::time::{rfc3339, roughly};

/// Claims with their own line, and their names.
const KNOWN: [(&str, &str); 6] = [
    ("iss", "issuer"),
    ("sub", "subject"),
    ("aud", "audience"),
    ("client_id", "client"),
    ("tenant", "tenant"),
    ("jti", "token id"),
];
/// Claims that are shown in other sections.
const SHOWN_ELSEWHERE: [&str; 5] = ["iat", "nbf", "exp", "scope", "cnf"];

/// All sections.
pub(super) fn text(
    token: &Decoded,
    malformed: Option<&Malformed>,
    certificate: Option<&Certificate>,
    now: SystemTime,
) -> String {
    let mut text =
        "What the token says. Nothing is verified: neither the signature, nor whether a server accepts it.\n"
            .to_owned();
    if let Some(malformed) = malformed {
        text.push_str(&format!("\nEvery server refuses it: {malformed}\n"));
    }
    text.push_str("\nheader\n");
    for (key, value) in &token.header {
        row(&mut text, &cleaned(key), &plain(value));
    }
    text.push_str("\nclaims\n");
    for (key, name) in KNOWN {
        if let Some(value) = token.claims.get(key) {
            row(&mut text, &format!("{name} ({key})"), &plain(value));
        }
    }
    for (key, value) in &token.claims {
        let known = KNOWN.iter().any(|(known, _)| known == key) || SHOWN_ELSEWHERE.contains(&&**key);
        if !known {
            row(&mut text, &cleaned(key), &plain(value));
        }
    }
    text.push_str("\nlifetime\n");
    lifetime(&mut text, &token.claims, now);
    text.push_str("\ngrants\n");
    grants(&mut text, &token.claims);
    text.push_str("\nbinding\n");
    binding(&mut text, &token.claims, certificate);
    text
}

fn row(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("  {name:<20}{value}\n"));
}

fn lifetime(text: &mut String, claims: &Map<String, Value>, now: SystemTime) {
    for (key, name) in [("iat", "issued"), ("nbf", "not before"), ("exp", "expires")] {
        let said = match claims.get(key) {
            None if key == "nbf" => continue,
            None => "not said; a server refuses the token".to_owned(),
            Some(value) => match seconds(value).and_then(|at| UNIX_EPOCH.checked_add(at)) {
                None => format!("{}, which is no number of seconds since 1970", plain(value)),
                Some(moment) => {
                    let expired = if key == "exp" && moment <= now { "EXPIRED " } else { "" };
                    format!("{}, {expired}{}", rfc3339(moment), relative(moment, now))
                }
            },
        };
        row(text, &format!("{name} ({key})"), &said);
    }
}

/// A time in a token, which may have a fraction.
fn seconds(value: &Value) -> Option<Duration> {
    match value.as_u64() {
        Some(whole) => Some(Duration::from_secs(whole)),
        None => Duration::try_from_secs_f64(value.as_f64()?).ok(),
    }
}

fn relative(moment: SystemTime, now: SystemTime) -> String {
    match moment.duration_since(now) {
        Ok(ahead) => format!("in {}", roughly(ahead)),
        Err(past) => format!("{} ago", roughly(past.duration())),
    }
}

fn grants(text: &mut String, claims: &Map<String, Value>) {
    let Some(scope) = claims.get("scope").and_then(Value::as_str) else {
        text.push_str("  none: there is no `scope`; a server refuses the token\n");
        return;
    };
    let tenant = claims.get("tenant").and_then(Value::as_str).unwrap_or_default();
    for item in scope.split(' ').filter(|item| !item.is_empty()) {
        text.push_str(&format!("  {}\n    {}\n", cleaned(item), explained(item)));
    }
    let problem = match TenantName::parse(tenant) {
        Err(error) => Some(error.to_string()),
        Ok(tenant) => Grants::parse(scope, &tenant).err().map(|error| error.to_string()),
    };
    if let Some(problem) = problem {
        text.push_str(&format!("  A server refuses the token for this scope: {problem}\n"));
    }
}

/// A grant in words.
fn explained(item: &str) -> String {
    let Some((action, pattern)) = item.strip_prefix("posthouse:").and_then(|grant| grant.split_once(':'))
    else {
        return "no grant of Posthouse".to_owned();
    };
    let verb = match action {
        "publish" => "publish to",
        "consume" => "consume from",
        "manage" => "create, change, purge and delete",
        "dlq" => "list and redrive the dead letters of",
        "stats" => "see definitions and counts of",
        _ if Action::WITHOUT_EFFECT.contains(&action) => return "opens nothing; leave it out".to_owned(),
        _ => return "an unknown action".to_owned(),
    };
    let parts: Vec<&str> = pattern.split('/').collect();
    let [tenant, department, queue, subscription @ ..] = &parts[..] else {
        return "a pattern that is not TENANT/DEPARTMENT/QUEUE".to_owned();
    };
    let queue = if *queue == "*" { "every queue".to_owned() } else { format!("the queue {queue}") };
    let department = if *department == "*" {
        "every department".to_owned()
    } else {
        format!("the department {department}")
    };
    let subscription = match subscription {
        [] => String::new(),
        ["*"] => "every subscription of ".to_owned(),
        names => format!("the subscription {} of ", names.join("/")),
    };
    cleaned(&format!("{verb} {subscription}{queue} of {department} of {tenant}"))
}

fn binding(text: &mut String, claims: &Map<String, Value>, certificate: Option<&Certificate>) {
    let bound = claims.get("cnf").and_then(|cnf| cnf.get("x5t#S256")).and_then(Value::as_str);
    let said = match (bound, certificate) {
        (None, _) if claims.contains_key("cnf") => {
            "`cnf` names no certificate (x5t#S256); a server refuses the token".to_owned()
        }
        (None, _) => "to no certificate; only an issuer that binds by SPIFFE id may do so".to_owned(),
        (Some(bound), None) => {
            format!("to the certificate {}; with --context it is compared", cleaned(bound))
        }
        (Some(bound), Some(own)) if bound == own.thumbprint => {
            format!("to the certificate {bound}: that of {}", own.context.display())
        }
        (Some(bound), Some(own)) => format!(
            "to the certificate {}: NOT that of {}, which is {}",
            cleaned(bound),
            own.context.display(),
            own.thumbprint
        ),
    };
    text.push_str(&format!("  {said}\n"));
}

fn plain(value: &Value) -> String {
    cleaned(&match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// Text with the characters escaped that control a terminal.
fn cleaned(text: &str) -> String {
    shown::one_line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_explained() {
        for (item, words) in [
            ("posthouse:publish:t/*/*", "publish to every queue of every department of t"),
            (
                "posthouse:consume:t/d/q/s",
                "consume from the subscription s of the queue q of the department d of t",
            ),
            ("posthouse:fly:t/*/*", "an unknown action"),
            ("openid", "no grant of Posthouse"),
        ] {
            assert_eq!(explained(item), words);
        }
        for action in Action::ALL {
            let words = explained(&format!("posthouse:{}:t/*/*", action.as_str()));
            assert!(words.ends_with("every queue of every department of t"), "{words}");
        }
        for action in Action::WITHOUT_EFFECT {
            assert_eq!(explained(&format!("posthouse:{action}:t/*/*")), "opens nothing; leave it out");
        }
    }

    #[test]
    fn a_terminal_is_shown_no_control_characters() {
        assert_eq!(cleaned("a\u{1b}[2Jb\u{7f}签"), "a\\u{1b}[2Jb\\u{7f}签");
    }
    #[test]
    fn nothing_in_a_token_moves_a_terminal() {
        let object = |key: &str| Map::from_iter([(key.to_owned(), Value::from("\u{1b}[2J"))]);
        let decoded = Decoded { header: object("\u{1b}[1A"), claims: object("\u{1b}[1B") };
        let text = text(&decoded, None, None, SystemTime::now());
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
