//! Where the server is, and who is calling.

use std::{
    env,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use posthouse_text::exposed;
use serde::Deserialize;

use crate::{
    credentials::{AccessToken, MAX_FILE_BYTES, TlsMaterial, TlsSource, Token, TokenSource},
    error::{BoxError, ContextError, Error, ErrorKind},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
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
pub struct Context(Arc<Parts>);

/// Makes a [`Context`] in a program.
///
/// ```
/// use posthouse_client::Context;
///
/// let context = Context::builder()
///     .endpoint("queue.example:7443")
///     .authority("/run/secrets/ca.pem")
///     .certificate("/run/secrets/tls.pem")
///     .key("/run/secrets/tls.key")
///     .token_file("/run/secrets/token")
///     .tenant("civil-affairs")
///     .build()?;
/// assert_eq!(context.server_name(), "queue.example");
/// # Ok::<(), posthouse_client::ContextError>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextBuilder {
    endpoint: Option<String>,
    server_name: Option<String>,
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    token_file: Option<PathBuf>,
    tenant: Option<String>,
    #[serde(skip)]
    tls: Option<TlsSource>,
    #[serde(skip)]
    token: Option<TokenSource>,
}

#[derive(Clone, Debug)]
struct Parts {
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
        let mut builder: ContextBuilder = toml::from_str(text).map_err(|error| syntax(told(&error, text)))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        for file in
            [&mut builder.authority, &mut builder.certificate, &mut builder.key, &mut builder.token_file]
        {
            *file = file.take().map(|file| folder.join(file));
        }
        builder.build()
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
            TlsSource::Given(_) | TlsSource::Asked(_) => None,
        };
        let token = match &self.0.token {
            TokenSource::File(path) => Some(path),
            TokenSource::Asked(_) => None,
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
    pub(crate) fn refused(&self, token: &Token) {
        self.0.token.refused(token);
    }

    /// Why a stream with this token was not opened.
    pub(crate) fn refusal(&self, token: &Token, status: tonic::Status) -> Error {
        let error = Error::from(status);
        if error.kind() == ErrorKind::Unauthenticated {
            self.refused(token);
        }
        error
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.0.connect_timeout
    }

    pub(crate) fn with_connect_timeout(self, connect_timeout: Duration) -> Self {
        let parts = Arc::unwrap_or_clone(self.0);
        Self(Arc::new(Parts { connect_timeout, ..parts }))
    }
}

impl ContextBuilder {
    /// Where the server is: `HOST:PORT`.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// What the server's certificate must name; the endpoint's host if not set.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// PEM file of the authorities that may have signed the server's certificate.
    pub fn authority(mut self, path: impl Into<PathBuf>) -> Self {
        self.authority = Some(path.into());
        self
    }

    /// PEM file of this client's certificate, and its chain.
    pub fn certificate(mut self, path: impl Into<PathBuf>) -> Self {
        self.certificate = Some(path.into());
        self
    }

    /// PEM file of the certificate's private key.
    pub fn key(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = Some(path.into());
        self
    }

    /// File with the token alone. It is looked at before every call and every 5 s while a stream is open; replace it
    /// by renaming a new file over it.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// Certificates and key as PEM in memory, instead of files. They stay as they are; see
    /// [`ContextBuilder::tls_source`] for ones that change.
    pub fn tls(mut self, material: TlsMaterial) -> Self {
        self.tls = Some(TlsSource::Given(material));
        self
    }

    /// A function that gives certificates and key, instead of files. It is asked for every new connection, and has as
    /// long as connecting may take.
    ///
    /// ```
    /// use posthouse_client::{Context, TlsMaterial};
    ///
    /// # async fn from_vault() -> Result<(String, String, String), std::io::Error> { std::future::pending().await }
    /// let context = Context::builder().tls_source(|| async {
    ///     let (authority, certificate, key) = from_vault().await?;
    ///     Ok(TlsMaterial::from_pem(authority, certificate, key))
    /// });
    /// ```
    pub fn tls_source<F, Fut>(mut self, source: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<TlsMaterial, BoxError>> + Send + 'static,
    {
        self.tls = Some(TlsSource::Asked(Arc::new(move || Box::pin(source()))));
        self
    }

    /// A function that gives tokens, instead of a file. A token is kept until four fifths of its life are over; then
    /// the next is asked for in the background, and open streams are told. A failure costs nothing while the old token
    /// is valid: it is asked again after 5 s. One question may take 10 s.
    ///
    /// ```
    /// use posthouse_client::{AccessToken, Context};
    ///
    /// # async fn from_issuer() -> Result<String, std::io::Error> { std::future::pending().await }
    /// let context = Context::builder().token_source(|| async {
    ///     Ok(AccessToken::new(from_issuer().await?))
    /// });
    /// ```
    pub fn token_source<F, Fut>(mut self, source: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<AccessToken, BoxError>> + Send + 'static,
    {
        self.token = Some(TokenSource::asking(Arc::new(move || Box::pin(source()))));
        self
    }

    /// The tenant that completes `DEPARTMENT/QUEUE`.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Checks that everything is there. The files are read later.
    pub fn build(self) -> Result<Context, ContextError> {
        let endpoint = self.endpoint.ok_or(ContextError::Missing("endpoint"))?;
        let (host, _) = split(&endpoint).ok_or_else(|| ContextError::Endpoint(endpoint.clone()))?;
        let server_name = self.server_name.unwrap_or_else(|| host.to_owned());
        if rustls_pki_types::ServerName::try_from(server_name.as_str()).is_err() {
            return Err(ContextError::ServerName(server_name));
        }
        let tls = match self.tls {
            Some(tls) => tls,
            None => TlsSource::Files {
                authority: self.authority.ok_or(ContextError::Missing("authority"))?,
                certificate: self.certificate.ok_or(ContextError::Missing("certificate"))?,
                key: self.key.ok_or(ContextError::Missing("key"))?,
            },
        };
        let token = match self.token {
            Some(token) => token,
            None => TokenSource::File(self.token_file.ok_or(ContextError::Missing("token_file"))?),
        };
        let (tenant, connect_timeout) = (self.tenant, CONNECT_TIMEOUT);
        let parts = Parts { endpoint, server_name, tenant, tls, token, connect_timeout };
        let context = Context(Arc::new(parts));
        for warning in context.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(context)
    }
}

/// Host (without brackets) and port.
pub(crate) fn split(endpoint: &str) -> Option<(&str, u16)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let valid = !host.is_empty() && (bare.is_some() || !host.contains(':'));
    valid.then_some((host, port))
}

/// What is wrong and where, without the line itself: somebody may have put a token there.
fn told(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| format!("line {}: ", 1 + before.matches('\n').count()));
    format!("{}{}", line.unwrap_or_default(), error.message())
}

#[cfg(test)]
mod tests {
    use super::{Context, ContextError, TlsSource, TokenSource, split};

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

    #[test]
    fn endpoints() {
        assert_eq!(split("h:1"), Some(("h", 1)));
        assert_eq!(split("[::1]:7443"), Some(("::1", 7443)));
        for bad in ["h", "h:", ":1", "h:0", "h:70000", "::1:7443", "https://h:1"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
