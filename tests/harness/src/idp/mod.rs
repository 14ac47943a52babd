//! A demo identity provider.
//!
//! It holds keys, publishes them as a JWK Set, issues tokens (JWTs and opaque ones), logs users in for clients that
//! register themselves, revokes tokens, rotates, counts what is asked of it, and can be told to be slow, broken, huge or gone. It signs with another cryptography library than the filter
//! verifies with, so that the two check each other.

mod behaviour;
mod key;
mod login;
mod logout;
mod opaque;
mod revoked;
mod routes;
mod token;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{fmt, io};

use serde_json::Value;

pub use behaviour::{Behaviour, Endpoint};
pub(crate) use key::random;
pub use key::{Alg, Key, b64, jwks};
pub use opaque::{GATE, Introspection, PREFIX};
pub use token::{TokenBuilder, flip_bit, now};

use crate::door::Door;
use crate::runtime::runtime;
use crate::wait::eventually;
use login::Logins;
use opaque::Opaque;
use revoked::Revoked;

/// The audience of a token for which none was asked.
pub const AUDIENCE: &str = "orders";

/// A running identity provider. It stops when it is dropped.
pub struct Idp {
    door: Arc<Door>,
    state: Arc<Shared>,
}

/// What the servers and the handle share.
struct Shared {
    issuer: String,
    audience: String,
    /// Who is told of logouts.
    backchannel_logout_uri: Option<String>,
    inner: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Vec<Key>,
    /// Keys that are published no more but were once: [`Idp::retired`] gives them out.
    retired: Vec<Key>,
    generation: usize,
    cache_control: Option<String>,
    jwks: Option<Vec<u8>>,
    revoked: Revoked,
    opaque: Opaque,
    logins: Logins,
    behaviours: HashMap<Endpoint, Rule>,
    fetches: Counts,
}

/// A behaviour, for ever or for so many requests.
struct Rule {
    behaviour: Behaviour,
    left: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    jwks: usize,
    not_modified: usize,
    discovery: usize,
    token: usize,
    revoked: usize,
    last_jwks_headers: Vec<(String, String)>,
}

/// How a provider is to be before it starts.
#[derive(Debug)]
pub struct IdpBuilder {
    addr: SocketAddr,
    issuer: Option<String>,
    audience: String,
    algs: Vec<Alg>,
    keys: Option<Vec<Key>>,
    cache_control: Option<String>,
    generation: usize,
    backchannel_logout_uri: Option<String>,
}

impl IdpBuilder {
    /// Listens here instead of on a free loopback port.
    #[must_use]
    pub fn addr(mut self, addr: SocketAddr) -> Self {
        self.addr = addr;
        self
    }

    /// Calls itself this in `iss` and in its metadata, instead of by its address.
    #[must_use]
    pub fn issuer(mut self, issuer: &str) -> Self {
        self.issuer = Some(issuer.to_owned());
        self
    }

    /// Issues tokens for this audience.
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        audience.clone_into(&mut self.audience);
        self
    }

    /// Has one key of each of these algorithms; the first is the one it signs with. Default: RS256, then ES256.
    #[must_use]
    pub fn algs(mut self, algs: impl IntoIterator<Item = Alg>) -> Self {
        self.algs = algs.into_iter().collect();
        self
    }

    /// Has these keys and no others; the first is the one it signs with.
    #[must_use]
    pub fn keys(mut self, keys: impl IntoIterator<Item = Key>) -> Self {
        self.keys = Some(keys.into_iter().collect());
        self
    }

    /// Sends this `Cache-Control` with its keys and its metadata, or none. Default: `max-age=300`.
    #[must_use]
    pub fn cache_control(mut self, value: Option<&str>) -> Self {
        self.cache_control = value.map(str::to_owned);
        self
    }

    /// Counts its generations of keys from here, not from 1. The number is in each `kid`: a provider that is started
    /// again must not give the name of an old key to a new one.
    #[must_use]
    pub fn first_generation(mut self, number: usize) -> Self {
        self.generation = number;
        self
    }

    /// Tells this URI of logouts (OpenID Connect Back-Channel Logout 1.0).
    #[must_use]
    pub fn backchannel_logout_uri(mut self, uri: &str) -> Self {
        self.backchannel_logout_uri = Some(uri.to_owned());
        self
    }

    /// Starts it.
    pub fn start(self) -> io::Result<Idp> {
        let keys = self.keys.unwrap_or_else(|| generation(&self.algs, self.generation));
        let state = State {
            keys,
            generation: self.generation,
            cache_control: self.cache_control,
            ..State::default()
        };
        Idp::launch(self.addr, self.issuer, self.audience, self.backchannel_logout_uri, state)
    }
}

