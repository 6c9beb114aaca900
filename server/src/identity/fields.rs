//! The fields of a certificate: its validity, names and uses.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use x509_parser::{
    prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate},
    time::ASN1Time,
};

/// The fields that decide whether a server may show a certificate.
#[derive(Clone, Debug)]
pub struct CertificateFields {
    /// Valid from.
    pub not_before: CertificateTime,
    /// Valid until, this second included.
    pub not_after: CertificateTime,
    /// The DNS names among its alternative names, as they are written there.
    pub dns_names: Vec<String>,
    /// The addresses among its alternative names.
    pub addresses: Vec<IpAddr>,
    /// Subject and issuer: X.501 names in DER. A certificate with equal ones is signed by its own key.
    pub subject: Vec<u8>,
    /// See [`subject`](Self::subject).
    pub issuer: Vec<u8>,
    /// Which key is its own, and which its issuer's, where it says so.
    pub key_id: Option<Vec<u8>>,
    /// See [`key_id`](Self::key_id).
    pub issuer_key_id: Option<Vec<u8>>,
    /// It is an authority's (`CA:TRUE`).
    pub is_authority: bool,
    /// Its key may sign, as a handshake of TLS 1.3 needs it.
    pub may_sign: bool,
}

/// A moment as a certificate has it, which may be before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateTime(ASN1Time);

impl CertificateFields {
    /// Reads them; `None`: it is no certificate.
    pub fn read(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let mut fields = Self {
            not_before: CertificateTime(certificate.validity().not_before),
            not_after: CertificateTime(certificate.validity().not_after),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            key_id: None,
            issuer_key_id: None,
            is_authority: certificate.basic_constraints().ok()?.is_some_and(|basic| basic.value.ca),
            may_sign: certificate.key_usage().ok()?.is_none_or(|usage| usage.value.digital_signature()),
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => fields.key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(of) => {
                    fields.issuer_key_id = of.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        let names = certificate.subject_alternative_name().ok()?;
        for name in names.map(|names| names.value.general_names.as_slice()).unwrap_or_default() {
            match name {
                GeneralName::DNSName(name) => fields.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => fields.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Some(fields)
    }
}

impl CertificateFields {
    /// Whether the other may have issued it, by names and key ids: no signature is verified.
    pub fn may_be_of(&self, issuer: &Self) -> bool {
        let keys = self.issuer_key_id.as_ref().zip(issuer.key_id.as_ref());
        self.issuer == issuer.subject && keys.is_none_or(|(said, own)| said == own)
    }
}

impl CertificateTime {
    /// Seconds since 1970; negative before.
    pub fn seconds(self) -> i64 {
        self.0.timestamp()
    }

    /// The moment, if the system's clock can have it.
    pub fn moment(self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(self.seconds()).ok()?))
    }
}

impl fmt::Display for CertificateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use rcgen::{CertificateParams, KeyPair, KeyUsagePurpose, SanType};

    use super::CertificateFields;
    use crate::identity::testing::{authority, leaf};

    fn fields(params: &CertificateParams) -> CertificateFields {
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &authority("A")).unwrap();
        CertificateFields::read(certificate.der()).unwrap()
    }

    #[test]
    fn names_and_uses_are_read() {
        let mut params = leaf(&["spiffe://a/b"]);
        let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        params.subject_alt_names.extend(addresses.map(SanType::IpAddress));
        let read = fields(&params);
        assert_eq!((read.dns_names, read.addresses), (vec!["localhost".to_owned()], addresses.to_vec()));
        assert!(read.may_sign && !read.is_authority);
        assert!(read.not_before.moment() < read.not_after.moment());
        params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        assert!(!fields(&params).may_sign);
        assert!(CertificateFields::read(authority("A").der()).unwrap().is_authority);
        assert!(CertificateFields::read(b"\x30\x00").is_none());
    }

    #[test]
    fn times_before_1970_are_read() {
        let mut params = leaf(&[]);
        params.not_before = rcgen::date_time_ymd(1960, 1, 1);
        let read = fields(&params);
        assert!(read.not_before.seconds() < 0 && read.not_before.moment().is_none());
        assert!(read.not_before < read.not_after);
    }
}
