use std::net::{Ipv4Addr, SocketAddr};

use rcgen::{CertificateParams, KeyPair, SanType};

use super::{ConnIdentity, is_authority};
use crate::identity::{
    CertificateError, SpiffeIdError,
    testing::{authority, leaf, tenants, trust_domain, uri},
};

fn identity(params: &CertificateParams) -> Result<ConnIdentity, CertificateError> {
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), &authority("Taxation")).unwrap();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    ConnIdentity::from_leaf(certificate.der(), &tenants(&["taxation", "customs"]), &trust_domain(), peer)
}

#[test]
fn exactly_one_uri_is_the_identity() {
    let own = uri("taxation", "returns");
    let known = identity(&leaf(&[&own])).unwrap();
    assert_eq!(known.tenant.as_str(), "taxation");
    assert_eq!(known.spiffe_id.as_str(), own);
    assert_eq!(identity(&leaf(&[])).unwrap_err(), CertificateError::UriCount { count: 0 });
    assert_eq!(identity(&leaf(&[&own, &own])).unwrap_err(), CertificateError::UriCount { count: 2 });
    let two = leaf(&[&own, &uri("customs", "x")]);
    assert_eq!(identity(&two).unwrap_err(), CertificateError::UriCount { count: 2 });
    let bare = CertificateParams::default();
    assert_eq!(identity(&bare).unwrap_err(), CertificateError::UriCount { count: 0 });
}

#[test]
fn the_common_name_is_never_the_identity() {
    let mut params = leaf(&[]);
    params.distinguished_name.push(rcgen::DnType::CommonName, uri("taxation", "returns"));
    assert_eq!(identity(&params).unwrap_err(), CertificateError::UriCount { count: 0 });
    let mut params = leaf(&[]);
    params.subject_alt_names.push(SanType::DnsName("taxation.posthouse.internal".try_into().unwrap()));
    assert_eq!(identity(&params).unwrap_err(), CertificateError::UriCount { count: 0 });
}

#[test]
fn other_trust_domains_and_shapes_are_refused() {
    let error = identity(&leaf(&["spiffe://other.internal/tenant/taxation/x"])).unwrap_err();
    assert_eq!(error, CertificateError::SpiffeId(SpiffeIdError::TrustDomain));
    for uri in
        ["https://posthouse.internal/tenant/taxation/x", "spiffe://posthouse.internal/taxation/x", "urn:x"]
    {
        assert!(matches!(identity(&leaf(&[uri])).unwrap_err(), CertificateError::SpiffeId(_)), "{uri}");
    }
}

#[test]
fn an_authority_speaks_for_its_tenants_only() {
    assert!(identity(&leaf(&[&uri("customs", "x")])).is_ok());
    let error = identity(&leaf(&[&uri("public-security", "x")])).unwrap_err();
    assert_eq!(error, CertificateError::AuthorityNotForTenant);
}

#[test]
fn what_is_no_certificate_is_unreadable() {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let own =
        leaf(&[&uri("taxation", "x")]).signed_by(&KeyPair::generate().unwrap(), &authority("A")).unwrap();
    let mut longer = own.der().to_vec();
    longer.push(0);
    for der in [&b""[..], b"\x30", &[0xff; 4096], &own.der()[..own.der().len() - 1], &longer] {
        let result = ConnIdentity::from_leaf(der, &tenants(&["taxation"]), &trust_domain(), peer);
        assert_eq!(result.unwrap_err(), CertificateError::Unreadable);
        assert!(!is_authority(der) || der == longer);
    }
    assert!(!is_authority(own.der()));
    assert!(is_authority(authority("A").der()));
}
