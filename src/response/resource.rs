//! Protected resources (RFC 9728): which of them a request is for, and the documents that tell clients where to get a
//! token for it. The answers are made once, when the configuration is read.

use std::borrow::Cow;
use std::rc::Rc;

use super::LocalReply;
use crate::reason::Reason;
use crate::request::{PathKind, RequestView};
use crate::rules::{AmbiguousPaths, HostMatch, Match, PathMatch, Rule, RuleId, RuleMatch, Rules};

/// What the paths of metadata documents begin with (RFC 9728 section 3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// How many protected resources a configuration has at most.
pub const MAX_RESOURCES: usize = 1000;

/// What the refusals and the tokens of a resource's requests need to know of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProtectedResource {
    /// Where its metadata is: `resource_metadata` of its challenges (RFC 9728 section 5.1).
    pub metadata_url: Rc<str>,
    /// The audiences of its tokens, where they take the place of the providers'.
    pub audiences: Option<Vec<String>>,
}

/// A resource with its document and the places of it.
#[derive(Clone, Debug)]
pub struct DescribedResource {
    /// The resource.
    pub resource: ProtectedResource,
    /// Its requests.
    pub matches: Match,
    /// The paths of its document, each as requests have it.
    pub paths: Vec<String>,
    /// The document, as JSON.
    pub document: String,
    /// For how long clients may keep it, in seconds.
    pub max_age: u64,
}

/// All protected resources. A request is for the first whose match it meets.
#[derive(Clone, Debug)]
pub struct ProtectedResources {
    list: Vec<Rc<ProtectedResource>>,
    /// The matches of the resources, each as a rule with the resource's place.
    requests: Rules,
    /// The places of the documents, each as a rule with the place of its answers, and all else that begins like them.
    places: Rules,
    answers: Vec<Rc<Answers>>,
}

/// What a place of the well-known path answers.
#[derive(Debug)]
struct Answers {
    get: Rc<LocalReply>,
    options: Rc<LocalReply>,
    other: Rc<LocalReply>,
}

impl ProtectedResources {
    /// These resources, where `ambiguous_paths` is what rules make of ambiguous paths if they say nothing of their own.
    pub fn new(resources: Vec<DescribedResource>, ambiguous_paths: AmbiguousPaths) -> Self {
        // A path that may be suspicious was taken by its rule by then: here it only has to have one meaning.
        let ambiguous_paths = match ambiguous_paths {
            AmbiguousPaths::Reject | AmbiguousPaths::Normalize => AmbiguousPaths::Normalize,
            AmbiguousPaths::MatchRaw => AmbiguousPaths::MatchRaw,
        };
        let mut requests = Vec::new();
        let (mut places, mut answers) = (Vec::new(), Vec::new());
        let mut list = Vec::new();
        let mut rest: Vec<Vec<HostMatch>> = Vec::new();
        for described in resources {
            let DescribedResource { resource, matches, paths, document, max_age } = described;
            let own = Rc::new(Answers::of(document, max_age));
            for path in paths {
                let hosts = matches.hosts.clone();
                places.push(rule(answers.len(), Match { hosts, ..Match::of(PathMatch::Exact(path)) }));
                answers.push(Rc::clone(&own));
            }
            if !rest.contains(&matches.hosts) {
                rest.push(matches.hosts.clone());
            }
            requests.push(rule(list.len(), matches));
            list.push(Rc::new(resource));
        }
        let missing = Rc::new(Answers::missing());
        for hosts in rest {
            let path = PathMatch::Separated(WELL_KNOWN.to_owned());
            places.push(rule(answers.len(), Match { hosts, ..Match::of(path) }));
            answers.push(Rc::clone(&missing));
        }
        let rules = |rules| Rules::new(rules, ambiguous_paths);
        Self { list, requests: rules(requests), places: rules(places), answers }
    }

    /// What the gate answers to a request for a metadata document, or for what begins like one; none to any other.
    ///
    /// # Errors
    /// The reason to refuse a request which only some programs would take for one of these.
    pub fn answer(&self, view: &RequestView<'_>) -> Result<Option<Rc<LocalReply>>, Reason> {
        let begins = |path: &str| path.starts_with(WELL_KNOWN);
        if !begins(&view.path().sent()) && !view.path().iter().any(|reading| begins(&reading.text)) {
            return Ok(None);
        }
        let Some(place) = settled(&self.places, view)? else { return Ok(None) };
        let answers = self.answers.get(place.0);
        Ok(answers.map(|answers| answers.to(view.request().method())))
    }

    /// The resource that a request is for.
    ///
    /// # Errors
    /// The reason to refuse a request of which that depends on who reads it.
    pub fn find(&self, view: &RequestView<'_>) -> Result<Option<Rc<ProtectedResource>>, Reason> {
        let place = settled(&self.requests, view)?;
        Ok(place.and_then(|place| self.list.get(place.0)).map(Rc::clone))
    }
}

fn rule(place: usize, matches: Match) -> Rule {
    Rule::public(RuleId(place), String::new(), matches)
}

/// The place of the first of these rules that a request meets. Its own rule has taken it by then, so that a path which
/// is none of these is no matter, whatever it means.
fn settled(rules: &Rules, view: &RequestView<'_>) -> Result<Option<RuleId>, Reason> {
    match rules.find(view) {
        RuleMatch::Rule(rule) => Ok(Some(rule.id)),
        RuleMatch::Nothing => Ok(None),
        RuleMatch::Ambiguous(Reason::PathAmbiguous, None) if view.path().kind() == PathKind::Unreadable => {
            Ok(None)
        }
        RuleMatch::Ambiguous(reason, _) => Err(reason),
    }
}

/// Any page may read what is said here: it is public, and clients in browsers need it.
const ANY_ORIGIN: (&str, Cow<'static, str>) = ("access-control-allow-origin", Cow::Borrowed("*"));
const NO_STORE: (&str, Cow<'static, str>) = ("cache-control", Cow::Borrowed("no-store"));
const METHODS: &str = "GET, HEAD, OPTIONS";

impl Answers {
    fn of(document: String, max_age: u64) -> Self {
        let get = vec![
            ("cache-control", Cow::Owned(format!("public, max-age={max_age}"))),
            ("content-type", Cow::Borrowed("application/json")),
            ANY_ORIGIN,
        ];
        let options = vec![
            NO_STORE,
            ANY_ORIGIN,
            ("access-control-allow-methods", Cow::Borrowed(METHODS)),
            ("access-control-allow-headers", Cow::Borrowed("*")),
        ];
        let other = vec![NO_STORE, ("allow", Cow::Borrowed(METHODS)), ANY_ORIGIN];
        Self {
            get: reply(200, get, document),
            options: reply(204, options, String::new()),
            other: reply(405, other, String::new()),
        }
    }

    fn missing() -> Self {
        let missing = reply(404, vec![NO_STORE, ANY_ORIGIN], String::new());
        Self { get: Rc::clone(&missing), options: Rc::clone(&missing), other: missing }
    }

    /// The answer to a request of this method. That to HEAD has its body taken away by the proxy.
    fn to(&self, method: &[u8]) -> Rc<LocalReply> {
        Rc::clone(match method {
            b"GET" | b"HEAD" => &self.get,
            b"OPTIONS" => &self.options,
            _ => &self.other,
        })
    }
}

fn reply(status: u16, headers: Vec<(&'static str, Cow<'static, str>)>, body: String) -> Rc<LocalReply> {
    let details = "portcullis_resource_metadata".to_owned();
    Rc::new(LocalReply { status, headers, body, grpc_status: None, details })
}
