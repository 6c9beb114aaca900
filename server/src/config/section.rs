//! Reading TOML tables so that every problem is reported with its line, and no key is ignored.

use std::{
    cell::RefCell,
    ops::{Range, RangeInclusive},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{ConfigError, ConfigNotice, Severity};

/// The problems that were found so far.
pub(super) struct Problems<'a> {
    source: &'a str,
    found: RefCell<Vec<ConfigError>>,
    notices: RefCell<Vec<ConfigNotice>>,
}

/// A value with its position in the file.
pub(super) struct Located<'a, T> {
    pub(super) value: T,
    key: String,
    line: usize,
    problems: &'a Problems<'a>,
}

/// A table whose keys are read one by one; those left over are errors.
pub(super) struct Section<'a> {
    name: String,
    line: Option<usize>,
    table: &'a DeTable<'a>,
    read: RefCell<Vec<&'static str>>,
    problems: &'a Problems<'a>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, found: RefCell::default(), notices: RefCell::default() }
    }

    pub(super) fn add(&self, line: Option<usize>, key: impl Into<String>, problem: impl Into<String>) {
        self.found.borrow_mut().push(ConfigError { line, key: key.into(), problem: problem.into() });
    }

    /// Everything found, in the order of the lines.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        self.into_found().0
    }

    /// Everything found, and what is noted besides, in the order of the lines.
    pub(super) fn into_found(self) -> (Vec<ConfigError>, Vec<ConfigNotice>) {
        let (mut found, mut notices) = (self.found.into_inner(), self.notices.into_inner());
        found.sort_by_key(|error| error.line.unwrap_or(0));
        notices.sort_by_key(|notice| notice.what.line.unwrap_or(0));
        (found, notices)
    }

    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.source.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

impl<'a, T> Located<'a, T> {
    /// Reports a problem with this value.
    pub(super) fn problem(&self, problem: impl Into<String>) {
        self.problems.add(Some(self.line), &*self.key, problem);
    }

    /// Notes something about this value with which a server can be run.
    pub(super) fn notice(&self, severity: Severity, problem: impl Into<String>) {
        let what = ConfigError { line: Some(self.line), key: self.key.clone(), problem: problem.into() };
        self.problems.notices.borrow_mut().push(ConfigNotice { what, severity });
    }

    /// Turns the value into another, or reports why it cannot be.
    pub(super) fn parse<U, E: ToString>(&self, parse: impl FnOnce(&T) -> Result<U, E>) -> Option<U> {
        parse(&self.value).map_err(|error| self.problem(error.to_string())).ok()
    }

    fn with<U>(self, value: U) -> Located<'a, U> {
        Located { value, key: self.key, line: self.line, problems: self.problems }
    }
}

impl<'a> Section<'a> {
    /// The whole document.
    pub(super) fn document(table: &'a DeTable<'a>, problems: &'a Problems<'a>) -> Self {
        Self { name: String::new(), line: None, table, read: RefCell::default(), problems }
    }

