use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{AccessToken, Callback, Token};
use crate::error::ContextError;

/// Time limit for a token from the program.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Assumed lifetime of a token that does not contain one.
const UNKNOWN_LIFE: Duration = Duration::from_secs(60);
/// Shortest time before a token is renewed, and the pause after a failure.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// The source of tokens.
#[derive(Clone)]
pub(crate) enum TokenSource {
    File(PathBuf),
    Callback(Arc<TokenCache>),
}

/// Caches the token of the program until it is due for renewal.
pub(crate) struct TokenCache {
    callback: Callback<AccessToken>,
    cached: Mutex<Option<CachedToken>>,
    /// Held while the function is called, so that there is one call at a time.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct CachedToken {
    token: Token,
    renew: Instant,
    /// `None` if the token does not contain its expiry.
    expires: Option<Instant>,
}

impl TokenSource {
    pub(crate) fn callback(callback: Callback<AccessToken>) -> Self {
        Self::Callback(Arc::new(TokenCache {
            callback,
            cached: Mutex::new(None),
            renewing: tokio::sync::Mutex::new(()),
        }))
    }

    /// The token for a new call.
    pub(crate) async fn get(&self) -> Result<Token, ContextError> {
        match self {
            Self::File(path) => Token::read(path).await,
            Self::Callback(cache) => match cache.peek() {
                Some(token) => Ok(token),
                None => cache.renew().await,
            },
        }
    }

    /// The newest token, without waiting for the program.
    pub(crate) async fn newest(&self) -> Option<Token> {
        match self {
            Self::File(path) => match Token::read(path).await {
                Ok(token) => Some(token),
                Err(error) => {
                    tracing::warn!(%error, "the token file cannot be read again");
                    None
                }
            },
            Self::Callback(cache) => cache.peek().or_else(|| {
                cache.renew_in_background();
                None
            }),
        }
    }

    /// Removes a token that the server refused from the cache; the source may return it again.
    pub(crate) fn mark_refused(&self, token: &Token) {
        if let Self::Callback(cache) = self {
            let mut cached = cache.cached.lock().unwrap_or_else(PoisonError::into_inner);
            cached.take_if(|cached| cached.token == *token);
        }
    }
}

impl TokenCache {
    /// The cached token while it is valid. If it is due for renewal, that begins in the background.
    fn peek(self: &Arc<Self>) -> Option<Token> {
        let cached = self.valid()?;
        if cached.renew <= Instant::now() {
            self.renew_in_background();
        }
        Some(cached.token)
    }

    fn valid(&self) -> Option<CachedToken> {
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.clone().filter(|cached| cached.expires.is_none_or(|expires| expires > Instant::now()))
    }

    fn renew_in_background(self: &Arc<Self>) {
        if self.renewing.try_lock().is_ok() {
            let cache = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = cache.renew().await {
                    tracing::warn!(%error, "no new token");
                }
            });
        }
    }

    /// Calls the function, unless another caller has renewed the token meanwhile.
    async fn renew(&self) -> Result<Token, ContextError> {
        let _renewing = self.renewing.lock().await;
        if let Some(cached) = self.valid()
            && cached.renew > Instant::now()
        {
            return Ok(cached.token);
        }
        let asked = timeout(ASK_TIMEOUT, (self.callback)()).await;
        let answer = asked.unwrap_or_else(|_| Err("it gave no answer within 10 s".into()));
        let answer = answer.and_then(|issued| {
            let token = Token::parse(issued.secret()).ok_or("what it gave is no token")?;
            Ok((token, issued.life_left()))
        });
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok((token, life)) => {
                let now = Instant::now();
                let renew = now + life.map_or(UNKNOWN_LIFE, |life| (life / 5 * 4).max(SHORTEST_LIFE));
                *cached =
                    Some(CachedToken { token: token.clone(), renew, expires: life.map(|life| now + life) });
                Ok(token)
            }
            Err(error) => {
                if let Some(cached) = cached.as_mut() {
                    cached.renew = Instant::now() + FAILURE_PAUSE;
                }
                Err(ContextError::source_failed("token", error))
            }
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Callback(_) => f.write_str("Callback"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::{Duration, SystemTime},
    };

    use tokio::time::advance;

    use super::{AccessToken, TokenSource};

    /// Returns `token-N` at call N, valid for 100 s; fails the calls in `failing`.
    fn source(failing: &'static [usize]) -> (TokenSource, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let source = TokenSource::callback(Arc::new(move || {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            Box::pin(async move {
                if failing.contains(&number) {
                    return Err("the issuer is away".into());
                }
                let token = AccessToken::new(format!("token-{number}"));
                Ok(token.expires_at(SystemTime::now() + Duration::from_secs(100)))
            })
        }));
        (source, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_kept_until_four_fifths_of_its_life() {
        let (source, asked) = source(&[]);
        assert_eq!(source.get().await.unwrap().secret(), "token-1");
        advance(Duration::from_secs(70)).await;
        assert_eq!(source.get().await.unwrap().secret(), "token-1");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        advance(Duration::from_secs(15)).await;
        assert_eq!(source.newest().await.unwrap().secret(), "token-1", "the next is asked for aside");
        tokio::task::yield_now().await;
        assert_eq!(source.newest().await.unwrap().secret(), "token-2");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_costs_nothing_while_the_old_one_is_valid() {
        let (source, asked) = source(&[2, 3]);
        source.get().await.unwrap();
        advance(Duration::from_secs(90)).await;
        for _ in 0..10 {
            assert_eq!(source.get().await.unwrap().secret(), "token-1");
            tokio::task::yield_now().await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "not asked again at once");
        advance(Duration::from_secs(20)).await;
        let error = source.get().await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("the issuer is away"), "{error}");
        assert_eq!(source.get().await.unwrap().secret(), "token-4");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_not_shown_again() {
        let (source, _) = source(&[]);
        let first = source.get().await.unwrap();
        source.mark_refused(&first);
        let second = source.get().await.unwrap();
        assert_eq!(second.secret(), "token-2");
        source.mark_refused(&first);
        assert_eq!(source.get().await.unwrap(), second);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_does_not_answer_is_not_waited_for() {
        let source = TokenSource::callback(Arc::new(|| Box::pin(std::future::pending())));
        assert!(source.newest().await.is_none());
        assert!(source.get().await.unwrap_err().to_string().contains("within 10 s"));
    }
}
