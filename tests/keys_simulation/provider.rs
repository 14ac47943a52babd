//! The identity provider: its keys, its moods, and what it answers.

use std::sync::OnceLock;

use harness::idp::{self, Alg, Key, TokenBuilder, b64, flip_bit};
use portcullis::{FetchError, HttpRequest, HttpResponse};
use serde_json::json;

use crate::chance::Chance;
use crate::plan::{AUDIENCE, ISSUER, START};

/// How many keys it has, of which it lists some.
pub(crate) const KEYS: usize = 6;

struct Wallet {
    keys: Vec<Key>,
    /// A token of each key, good for longer than any run.
    tokens: Vec<String>,
}

fn wallet() -> &'static Wallet {
    static WALLET: OnceLock<Wallet> = OnceLock::new();
    WALLET.get_or_init(|| {
        let keys: Vec<Key> = (0..KEYS).map(|n| Key::generate(Alg::EdDSA, &format!("k{n}"))).collect();
        let token = |key| {
            let times = json!({ "iat": START, "exp": START + 24 * 3600 });
            TokenBuilder::new(key, ISSUER, AUDIENCE).claims(times).sign()
        };
        let tokens = keys.iter().map(token).collect();
        Wallet { keys, tokens }
    })
}

/// A token of this key.
pub(crate) fn token(key: usize) -> &'static str {
    &wallet().tokens[key]
}

/// The token of this key, but for its signature.
pub(crate) fn forged(key: usize) -> String {
    flip_bit(token(key))
}

/// A token in order but for its kid, which no key has, and so its signature too.
pub(crate) fn made_up(number: u64) -> String {
    let header = json!({ "alg": "EdDSA", "kid": format!("made-up-{number}") }).to_string();
    let rest = token(0).split_once('.').map_or("", |(_, rest)| rest);
    format!("{}.{rest}", b64(header))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    Well,
    Slow,
    Hung,
    Refusing,
    Resetting,
    Status(u16),
    Html,
    Truncated,
    Large,
    Empty,
    OtherIssuer,
    /// The cluster is not known, or has no healthy member.
    Unknown,
}

const MOODS: [Mood; 14] = [
    Mood::Slow,
    Mood::Hung,
    Mood::Refusing,
    Mood::Resetting,
    Mood::Status(500),
    Mood::Status(404),
    Mood::Status(302),
    Mood::Status(304),
    Mood::Html,
    Mood::Truncated,
    Mood::Large,
    Mood::Empty,
    Mood::OtherIssuer,
    Mood::Unknown,
];

impl Mood {
    /// Well every other time.
    pub(crate) fn next(self, chance: &mut Chance) -> Self {
        if self == Self::Well { chance.pick(&MOODS) } else { Self::Well }
    }
}

/// A listing of keys, by their numbers.
pub(crate) type Listing = Vec<usize>;

pub(crate) struct Provider {
    pub(crate) mood: Mood,
    /// Every listing that it has had; the last one is in force.
    listings: Vec<Listing>,
    max_age: Option<u64>,
    tags: bool,
}

/// What an answer means for the keys, where it is a good one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Meaning {
    pub(crate) listing: Listing,
    pub(crate) max_age: Option<u64>,
    /// A 304, which says no `max-age`: the one before goes on.
    pub(crate) inherits: bool,
}

impl Provider {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mut provider =
            Self { mood: Mood::Well, listings: Vec::new(), max_age: None, tags: chance.once_in(2) };
        provider.rotate(chance);
        if chance.once_in(3) {
            provider.mood = provider.mood.next(chance);
        }
        provider
    }

    pub(crate) fn listing(&self) -> &Listing {
        self.listings.last().expect("it begins with one")
    }

    /// Adds a key, takes one away, or both.
    pub(crate) fn rotate(&mut self, chance: &mut Chance) {
        let mut listing = self.listings.last().cloned().unwrap_or_default();
        if listing.len() > 1 && chance.once_in(2) {
            listing.remove(chance.below(listing.len()));
        }
        let fresh = chance.below(KEYS);
        if !listing.contains(&fresh) && (listing.len() < 3 || chance.once_in(3)) {
            listing.insert(0, fresh);
        }
        if listing.is_empty() {
            listing.push(fresh);
        }
        if self.listings.last() != Some(&listing) {
            self.listings.push(listing);
        }
        self.max_age = chance.pick(&[None, None, Some(15), Some(60), Some(120), Some(86_400)]);
    }

    /// What it answers to a query that reaches it now, as the host hands it over; with the meaning where the answer
    /// is a good key set. None: nothing before the host's patience ends.
    pub(crate) fn answer(
        &self,
        query: &HttpRequest,
    ) -> Option<(Result<HttpResponse, FetchError>, Option<Meaning>)> {
        let document = query.endpoint.path.starts_with("/.well-known");
        let status = |status| (Ok(HttpResponse { status, ..HttpResponse::default() }), None);
        let body = |text: String| {
            (Ok(HttpResponse { status: 200, body: text.into_bytes(), ..HttpResponse::default() }), None)
        };
        Some(match self.mood {
            Mood::Hung => return None,
            Mood::Well | Mood::Slow if document => body(metadata(ISSUER)),
            Mood::OtherIssuer if document => body(metadata("https://idp.example.evil")),
            Mood::OtherIssuer => body(json!({ "issuer": "https://idp.example.evil" }).to_string()),
            Mood::Well | Mood::Slow => self.keys(query),
            Mood::Refusing => status(503),
            Mood::Resetting => (Err(FetchError::NoAnswer), None),
            Mood::Status(302) => {
                // With keys in it, which nobody may take.
                let (answer, _) = self.keys(query);
                (answer.map(|answer| HttpResponse { status: 302, ..answer }), None)
            }
            Mood::Status(304) if query.headers.iter().any(|(name, _)| name == "if-none-match") => status(500),
            Mood::Status(code) => status(code),
            Mood::Html => body("<!doctype html><p>Please log in to the network.</p>".to_owned()),
            Mood::Truncated => {
                let mut text = idp::jwks(&wallet().keys).to_string();
                text.truncate(text.len() / 2);
                body(text)
            }
            Mood::Large => (Err(FetchError::TooLarge { size: 10 << 20, limit: query.max_bytes }), None),
            Mood::Empty => body(r#"{"keys":[]}"#.to_owned()),
            Mood::Unknown => (Err(FetchError::NotSent { cluster: query.endpoint.cluster.clone() }), None),
        })
    }

    fn keys(&self, query: &HttpRequest) -> (Result<HttpResponse, FetchError>, Option<Meaning>) {
        let number = self.listings.len();
        let tag = format!("\"{number}\"");
        let known = query.headers.iter().any(|(name, value)| name == "if-none-match" && value.0 == tag);
        let listing = self.listing().clone();
        let cache_control = self.max_age.map(|age| format!("public, max-age={age}"));
        let mut answer = HttpResponse {
            status: 200,
            cache_control,
            etag: self.tags.then_some(tag),
            ..HttpResponse::default()
        };
        let inherits = known && self.max_age.is_none();
        if known {
            answer.status = 304;
        } else {
            answer.body = set(&listing);
        }
        (Ok(answer), Some(Meaning { listing, max_age: self.max_age, inherits }))
    }
}

/// The key set of a listing.
pub(crate) fn set(listing: &[usize]) -> Vec<u8> {
    idp::jwks(listing.iter().map(|key| &wallet().keys[*key])).to_string().into_bytes()
}

fn metadata(issuer: &str) -> String {
    json!({ "issuer": issuer, "jwks_uri": format!("{ISSUER}/jwks"), "other": ["x"] }).to_string()
}
