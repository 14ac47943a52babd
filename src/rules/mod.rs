//! Which rule a request meets, and what that rule asks for.

mod authentication;
mod authorize;
mod host;
mod index;
mod matcher;
mod metadata;
mod overlap;
mod requirement;
mod set_requirement;
mod template;
mod trial;
mod uri_template;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

pub use authentication::{Authentication, StepUp};
pub use authorize::{Authorize, Clause};
pub use host::{HostMatch, HostName, HostPort};
pub use matcher::{HeaderMatch, Match, PathMatch, PathRegex, QueryMatch, QueryValue, ValueMatch};
pub use metadata::{MetadataMatch, MetadataValue};
pub use requirement::{Demand, Requirement};
pub use set_requirement::SetRequirement;
pub use template::Template;
pub use trial::Trial;
pub use uri_template::UriTemplate;

use crate::proof::RequiredProof;
use crate::reason::Reason;
use crate::request::{Held, PathKind, PathReadings, Request, RequestView};
use crate::text::Effort;
use crate::token::RequestValue;
use index::{First, Index, Rank};

/// The place of a rule in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleId(pub usize);

/// A rule: for the requests that it matches, the token that they need and what it must grant.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its place.
    pub id: RuleId,
    /// Its name, or `rules[i]`.
    pub name: String,
    /// Which requests it is for.
    pub matches: Match,
    /// The tokens that are needed; none: the rule is public.
    pub requires: Option<Requirement>,
    /// What the token must grant.
    pub authorize: Option<Authorize>,
    /// Whether it decides, or only tells what it would decide.
    pub mode: Mode,
    /// What it makes of ambiguous paths, where it has its own mind.
    pub ambiguous_paths: Option<AmbiguousPaths>,
    /// Whether it lets tokens pass that were revoked.
    pub ignores_revocation: bool,
    /// What the sender of each token proves, whatever the token says.
    pub requires_proof: Option<RequiredProof>,
    /// Whether each token counts once.
    pub one_time: bool,
    /// Whether providers that can be asked about their tokens are asked (RFC 7662).
    pub introspect: bool,
    /// How long its requests may wait for what is fetched, all in all, where it says so.
    pub wait_timeout: Option<Duration>,
    /// For how long after the end of its tokens a stream may stay open that its requests began; none: for as long as
    /// it likes.
    pub stream_grace: Option<Duration>,
}

/// What becomes of a path that could be read in more than one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AmbiguousPaths {
    /// It is refused.
    #[default]
    Reject,
    /// It passes where all readings meet one rule with the same path variables.
    Normalize,
    /// Every path is compared as it arrived, without its query: the operator vouches for that reading.
    MatchRaw,
}

/// Whether a rule decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It says what it would decide, and lets everything through.
    Report,
}

/// The rules in their order; the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    list: Vec<Rc<Rule>>,
    /// What each makes of ambiguous paths, and of other readings.
    policies: Vec<Policy>,
    /// What is made of one that no rule is for.
    otherwise: AmbiguousPaths,
    /// Rules that compare every reading of a path, by how often that was decoded: one index where decoding
    /// changes nothing about them.
    read: Vec<Index>,
    /// Rules that compare paths as they arrive.
    raw: Index,
    has_raw: bool,
    /// Whether anything hangs on another reading of a path than the one that was sent.
    reads: bool,
    /// Whether every rule refuses suspicious paths.
    rejects: bool,
    /// Whether any rule looks at the host.
    looks_at_hosts: bool,
    /// How many regular expressions they have.
    expressions: usize,
    /// Rules for requests without a path.
    connect: Vec<Rank>,
    /// All, by their names.
    by_name: BTreeMap<Rc<str>, Rank>,
}

/// Which rule a request meets.
#[derive(Debug)]
pub enum RuleMatch {
    /// This one, under every reading.
    Rule(Rc<Rule>),
    /// The request could be read in more than one way: for which reason it is refused, and the first rule
    /// that it may meet, where that is known.
    Ambiguous(Reason, Option<Rc<Rule>>),
    /// None.
    Nothing,
}

