use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::{
    certificates::{Judgement, names_dropped},
    identity::testing::{Authority, authority, leaf},
};

type Chain = Vec<CertificateDer<'static>>;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn issued(params: &CertificateParams, by: &Authority) -> CertificateDer<'static> {
    params.signed_by(&KeyPair::generate().unwrap(), by).unwrap().der().clone()
}

/// A server's certificate for these names.
fn server(names: &[&str]) -> CertificateParams {
    let mut params = leaf(&[]);
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    params
}

/// Valid from and to a number of days from now.
fn between(from: i64, to: i64) -> CertificateParams {
    let mut params = server(&["localhost"]);
    params.not_before = OffsetDateTime::now_utc() + time::Duration::days(from);
    params.not_after = OffsetDateTime::now_utc() + time::Duration::days(to);
    params
}

fn alone(params: &CertificateParams) -> Chain {
    vec![issued(params, &authority("A"))]
}

fn judge(chain: &Chain) -> Judgement {
    Judgement::of(chain, &BTreeSet::new(), SystemTime::now())
}

#[track_caller]
fn assert_refused(chain: &Chain, why: &str) {
    let judgement = judge(chain);
    assert!(!judgement.is_good() && judgement.to_string().contains(why), "{why:?} is not in {judgement}");
}

#[test]
fn what_clients_accept_is_good() {
    let ca = authority("A");
    assert_eq!(judge(&vec![issued(&server(&["localhost"]), &ca)]).to_string(), "");
    assert_eq!(judge(&vec![issued(&server(&["*.posthouse.example"]), &ca)]).to_string(), "");
    assert_eq!(judge(&vec![issued(&server(&["192.0.2.1"]), &ca)]).to_string(), "");
    assert_eq!(judge(&vec![issued(&server(&["2001:db8::1"]), &ca)]).to_string(), "");
    // With its authority behind it, or once more itself, or several.
    let own = issued(&server(&["localhost"]), &ca);
    assert_eq!(judge(&vec![own.clone(), ca.der().clone()]).to_string(), "");
    assert_eq!(
        judge(&vec![own.clone(), own, ca.der().clone(), authority("B").der().clone()]).to_string(),
        ""
    );
    // Without purposes, and signed by its own key.
    let mut bare = server(&["localhost"]);
    bare.extended_key_usages.clear();
    assert_eq!(judge(&alone(&bare)).to_string(), "");
    let key = KeyPair::generate().unwrap();
    let self_signed = server(&["localhost"]).self_signed(&key).unwrap().der().clone();
    assert_eq!(judge(&vec![self_signed]).to_string(), "");
}

#[test]
fn what_clients_refuse_is_told() {
    assert_refused(&alone(&between(-9, -1)), "certificate 1 expired on");
    assert_refused(&alone(&between(1, 9)), "certificate 1 is not valid before");
    assert_refused(&alone(&server(&[])), "no DNS name and no IP address");
    let mut named = server(&[]);
    named.distinguished_name.push(DnType::CommonName, "localhost");
    named.subject_alt_names = vec![SanType::URI("spiffe://a/b".try_into().unwrap())];
    assert_refused(&alone(&named), "no DNS name and no IP address");
    // Names that no client can ask for are none.
    for nobodys in ["not a name", "*", "a.*.example"] {
        assert_refused(&alone(&server(&[nobodys])), "no DNS name and no IP address");
    }
    let mut for_clients = server(&["localhost"]);
    for purposes in [vec![ExtendedKeyUsagePurpose::ClientAuth], vec![ExtendedKeyUsagePurpose::Any]] {
        for_clients.extended_key_usages = purposes;
        assert_refused(&alone(&for_clients), "server authentication");
    }
    let mut of_authority = server(&["localhost"]);
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_refused(&alone(&of_authority), "CA:TRUE");
    let mut silent = server(&["localhost"]);
    silent.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert_refused(&alone(&silent), "digitalSignature");
    assert_refused(&vec![CertificateDer::from(vec![0x30, 0])], "certificate 1 cannot be read");
}

