//! `posthouse dev`: prepares the folder, announces it, and serves.

use std::{net::SocketAddr, path::Path};

use posthouse_server::ServeOptions;
use posthouse_text::causes;

use super::{DevError, landscape::Landscape, renew::renew_tokens, tenants::SAMPLE_TENANTS};
use crate::{
    exit::Exit,
    failure::Failure,
    serve::{OnHangup, serve},
    stderr, stdout,
};

/// Runs the command.
pub async fn dev(folder: &Path, listen: SocketAddr) -> Result<(), Failure> {
    let landscape = Landscape::prepare(folder, listen, SAMPLE_TENANTS).map_err(|error| failure(&error))?;
    if let Some(warning) = landscape.warning() {
        stderr::warn(warning);
    }
    // The server does not wait for a reader of the announcement.
    stdout::mention(announcement(&landscape, listen));
    let config = landscape.config_path();
    tokio::select! {
        served = serve(&config, ServeOptions::default(), OnHangup::End) => served,
        never = renew_tokens(&landscape) => match never {},
    }
}

fn announcement(landscape: &Landscape, listen: SocketAddr) -> String {
    let contexts: Vec<_> = landscape.context_paths().iter().map(|path| path.display().to_string()).collect();
    format!("posthouse dev: {listen}; contexts: {}", contexts.join(" "))
}

fn failure(error: &DevError) -> Failure {
    let (exit, next) = match error {
        DevError::NotLoopback(_) => (Exit::Usage, "use 127.0.0.1 or [::1], or `posthouse serve`"),
        DevError::NoPort => (Exit::Usage, "name a free port"),
        DevError::ForeignFolder(_) => (Exit::Usage, "name an empty folder, or one that does not exist yet"),
        DevError::Writable(_) => (Exit::NoPermission, "remove it: the next start makes a new one"),
        DevError::ForeignOwner { .. } | DevError::Link(_) | DevError::OpenToAll(_) => {
            (Exit::NoPermission, "name a folder of your own, for example ~/.local/state/posthouse")
        }
        DevError::Locked(_) => (Exit::TempFail, "stop it, or use another folder and port"),
        DevError::Io { .. } => (Exit::Io, "check the path, its permissions and the disk"),
        DevError::Authority(_) | DevError::Token(_) | DevError::Toml(_) => {
            (Exit::Config, "the folder is damaged: delete it, or use another one")
        }
    };
    Failure::new(exit, causes(error), next)
}
