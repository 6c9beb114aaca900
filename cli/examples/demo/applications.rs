//! The applications, from the file.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;

use crate::Failed;

/// What the demo needs to know of an application.
#[derive(Deserialize)]
struct Routing {
    application: String,
    tenant: String,
    department: String,
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

/// The number of a delivered application.
pub fn number(payload: &[u8]) -> Result<String, Failed> {
    Ok(serde_json::from_slice::<Routing>(payload)?.application)
}
