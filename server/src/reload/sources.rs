//! The files, what was last read from each, and what is done with something new.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::Kind;
use crate::{
    config::{Authority, Config, Files, TlsConfig, files},
    door::{self, Trust},
    identity::{TokenVerifier, not_after, sha256},
};

/// Which file was taken, or why one was not.
pub(super) type Judged = (Kind, Result<PathBuf, String>);

/// How often a file that cannot be used is read again at once, in case it was read in the midst of a change.
const TRIES: usize = 3;

/// Everything that is read again, and where it goes.
#[derive(Debug)]
pub(super) struct Sources {
    files: Files,
    tls: TlsConfig,
    authorities: Vec<Authority>,
    /// The issuer of each key set.
    issuers: Vec<String>,
    trust: Trust,
    tokens: Arc<TokenVerifier>,
    certificate_read: Reading,
    authorities_read: Vec<Reading>,
    key_sets_read: Vec<Reading>,
}

/// A digest of what a file held when it was last judged, or of why it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading(Option<[u8; 32]>);

impl Sources {
    pub(super) fn new(config: &Config, trust: Trust, tokens: Arc<TokenVerifier>) -> Self {
        let Config { tls, authorities, issuers, files, .. } = config;
        Self {
            files: files.clone(),
            tls: copy(tls),
            authorities: authorities.clone(),
            issuers: issuers.iter().map(|issuer| issuer.issuer.clone()).collect(),
            trust,
            tokens,
            certificate_read: Reading::default(),
            authorities_read: vec![Reading::default(); authorities.len()],
            key_sets_read: vec![Reading::default(); issuers.len()],
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let Files { certificate, key, authorities, key_sets } = &self.files;
        [certificate, key].into_iter().chain(authorities).chain(key_sets).cloned()
    }

    /// When the certificate ends that is shown now.
    pub(super) fn certificate_not_after(&self) -> Option<SystemTime> {
        self.tls.chain.first().and_then(|leaf| not_after(leaf))
    }

    /// Reads every file, and takes what is new and can be used.
    pub(super) fn look(&mut self) -> Vec<Judged> {
        let mut judged = Vec::new();
        judged.extend(self.look_at_certificate());
        judged.extend(self.look_at_authorities());
        for nth in 0..self.files.key_sets.len() {
            judged.extend(self.look_at_key_set(nth));
        }
        judged
    }

    fn look_at_certificate(&mut self) -> Option<Judged> {
        let (certificate, key) = (self.files.certificate.clone(), self.files.key.clone());
        let (trust, current) = (&self.trust, &mut self.tls);
        let taken = self.certificate_read.judge(&[&certificate, &key], |content| {
            let [chain_pem, key_pem] = content else { return Ok(false) };
            let chain = files::certificates(&certificate, chain_pem)?;
            let tls = TlsConfig { chain, key: files::private_key(&key, key_pem)? };
            if same(&tls, current) {
                return Ok(false);
            }
            let told = |why| format!("{} and {}: {why}", certificate.display(), key.display());
            door::check_certificate(&tls.chain, &tls.key).map_err(told)?;
            trust.replace_certificate(&tls).map_err(told)?;
            *current = tls;
            Ok(true)
        });
        told(Kind::Certificate, taken, &self.files.certificate)
    }

    fn look_at_authorities(&mut self) -> Vec<Judged> {
        let count = self.files.authorities.len();
        let first: Vec<_> = (0..count).filter_map(|nth| self.look_at_authority(nth)).collect();
        let (taken, refused): (Vec<_>, Vec<_>) = first.into_iter().partition(|(_, result)| result.is_ok());
        if taken.is_empty() || refused.is_empty() {
            return taken.into_iter().chain(refused).collect();
        }
        // What one file could not have may have left another since.
        self.authorities_read.fill(Reading::default());
        taken.into_iter().chain((0..count).filter_map(|nth| self.look_at_authority(nth))).collect()
    }

    fn look_at_authority(&mut self, nth: usize) -> Option<Judged> {
        let (path, reading) = (self.files.authorities.get(nth)?, self.authorities_read.get_mut(nth)?);
        let (trust, tls, authorities) = (&self.trust, &self.tls, &mut self.authorities);
        let taken = reading.judge(&[path], |content| {
            let roots = files::roots(path, &content.concat())?;
            let mut changed = authorities.clone();
            let Some(authority) = changed.get_mut(nth) else { return Ok(false) };
            if authority.roots == roots {
                return Ok(false);
            }
            authority.roots = roots;
            let mut known = BTreeSet::new();
            // As when the configuration is read: one certificate, one list of tenants.
            if !changed.iter().flat_map(|authority| &authority.roots).all(|root| known.insert(root.as_ref()))
            {
                return Err(format!("{} has a certificate that is listed already", path.display()));
            }
            let told = |why| format!("{}: {why}", path.display());
            trust.replace_authorities(tls, &changed).map_err(told)?;
            *authorities = changed;
            Ok(true)
        });
        told(Kind::Authority, taken, path)
    }

    fn look_at_key_set(&mut self, nth: usize) -> Option<Judged> {
        let (path, issuer) = (self.files.key_sets.get(nth)?, self.issuers.get(nth)?);
        let (reading, tokens) = (self.key_sets_read.get_mut(nth)?, &self.tokens);
        let taken = reading.judge(&[path], |content| {
            let keys = files::key_set(path, &content.concat()).map_err(|errors| errors.join("; "))?;
            Ok(tokens.replace_keys(issuer, keys))
        });
        told(Kind::KeySet, taken, path)
    }
}

impl Reading {
    /// Reads the files; if that gives something else than the last time, has it judged. True if it was taken. What
    /// cannot be used is told once, until it changes.
    fn judge(
        &mut self,
        paths: &[&Path],
        mut judge: impl FnMut(&[Vec<u8>]) -> Result<bool, String>,
    ) -> Result<bool, String> {
        let mut result = Ok(false);
        for _ in 0..TRIES {
            let content: Result<Vec<_>, String> = paths.iter().map(|path| files::read(path)).collect();
            let digest = match &content {
                Ok(content) => sha256(&content.iter().map(Vec::as_slice).collect::<Vec<_>>()),
                Err(why) => sha256(&[why.as_bytes()]),
            };
            if self.0.replace(digest) == Some(digest) {
                break;
            }
            result = content.and_then(|content| judge(&content));
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// Nothing, if nothing was new.
fn told(kind: Kind, taken: Result<bool, String>, path: &Path) -> Option<Judged> {
    match taken {
        Ok(false) => None,
        Ok(true) => Some((kind, Ok(path.to_owned()))),
        Err(why) => Some((kind, Err(why))),
    }
}

fn copy(tls: &TlsConfig) -> TlsConfig {
    TlsConfig { chain: tls.chain.clone(), key: tls.key.clone_key() }
}

fn same(one: &TlsConfig, other: &TlsConfig) -> bool {
    one.chain == other.chain && one.key.secret_der() == other.key.secret_der()
}
