//! Where the server is, and who is calling.

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

/// Where the server is and who is calling. It names the places where certificate, key and token are found: files, or
/// functions of the program. They are read when they are needed, and again for every connection, so that renewed ones
/// come into force without a restart.
///
/// As a file:
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
    /// Reads a context file. Relative paths in it are relative to its folder.
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

    /// Reads the context file that the environment variable `POSTHOUSE_CONTEXT` names.
    pub fn from_env() -> Result<Self, ContextError> {
        Self::load(env::var_os(VARIABLE).ok_or(ContextError::NoVariable)?)
    }

    /// A context without a file.
    pub fn builder() -> ContextBuilder {
        ContextBuilder::default()
    }

    /// Where the server is: `HOST:PORT`.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// What the server's certificate must name.
    pub fn server_name(&self) -> &str {
        &self.0.server_name
    }

    /// The tenant that completes `DEPARTMENT/QUEUE`.
    pub fn tenant(&self) -> Option<&str> {
        self.0.tenant.as_deref()
    }

    /// What works and should be corrected nevertheless: files with secrets that others can read. They are also logged when the
    /// context is made.
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

    /// The certificates and the key, and where they come from.
    pub(crate) fn tls(&self) -> &TlsSource {
        &self.0.tls
    }

    /// The token to show now.
    pub(crate) async fn token(&self) -> Result<Token, ContextError> {
        self.0.token.get().await
    }

    /// The token that an open stream should know; `None`: nothing new can be had now. Does not wait for anybody.
    pub(crate) async fn newest_token(&self) -> Option<Token> {
        self.0.token.newest().await
    }

    /// The server did not accept this token.
    pub(crate) fn mark_refused(&self, token: &Token) {
        self.0.token.mark_refused(token);
    }

    /// Why a stream with this token was not opened.
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

/// What is wrong and where, without the line itself: somebody may have put a token there.
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
