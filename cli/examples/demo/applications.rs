//! The applications of the file, and one that no clerk can process.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use serde::Deserialize;

use crate::Failed;

const IDENTITY_NUMBER_BYTES: usize = 18;

/// The fields of an application that the demo reads.
#[derive(Deserialize)]
struct Routing {
    application: String,
    tenant: String,
    department: String,
    /// Identity number of 18 characters, after GB 11643.
    #[serde(default)]
    identity_number: String,
}

/// A citizen's application: one line of the file, as it is published.
#[derive(Clone)]
pub struct Application {
    /// Number of the application.
    pub number: String,
    /// The line of the file.
    pub line: Bytes,
}

/// The tenant and the department that process an application.
pub type Destination = (String, String);

/// Reads the applications of a file, grouped by the department that processes them.
pub fn read(path: &Path) -> Result<BTreeMap<Destination, Vec<Application>>, Failed> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = Bytes::from(text);
    let mut offices = BTreeMap::<_, Vec<_>>::new();
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let routing: Routing = serde_json::from_slice(line)?;
        let application = Application { number: routing.application, line: text.slice_ref(line) };
        offices.entry((routing.tenant, routing.department)).or_default().push(application);
    }
    Ok(offices)
}

/// An application without an identity number, as a careless form may send it: no clerk can process it.
pub fn without_identity((tenant, department): &Destination) -> Application {
    let number = format!("{department} without an identity number");
    let line = serde_json::json!({ "application": number, "tenant": tenant, "department": department });
    Application { number, line: line.to_string().into() }
}

/// What a clerk reads in a delivered application.
pub struct Form {
    /// Number of the application.
    pub number: String,
    /// Whether it has what a clerk needs.
    pub complete: bool,
}

/// Parses a delivered application.
pub fn open(payload: &[u8]) -> Result<Form, Failed> {
    let Routing { application, identity_number, .. } = serde_json::from_slice(payload)?;
    Ok(Form { number: application, complete: identity_number.len() == IDENTITY_NUMBER_BYTES })
}