#[test]
fn what_follows_the_certificate_is_judged_too() {
    let root = authority("Root");
    let expired = {
        let mut params = between(-9, -1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Intermediate");
        let key = KeyPair::generate().unwrap();
        rcgen::CertifiedIssuer::signed_by(params, key, &root).unwrap()
    };
    let own = issued(&server(&["localhost"]), &expired);
    assert_refused(&vec![own.clone(), expired.der().clone()], "certificate 2 expired on");
    assert_refused(&vec![own.clone(), root.der().clone()], "none of the certificates that follow");
    assert_refused(&vec![own, CertificateDer::from(vec![1, 2, 3])], "certificate 2 cannot be read");
    // An authority of the same name, with another key.
    let imitated = issued(&server(&["localhost"]), &authority("Root"));
    assert_refused(&vec![imitated, root.der().clone()], "signature");
}

#[test]
fn an_issuer_is_who_has_signed_and_not_who_has_the_name() {
    let root = authority("Root");
    let intermediate = |from, to| {
        let mut params = between(from, to);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Intermediate");
        rcgen::CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap()
    };
    let (old, new) = (intermediate(-9, -1), intermediate(-1, 9));
    for with_key_ids in [false, true] {
        let mut params = between(-1, 9);
        params.use_authority_key_identifier_extension = with_key_ids;
        let (of_old, of_new) = (issued(&params, &old), issued(&params, &new));
        for rest in [[old.der(), new.der()], [new.der(), old.der()]] {
            let chain = |own: &CertificateDer<'static>| vec![own.clone(), rest[0].clone(), rest[1].clone()];
            assert_refused(&chain(&of_old), " expired on");
            assert_eq!(judge(&chain(&of_new)).to_string(), "");
        }
    }
}

#[test]
fn what_clients_do_not_go_by_refuses_nothing() {
    let ended = |name: &str, by: Option<&Authority>| {
        let mut params = between(-9, -1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        match by {
            Some(by) => rcgen::CertifiedIssuer::signed_by(params, key, by).unwrap().der().clone(),
            None => rcgen::CertifiedIssuer::self_signed(params, key).unwrap().der().clone(),
        }
    };
    let (old, root) = (ended("Old", None), authority("Root"));
    // An old root, and one that once signed for the root of today.
    let cross = ended("Root", Some(&authority("Old")));
    let own = |days| issued(&between(-1, days), &root);
    for rest in [vec![root.der().clone(), old.clone()], vec![root.der().clone(), cross.clone(), old.clone()]]
    {
        let new: Chain = std::iter::once(own(9)).chain(rest).collect();
        assert_eq!(judge(&new).to_string(), "");
        assert!(judge(&new).improves_on(&judge(&vec![own(1)])));
    }
}

#[test]
fn names_that_are_asked_for_have_to_fit() {
    let chain = alone(&server(&["*.posthouse.example", "localhost", "192.0.2.1"]));
    let lacking = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Judgement::of(&chain, &names, SystemTime::now()).to_string()
    };
    assert_eq!(lacking(&["a.posthouse.example", "localhost", "192.0.2.1"]), "");
    for name in ["posthouse.example", "a.b.posthouse.example", "192.0.2.2", "localhost.example"] {
        assert!(lacking(&["localhost", name]).contains(&format!("the name {name}")), "{name}");
    }
    assert!(lacking(&["b", "a"]).contains("the name a, which tls.names asks for; "));
}

#[test]
fn the_better_of_two_that_clients_refuse_is_taken() {
    let better = |new: &Chain, old: &Chain| judge(new).improves_on(&judge(old));
    let (good, longer) = (alone(&between(-1, 1)), alone(&between(-1, 9)));
    let (expired, longer_ago) = (alone(&between(-9, -1)), alone(&between(-9, -2)));
    let (early, earlier) = (alone(&between(2, 9)), alone(&between(1, 9)));
    let nameless = |from, to| {
        let mut params = between(from, to);
        params.subject_alt_names.clear();
        alone(&params)
    };
    for (new, old) in [
        (&longer, &good),
        (&good, &longer),
        (&good, &expired),
        (&good, &nameless(-1, 1)),
        (&expired, &longer_ago),
        (&early, &expired),
        (&earlier, &early),
        (&nameless(-1, 9), &nameless(-1, 1)),
        (&expired, &nameless(-9, -1)),
    ] {
        assert!(better(new, old), "{} after {}", judge(new), judge(old));
    }
    for (new, old) in [
        (&expired, &good),
        (&early, &good),
        (&nameless(-1, 9), &good),
        (&longer_ago, &expired),
        (&expired, &early),
        (&early, &earlier),
        (&nameless(-1, 9), &expired),
        (&expired, &nameless(-1, 9)),
        (&nameless(-1, 1), &nameless(-1, 9)),
    ] {
        assert!(!better(new, old), "{} after {}", judge(new), judge(old));
    }
}

#[test]
fn one_that_only_has_to_wait_tells_until_when() {
    let chain = alone(&between(2, 9));
    let from = judge(&chain).good_from().unwrap();
    assert!(Judgement::of(&chain, &BTreeSet::new(), from).is_good());
    assert!(!Judgement::of(&chain, &BTreeSet::new(), from - DAY).is_good());
    let mut nameless = between(2, 9);
    nameless.subject_alt_names.clear();
    for never in [alone(&nameless), alone(&between(-9, -1)), alone(&between(-1, 1))] {
        assert_eq!(judge(&never).good_from(), None);
    }
}

#[test]
fn names_that_are_dropped_are_told() {
    let ca = authority("A");
    let certificate = |names: &[&str]| issued(&server(names), &ca);
    let old = certificate(&["localhost", "*.posthouse.example", "192.0.2.1", "not a name"]);
    assert_eq!(names_dropped(&old, &old), [""; 0]);
    let wider = certificate(&["*.posthouse.example", "LOCALHOST", "192.0.2.1", "new"]);
    assert_eq!(names_dropped(&old, &wider), [""; 0]);
    // Some names that the wildcard covered are not all of them.
    let narrower = certificate(&["a.posthouse.example", "192.0.2.2"]);
    assert_eq!(names_dropped(&old, &narrower), ["localhost", "*.posthouse.example", "192.0.2.1"]);
    let one = certificate(&["a.posthouse.example"]);
    assert_eq!(names_dropped(&one, &old), [""; 0]);
}