impl Rules {
    /// These rules, in this order. `ambiguous_paths` is for those that have no mind of their own.
    pub fn new(rules: Vec<Rule>, ambiguous_paths: AmbiguousPaths) -> Self {
        let decodings = if rules.iter().any(|rule| rule.matches.path.has_escapes()) { 3 } else { 1 };
        let mut all = Self {
            otherwise: ambiguous_paths,
            read: vec![Index::default(); decodings],
            reads: ambiguous_paths != AmbiguousPaths::MatchRaw,
            rejects: ambiguous_paths == AmbiguousPaths::Reject,
            ..Self::default()
        };
        for (rule, at) in rules.into_iter().zip(0..) {
            let policy = rule.ambiguous_paths.unwrap_or(ambiguous_paths);
            all.rejects &= policy == AmbiguousPaths::Reject;
            all.reads |= policy != AmbiguousPaths::MatchRaw;
            all.looks_at_hosts |= rule.looks_at_hosts();
            all.expressions = all.expressions.saturating_add(rule.matches.expressions());
            match (&rule.matches.path, policy) {
                (PathMatch::Connect, _) => all.connect.push(at),
                (_, AmbiguousPaths::MatchRaw) => {
                    all.has_raw = true;
                    all.raw.add(at, &rule.matches);
                }
                (_, AmbiguousPaths::Reject | AmbiguousPaths::Normalize) => {
                    for (index, decodings) in all.read.iter_mut().zip(0..) {
                        match rule.matches.path.decoded(decodings) {
                            Some(path) => index.add(at, &Match { path, ..rule.matches.clone() }),
                            None => index.add(at, &rule.matches),
                        }
                    }
                }
            }
            all.by_name.entry(rule.name.as_str().into()).or_insert(at);
            let binds = |place: fn(&RequestValue) -> bool| rule.places().any(place);
            all.policies.push(Policy {
                ambiguous_paths: policy,
                binds_path: binds(|place| matches!(place, RequestValue::Path(_))),
                binds_host: binds(|place| *place == RequestValue::Host),
            });
            all.list.push(Rc::new(rule));
        }
        all
    }

    /// What a request may be taken for, as far as these rules look at it.
    pub fn view<'r>(&self, request: &Request<'r>) -> RequestView<'r> {
        let target = if request.is_connect() { None } else { request.target() };
        let target = target.unwrap_or(b"/");
        let path = match self.reads {
            true => PathReadings::of(target, !self.rejects),
            false => PathReadings::as_sent(target),
        };
        RequestView::new(request, path).with_effort(Effort::for_rules(self.expressions))
    }

    /// The rule that a request meets whoever reads it: the first that matches under any reading, where it
    /// matches under all.
    pub fn find(&self, view: &RequestView<'_>) -> RuleMatch {
        if self.looks_at_hosts && view.authority().is_none() {
            return RuleMatch::Ambiguous(Reason::RequestAmbiguous, None);
        }
        // It has no path (RFC 9113 section 8.5).
        if view.request().is_connect() {
            return self.find_connect(view);
        }
        if view.request().target().is_none() {
            return RuleMatch::Nothing;
        }
        let kind = view.path().kind();
        if kind == PathKind::Excessive || (kind != PathKind::Clear && self.rejects) {
            return RuleMatch::Ambiguous(Reason::PathAmbiguous, None);
        }
        let mut first = First::new();
        let mut found = Found::default();
        self.search_read(view, &mut first, &mut found);
        if self.has_raw {
            search(&self.list, &self.raw, &view.path().sent(), view, &mut first, &mut found);
        }
        match first.get().and_then(|at| self.get(at)) {
            Some(rule) => self.settle(rule, found, view),
            None if self.otherwise.takes(kind) => RuleMatch::Nothing,
            None => RuleMatch::Ambiguous(Reason::PathAmbiguous, None),
        }
    }

    /// Whether the first rule that a request may meet is met under every reading.
    fn settle(&self, rule: &Rc<Rule>, found: Found, view: &RequestView<'_>) -> RuleMatch {
        let policy = self.policy(rule.id);
        let has_one_path = policy.is_raw() || (view.path().is_one() && self.read.len() == 1);
        let path = if has_one_path { found.path } else { rule.matches.paths_held(view) };
        let binds_one_path = has_one_path || !policy.binds_path || rule.binds_one_path(view);
        if !policy.ambiguous_paths.takes(view.path().kind()) || path != Held::Always || !binds_one_path {
            RuleMatch::Ambiguous(Reason::PathAmbiguous, Some(Rc::clone(rule)))
        } else if found.others != Held::Always || !policy.binds_one_host(view) {
            RuleMatch::Ambiguous(Reason::RequestAmbiguous, Some(Rc::clone(rule)))
        } else {
            RuleMatch::Rule(Rc::clone(rule))
        }
    }

    fn find_connect(&self, view: &RequestView<'_>) -> RuleMatch {
        let mut rules = self.connect.iter().filter_map(|at| self.get(*at));
        let found = rules.find_map(|rule| {
            let held = rule.matches.others_held(view);
            held.is_possible().then_some((rule, held))
        });
        match found {
            Some((rule, Held::Always)) if self.policy(rule.id).binds_one_host(view) => {
                RuleMatch::Rule(Rc::clone(rule))
            }
            Some((rule, _)) => RuleMatch::Ambiguous(Reason::RequestAmbiguous, Some(Rc::clone(rule))),
            None => RuleMatch::Nothing,
        }
    }

    /// Looks for each reading of the path among the rules that compare such.
    fn search_read(&self, view: &RequestView<'_>, first: &mut First, found: &mut Found) {
        if let [only] = &self.read[..] {
            for reading in view.path().iter() {
                search(&self.list, only, &reading.text, view, first, found);
            }
            return;
        }
        for reading in view.path().iter() {
            let from = reading.decoded;
            let to = if reading.is_stable() { self.read.len() } else { from.saturating_add(1) };
            for index in self.read.get(from..to).unwrap_or_default() {
                search(&self.list, index, &reading.text, view, first, found);
            }
        }
    }

    /// The text of a variable of a rule's path, decoded.
    pub fn path_variable<'v>(
        &self,
        rule: &Rule,
        name: &str,
        view: &'v RequestView<'_>,
    ) -> Option<Cow<'v, str>> {
        if self.policy(rule.id).is_raw() {
            return Some(Cow::Owned(rule.matches.variable(name, &view.path().sent())?.into_owned()));
        }
        rule.matches.variable(name, &view.path().iter().next()?.text)
    }

    /// Whether the path of a request is one of a rule's under every reading, and binds its variables to one
    /// value: for a rule that the route named, whatever the path.
    pub fn fits(&self, rule: &Rule, view: &RequestView<'_>) -> bool {
        if self.policy(rule.id).is_raw() {
            return rule.matches.path_held(&view.path().sent(), view) == Held::Always;
        }
        rule.matches.paths_held(view) == Held::Always && rule.binds_one_path(view)
    }

    fn get(&self, at: Rank) -> Option<&Rc<Rule>> {
        self.list.get(usize::try_from(at).ok()?)
    }

    fn policy(&self, id: RuleId) -> Policy {
        self.policies.get(id.0).copied().unwrap_or_default()
    }

    /// The rule of that name.
    pub fn named(&self, name: &str) -> Option<Rc<Rule>> {
        self.get(*self.by_name.get(name)?).map(Rc::clone)
    }

    /// All rules, in order, to be kept.
    pub fn shared(&self) -> impl Iterator<Item = Rc<Rule>> {
        self.list.iter().map(Rc::clone)
    }

    /// All rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter().map(|rule| &**rule)
    }
}

