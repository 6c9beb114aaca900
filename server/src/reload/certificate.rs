//! The server's certificate and key. One that clients accept is never replaced by one that they refuse; and since the
//! clock has a say in that, what was refused is judged again and again, although its files do not change any more.

use std::{path::PathBuf, time::SystemTime};

use posthouse_text::exposed;

use crate::{
    certificates::{self, Judgement},
    config::{Files, TlsConfig, files},
    door::Trust,
    identity::not_after,
    reload::{
        Kind,
        sources::{News, Reading, as_news},
    },
};

/// The certificate that is shown, and what became of another one.
#[derive(Debug)]
pub(super) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    shown: TlsConfig,
    /// What was last reported of the certificate that is shown.
    reported_of_shown: String,
    reported_of_other: Option<String>,
    read: Reading,
    good_from: Option<SystemTime>,
}

impl Certificate {
    /// For a pair that a configuration was read with. Its problems have been reported.
    pub(super) fn new(files: &Files, tls: &TlsConfig, now: SystemTime) -> Self {
        Self {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            reported_of_shown: Judgement::of(&tls.chain, &tls.names, now).to_string(),
            shown: TlsConfig { chain: tls.chain.clone(), key: tls.key.clone_key(), names: tls.names.clone() },
            reported_of_other: None,
            read: Reading::default(),
            good_from: None,
        }
    }

    pub(super) fn shown(&self) -> &TlsConfig {
        &self.shown
    }

    pub(super) fn not_after(&self) -> Option<SystemTime> {
        self.shown.chain.first().and_then(|leaf| not_after(leaf))
    }

    /// When the refused certificate becomes usable, if it only has to wait.
    pub(super) fn good_from(&self) -> Option<SystemTime> {
        self.good_from
    }

    pub(super) fn forget_reports(&mut self) {
        (self.reported_of_shown, self.reported_of_other, self.read) =
            (String::new(), None, Reading::default());
    }

    /// Reads both files, and shows what is new if it is better.
    pub(super) fn read_all(&mut self, trust: &Trust, now: SystemTime) -> Vec<News> {
        let mut news = self.read_files(trust, now);
        let unfit = Judgement::of(&self.shown.chain, &self.shown.names, now).to_string();
        if !unfit.is_empty() && unfit != self.reported_of_shown {
            news.push(News::Unfit(unfit.clone()));
        }
        self.reported_of_shown = unfit;
        news
    }

    fn read_files(&mut self, trust: &Trust, now: SystemTime) -> Vec<News> {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        let (mut dropped, mut waiting) = (Vec::new(), None);
        let mut reading = self.read;
        let accepted = reading.judge(&[&certificate, &key], |content| {
            let [chain_pem, key_pem] = content else { return Ok(false) };
            waiting = None;
            let chain = files::certificates(&certificate, chain_pem)?;
            let key_der = files::private_key(&key, key_pem)?;
            let tls = TlsConfig { chain, key: key_der, names: self.shown.names.clone() };
            if same(&tls, &self.shown) {
                return Ok(false);
            }
            let as_news = |why: String| format!("{} and {}: {why}", certificate.display(), key.display());
            certificates::check_certificate(&tls.chain, &tls.key).map_err(|why| as_news(why.to_string()))?;
            let judgement = Judgement::of(&tls.chain, &tls.names, now);
            if !judgement.improves_on(&Judgement::of(&self.shown.chain, &tls.names, now)) {
                waiting = Some(judgement.good_from());
                return Err(as_news(format!("clients would refuse it: {judgement}")));
            }
            trust.replace_certificate(&tls).map_err(|why| as_news(why.to_string()))?;
            dropped = dropped_names(&self.shown, &tls);
            self.shown = tls;
            Ok(true)
        });
        // A certificate that only the clock speaks against is judged again at the next reading.
        self.read = if waiting.is_some() { Reading::default() } else { reading };
        self.good_from = waiting.flatten();
        let remarks = match accepted {
            Ok(true) => exposed(&self.key).into_iter().chain(dropped).collect(),
            _ => dropped,
        };
        let mut news: Vec<_> = self.unreported(accepted).into_iter().collect();
        news.extend(remarks.into_iter().map(|text| News::Remark {
            kind: Kind::Certificate,
            file: self.certificate.clone(),
            text,
            is_suspicious: true,
        }));
        news
    }

    /// The news, unless the reason was reported before and has not changed.
    fn unreported(&mut self, accepted: Result<bool, String>) -> Option<News> {
        let reported_before = self.reported_of_other.take();
        if let Err(why) = &accepted {
            self.reported_of_other = Some(why.clone());
            if self.reported_of_other == reported_before {
                return None;
            }
        }
        as_news(Kind::Certificate, accepted, &self.certificate)
    }
}

fn dropped_names(old: &TlsConfig, new: &TlsConfig) -> Vec<String> {
    let (Some(old), Some(new)) = (old.chain.first(), new.chain.first()) else { return Vec::new() };
    let names = certificates::names_dropped(old, new).into_iter();
    names
        .map(|name| {
            format!("it no longer fits {name}: clients that ask for that name refuse it; list in tls.names what it \
                     must fit")
        })
        .collect()
}

fn same(one: &TlsConfig, other: &TlsConfig) -> bool {
    one.chain == other.chain && one.key.secret_der() == other.key.secret_der()
}
