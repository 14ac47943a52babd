//! What is to become of a request, as a value.

use std::fmt;
use std::rc::Rc;

use super::cached_token::CachedToken;
use super::few::Few;
use super::route::RouteCheck;
use crate::audit::AuditRecord;
use crate::config::Provider;
use crate::reason::{Context, Reason};
use crate::request::same_header;
use crate::response::{ErrorResponse, LocalReply};
use crate::rules::Rule;
use crate::upstream::{Decision, FilterStateField, FilterStateFields};

/// What is to become of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on to the upstream, changed like this.
    Allow(Allow),
    /// It is refused here.
    Deny(Rejection),
    /// It asks for what the gate itself has, and is answered here.
    Answer(Answer),
    /// It waits for what is fetched. The gate wakes it with [`Effect::Wake`](super::Effect::Wake), and then it is
    /// asked about again with [`Gate::resume`](super::Gate::resume).
    Wait,
}

/// A verified token that meets a requirement, and whose it is.
#[derive(Debug)]
pub struct Accepted {
    /// The provider whose token it is
    pub provider: Rc<Provider>,
    /// The token
    pub token: Rc<CachedToken>,
    /// Whether the upstream gets its claims. A token that was not asked for beside another is not an identity: what two
    /// issuers say of two subjects is none.
    pub(super) is_identity: bool,
}

/// How a request that passes is changed: first fields are removed, then others written.
#[derive(Default)]
pub struct Allow {
    /// Header fields to take away, by the names in which they came.
    pub remove: Few<Rc<[u8]>>,
    /// Fields of which a token was a part, by their names, and what is left of each: these fields, or none.
    pub left: Vec<(&'static str, Vec<Vec<u8>>)>,
    /// The request target that is left where a token was in its query.
    pub target: Option<Vec<u8>>,
    /// The tokens whose claims the upstream gets, each with its provider: one, or several where the rule asks for
    /// each of them.
    pub identity: Few<Accepted>,
    /// Whether the proxy is to choose the route again.
    pub clear_route_cache: bool,
    /// Whether the client sent a field that only this filter may write.
    pub spoofed: bool,
    /// Whether its stream ends with its token: the gate is to be called when it ends, with
    /// [`Gate::forget`](super::Gate::forget).
    pub is_followed: bool,
    /// What the route that serves is compared with when the response comes.
    pub route: RouteCheck,
    /// What other filters and the access log may read.
    pub state: FilterState,
}

/// Shows what is done to the request, not where it comes from.
impl fmt::Debug for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let each = |fields: &[Vec<u8>]| fields.iter().map(|field| text(field)).collect::<Vec<_>>();
        f.debug_struct("Allow")
            .field("remove", &self.remove.iter().map(|name| text(name)).collect::<Vec<_>>())
            .field("left", &self.left.iter().map(|(name, all)| (name, each(all))).collect::<Vec<_>>())
            .field("target", &self.target.as_deref().map(text))
            .field("added", &self.added().collect::<Vec<_>>())
            .field("clear_route_cache", &self.clear_route_cache)
            .field("state", &self.state)
            .finish()
    }
}

impl Allow {
    /// Whether it changes any field.
    pub fn changes_fields(&self) -> bool {
        !self.remove.is_empty()
            || !self.left.is_empty()
            || self.target.is_some()
            || self.added().next().is_some()
    }

    /// What is left of the fields of a name, where a token was a part of one.
    pub fn left_of(&self, name: &str) -> Option<&[Vec<u8>]> {
        self.left.iter().find(|(own, _)| *own == name).map(|(_, fields)| &fields[..])
    }

    /// The header fields to add. A header is written by the first token whose provider is configured to write it,
    /// whether or not that token has the claim: no other fills it in.
    pub fn added(&self) -> impl Iterator<Item = (&str, &str)> {
        self.identity.iter().enumerate().flat_map(move |(at, one)| {
            let earlier = self.identity.get(..at).unwrap_or_default();
            let taken = move |name: &str| {
                let mut names = earlier.iter().flat_map(|other| other.provider.outputs.names());
                names.any(|own| same_header(own.as_bytes(), name.as_bytes()))
            };
            one.token.headers().filter(move |(name, _)| !taken(name))
        })
    }
}

