//! The address of the server, and the credentials of the caller.

mod builder;
mod endpoint;

use std::{env, path::Path, sync::Arc, time::Duration};

use posthouse_text::exposed;

pub use builder::ContextBuilder;
pub(crate) use endpoint::split_endpoint;

use crate::{
    credentials::{MAX_FILE_BYTES, TlsSource, Token, TokenSource},
    error::{ContextError, Error, ErrorKind},
};

const VARIABLE: &str = "POSTHOUSE_CONTEXT";

/// The address of the server and the sources of the caller's credentials. Certificate, key and token are in files, or
/// come from functions of the program. They are read when they are needed, and again for every connection, so that
/// renewed ones are used without a restart.
///
/// As a context file:
///
/// ```toml
/// endpoint = "127.0.0.1:7443"
/// server_name = "localhost"             # what the server's certificate must name
/// authority = "ca.pem"                  # who may have signed it
/// certificate = "household-registry.pem"
/// key = "household-registry.key"
/// token_file = "household-registry.token"
/// tenant = "civil-affairs"              # completes DEPARTMENT/QUEUE
/// ```
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    endpoint: String,
    server_name: String,
    tenant: Option<String>,
    tls: TlsSource,
    token: TokenSource,
    connect_timeout: Duration,
}

impl Context {
    /// Reads a context file. Paths in it are relative to its folder. Fails if it cannot be read, is not valid, or lacks
    /// a value.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ContextError> {
        let path = path.as_ref();
        let syntax = |message| ContextError::Syntax { path: path.to_owned(), message };
        let bytes = posthouse_text::read(path, MAX_FILE_BYTES)
            .map_err(|error| ContextError::unreadable(path, error))?;
        let text = posthouse_text::text(&bytes).map_err(|error| syntax(error.to_string()))?;
        let builder: ContextBuilder =
            toml::from_str(text).map_err(|error| syntax(syntax_message(&error, text)))?;
        builder.relative_to(path.parent().unwrap_or_else(|| Path::new(""))).build()
    }

    /// Reads the context file that the environment variable `POSTHOUSE_CONTEXT` names. Fails if the variable is not
    /// set, and as [`Context::load`] does.
    pub fn from_env() -> Result<Self, ContextError> {
        Self::load(env::var_os(VARIABLE).ok_or(ContextError::NoVariable)?)
    }

    /// Returns a builder, for a context without a file.
    pub fn builder() -> ContextBuilder {
        ContextBuilder::default()
    }

    /// The address of the server: `HOST:PORT`.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// The name that the server's certificate must have.
    pub fn server_name(&self) -> &str {
        &self.0.server_name
    }

    /// The tenant that completes names of the form `DEPARTMENT/QUEUE`.
    pub fn tenant(&self) -> Option<&str> {
        self.0.tenant.as_deref()
    }

    /// Problems that do not prevent the use of the context: files with secrets that other users can read. They are also
    /// logged when the context is built.
    pub fn warnings(&self) -> Vec<String> {
        let key = match &self.0.tls {
            TlsSource::Files { key, .. } => Some(key),
            TlsSource::Static(_) | TlsSource::Callback(_) => None,
        };
        let token = match &self.0.token {
            TokenSource::File(path) => Some(path),
            TokenSource::Callback(_) => None,
        };
        [key, token].into_iter().flatten().filter_map(|path| exposed(path)).collect()
    }

    /// The source of the certificates and the key.
    pub(crate) fn tls(&self) -> &TlsSource {
        &self.0.tls
    }

    /// The token for a new call.
    pub(crate) async fn token(&self) -> Result<Token, ContextError> {
        self.0.token.get().await
    }

    /// The newest token, for an open stream. `None` if there is none at the moment; this never waits for the program.
    pub(crate) async fn newest_token(&self) -> Option<Token> {
        self.0.token.newest().await
    }

    /// Records that the server refused this token.
    pub(crate) fn mark_refused(&self, token: &Token) {
        self.0.token.mark_refused(token);
    }

    /// Converts the failure to open a stream, and records a refused token.
    pub(crate) fn opening_error(&self, token: &Token, status: tonic::Status) -> Error {
        let error = Error::from(status);
        if error.kind() == ErrorKind::Unauthenticated {
            self.mark_refused(token);
        }
        error
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.0.connect_timeout
    }

    pub(crate) fn with_connect_timeout(self, connect_timeout: Duration) -> Self {
        let inner = Arc::unwrap_or_clone(self.0);
        Self(Arc::new(Inner { connect_timeout, ..inner }))
    }
}

/// The message and line of a syntax error, without the text of the line, which may be a token.
fn syntax_message(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| format!("line {}: ", 1 + before.matches('\n').count()));
    format!("{}{}", line.unwrap_or_default(), error.message())
}

#[cfg(test)]
mod tests {
    use super::{Context, ContextError, TlsSource, TokenSource};

    #[test]
    fn a_file_names_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.toml");
        let text = "endpoint='127.0.0.1:7443'\nserver_name='localhost'\nauthority='ca.pem'\ncertificate='/c.pem'\n\
                    key='k'\ntoken_file='../t'\ntenant='civil-affairs'\n";
        std::fs::write(&path, text).unwrap();
        let context = Context::load(&path).unwrap();
        let TlsSource::Files { authority, certificate, .. } = context.tls() else { panic!("{context:?}") };
        assert_eq!(authority, &folder.path().join("ca.pem"));
        assert_eq!(certificate, std::path::Path::new("/c.pem"));
        let TokenSource::File(token) = &context.0.token else { panic!("{context:?}") };
        assert_eq!(token, &folder.path().join("../t"));
        assert_eq!(context.tenant(), Some("civil-affairs"));

        std::fs::write(&path, format!("{text}insecure=true\n")).unwrap();
        let error = Context::load(&path).unwrap_err();
        assert!(matches!(error, ContextError::Syntax { .. }) && error.to_string().contains("insecure"));
        std::fs::write(&path, "endpoint = '127.0.0.1:7443'\ntoken = eyJsecret\n").unwrap();
        let error = Context::load(&path).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("eyJsecret"), "{error}");
        std::fs::write(&path, "endpoint='127.0.0.1:7443'").unwrap();
        assert!(matches!(Context::load(&path), Err(ContextError::Missing("authority"))));
    }
}
