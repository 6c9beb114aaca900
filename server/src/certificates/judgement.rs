//! Whether TLS clients would accept the server's certificate, as far as can be judged without their authorities.
//!
//! Names and uses are matched by the library that the Rust client verifies with, not by rules of our own.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    fmt,
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error as ThisError;

use crate::{
    certificates::provider,
    identity::{CertificateFields, CertificateTime},
};

/// Why clients refuse a server's certificate. Certificates count from 1, the server's own.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum CertificateFault {
    /// No certificate.
    #[error("certificate {0} cannot be read")]
    Unreadable(usize),
    /// Its time is over.
    #[error("certificate {certificate} expired on {ended}")]
    Expired {
        /// Which.
        certificate: usize,
        /// When.
        ended: CertificateTime,
    },
    /// It is not valid yet.
    #[error("certificate {certificate} is not valid before {valid_from}")]
    NotYetValid {
        /// Which.
        certificate: usize,
        /// From when on it is.
        valid_from: CertificateTime,
    },
    /// It fits no name that a client could ask for.
    #[error(
        "it has no DNS name and no IP address among its subject alternative names, so no client accepts it"
    )]
    Nameless,
    /// It does not fit a name that it must fit.
    #[error("it does not fit the name {0}, which tls.names asks for")]
    Lacks(String),
    /// An authority's own.
    #[error(
        "it is an authority's certificate (CA:TRUE), which the Rust client and others do not accept as a server's"
    )]
    Authority,
    /// Its key may not sign.
    #[error("its key usage lacks digitalSignature, which TLS 1.3 needs")]
    MayNotSign,
    /// The certificate behind it has not issued it.
    #[error("none of the certificates that follow it in the file has issued it")]
    Unrelated,
    /// The certificate behind it has the name of its issuer, but not its key.
    #[error("its signature is not by the certificate that follows it in the file")]
    Forged,
    /// The library's text.
    #[error("{0}")]
    Refused(String),
}

/// The judgement of a certificate and its chain to its authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    faults: Vec<CertificateFault>,
    /// From when on, and until when, all that clients go by are valid.
    valid_from: Option<CertificateTime>,
    valid_until: Option<CertificateTime>,
}

/// In the order in which one is better than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ChainStatus {
    Expired,
    NotYetValid,
    Valid,
}

impl Judgement {
    /// Judges a chain, the server's own certificate first, which must fit all of the names.
    pub fn of(chain: &[CertificateDer<'_>], names: &BTreeSet<String>, now: SystemTime) -> Self {
        let mut judgement = Self { faults: Vec::new(), valid_from: None, valid_until: None };
        let fields: Option<Vec<_>> =
            chain.iter().zip(1..).map(|(der, number)| judgement.read(der, number)).collect();
        let Some((own, _)) = fields.as_deref().and_then(<[_]>::split_first) else {
            return judgement;
        };
        let path = path(chain, fields.as_deref().unwrap_or_default(), now);
        judgement.valid_from = path.iter().map(|(_, fields)| fields.not_before).max();
        judgement.valid_until = path.iter().map(|(_, fields)| fields.not_after).min();
        judgement.faults.extend(faults_of_time(&path, now));
        judgement.faults.extend(faults_of_use(chain, own, now));
        judgement.faults.extend(faults_of_names(chain, own, names));
        judgement
    }

    /// No client refuses it for what can be seen here.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether to show this one rather than the other. Two that clients refuse may differ: the clock may be wrong.
    pub fn improves_on(&self, other: &Self) -> bool {
        if self.is_good() || other.is_good() {
            return self.is_good();
        }
        if !self.permanent_faults().all(|fault| other.faults.contains(fault)) {
            return false;
        }
        match self.status().cmp(&other.status()) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if self.permanent_faults().count() < other.permanent_faults().count() => true,
            Ordering::Equal if self.status() == ChainStatus::NotYetValid => {
                self.valid_from < other.valid_from
            }
            Ordering::Equal => self.valid_until > other.valid_until,
        }
    }

    /// When it becomes good, if it only has to wait.
    pub fn good_from(&self) -> Option<SystemTime> {
        let waits = self.status() == ChainStatus::NotYetValid && self.permanent_faults().next().is_none();
        self.valid_from.filter(|_| waits)?.moment()
    }

    fn read(&mut self, certificate: &[u8], number: usize) -> Option<CertificateFields> {
        let fields = CertificateFields::read(certificate);
        if fields.is_none() {
            self.faults.push(CertificateFault::Unreadable(number));
        }
        fields
    }

    /// The faults that do not end with time.
    fn permanent_faults(&self) -> impl Iterator<Item = &CertificateFault> {
        use CertificateFault::{Expired, NotYetValid};
        self.faults.iter().filter(|fault| !matches!(fault, Expired { .. } | NotYetValid { .. }))
    }