impl Idp {
    /// A provider with an RS256 and an ES256 key on a free loopback port.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start() -> Self {
        Self::builder().start().expect("the identity provider listens on a free port")
    }

    /// A provider to be described first.
    pub fn builder() -> IdpBuilder {
        IdpBuilder {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            issuer: None,
            audience: AUDIENCE.to_owned(),
            algs: vec![Alg::RS256, Alg::ES256],
            keys: None,
            cache_control: Some("max-age=300".to_owned()),
            generation: 1,
            backchannel_logout_uri: None,
        }
    }

    fn launch(
        addr: SocketAddr,
        issuer: Option<String>,
        audience: String,
        backchannel_logout_uri: Option<String>,
        state: State,
    ) -> io::Result<Self> {
        // The issuer defaults to the address, which is known only once the port is bound.
        let slot = routes::Slot::default();
        let door = Arc::new(Door::open(addr, routes::serve(slot.clone()))?);
        let issuer = issuer.unwrap_or_else(|| format!("http://{}", door.addr()));
        let state = Arc::new(Shared { issuer, audience, backchannel_logout_uri, inner: Mutex::new(state) });
        slot.fill(state.clone(), Arc::downgrade(&door));
        Ok(Self { door, state })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.door.addr()
    }

    /// `http://` and its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Where its keys are: the URI for `remote_jwks`.
    pub fn jwks_uri(&self) -> String {
        format!("{}/jwks.json", self.url())
    }

    /// Where the list of the tokens that it revoked is: the URI for `revocation.lists`.
    pub fn revoked_uri(&self) -> String {
        format!("{}/revoked.json", self.url())
    }

    /// Where it answers what a token is: the URI for `introspection`.
    pub fn introspection_uri(&self) -> String {
        format!("{}/introspect", self.url())
    }

    /// Its name, as it stands in `iss`.
    pub fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// The audience for which it issues tokens.
    pub fn audience(&self) -> &str {
        &self.state.audience
    }

    /// A token with these claims on top of the usual ones.
    pub fn token(&self, claims: Value) -> String {
        self.mint().claims(claims).sign()
    }

    /// An opaque token; the answer about it has these members on top of the usual ones. `null` leaves one out.
    pub fn opaque_token(&self, members: Value) -> String {
        let mut all = self.mint().payload();
        let Value::Object(members) = members else { panic!("members are a JSON object, not {members}") };
        for (name, value) in members {
            match value {
                Value::Null => drop(all.as_object_mut().expect("an object").remove(&name)),
                value => all[name] = value,
            }
        }
        self.state.issue_opaque(all)
    }

    /// Answers about a token with these members, whatever it is, until it is revoked.
    pub fn answer_about(&self, token: &str, members: Value) {
        self.state.lock().opaque.put(token, members);
    }

    /// Behaves like this when it is asked about a token.
    pub fn behave_about(&self, token: &str, behaviour: Behaviour) {
        self.state.lock().opaque.behave(token, behaviour);
    }

    /// Revokes an opaque token: it is active no more.
    ///
    /// # Panics
    /// When it is not known.
    pub fn revoke_opaque(&self, token: &str) {
        assert!(self.state.lock().opaque.revoke(token), "the identity provider knows the token");
    }

    /// Answers the introspection of this client alone (`client_secret_basic` and `client_secret_post`), or of
    /// everybody. Default: [`GATE`].
    pub fn set_introspection_client(&self, client: Option<(&str, &str)>) {
        self.state.lock().opaque.client = client.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
    }

    /// An answer about a token as a JWT (RFC 9701), with these claims.
    pub fn sign_introspection(&self, claims: &Value) -> String {
        self.state.sign_answer(claims)
    }

    /// What it was asked about tokens, in the order in which it came.
    pub fn introspections(&self) -> Vec<Introspection> {
        self.state.lock().opaque.calls.clone()
    }

    /// How often it was asked about this token.
    pub fn introspections_of(&self, token: &str) -> usize {
        self.state.lock().opaque.calls.iter().filter(|call| call.token() == token).count()
    }

    /// The largest number of introspections that were in progress at the same time.
    pub fn most_introspections_at_once(&self) -> usize {
        self.state.lock().opaque.most_at_once
    }

    /// Forgets what it was asked about tokens so far.
    pub fn forget_introspections(&self) {
        let mut state = self.state.lock();
        state.opaque.calls.clear();
        state.opaque.most_at_once = 0;
    }

    /// A token to be bent first.
    pub fn mint(&self) -> TokenBuilder {
        self.state.mint()
    }

    /// The keys that it publishes now.
    pub fn keys(&self) -> Vec<Key> {
        self.state.lock().keys.clone()
    }

    /// The key that it signs with now.
    ///
    /// # Panics
    /// When it has none.
    pub fn signing_key(&self) -> Key {
        self.state.signing_key()
    }

    /// The key of this algorithm that it has now.
    ///
    /// # Panics
    /// When it has none.
    pub fn key(&self, alg: Alg) -> Key {
        let keys = self.keys();
        let Some(key) = keys.iter().find(|key| key.alg() == alg) else {
            panic!("no key for {alg} among {keys:?}")
        };
        key.clone()
    }

    /// The keys that it published once and removed.
    pub fn retired(&self) -> Vec<Key> {
        self.state.lock().retired.clone()
    }

    /// Its JWK Set as it stands, for a `local_jwks`.
    pub fn jwks(&self) -> Value {
        self.state.jwks()
    }

    /// Makes a new key of every algorithm it has, and signs with those from now on. The old ones stay published if
    /// `keep_old` is set.
    pub fn rotate(&self, keep_old: bool) {
        self.state.rotate(keep_old);
    }

    /// Has these keys from now on; the first is the one it signs with.
    pub fn set_keys(&self, keys: impl IntoIterator<Item = Key>) {
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut state = self.state.lock();
        let old = std::mem::replace(&mut state.keys, keys);
        state.retired.extend(old);
    }

    /// Publishes these bytes in place of its JWK Set, with everything else (ETag, caching) as usual. `None` ends it.
    pub fn publish(&self, document: Option<Vec<u8>>) {
        self.state.lock().jwks = document;
    }

    /// Sends this `Cache-Control` from now on, or none.
    pub fn set_cache_control(&self, value: Option<&str>) {
        self.state.lock().cache_control = value.map(str::to_owned);
    }

    /// Makes the JWKS endpoint behave like this from now on. `Behaviour::Well` ends it.
    pub fn behave(&self, behaviour: Behaviour) {
        self.behave_on(Endpoint::Jwks, behaviour);
    }

    /// Makes an endpoint behave like this from now on.
    pub fn behave_on(&self, endpoint: Endpoint, behaviour: Behaviour) {
        self.state.lock().behaviours.insert(endpoint, Rule { behaviour, left: None });
    }

    /// Makes an endpoint behave like this for its next `count` requests, and well after them.
    pub fn behave_next(&self, count: usize, endpoint: Endpoint, behaviour: Behaviour) {
        self.state.lock().behaviours.insert(endpoint, Rule { behaviour, left: Some(count) });
    }

    /// Refuses connections from now on, and drops those that are open. The port stays reserved.
    pub fn go_away(&self) {
        runtime().block_on(self.door.shut());
    }

    /// Accepts connections again, on the same port.
    ///
    /// # Panics
    /// When it cannot.
    pub fn come_back(&self) {
        self.door.reopen().expect("the identity provider listens on its port again");
    }

    /// How often its keys were asked for, 304 answers and misbehaviour included.
    pub fn fetches(&self) -> usize {
        self.state.lock().fetches.jwks
    }

    /// How many of the [`Self::fetches`] were answered 304.
    pub fn not_modified(&self) -> usize {
        self.state.lock().fetches.not_modified
    }

    /// How often its metadata was asked for.
    pub fn discovery_fetches(&self) -> usize {
        self.state.lock().fetches.discovery
    }

    /// How often a token was asked for over HTTP.
    pub fn token_requests(&self) -> usize {
        self.state.lock().fetches.token
    }

    /// How often the list of revoked tokens was asked for.
    pub fn revoked_fetches(&self) -> usize {
        self.state.lock().fetches.revoked
    }

    /// The header fields of the latest request for its keys.
    pub fn last_fetch_headers(&self) -> Vec<(String, String)> {
        self.state.lock().fetches.last_jwks_headers.clone()
    }

    /// Waits until its keys were asked for at least `count` times.
    ///
    /// # Panics
    /// When they were not, in time.
    #[track_caller]
    pub fn wait_for_fetches(&self, count: usize, timeout: Duration) {
        eventually(&format!("{count} fetches of {}", self.jwks_uri()), timeout, || {
            (self.fetches() >= count).then_some(())
        });
    }
}

