//! Claims: what is accepted of those that issuers write, and what stays refused.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::{
    grants::{Action, ScopeError},
    identity::{
        IdentityError, Malformed,
        token::tests::{SCOPE, is_malformed, now, setting},
    },
};

#[test]
fn every_claim_of_every_wrong_type_is_malformed() {
    let setting = setting();
    let texts = ["iss", "sub", "jti", "client_id", "tenant", "scope", "aud"];
    let numbers = ["exp", "iat", "nbf"];
    let wrong =
        [json!(null), json!(true), json!(-1), json!(-1.5), json!({}), json!([]), json!([1]), json!({"a": 1})];
    for claim in texts.iter().chain(&numbers).chain(&["cnf"]) {
        for value in &wrong {
            let error = setting.judge(|claims| claims[*claim] = value.clone());
            assert!(is_malformed(&error), "{claim} = {value}: {error:?}");
        }
    }
    for claim in texts {
        let list = if claim == "aud" { json!(["posthouse", 1]) } else { json!(["a", "b"]) };
        for value in [json!(1), list] {
            let error = setting.judge(|claims| claims[claim] = value.clone());
            assert!(is_malformed(&error), "{claim} = {value}: {error:?}");
        }
    }
    let later = now() + 600;
    for claim in numbers {
        for text in [
            format!("\"{later}\""),
            format!("{later}e0"),
            format!("{later}.5e0"),
            format!("{later}.5E+0"),
            format!("-{later}.5"),
            "1e30".into(),
            "1e400".into(),
            "1E9".into(),
            "18446744073709551616".into(),
            "18446744073709551616.5".into(),
            format!("{}.0", "9".repeat(400)),
            "-0".into(),
            "-0.5".into(),
            format!("[{later}]"),
            "\"\"".into(),
            format!("\"{later}.5\""),
            format!("{later}."),
            format!(".{later}"),
            format!("0{later}.5"),
            "NaN".into(),
            "Infinity".into(),
        ] {
            let error = setting.judge_raw(claim, &text);
            assert!(is_malformed(&error), "{claim} = {text}: {error:?}");
        }
    }
}

#[test]
fn a_fraction_of_a_second_never_gives_more_than_the_token_says() {
    let setting = setting();
    let now = now();
    let is = |claim: &str, text: String, expected: Option<IdentityError>| {
        assert_eq!(setting.judge_raw(claim, &text), expected, "{claim} = {text}");
    };
    for fraction in ["0", "5", "000000000", "123456789012345678901234567890", "999999999999"] {
        is("exp", format!("{}.{fraction}", now + 600), None);
        is("iat", format!("{}.{fraction}", now + 5), None);
        is("nbf", format!("{}.{fraction}", now - 600), None);
    }
    // An end in this second is over; the longest lifetime may not be exceeded by a part of a second.
    is("exp", format!("{now}.9"), Some(IdentityError::Expired));
    is("iat", format!("{}.5", now + 90), Some(IdentityError::NotYetValid));
    is("nbf", format!("{}.5", now + 90), Some(IdentityError::NotYetValid));
    is("iat", "18446744073709551615.0".to_owned(), Some(IdentityError::NotYetValid));
    assert!(is_malformed(&setting.judge_raw("iat", "18446744073709551615.5")));
    let token = setting.token_with_raw("exp", &format!("{}.9", now + 600));
    let principal = setting.verifier.verify(&token, &setting.connection, SystemTime::now()).unwrap();
    assert_eq!(principal.expires_at, SystemTime::UNIX_EPOCH + Duration::from_secs(now + 600));
}

#[test]
fn every_claim_but_nbf_is_required() {
    let setting = setting();
    for claim in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "tenant", "scope"] {
        let error = setting.judge(|claims| drop(claims.as_object_mut().unwrap().remove(claim)));
        assert!(
            matches!(error, Some(IdentityError::Malformed(Malformed::Missing { member })) if member == claim)
        );
    }
    for claim in ["iss", "sub", "jti", "client_id", "tenant"] {
        assert!(is_malformed(&setting.judge(|claims| claims[claim] = json!(""))), "{claim}");
        assert!(is_malformed(&setting.judge(|claims| claims[claim] = json!("a\r\nb"))), "{claim}");
        assert!(is_malformed(&setting.judge(|claims| claims[claim] = json!("x".repeat(600)))), "{claim}");
    }
    assert_eq!(setting.judge(|claims| claims["nbf"] = json!(now())), None);
    assert_eq!(setting.judge(|claims| claims["unknown"] = json!({"a": [1.5, null]})), None);
}

