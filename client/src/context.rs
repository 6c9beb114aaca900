use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

/// Where the server is and who is calling: addresses and paths of files, no secret itself. The files are read when
/// they are needed, and again when a connection is made, so that renewed ones come into force without a restart.
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
}

/// What is wrong with a context or a file that it names.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The context file is not the TOML that it should be.
    #[error("{} is not a context: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A value is missing.
    #[error("the context has no `{0}`; add it")]
    Missing(&'static str),
    /// The endpoint is not an address.
    #[error("the context's endpoint {0:?} is not HOST:PORT; correct it")]
    Endpoint(String),
    /// The server name is neither a DNS name nor an IP address.
    #[error("the context's server_name {0:?} is neither a DNS name nor an IP address; correct it")]
    ServerName(String),
    /// A file of certificates, or a key, holds none, or what it holds cannot be used.
    #[error("{} cannot be used: {message}; replace it with a PEM file", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The token file holds no token.
    #[error("{} holds no token; write one line with the token alone", path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Debug)]
struct Parts {
    endpoint: String,
    server_name: String,
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    token_file: PathBuf,
    tenant: Option<String>,
}

impl Context {
    /// Reads a context file. Relative paths in it are relative to its folder.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ContextError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| ContextError::unreadable(path, error))?;
        let mut builder: ContextBuilder = toml::from_str(&text)
            .map_err(|error| ContextError::Syntax { path: path.to_owned(), message: error.to_string() })?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        for file in
            [&mut builder.authority, &mut builder.certificate, &mut builder.key, &mut builder.token_file]
        {
            *file = file.take().map(|file| folder.join(file));
        }
        builder.build()
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

    pub(crate) fn authority(&self) -> &Path {
        &self.0.authority
    }

    pub(crate) fn certificate(&self) -> &Path {
        &self.0.certificate
    }

    pub(crate) fn key(&self) -> &Path {
        &self.0.key
    }

    pub(crate) fn token_file(&self) -> &Path {
        &self.0.token_file
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

    /// File with the token alone.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
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
        Ok(Context(Arc::new(Parts {
            server_name,
            authority: self.authority.ok_or(ContextError::Missing("authority"))?,
            certificate: self.certificate.ok_or(ContextError::Missing("certificate"))?,
            key: self.key.ok_or(ContextError::Missing("key"))?,
            token_file: self.token_file.ok_or(ContextError::Missing("token_file"))?,
            tenant: self.tenant,
            endpoint,
        })))
    }
}

impl ContextError {
    pub(crate) fn unreadable(path: &Path, error: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source: Arc::new(error) }
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

#[cfg(test)]
mod tests {
    use super::{Context, ContextError, split};

    #[test]
    fn a_file_names_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.toml");
        let text = "endpoint='127.0.0.1:7443'\nserver_name='localhost'\nauthority='ca.pem'\ncertificate='/c.pem'\n\
                    key='k'\ntoken_file='../t'\ntenant='civil-affairs'\n";
        std::fs::write(&path, text).unwrap();
        let context = Context::load(&path).unwrap();
        assert_eq!(context.authority(), folder.path().join("ca.pem"));
        assert_eq!(context.certificate(), std::path::Path::new("/c.pem"));
        assert_eq!(context.token_file(), folder.path().join("../t"));
        assert_eq!(context.tenant(), Some("civil-affairs"));

        std::fs::write(&path, format!("{text}insecure=true\n")).unwrap();
        let error = Context::load(&path).unwrap_err();
        assert!(matches!(error, ContextError::Syntax { .. }) && error.to_string().contains("insecure"));
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
