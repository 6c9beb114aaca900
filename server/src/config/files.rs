//! The files that a configuration names: read, and made into what they hold. Each is parsed from bytes that were read
//! once, so that what is compared, judged and used is the same.

use std::path::Path;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::{
    certificates,
    identity::{KeySet, is_authority},
    limits::MAX_CONFIG_FILE_BYTES,
};

/// Reads a regular file of bounded size.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    posthouse_text::read_regular(path, MAX_CONFIG_FILE_BYTES)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = posthouse_text::pem(pem).map_err(|error| format!("{}: {error}", path.display()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{} has no certificate in PEM", path.display())),
        Err(error) => {
            Err(format!("{} is not valid PEM: {}", path.display(), posthouse_text::pem_fault(&error)))
        }
    }
}

/// The certificates of a PEM file, each an authority's.
pub(crate) fn roots(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let roots = certificates(path, pem)?;
    if !roots.iter().all(|root| is_authority(root)) {
        return Err(format!("{} has a certificate that is not an authority's", path.display()));
    }
    certificates::check_roots(&roots).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(roots)
}

/// The private key of a PEM file. Errors say nothing of its content.
pub(crate) fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let pem = posthouse_text::pem(pem).map_err(|error| format!("{}: {error}", path.display()))?;
    let described = |error| {
        let fault = posthouse_text::key_fault(&error, &pem);
        format!("{} has no private key in PEM that can be used: {fault}", path.display())
    };
    PrivateKeyDer::from_pem_slice(&pem).map_err(described)
}

/// The key set of a JWKS file.
pub(crate) fn key_set(path: &Path, json: &[u8]) -> Result<KeySet, Vec<String>> {
    let described = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let json = posthouse_text::without_mark(json).map_err(|error| vec![described(&error)])?;
    KeySet::parse(json).map_err(|errors| errors.iter().map(|error| described(error)).collect())
}
