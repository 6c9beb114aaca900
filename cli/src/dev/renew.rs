//! Renews the tokens at half of their lifetime, while the server runs.

use std::time::{Duration, SystemTime};

use super::{TOKEN_LIFETIME, landscape::Landscape};

/// How often the wall clock is checked, so that a machine that was suspended catches up.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Mints new tokens for ever. A failure is logged, and tried again a minute later.
pub async fn renew_tokens(landscape: &Landscape) -> std::convert::Infallible {
    let mut minted = SystemTime::now();
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        if !is_due(minted, SystemTime::now()) {
            continue;
        }
        match landscape.mint_tokens() {
            Ok(()) => {
                minted = SystemTime::now();
                tracing::info!("minted new tokens for every context");
            }
            Err(error) => tracing::error!(%error, "minting new tokens failed, trying again in a minute"),
        }
    }
}

/// Also due when the clock went backwards: then the tokens may be valid only in the future.
fn is_due(minted: SystemTime, now: SystemTime) -> bool {
    now.duration_since(minted).map_or(true, |age| age >= TOKEN_LIFETIME / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_at_half_life_and_after_a_clock_that_went_back() {
        let minted = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert!(!is_due(minted, minted + TOKEN_LIFETIME / 2 - Duration::from_secs(1)));
        assert!(is_due(minted, minted + TOKEN_LIFETIME / 2));
        assert!(is_due(minted, minted - Duration::from_secs(1)));
    }
}
