//! What was checked, and what was found.

use posthouse_text::causes;

/// A part of the data folder that is judged by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name, in a word or two.
    pub name: String,
    /// What was checked, for people.
    pub seen: String,
    /// The problems; empty if there are none.
    pub problems: Vec<Problem>,
    /// Why it was not checked, or not completely.
    pub skipped: Option<String>,
    /// Facts that are no damage but worth knowing.
    pub notices: Vec<String>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The problem, and its file where that is known.
    pub what: String,
    /// What to do about it.
    pub next: String,
}

/// All parts, in the order in which they were checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// The parts.
    pub parts: Vec<Part>,
}

impl StoreReport {
    /// Problems of all parts.
    #[must_use]
    pub fn problems(&self) -> usize {
        self.parts.iter().map(|part| part.problems.len()).sum()
    }

    /// Whether every part was checked completely.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.skipped.is_none())
    }
}

impl Part {
    pub(super) fn sound(name: impl Into<String>, seen: String) -> Self {
        Self { name: name.into(), seen, problems: Vec::new(), skipped: None, notices: Vec::new() }
    }

    pub(super) fn skipped(name: impl Into<String>, why: &str) -> Self {
        Self { skipped: Some(why.to_owned()), ..Self::sound(name, String::new()) }
    }

    pub(super) fn broken(name: impl Into<String>, problem: Problem) -> Self {
        Self { problems: vec![problem], ..Self::sound(name, String::new()) }
    }
}

impl Problem {
    /// A problem whose own words say what to do, after a semicolon.
    pub(super) fn advised(error: &dyn std::error::Error) -> Self {
        let said = causes(error).to_string();
        match said.split_once("; ") {
            Some((what, next)) => Self { what: what.to_owned(), next: next.to_owned() },
            // The system refused something; nothing says that what is there is not whole.
            None => {
                Self { what: said, next: "check the folder's rights and the disk, and look again".into() }
            }
        }
    }

    /// Damage that only a backup repairs.
    pub(super) fn damage(what: String) -> Self {
        Self {
            what,
            next:
                "keep a copy of the data folder, check the disk, and restore the whole folder from a backup"
                    .into(),
        }
    }

    /// A state that must not be, whatever the disk did.
    pub(super) fn fault(what: String) -> Self {
        Self {
            what,
            next: "keep a copy of the data folder and report this; restore a backup if the server halts the shard"
                .into(),
        }
    }
}
