use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;

use super::{Context, Inner, endpoint::split_endpoint};
use crate::{
    credentials::{AccessToken, TlsMaterial, TlsSource, TokenSource},
    error::{BoxError, ContextError},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds a [`Context`] in a program.
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

impl ContextBuilder {
    /// The address of the server: `HOST:PORT`.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The name that the server's certificate must have; the endpoint's host if not set.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// PEM file of the authorities that may sign the server's certificate.
    pub fn authority(mut self, path: impl Into<PathBuf>) -> Self {
        self.authority = Some(path.into());
        self
    }

    /// PEM file of this client's certificate and its chain.
    pub fn certificate(mut self, path: impl Into<PathBuf>) -> Self {
        self.certificate = Some(path.into());
        self
    }

    /// PEM file of the certificate's private key.
    pub fn key(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = Some(path.into());
        self
    }

    /// File that holds only the token. It is read before every call, and every 5 s while a stream is open; replace it
    /// by renaming a new file over it.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// Certificates and key as PEM in memory, instead of files. They never change; see [`ContextBuilder::tls_source`]
    /// for ones that do.
    pub fn tls(mut self, material: TlsMaterial) -> Self {
        self.tls = Some(TlsSource::Static(material));
        self
    }

    /// A function that returns certificates and key, instead of files. It is called for every new connection, and
    /// counts against the time limit of connecting.
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
        self.tls = Some(TlsSource::Callback(Arc::new(move || Box::pin(source()))));
        self
    }

    /// A function that returns tokens, instead of a file. A token is cached for four fifths of its lifetime; then the
    /// function is called in the background, and open streams receive the new token. If the function fails, the cached
    /// token is used while it is valid, and the function is called again after 5 s. One call may take 10 s.
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
        self.token = Some(TokenSource::callback(Arc::new(move || Box::pin(source()))));
        self
    }

    /// The tenant that completes names of the form `DEPARTMENT/QUEUE`.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Makes relative paths relative to `folder`.
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        for file in [&mut self.authority, &mut self.certificate, &mut self.key, &mut self.token_file] {
            *file = file.take().map(|file| folder.join(file));
        }
        self
    }

    /// Builds the context. Fails if a value is missing, or an address or name is not valid. The files are not read yet.
    pub fn build(self) -> Result<Context, ContextError> {
        let endpoint = self.endpoint.ok_or(ContextError::Missing("endpoint"))?;
        let (host, _) = split_endpoint(&endpoint).ok_or_else(|| ContextError::Endpoint(endpoint.clone()))?;
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
        let inner = Inner { endpoint, server_name, tenant, tls, token, connect_timeout };
        let context = Context(Arc::new(inner));
        for warning in context.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(context)
    }
}