    fn status(&self) -> ChainStatus {
        let has = |wanted: fn(&CertificateFault) -> bool| self.faults.iter().any(wanted);
        if has(|fault| matches!(fault, CertificateFault::Expired { .. } | CertificateFault::Unreadable(_))) {
            ChainStatus::Expired
        } else if has(|fault| matches!(fault, CertificateFault::NotYetValid { .. })) {
            ChainStatus::NotYetValid
        } else {
            ChainStatus::Valid
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if nth > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// The names that clients may have used with the old certificate and that the new one does not fit.
pub fn names_dropped(old: &CertificateDer<'_>, new: &CertificateDer<'_>) -> Vec<String> {
    let (Some(old_fields), Ok(new)) = (CertificateFields::read(old), ParsedCertificate::try_from(new)) else {
        return Vec::new();
    };
    let names = usable_names(old, &old_fields).into_iter();
    names.filter(|name| !fits(&new, &name.replacen('*', WILDCARD_TRIAL, 1))).collect()
}

/// A label in place of a wildcard, which no certificate has.
const WILDCARD_TRIAL: &str = "any-name-that-the-wildcard-covers";

fn usable_names(certificate: &CertificateDer<'_>, fields: &CertificateFields) -> Vec<String> {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return Vec::new() };
    let names = fields.dns_names.iter().cloned();
    let names = names.chain(fields.addresses.iter().map(ToString::to_string));
    names.filter(|name| fits(&parsed, &name.replacen('*', WILDCARD_TRIAL, 1))).collect()
}

fn fits(certificate: &ParsedCertificate<'_>, name: &str) -> bool {
    ServerName::try_from(name).is_ok_and(|name| verify_server_name(certificate, &name).is_ok())
}

/// The certificates, with their numbers, that clients go by from the server's own on: each with the one that has issued
/// it. An authority's own root is no part of it, since clients have that themselves. Nor is a certificate that issued
/// none of these, such as an old cross-signature.
fn path<'f>(
    chain: &[CertificateDer<'_>],
    fields: &'f [CertificateFields],
    now: SystemTime,
) -> Vec<(usize, &'f CertificateFields)> {
    let mut path = Vec::new();
    let mut next = fields.first().map(|own| (1, own));
    while let Some((number, fields_of_this)) = next {
        path.push((number, fields_of_this));
        let unused =
            (2..).zip(fields.iter().skip(1)).filter(|(number, _)| path.iter().all(|(on, _)| on != number));
        let issuers: Vec<_> = unused
            .filter(|(other, fields)| {
                fields_of_this.may_be_of(fields)
                    && (number > 1 || has_signed(chain, *other, fields_of_this, now))
            })
            .collect();
        let is_root = |fields: &CertificateFields| fields.subject == fields.issuer;
        let is_end = is_root(fields_of_this) || issuers.iter().any(|(_, fields)| is_root(fields));
        let valid = issuers.iter().find(|(number, fields)| time_fault(*number, fields, now).is_none());
        next = valid.or_else(|| issuers.first()).copied().filter(|_| !is_end);
    }
    path
}

/// Whether the certificate with this number has signed the server's own.
fn has_signed(chain: &[CertificateDer<'_>], number: usize, own: &CertificateFields, now: SystemTime) -> bool {
    let Some((first, other)) = chain.first().zip(chain.get(number - 1)) else { return false };
    let pair = [first.clone(), other.clone()];
    !matches!(
        verified(&pair, time_of(own, now)),
        Err(Error::InvalidCertificate(CertificateError::BadSignature | CertificateError::UnknownIssuer))
    )
}

fn faults_of_time(
    path: &[(usize, &CertificateFields)],
    now: SystemTime,
) -> impl Iterator<Item = CertificateFault> {
    path.iter().filter_map(move |(number, fields)| time_fault(*number, fields, now))
}

fn time_fault(certificate: usize, fields: &CertificateFields, now: SystemTime) -> Option<CertificateFault> {
    let now = seconds(now);
    if fields.not_after.seconds() < now {
        Some(CertificateFault::Expired { certificate, ended: fields.not_after })
    } else if fields.not_before.seconds() > now {
        Some(CertificateFault::NotYetValid { certificate, valid_from: fields.not_before })
    } else {
        None
    }
}

fn faults_of_names(
    chain: &[CertificateDer<'_>],
    own: &CertificateFields,
    names: &BTreeSet<String>,
) -> Vec<CertificateFault> {
    let Some((Ok(parsed), first)) = chain.first().map(|first| (ParsedCertificate::try_from(first), first))
    else {
        return Vec::new();
    };
    if usable_names(first, own).is_empty() {
        return vec![CertificateFault::Nameless];
    }
    let lacking = names.iter().filter(|name| !fits(&parsed, name));
    lacking.map(|name| CertificateFault::Lacks(name.clone())).collect()
}

/// What makes it unfit for a server, at any time. Each certificate of the chain is treated as an authority that a
/// client trusts, so that only faults of the server's own certificate, and of its signature, are found.
fn faults_of_use(
    chain: &[CertificateDer<'_>],
    own: &CertificateFields,
    now: SystemTime,
) -> Option<CertificateFault> {
    if own.is_authority {
        return Some(CertificateFault::Authority);
    }
    if !own.may_sign {
        return Some(CertificateFault::MayNotSign);
    }
    match verified(chain, time_of(own, now)) {
        Ok(()) => None,
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            (chain.len() > 1).then_some(CertificateFault::Unrelated)
        }
        Err(Error::InvalidCertificate(CertificateError::BadSignature)) => Some(CertificateFault::Forged),
        Err(Error::InvalidCertificate(why)) => Some(CertificateFault::Refused(why.to_string())),
        Err(why) => Some(CertificateFault::Refused(why.to_string())),
    }
}

/// A moment at which it is valid, so that nothing but its time is left out.
fn time_of(own: &CertificateFields, now: SystemTime) -> UnixTime {
    let valid_until = own.not_after.seconds().max(own.not_before.seconds());
    let seconds = seconds(now).clamp(own.not_before.seconds(), valid_until);
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn verified(chain: &[CertificateDer<'_>], at: UnixTime) -> Result<(), Error> {
    let Some(own) = chain.first() else { return Err(Error::NoCertificatesPresented) };
    let mut roots = RootCertStore::empty();
    for certificate in chain {
        roots.add(certificate.clone())?;
    }
    let algorithms = provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(own)?,
        &roots,
        &[],
        at,
        algorithms.all,
    )
}

/// Seconds since 1970; a clock before that counts as 1970.
fn seconds(now: SystemTime) -> i64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
