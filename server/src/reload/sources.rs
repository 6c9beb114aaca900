//! The files, what was last read from each, and what is done with something new.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{Kind, certificate::Certificate};
use crate::{
    config::{Authority, Config, Files, files},
    door::Trust,
    identity::{KeyRemark, TokenVerifier, sha256},
};

/// Something that reading the files has shown.
#[derive(Debug)]
pub(super) enum News {
    /// A file was accepted.
    Accepted(Kind, PathBuf),
    /// An accepted file has a property that an operator should know of.
    Remark { kind: Kind, file: PathBuf, text: String, is_suspicious: bool },
    /// Why a file was not accepted.
    Refused(Kind, String),
    /// Why clients refuse the certificate that is shown.
    Unfit(String),
}

/// How often a file that cannot be used is read again at once, in case it was read in the midst of a change.
const TRIES: usize = 3;

/// Everything that is read again, and where it goes.
#[derive(Debug)]
pub(super) struct Sources {
    files: Files,
    certificate: Certificate,
    authorities: Vec<Authority>,
    /// The issuer of each key set.
    issuers: Vec<String>,
    trust: Trust,
    tokens: Arc<TokenVerifier>,
    authorities_read: Vec<Reading>,
    key_sets_read: Vec<Reading>,
}

/// A digest of what a file held when it was last judged, or of why it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading(Option<[u8; 32]>);

impl Sources {
    pub(super) fn new(config: &Config, trust: Trust, tokens: Arc<TokenVerifier>) -> Self {
        let Config { tls, authorities, issuers, files, .. } = config;
        Self {
            files: files.clone(),
            certificate: Certificate::new(files, tls, SystemTime::now()),
            authorities: authorities.clone(),
            issuers: issuers.iter().map(|issuer| issuer.issuer.clone()).collect(),
            trust,
            tokens,
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
        self.certificate.not_after()
    }

    /// When a certificate begins to be valid that has been installed before its time.
    pub(super) fn next_read(&self) -> Option<SystemTime> {
        self.certificate.good_from()
    }

    /// Reports again, at the next reading, what cannot be used.
    pub(super) fn forget_reports(&mut self) {
        self.certificate.forget_reports();
        self.authorities_read.fill(Reading::default());
        self.key_sets_read.fill(Reading::default());
    }

    /// Reads every file, and accepts what is new and can be used.
    pub(super) fn read_all(&mut self) -> Vec<News> {
        let mut news = self.certificate.read_all(&self.trust, SystemTime::now());
        news.extend(self.read_authorities());
        for nth in 0..self.files.key_sets.len() {
            news.extend(self.read_key_set(nth));
        }
        news
    }

    fn read_authorities(&mut self) -> Vec<News> {
        let count = self.files.authorities.len();
        let first: Vec<_> = (0..count).filter_map(|nth| self.read_authority(nth)).collect();
        let (accepted, refused): (Vec<_>, Vec<_>) =
            first.into_iter().partition(|news| matches!(news, News::Accepted(..)));
        if accepted.is_empty() || refused.is_empty() {
            return accepted.into_iter().chain(refused).collect();
        }
        // A file that was refused for another one's sake may be usable since.
        self.authorities_read.fill(Reading::default());
        accepted.into_iter().chain((0..count).filter_map(|nth| self.read_authority(nth))).collect()
    }

    fn read_authority(&mut self, nth: usize) -> Option<News> {
        let (path, reading) = (self.files.authorities.get(nth)?, self.authorities_read.get_mut(nth)?);
        let (trust, tls, authorities) = (&self.trust, self.certificate.shown(), &mut self.authorities);
        let accepted = reading.judge(&[path], |content| {
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
            let as_news = |why| format!("{}: {why}", path.display());
            trust.replace_authorities(tls, &changed).map_err(as_news)?;
            *authorities = changed;
            Ok(true)
        });
        as_news(Kind::Authority, accepted, path)
    }

    fn read_key_set(&mut self, nth: usize) -> Vec<News> {
        let (Some(path), Some(issuer)) = (self.files.key_sets.get(nth), self.issuers.get(nth)) else {
            return Vec::new();
        };
        let Some(reading) = self.key_sets_read.get_mut(nth) else { return Vec::new() };
        let (tokens, mut remarks) = (&self.tokens, Vec::new());
        let accepted = reading.judge(&[path], |content| {
            let keys = files::key_set(path, &content.concat()).map_err(|errors| errors.join("; "))?;
            remarks = keys.remarks().to_vec();
            Ok(tokens.replace_keys(issuer, keys))
        });
        let mut news: Vec<_> = as_news(Kind::KeySet, accepted, path).into_iter().collect();
        if matches!(news[..], [News::Accepted(..)]) {
            news.extend(remarks.into_iter().map(|KeyRemark { text, is_suspicious }| News::Remark {
                kind: Kind::KeySet,
                file: path.clone(),
                text,
                is_suspicious,
            }));
        }
        news
    }
}

impl Reading {
    /// Reads the files, and has new content judged. True if it was accepted. Content that cannot be used is reported
    /// once, until it changes.
    pub(super) fn judge(
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
pub(super) fn as_news(kind: Kind, accepted: Result<bool, String>, path: &Path) -> Option<News> {
    match accepted {
        Ok(false) => None,
        Ok(true) => Some(News::Accepted(kind, path.to_owned())),
        Err(why) => Some(News::Refused(kind, why)),
    }
}