    /// A required `[key]`.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.required(key)?;
        match value.value {
            DeValue::Table(table) => Some(self.inner(value.key, value.line, table)),
            _ => {
                value.problem(format!("must be a section [{key}]"));
                None
            }
        }
    }

    /// A `[key]` that may be absent.
    pub(super) fn optional_section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.optional(key)?;
        match value.value {
            DeValue::Table(table) => Some(self.inner(value.key, value.line, table)),
            _ => {
                value.problem(format!("must be a section [{key}]"));
                None
            }
        }
    }

    /// One or more `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(list) = self.required(key) else {
            return Vec::new();
        };
        let DeValue::Array(values) = list.value else {
            list.problem(format!("must be sections [[{key}]]"));
            return Vec::new();
        };
        if values.is_empty() {
            list.problem("must not be empty");
        }
        let mut sections = Vec::new();
        for (value, number) in values.iter().zip(1..) {
            let line = self.problems.line(&value.span());
            let name = format!("{key}[{number}]");
            match value.get_ref() {
                DeValue::Table(table) => sections.push(self.inner(name, line, table)),
                _ => self.problems.add(Some(line), name, format!("must be a section [[{key}]]")),
            }
        }
        sections
    }

    /// A required string, which may not be empty.
    pub(super) fn text(&self, key: &'static str) -> Option<Located<'a, &'a str>> {
        Self::as_text(self.required(key)?)
    }

    /// A string that may be absent.
    pub(super) fn optional_text(&self, key: &'static str) -> Option<Located<'a, &'a str>> {
        Self::as_text(self.optional(key)?)
    }

    /// `true` or `false`, or absent.
    pub(super) fn optional_flag(&self, key: &'static str) -> Option<bool> {
        let value = self.optional(key)?;
        let flag = value.value.as_bool();
        if flag.is_none() {
            value.problem("must be true or false");
        }
        flag
    }

    /// A number from 0 to 1 that may be absent.
    pub(super) fn optional_ratio(&self, key: &'static str) -> Option<f64> {
        let value = self.optional(key)?;
        let number = match value.value {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse::<f64>().ok(),
            _ => None,
        };
        let ratio = number.filter(|ratio| (0.0..=1.0).contains(ratio));
        if ratio.is_none() {
            value.problem("must be a number from 0.0 to 1.0");
        }
        ratio
    }

    /// An integer that may be absent.
    pub(super) fn optional_integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        #[cfg(test)]
        asked::record(&self.path(key), Some((*range.start(), *range.end())));
        let value = self.optional(key)?;
        let number = value.value.as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            value.problem(format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// As [`Self::optional_integer`], for a number of things in memory.
    pub(super) fn optional_size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<usize> {
        self.optional_integer(key, range).and_then(|number| usize::try_from(number).ok())
    }

    /// A required list of strings, which may not be empty.
    pub(super) fn texts(&self, key: &'static str) -> Vec<Located<'a, &'a str>> {
        self.as_texts(key, self.required(key))
    }

    /// A list of strings that may be absent, but not empty.
    pub(super) fn optional_texts(&self, key: &'static str) -> Vec<Located<'a, &'a str>> {
        self.as_texts(key, self.optional(key))
    }

    fn as_texts(
        &self,
        key: &'static str,
        list: Option<Located<'a, &'a DeValue<'a>>>,
    ) -> Vec<Located<'a, &'a str>> {
        let Some(list) = list else {
            return Vec::new();
        };
        let DeValue::Array(values) = list.value else {
            list.problem("must be a list of strings");
            return Vec::new();
        };
        if values.is_empty() {
            list.problem("must not be empty");
        }
        let texts = values.iter().filter_map(|value| Self::as_text(self.locate(key, value)));
        texts.collect()
    }

    /// Reports every key that nothing has read.
    pub(super) fn report_unknown(&self) {
        for key in self.table.keys() {
            if !self.read.borrow().contains(&key.get_ref().as_ref()) {
                let line = self.problems.line(&key.span());
                let name: String = key.get_ref().escape_debug().take(64).collect();
                self.problems.add(Some(line), self.path(&name), "unknown key; remove it or correct its name");
            }
        }
    }

    fn inner(&self, name: String, line: usize, table: &'a DeTable<'a>) -> Section<'a> {
        Section { name, line: Some(line), table, read: RefCell::default(), problems: self.problems }
    }

    fn optional(&self, key: &'static str) -> Option<Located<'a, &'a DeValue<'a>>> {
        self.read.borrow_mut().push(key);
        #[cfg(test)]
        asked::record(&self.path(key), None);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(self.locate(key, value))
    }

    fn required(&self, key: &'static str) -> Option<Located<'a, &'a DeValue<'a>>> {
        let value = self.optional(key);
        if value.is_none() {
            self.problems.add(self.line, self.path(key), "is missing");
        }
        value
    }

    fn locate(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Located<'a, &'a DeValue<'a>> {
        let line = self.problems.line(&value.span());
        Located { value: value.get_ref(), key: self.path(key), line, problems: self.problems }
    }

    fn as_text(value: Located<'a, &'a DeValue<'a>>) -> Option<Located<'a, &'a str>> {
        match value.value.as_str() {
            Some(text) if !text.is_empty() => Some(value.with(text)),
            _ => {
                value.problem("must be a string that is not empty");
                None
            }
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// The keys that were read on this thread, so that a test can compare them with the page that documents them.
#[cfg(test)]
pub(super) mod asked {
    use std::{cell::RefCell, collections::BTreeMap};

    type Keys = BTreeMap<String, Option<(u64, u64)>>;

    thread_local! {
        static KEYS: RefCell<Keys> = RefCell::default();
    }

    /// Remembers a key, without the numbers of its sections, and its range if it has one.
    pub(super) fn record(path: &str, range: Option<(u64, u64)>) {
        let key: String = path.split('[').map(|part| part.rsplit(']').next().unwrap_or_default()).collect();
        KEYS.with_borrow_mut(|keys| {
            let known = keys.entry(key).or_default();
            *known = range.or(*known);
        });
    }

    pub(in crate::config) fn forget() {
        KEYS.take();
    }

    pub(in crate::config) fn keys() -> Keys {
        KEYS.with_borrow(Clone::clone)
    }
}