#[test]
fn repeated_claims_are_refused() {
    let setting = setting();
    let good = setting.claims().to_string();
    for more in [
        "\"exp\":99999999999",
        "\"tenant\":\"public-security\"",
        "\"scope\":\"\"",
        "\"e\\u0078p\":1",
        "\"x\":1,\"x\":1",
    ] {
        for claims in [format!("{{{more},{}", &good[1..]), format!("{},{more}}}", &good[..good.len() - 1])] {
            let token = setting.signer.sign_text(&setting.signer.header().to_string(), &claims);
            assert!(is_malformed(&setting.judge_token(&token)), "{more}");
        }
    }
    let header = setting.signer.header().to_string();
    let header = format!("{{\"alg\":\"none\",{}", &header[1..]);
    assert!(is_malformed(&setting.judge_token(&setting.signer.sign_text(&header, &good))));
}

#[test]
fn the_audience_is_ours_alone_or_among_others() {
    let setting = setting();
    for aud in [
        json!("posthouse"),
        json!(["posthouse"]),
        json!(["account", "posthouse"]),
        json!(["posthouse", "https://graph.example", "posthouse"]),
    ] {
        assert_eq!(setting.judge(|claims| claims["aud"] = aud.clone()), None, "{aud}");
    }
    for aud in [
        json!("posthouse-admin"),
        json!("Posthouse"),
        json!(""),
        json!(["other"]),
        json!("posthouse "),
        json!(["account", "posthouse-admin", "POSTHOUSE", ""]),
        json!("account posthouse"),
    ] {
        assert_eq!(
            setting.judge(|claims| claims["aud"] = aud.clone()),
            Some(IdentityError::AudienceWrong),
            "{aud}"
        );
    }
    for aud in [json!([]), json!([["posthouse"]]), json!(["posthouse", null]), json!({"posthouse": true})] {
        assert!(is_malformed(&setting.judge(|claims| claims["aud"] = aud.clone())), "{aud}");
    }
}

#[test]
fn an_unreadable_scope_refuses_the_token() {
    let setting = setting();
    for scope in [
        "posthouse:",
        "posthouse:publish",
        "posthouse:fly:taxation/returns/inbox",
        &format!("{SCOPE}\tprofile"),
        &format!("{SCOPE} posthouse:publish:taxation/returns"),
        &format!("openid {SCOPE}/x/y"),
        "posthouse:publish:public-security/a/b",
    ] {
        let error = setting.judge(|claims| claims["scope"] = json!(scope));
        assert!(matches!(error, Some(IdentityError::Scope(_))), "{scope}: {error:?}");
    }
    let error = setting.judge(|claims| claims["scope"] = json!(vec![SCOPE; 65].join(" ")));
    assert_eq!(error, Some(IdentityError::Scope(ScopeError::TooMany)));
}

#[test]
fn items_of_others_and_more_blanks_are_no_matter() {
    let setting = setting();
    let grants = |scope: &str| {
        let mut claims = setting.claims();
        claims["scope"] = json!(scope);
        let token = setting.signer.sign(&claims);
        let principal = setting.verifier.verify(&token, &setting.connection, SystemTime::now());
        principal.map(|principal| principal.grants.clone())
    };
    let own = grants(SCOPE).unwrap();
    for scope in [
        format!("openid profile {SCOPE} email"),
        format!("  {SCOPE}   "),
        format!(
            "https://graph.example/.default {SCOPE} posthouse Posthouse:publish:taxation/*/* posthouse.publish"
        ),
        format!("{SCOPE} {}", vec!["a"; 500].join(" ")),
    ] {
        assert_eq!(grants(&scope), Ok(own.clone()), "{scope}");
    }
    // A scope without one of our grants allows nothing, and is valid nevertheless.
    for scope in ["", " ", "openid profile", &format!("openid\t{SCOPE}"), "publish:taxation/returns/inbox"] {
        assert!(!grants(scope).unwrap().name(Action::Publish), "{scope}");
    }
}