impl Rule {
    /// A rule for these requests that asks for nothing.
    pub fn public(id: RuleId, name: String, matches: Match) -> Self {
        Self {
            id,
            name,
            matches,
            requires: None,
            authorize: None,
            mode: Mode::Enforce,
            ambiguous_paths: None,
            ignores_revocation: false,
            requires_proof: None,
            one_time: false,
            introspect: false,
            wait_timeout: None,
            stream_grace: None,
        }
    }

    /// The parts of a request with which its claims are compared.
    fn places(&self) -> impl Iterator<Item = &RequestValue> {
        self.authorize.iter().flat_map(|authorize| authorize.clause().places())
    }

    fn looks_at_hosts(&self) -> bool {
        let named = self.matches.headers.iter().any(|header| matches!(&*header.name, "host" | ":authority"));
        !self.matches.hosts.is_empty() || named || self.places().any(|place| *place == RequestValue::Host)
    }

    /// Whether the path variables that its claims are compared with have one value.
    fn binds_one_path(&self, view: &RequestView<'_>) -> bool {
        self.places().all(|place| match place {
            RequestValue::Path(name) => {
                let mut values = view.path().iter().map(|reading| self.matches.variable(name, &reading.text));
                let first = values.next();
                values.all(|value| Some(value) == first)
            }
            RequestValue::Header(_) | RequestValue::Host | RequestValue::Peer(_) => true,
        })
    }
}

/// What a rule makes of other readings of a request.
#[derive(Clone, Copy, Debug, Default)]
struct Policy {
    ambiguous_paths: AmbiguousPaths,
    /// Whether claims are compared with variables of its path.
    binds_path: bool,
    /// Whether claims are compared with the host.
    binds_host: bool,
}

impl Policy {
    fn is_raw(self) -> bool {
        self.ambiguous_paths == AmbiguousPaths::MatchRaw
    }

    /// Whether the host that claims are compared with is one, whoever reads it. Its port does not count.
    fn binds_one_host(self, view: &RequestView<'_>) -> bool {
        !self.binds_host || view.authority().is_none_or(|authority| !authority.ends_with_dot())
    }
}

impl AmbiguousPaths {
    /// Whether a path of this kind can pass at all.
    fn takes(self, kind: PathKind) -> bool {
        match self {
            Self::Reject => kind == PathKind::Clear,
            Self::Normalize => kind <= PathKind::Suspicious,
            Self::MatchRaw => true,
        }
    }
}

/// How the conditions of the first rule that may be for a request hold.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// That on the path, for the reading under which the rule was found.
    path: Held,
    /// The others.
    others: Held,
}

impl Default for Found {
    fn default() -> Self {
        Self { path: Held::Never, others: Held::Never }
    }
}

/// Looks among the rules of an index for the first that may be for a request with this path.
fn search(
    list: &[Rc<Rule>],
    index: &Index,
    path: &str,
    view: &RequestView<'_>,
    first: &mut First,
    found: &mut Found,
) {
    index.search(path, view, first, &mut |at| {
        let Some(rule) = usize::try_from(at).ok().and_then(|at| list.get(at)) else { return false };
        let matches = &rule.matches;
        let others = matches.others_held(view);
        // What the index is not sure of.
        let path = match matches.path {
            PathMatch::Regex(_) | PathMatch::UriTemplate(_) if others.is_possible() => {
                matches.path_held(path, view)
            }
            _ => Held::Always,
        };
        let possible = (others & path).is_possible();
        if possible {
            *found = Found { path, others };
        }
        possible
    });
}
