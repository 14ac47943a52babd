//! The cache of verified tokens: a token that was verified is not verified again.
//!
//! Bounded in number and in bytes; the least recently used goes first. A look-up hashes the last bytes of the token,
//! which are its signature's, from a secret start, and then compares the whole text: no two tokens share an entry. Only
//! tokens whose signature is valid get in, so that no client can fill the cache, or choose what shares a hash in it, without
//! being able to sign. So clients cannot choose what is hashed, and a short hash is enough.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::rc::Rc;

use foldhash::fast::FixedState;
use lru::LruCache;

use super::cached_token::CachedToken;
use crate::config::CacheSize;
use crate::keys::KeySet;
use crate::text::same_bytes;

/// The verified tokens of one provider.
#[derive(Debug)]
pub(super) struct TokenCache {
    size: CacheSize,
    /// Without a capacity: with one, memory for all entries would be allocated at once.
    tokens: LruCache<StoredText, Rc<CachedToken>, FixedState>,
}

/// How many bytes of a token are hashed: 192 bits of its signature.
const HASHED: usize = 32;

/// The text of a token, in the cache or in a request.
trait TokenText {
    fn bytes(&self) -> &[u8];
}

/// The text of a token in the cache.
#[derive(Clone, Debug)]
struct StoredText(Rc<[u8]>);

impl TokenText for StoredText {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TokenText for &[u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Hash for dyn TokenText + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes = self.bytes();
        match bytes.last_chunk::<HASHED>() {
            Some(end) => {
                end.as_chunks::<8>().0.iter().for_each(|word| state.write_u64(u64::from_ne_bytes(*word)));
            }
            None => state.write(bytes),
        }
    }
}

impl PartialEq for dyn TokenText + '_ {
    fn eq(&self, other: &Self) -> bool {
        same_bytes(self.bytes(), other.bytes())
    }
}

impl Eq for dyn TokenText + '_ {}

impl<'t> Borrow<dyn TokenText + 't> for StoredText {
    fn borrow(&self) -> &(dyn TokenText + 't) {
        self
    }
}

impl Hash for StoredText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let text: &dyn TokenText = self;
        text.hash(state);
    }
}

impl PartialEq for StoredText {
    fn eq(&self, other: &Self) -> bool {
        same_bytes(&self.0, &other.0)
    }
}

impl Eq for StoredText {}

impl TokenCache {
    pub(super) fn new(size: CacheSize) -> Self {
        let start = RandomState::new().hash_one(());
        Self { size, tokens: LruCache::unbounded_with_hasher(FixedState::with_seed(start)) }
    }

    /// What is known of this very token, which becomes the most recently used.
    pub(super) fn get(&mut self, token: &[u8]) -> Option<Rc<CachedToken>> {
        let token: &dyn TokenText = &token;
        self.tokens.get(token).cloned()
    }

    /// Keeps a verified token, in the place of the least recently used one where there is no room.
    pub(super) fn insert(&mut self, token: &[u8], verified: Rc<CachedToken>) {
        if self.size.entries == 0 || token.len() > self.size.max_token {
            return;
        }
        self.tokens.put(StoredText(Rc::from(token)), verified);
        while self.tokens.len() > self.size.entries {
            self.tokens.pop_lru();
        }
    }

    /// Forgets every token that was verified with a key that is not in this set.
    pub(super) fn keep_keys(&mut self, set: &KeySet) {
        let keys: HashSet<&[u8; 32]> = set.keys().iter().map(|key| &key.fingerprint).collect();
        let gone = self.tokens.iter().filter(|(_, verified)| !keys.contains(verified.key()));
        let gone: Vec<StoredText> = gone.map(|(text, _)| text.clone()).collect();
        for text in gone {
            self.tokens.pop(&text);
        }
    }
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

    fn verified() -> Rc<CachedToken> {
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
        let verified = verified();
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (action, key) = ((random >> 33) % 10, (random >> 40) % 12);
            let token = format!("token-{key}");
            let known = model.iter().position(|k| *k == key);
            match action {
                0..=3 => {
                    cache.insert(token.as_bytes(), Rc::clone(&verified));
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
            assert_eq!(cache.tokens.len(), model.len());
        }
    }

    #[test]
    fn a_key_that_is_gone_takes_its_tokens_along() {
        let mut cache = TokenCache::new(CacheSize::default());
        cache.insert(b"a", verified());
        cache.keep_keys(&set(""));
        assert!(cache.get(b"a").is_some());
        cache.keep_keys(&set("\"kid\":\"other\","));
        assert!(cache.get(b"a").is_none());
        assert!(cache.tokens.is_empty());
        cache.insert(b"b", verified());
        assert!(cache.get(b"b").is_some());
    }

    #[test]
    fn two_tokens_with_one_signature_share_no_verified() {
        let mut cache = TokenCache::new(CacheSize::default());
        let (a, b) = (format!("a{}", "s".repeat(HASHED)), format!("b{}", "s".repeat(HASHED)));
        cache.insert(a.as_bytes(), verified());
        assert!(cache.get(b.as_bytes()).is_none());
        assert!(cache.get(a.as_bytes()).is_some());
        cache.insert(b.as_bytes(), verified());
        assert!(cache.get(b.as_bytes()).is_some());
    }

    #[test]
    fn large_tokens_are_not_kept_and_no_entries_means_no_cache() {
        let mut cache = TokenCache::new(CacheSize { entries: 10, max_token: 3 });
        cache.insert(b"1234", verified());
        assert!(cache.get(b"1234").is_none());
        let mut cache = TokenCache::new(CacheSize { entries: 0, max_token: 100 });
        cache.insert(b"1", verified());
        assert!(cache.get(b"1").is_none());
    }
}
