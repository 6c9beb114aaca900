//! `posthouse token inspect`: the content of a token, without a server.

use std::fs;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use posthouse_tests::harness::{
    cli,
    site::{CIVIL, Site, TAXATION},
};

#[test]
fn a_token_is_shown_without_its_signature() {
    let site = Site::new();
    let context = site.context_file(CIVIL);
    let token = fs::read_to_string(context.with_extension("token")).unwrap();
    let printed = String::from_utf8(cli::succeed(&context, ["token", "inspect"])).unwrap();
    for part in [
        "Nothing is verified",
        "EdDSA",
        "tenant (tenant)     civil-affairs",
        "in 59 min",
        "publish to every queue of every department of civil-affairs",
        "list and redrive the dead letters of every queue",
        &format!(": that of {}", context.display()),
    ] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
    for part in token.split('.') {
        assert!(!printed.contains(part), "{part} is in\n{printed}");
    }

    let other = site.context_file(TAXATION).with_extension("token");
    let printed = cli::succeed(&context, ["token".as_ref(), "inspect".as_ref(), other.as_os_str()]);
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains(": NOT that of "), "{printed}");
}

#[test]
fn an_expired_token_and_a_wrong_scope_are_pointed_out() {
    let site = Site::new();
    let context = site.context_file(CIVIL);
    let certificate = site.certificate(CIVIL);
    let mut claims = site.claims(CIVIL, &certificate);
    claims.exp = claims.iat - 120;
    claims.scope = "posthouse:publish:taxation/*/* posthouse:fly:civil-affairs/*/*".to_owned();
    claims.jti = "a\u{1b}[2Jb".to_owned();
    let file = site.path("token");
    fs::write(&file, site.mint(CIVIL, &claims)).unwrap();
    let printed = cli::succeed(&context, ["token".as_ref(), "inspect".as_ref(), file.as_os_str()]);
    let printed = String::from_utf8(printed).unwrap();
    for part in
        ["EXPIRED 2 min", "an unknown action", "A server refuses the token for this scope: scope item 1"]
    {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
    assert!(!printed.contains('\u{1b}'));
    // Parts that no server reads are marked as such, although they can be shown.
    for (claims, why) in
        [(r#"{"exp":1e10,"exp":1e10}"#, "claims"), (r#"{"iss":"a","sub":"a","aud":"a","exp":"soon"}"#, "exp")]
    {
        let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        let token = format!("{}.{}.c2ln", part(r#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#), part(claims));
        fs::write(&file, token).unwrap();
        let printed = cli::succeed(&context, ["token".as_ref(), "inspect".as_ref(), file.as_os_str()]);
        let printed = String::from_utf8(printed).unwrap();
        let line = printed.lines().find(|line| line.starts_with("Every server refuses it: "));
        assert!(line.is_some_and(|line| line.contains(why)), "{printed}");
    }
}

#[test]
fn what_is_no_token_is_refused_and_not_repeated() {
    let site = Site::new();
    let context = site.context_file(CIVIL);
    let file = site.path("token");
    for text in ["", "secret", "secret.secret.secret", "a secret", &"secret".repeat(5000)] {
        fs::write(&file, text).unwrap();
        let arguments = ["token".as_ref(), "inspect".as_ref(), file.as_os_str()];
        let (printed, errors) = cli::end(65, &context, arguments);
        assert!(printed.is_empty() && errors.contains("holds no token: "), "{errors}");
        assert!(!errors.contains("secret"), "{errors}");
    }
    cli::end(66, &context, ["token", "inspect", "/nowhere/token"]);
}
