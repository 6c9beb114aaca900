//! Tokens that have been verified, so that a unary call does not cost a signature check each time.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::Principal;
use crate::limits::TOKEN_CACHE_GENERATION;

/// SHA-256 over token and certificate: the same token on another certificate is another entry.
pub(super) type Key = [u8; 32];

/// Bounded: two generations. When the younger is full it becomes the older one and the older one is dropped; what is
/// found in the older one moves to the younger. So what is in use stays, and nothing is ever searched.
#[derive(Debug, Default)]
pub(super) struct TokenCache {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    younger: HashMap<Key, Arc<Principal>>,
    older: HashMap<Key, Arc<Principal>>,
}

impl TokenCache {
    /// The principal of a token verified before, unless the token has expired or its key was removed since.
    pub(super) fn get(&self, key: &Key, now: SystemTime) -> Option<Arc<Principal>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let principal = match generations.younger.get(key) {
            Some(principal) => Arc::clone(principal),
            None => {
                let principal = generations.older.remove(key)?;
                generations.insert(*key, Arc::clone(&principal));
                principal
            }
        };
        (now < principal.expires_at && !principal.key.has_ended()).then_some(principal)
    }

    pub(super) fn insert(&self, key: Key, principal: Arc<Principal>) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).insert(key, principal);
    }
}

impl Generations {
    fn insert(&mut self, key: Key, principal: Arc<Principal>) {
        if self.younger.len() >= TOKEN_CACHE_GENERATION {
            self.older = mem::take(&mut self.younger);
        }
        self.younger.insert(key, principal);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{Key, TokenCache};
    use crate::{identity::testing::principal, limits::TOKEN_CACHE_GENERATION};

    fn key(number: usize) -> Key {
        crate::identity::sha256(&[&number.to_be_bytes()])
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let cache = TokenCache::default();
        let entry = Arc::new(principal("tax", "app", "posthouse:publish:tax/a/b"));
        let now = entry.expires_at - Duration::from_secs(1);
        cache.insert(key(0), Arc::clone(&entry));
        for number in 1..5 * TOKEN_CACHE_GENERATION {
            cache.insert(key(number), Arc::clone(&entry));
            if number % 100 == 0 {
                assert!(cache.get(&key(0), now).is_some());
            }
        }
        let generations = cache.generations.lock().unwrap();
        assert!(generations.younger.len() + generations.older.len() <= 2 * TOKEN_CACHE_GENERATION);
        drop(generations);
        assert!(cache.get(&key(1), now).is_none());
    }

    #[test]
    fn an_expired_token_is_not_found() {
        let cache = TokenCache::default();
        let entry = Arc::new(principal("tax", "app", "posthouse:publish:tax/a/b"));
        let end = entry.expires_at;
        cache.insert(key(0), entry);
        assert!(cache.get(&key(0), end - Duration::from_secs(1)).is_some());
        assert!(cache.get(&key(0), end).is_none());
    }

    #[test]
    fn a_token_whose_key_was_removed_is_not_found() {
        let cache = TokenCache::default();
        let entry = Arc::new(principal("tax", "app", "posthouse:publish:tax/a/b"));
        let (now, life) = (entry.expires_at - Duration::from_secs(1), entry.key.clone());
        cache.insert(key(0), entry);
        assert!(cache.get(&key(0), now).is_some());
        life.end();
        assert!(cache.get(&key(0), now).is_none());
    }
}
