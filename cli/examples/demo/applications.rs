//! The applications: those of the file, and one that no clerk can work off.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use serde::Deserialize;

use crate::Failed;

const IDENTITY_NUMBER_BYTES: usize = 18;

/// What the demo needs to know of an application.
#[derive(Deserialize)]
struct Routing {
    application: String,
    tenant: String,
    department: String,
    /// Of 18 characters, after GB 11643.
    #[serde(default)]
    identity_number: String,
}

/// One citizen's application: its line of the file, as published.
#[derive(Clone)]
pub struct Application {
    /// Its number.
    pub number: String,
    /// The line.
    pub line: Bytes,
}

/// The tenant and the department that work it off.
pub type Destination = (String, String);

/// The file's applications by the department that works them off.
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

/// An application that lacks what it needs most: whoever gets it fails. A careless form sends such things.
pub fn without_identity((tenant, department): &Destination) -> Application {
    let number = format!("{department} without an identity number");
    let line = serde_json::json!({ "application": number, "tenant": tenant, "department": department });
    Application { number, line: line.to_string().into() }
}

/// What a clerk finds in a delivered application.
pub struct Form {
    /// Its number.
    pub number: String,
    /// Whether it can be worked off.
    pub complete: bool,
}

/// Opens a delivered application.
pub fn open(payload: &[u8]) -> Result<Form, Failed> {
    let Routing { application, identity_number, .. } = serde_json::from_slice(payload)?;
    Ok(Form { number: application, complete: identity_number.len() == IDENTITY_NUMBER_BYTES })
}