impl fmt::Debug for Idp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Idp({})", self.url())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn signing_key(&self) -> Key {
        self.lock().keys.first().cloned().expect("the identity provider has a key")
    }

    fn mint(&self) -> TokenBuilder {
        TokenBuilder::new(&self.signing_key(), &self.issuer, &self.audience).among(self.lock().keys.clone())
    }

    fn jwks(&self) -> Value {
        // A shared secret is nothing to publish.
        jwks(self.lock().keys.iter().filter(|key| !key.alg().is_symmetric()))
    }

    fn rotate(&self, keep_old: bool) {
        let mut state = self.lock();
        let mut algs: Vec<Alg> = Vec::new();
        for key in &state.keys {
            if !algs.contains(&key.alg()) {
                algs.push(key.alg());
            }
        }
        state.generation += 1;
        let new = generation(&algs, state.generation);
        let old = std::mem::replace(&mut state.keys, new);
        if keep_old {
            state.keys.extend(old);
        } else {
            state.retired.extend(old);
        }
    }

    /// Notes a request, and says how to treat it.
    fn meet(&self, endpoint: Endpoint) -> Behaviour {
        let mut state = self.lock();
        match endpoint {
            Endpoint::Jwks => state.fetches.jwks += 1,
            Endpoint::Discovery => state.fetches.discovery += 1,
            Endpoint::Token => state.fetches.token += 1,
            Endpoint::Revoked => state.fetches.revoked += 1,
            Endpoint::Introspection => {}
        }
        match state.behaviours.get_mut(&endpoint) {
            None | Some(Rule { left: Some(0), .. }) => Behaviour::Well,
            Some(rule) => {
                rule.left = rule.left.map(|left| left - 1);
                rule.behaviour.clone()
            }
        }
    }
}

/// One key of each algorithm, named after the algorithm and the generation.
fn generation(algs: &[Alg], number: usize) -> Vec<Key> {
    algs.iter().map(|alg| Key::generate(*alg, &format!("{}-{number}", alg.name().to_lowercase()))).collect()
}
