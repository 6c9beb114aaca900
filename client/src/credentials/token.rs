use std::{fmt, io, path::Path, sync::Arc};

use tonic::metadata::{Ascii, MetadataValue};

use crate::{error::ContextError, trace};

/// Largest token that a server accepts, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// The token of the caller. It is never printed.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Token(Arc<str>);

impl Token {
    /// Reads a token file.
    pub(crate) async fn read(path: &Path) -> Result<Self, ContextError> {
        let bytes = super::read(path).await?;
        let text = posthouse_text::text(&bytes).map_err(|error| {
            ContextError::unreadable(path, io::Error::new(io::ErrorKind::InvalidData, error))
        })?;
        Self::parse(text).ok_or_else(|| ContextError::Token { path: path.to_owned() })
    }

    /// Returns `None` if the text is not a token.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let token = text.trim();
        let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
        (!token.is_empty() && token.len() <= MAX_BYTES && plain).then(|| Self(token.into()))
    }

    /// The token without `Bearer`, for the refresh frame of a stream.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// The value of the `authorization` header, marked as sensitive so that HPACK does not index it.
    pub(crate) fn bearer(&self) -> Option<MetadataValue<Ascii>> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", self.0).parse().ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// A request with the token and the current trace context.
    pub(crate) fn request<T>(&self, body: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(body);
        if let Some(bearer) = self.bearer() {
            request.metadata_mut().insert("authorization", bearer);
        }
        trace::insert_into_metadata(request.metadata_mut());
        request
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Token;
    use crate::error::ContextError;

    #[tokio::test]
    async fn reads_trims_and_hides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "ey.secret.x\n").unwrap();
        let token = Token::read(&path).await.unwrap();
        assert_eq!(token.secret(), "ey.secret.x");
        assert!(!format!("{token:?} {:?}", token.request(())).contains("secret"));
        for bad in ["", " \n", "two words", &"x".repeat(9000)] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(Token::read(&path).await, Err(ContextError::Token { .. })), "{bad}");
        }
    }
}
