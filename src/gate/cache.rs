//! The cache of verdicts: a token that was verified is not verified again.
//!
//! Bounded in number and in bytes; what was used least recently goes first. A look-up hashes the last
//! bytes of the token, which are its signature's, with a secret key, and then compares the whole
//! text: two tokens never share a verdict. Only tokens whose signature held get in, so nobody can
//! fill the cache without being able to sign.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::cached_token::CachedToken;
use crate::config::CacheSize;
use crate::keys::KeySet;

/// The verdicts of one provider's tokens.
#[derive(Debug)]
pub(super) struct TokenCache {
    size: CacheSize,
    hasher: RandomState,
    /// The place of the token with this hash.
    places: HashMap<u64, usize, BuildHasherDefault<AsItIs>>,
    slots: Vec<Slot>,
    /// The most recently used slot.
    newest: usize,
    /// The least recently used slot.
    oldest: usize,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    /// Its room is used again for the next token, unless that is much shorter.
    token: Vec<u8>,
    verdict: Option<Rc<CachedToken>>,
    /// The next more recently used slot.
    newer: usize,
    /// The next less recently used slot.
    older: usize,
}

/// The hasher of what is a hash with a secret key already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// No slot.
const NONE: usize = usize::MAX;
/// How many bytes of a token are hashed: all of an Ed25519 or ES256 signature, and entropy enough of
/// any other.
const HASHED: usize = 64;

impl TokenCache {
    pub(super) fn new(size: CacheSize) -> Self {
        Self {
            size,
            hasher: RandomState::new(),
            places: HashMap::default(),
            slots: Vec::new(),
            newest: NONE,
            oldest: NONE,
            free: Vec::new(),
        }
    }

    /// The verdict on this very token, which becomes the most recently used.
    pub(super) fn get(&mut self, token: &[u8]) -> Option<Rc<CachedToken>> {
        let at = *self.places.get(&self.hash(token))?;
        let slot = self.slots.get(at).filter(|slot| same(&slot.token, token))?;
        let verdict = slot.verdict.clone();
        if self.newest != at {
            self.unlink(at);
            self.link(at);
        }
        verdict
    }

    /// Keeps a verdict, in the place of the least recently used one where there is no room.
    pub(super) fn insert(&mut self, token: &[u8], verdict: Rc<CachedToken>) {
        if self.size.entries == 0 || token.len() > self.size.max_token {
            return;
        }
        let hash = self.hash(token);
        if let Some(at) = self.places.get(&hash).copied() {
            self.remove_at(at);
        }
        while self.places.len() >= self.size.entries && self.oldest != NONE {
            self.remove_at(self.oldest);
        }
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.slots.push(Slot { hash, token: Vec::new(), verdict: None, newer: NONE, older: NONE });
                self.slots.len().saturating_sub(1)
            }
        };
        if let Some(slot) = self.slots.get_mut(at) {
            if slot.token.capacity() / 2 > token.len() {
                slot.token = Vec::new();
            }
            slot.token.clear();
            slot.token.reserve_exact(token.len());
            slot.token.extend_from_slice(token);
            (slot.hash, slot.verdict) = (hash, Some(verdict));
        }
        self.places.insert(hash, at);
        self.link(at);
    }

    /// Forgets every token that was verified with a key that is not in this set.
    pub(super) fn keep_keys(&mut self, set: &KeySet) {
        let keys: HashSet<&[u8; 32]> = set.keys().iter().map(|key| &key.fingerprint).collect();
        let gone = |slot: &Slot| slot.verdict.as_ref().is_some_and(|verdict| !keys.contains(verdict.key()));
        let gone: Vec<usize> =
            self.slots.iter().enumerate().filter(|(_, slot)| gone(slot)).map(|(at, _)| at).collect();
        for at in gone {
            self.remove_at(at);
            if let Some(slot) = self.slots.get_mut(at) {
                slot.token = Vec::new();
            }
        }
    }

    fn hash(&self, token: &[u8]) -> u64 {
        let start = token.len().saturating_sub(HASHED);
        self.hasher.hash_one(token.get(start..).unwrap_or_default())
    }

    fn remove_at(&mut self, at: usize) {
        self.unlink(at);
        if let Some(slot) = self.slots.get_mut(at) {
            self.places.remove(&slot.hash);
            slot.token.clear();
            slot.verdict = None;
            self.free.push(at);
        }
    }

    fn unlink(&mut self, at: usize) {
        let Some((newer, older)) = self.slots.get(at).map(|slot| (slot.newer, slot.older)) else { return };
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, at: usize) {
        let next = self.newest;
        if let Some(slot) = self.slots.get_mut(at) {
            (slot.newer, slot.older) = (NONE, next);
        }
        match self.slots.get_mut(next) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}