/// A request for something that the gate itself has: the metadata of a protected resource.
#[derive(Debug)]
pub struct Answer {
    /// The answer, made when the configuration was read.
    pub reply: Rc<LocalReply>,
    /// What the access log may read.
    pub state: FilterState,
}

/// A request that is refused: what the client gets, and what the access log may read.
#[derive(Debug)]
pub struct Rejection {
    /// The refusal.
    pub response: ErrorResponse,
    /// What the access log may read.
    pub state: FilterState,
}

/// What is written to the filter state.
#[derive(Clone, Default)]
pub struct FilterState {
    /// Which of it is written: what the operator names, and of a refusal all.
    pub selection: FilterStateFields,
    /// What was decided.
    pub decision: Decision,
    /// Why it was, or would have been, refused.
    pub reason: Option<Reason>,
    /// What only the operator gets of that; no entry of the filter state.
    pub context: Context,
    /// The rule that decided.
    pub rule: Option<Rc<Rule>>,
    /// The provider of the token, or of the token that was asked for.
    pub provider: Option<Rc<Provider>>,
    /// The route that served, where it is not the one by which the request was judged.
    pub route: Option<String>,
    /// The token whose subject is the principal: the first that was asked for and accepted.
    pub principal: Option<Rc<CachedToken>>,
    /// A nonce for the client's next proof.
    pub nonce: Option<Rc<String>>,
    /// Whose tokens were not accepted, and why, where the provider writes metadata; no entry of the filter state.
    #[cfg(feature = "native")]
    pub failures: Vec<(Rc<Provider>, Reason)>,
}

/// Shows the entries.
impl fmt::Debug for FilterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

impl FilterState {
    /// That of a refusal of which nothing else is known.
    pub fn refused(reason: Reason) -> Self {
        Self {
            selection: FilterStateFields::ALL,
            decision: Decision::Deny,
            reason: Some(reason),
            ..Self::default()
        }
    }

    /// The entries that are written, each with its value.
    pub fn entries(&self) -> impl Iterator<Item = (FilterStateField, &str)> {
        let selected = FilterStateField::ALL.into_iter().filter(|entry| self.selection.has(*entry));
        selected.filter_map(|entry| Some((entry, self.get(entry)?)))
    }

    /// The value of an entry, whether or not it is written.
    pub fn get(&self, entry: FilterStateField) -> Option<&str> {
        let principal = self.principal.as_deref();
        match entry {
            FilterStateField::Decision => Some(self.decision.as_str()),
            FilterStateField::Reason => self.reason.map(Reason::as_str),
            FilterStateField::Rule => self.rule.as_ref().map(|rule| rule.name.as_str()),
            FilterStateField::Provider => self.provider.as_ref().map(|provider| provider.name.as_str()),
            // A line end in a subject would begin a new line of an access log.
            FilterStateField::Subject => principal
                .filter(|token| !token.has_unsafe_subject())
                .and_then(|token| token.claims().subject.as_deref()),
            FilterStateField::Scopes => principal.map(CachedToken::scopes),
            FilterStateField::DpopNonce => self.nonce.as_ref().map(|nonce| nonce.as_str()),
        }
    }

    /// The decision as the audit line tells of it.
    pub(super) fn audit_record(&self) -> AuditRecord<'_> {
        AuditRecord {
            decision: self.decision,
            reason: self.reason,
            context: Some(&self.context),
            rule: self.rule.as_ref().map(|rule| &*rule.name),
            provider: self.provider.as_ref().map(|provider| &*provider.name),
            locations: self.provider.as_ref().map(|provider| &provider.locations[..]).unwrap_or_default(),
            route: self.route.as_deref(),
            claims: self.principal.as_ref().map(|token| token.claims()),
        }
    }
}