/// Whether two texts are the same. The library that a wasm module compares bytes with looks at one byte at a time,
/// and a token has hundreds.
fn same(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let mut pairs = words.iter().zip(other_words);
    one.len() == other.len()
        && rest == other_rest
        && pairs.all(|(word, other)| u64::from_ne_bytes(*word) == u64::from_ne_bytes(*other))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::config::Config;
    use crate::crypto::Backend;
    use crate::keys::{Format, KeySet, Reading};
    use crate::time::Timestamp;
    use crate::token::Unverified;

    /// The key of RFC 7515 appendix A.3 with more members.
    fn set(members: &str) -> KeySet {
        let text = format!(
            r#"{{"keys":[{{{members}"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}]}}"#
        );
        let reading = Reading { format: Format::Jwks, max_keys: 1, symmetric: false };
        KeySet::parse(text.as_bytes(), reading).unwrap()
    }

    fn verdict() -> Rc<CachedToken> {
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let config = r#"{"providers":{"p":{"local_jwks":{"inline_string":"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"}}},"rules":[]}"#;
        let config = Config::parse(config.as_bytes(), &|_| None).unwrap();
        let provider = &config.providers[0];
        let token = Unverified::parse(token.as_bytes(), &provider.policy).unwrap();
        let token = token.verify(&Backend::portable(), set("").keys().iter()).unwrap();
        let token = token.read(&provider.policy, &[], Timestamp::from_secs(1_300_000_000)).unwrap();
        Rc::new(CachedToken::new(token, provider))
    }

    #[test]
    fn it_holds_what_a_plain_list_of_the_most_recently_used_would() {
        let size = CacheSize { entries: 8, max_token: 100 };
        let mut cache = TokenCache::new(size);
        let mut model: VecDeque<u64> = VecDeque::new();
        let verdict = verdict();
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (action, key) = ((random >> 33) % 10, (random >> 40) % 12);
            let token = format!("token-{key}");
            let known = model.iter().position(|k| *k == key);
            match action {
                0..=3 => {
                    cache.insert(token.as_bytes(), Rc::clone(&verdict));
                    known.map(|at| model.remove(at));
                    model.push_front(key);
                    model.truncate(8);
                }
                _ => {
                    assert_eq!(cache.get(token.as_bytes()).is_some(), known.is_some());
                    if let Some(at) = known {
                        model.remove(at);
                        model.push_front(key);
                    }
                }
            }
            assert_eq!(cache.places.len(), model.len());
            assert!(cache.slots.len() <= 8);
        }
    }

    #[test]
    fn a_key_that_is_gone_takes_its_verdicts_along() {
        let mut cache = TokenCache::new(CacheSize::default());
        cache.insert(b"a", verdict());
        cache.keep_keys(&set(""));
        assert!(cache.get(b"a").is_some());
        cache.keep_keys(&set("\"kid\":\"other\","));
        assert!(cache.get(b"a").is_none());
        assert!(cache.places.is_empty());
        cache.insert(b"b", verdict());
        assert!(cache.get(b"b").is_some());
    }

    #[test]
    fn texts_are_the_same_where_every_byte_is() {
        for length in 0..40 {
            let text: Vec<u8> = (0..length).collect();
            assert!(same(&text, &text.clone()), "{length}");
            assert!(!same(&text, &[text.as_slice(), b"x"].concat()), "{length}");
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!same(&text, &other), "{length}, {at}");
            }
        }
    }

    #[test]
    fn two_tokens_with_one_signature_share_no_verdict() {
        let mut cache = TokenCache::new(CacheSize::default());
        let (a, b) = (format!("a{}", "s".repeat(HASHED)), format!("b{}", "s".repeat(HASHED)));
        cache.insert(a.as_bytes(), verdict());
        assert!(cache.get(b.as_bytes()).is_none());
        assert!(cache.get(a.as_bytes()).is_some());
        cache.insert(b.as_bytes(), verdict());
        assert!(cache.get(b.as_bytes()).is_some());
    }

    #[test]
    fn large_tokens_are_not_kept_and_no_entries_means_no_cache() {
        let mut cache = TokenCache::new(CacheSize { entries: 10, max_token: 3 });
        cache.insert(b"1234", verdict());
        assert!(cache.get(b"1234").is_none());
        let mut cache = TokenCache::new(CacheSize { entries: 0, max_token: 100 });
        cache.insert(b"1", verdict());
        assert!(cache.get(b"1").is_none());
    }
}
