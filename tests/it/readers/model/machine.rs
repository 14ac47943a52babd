//! The property: whatever passes is, for every reader, a request of the rule under which it passed, with the same
//! bindings, the same identity and no token that was not judged.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::choices::Choices;
use super::gate::{Judge, Passed};
use super::grammar::{self, Known, Token};
use super::head::Head;
use super::naive::{Lacks, Naive};
use super::parts::{FieldReader, HostReader, QueryReader, TokenReader, folded, percent_decoded};
use super::paths::{self, PathReader};
use super::rules::{Bind, Policy, RuleSet, View};

/// What the machine knows of the world.
pub struct Machine {
    pub readers: Vec<PathReader>,
    pub tokens: Vec<Token>,
    /// A token that nobody should accept.
    pub forged: String,
    pub known: Known,
}

/// Why what passed should not have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Of what kind it is: one is like the other.
    pub kind: &'static str,
    pub text: String,
}

/// A rule set, a request, and what was found.
#[derive(Clone, Debug)]
pub struct Case {
    pub set: RuleSet,
    pub head: Head,
    pub found: Found,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Machine {
    /// What is wrong with what passed, if anything is.
    pub fn check(&self, set: &RuleSet, head: &Head, passed: &Passed) -> Option<Found> {
        identity(passed)
            .or_else(|| self.token(set, passed))
            .or_else(|| self.rule(set, &passed.forwarded, passed))
            .or_else(|| (head.target != passed.forwarded.target).then(|| self.rule(set, head, passed))?)
    }

    /// The distinct ways to read the path under this rule.
    fn paths(&self, set: &RuleSet, target: &str, rule: Option<usize>) -> Vec<(&PathReader, Vec<u8>)> {
        // What the operator vouches for under `match_raw`, and what nobody reads in two ways.
        let one = set.policy_of(rule) == Policy::MatchRaw
            || paths::is_plain(target.split('?').next().unwrap_or_default());
        let mut seen = BTreeSet::new();
        let readers = self.readers.iter().take(if one { 1 } else { usize::MAX });
        readers
            .filter_map(|reader| {
                let path = reader.read(target)?;
                // Rules are read as the reader reads escapes, so those count.
                let of_escapes = [reader.literal(b"/%41%20%2541"), reader.decoded_once(b"%41")];
                seen.insert((path.clone(), of_escapes)).then_some((reader, path))
            })
            .collect()
    }

    /// What is wrong with the rule under which a request passed, if anything is.
    pub fn rule(&self, set: &RuleSet, head: &Head, passed: &Passed) -> Option<Found> {
        let subject = passed.subject.as_deref();
        let token = self.tokens.iter().find(|token| Some(token.subject) == subject);
        let paths = self.paths(set, &head.target, passed.rule);
        if head.route_rule.is_some() {
            // The route's own word: only what the rule binds of the request must hold.
            return paths.iter().find_map(|(reader, path)| bindings(set, head, passed, token, reader, path));
        }
        let hosts = views(HostReader::ALL.into_iter(), |own| own.read(&head.authority));
        let fields = views(FieldReader::all().into_iter(), |own| own.read(head, "x-operation"));
        let queries = views(QueryReader::all().into_iter(), |own| own.read(head, "op"));
        for (reader, path) in &paths {
            for host_reader in &hosts {
                let host = host_reader.read(&head.authority);
                for fields in &fields {
                    for query in &queries {
                        let view = View { head, reader, path, host: &host, fields: *fields, query: *query };
                        let met = set.met(&view);
                        if met != passed.rule {
                            let kind = parted(set, passed, &view);
                            return Some(Found { kind, text: told(met, &view, *host_reader) });
                        }
                    }
                }
            }
            if let Some(found) = bindings(set, head, passed, token, reader, path) {
                return Some(found);
            }
        }
        None
    }

    /// Nobody behind may find a token that was not judged.
    fn token(&self, set: &RuleSet, passed: &Passed) -> Option<Found> {
        let rule = &set.rules[passed.rule?];
        if rule.report || !rule.demand.looks() {
            return None;
        }
        let subject = passed.subject.as_deref();
        let accepted = self.tokens.iter().find(|token| Some(token.subject) == subject && set.forward);
        TokenReader::ALL.into_iter().find_map(|reader| {
            let found = reader.read(&passed.forwarded, &set.places);
            // Who does not know quotes finds the same token in them.
            // And who does not decode a parameter finds its escapes.
            let is_judged = |text: &String| {
                accepted.is_some_and(|token| token.text == percent_decoded(text.trim_matches('"')))
            };
            let strange = found.into_iter().find(|text| !is_judged(text))?;
            let whose = self
                .tokens
                .iter()
                .find(|token| token.text == strange)
                .map_or("forged or broken", |t| t.subject);
            let text = format!("{reader:?} finds a token that was not judged ({whose}): {strange:.40?}");
            Some(Found { kind: token_kind(reader), text })
        })
    }
}

/// Whether somebody who folds names reads an identity that the judge did not write.
fn identity(passed: &Passed) -> Option<Found> {
    let (name, value) = passed.forwarded.fields.iter().find(|(name, _)| folded(name) == "x_user")?;
    Some(Found {
        kind: "identity header",
        text: format!("{name}: {value} reaches the upstream, which may fold it to X_USER"),
    })
}

/// Whether what the token was compared with is the same to this reader.
fn bindings(
    set: &RuleSet,
    head: &Head,
    passed: &Passed,
    token: Option<&Token>,
    reader: &PathReader,
    path: &[u8],
) -> Option<Found> {
    let rule = &set.rules[passed.rule?];
    // Without a token nothing was compared: either nothing was asked, or the rule only reports.
    let (bind, token) = (rule.bind?, token?);
    if passed.only_reported {
        return None;
    }
    let found = |kind, text| Some(Found { kind, text });
    match bind {
        Bind::Path => {
            let tenant = rule.tenant(reader, path);
            if tenant.as_deref() == Some(token.tenant.as_bytes()) {
                return None;
            }
            let kind =
                if head.route_rule.is_some() { "equals_path of a route's rule" } else { "equals_path" };
            let tenant = tenant.map(|tenant| String::from_utf8_lossy(&tenant).into_owned());
            found(
                kind,
                format!("a token of {} passes; {} reads the tenant {tenant:?}", token.tenant, reader.name),
            )
        }
        Bind::Header => FieldReader::all().into_iter().find_map(|own| {
            let values = own.read(head, "x-tenant");
            let other = values.into_iter().find(|value| value != token.tenant)?;
            found(
                "equals_header",
                format!("a token of {} passes; {own:?} reads x-tenant {other:?}", token.tenant),
            )
        }),
        Bind::Host => HostReader::ALL.into_iter().find_map(|own| {
            let host = own.read(&head.authority).text;
            let host = host.rsplit_once(':').map_or(&*host, |(host, _)| host);
            (host != token.site).then(|| {
                found("equals_host", format!("a token for {} passes; {own:?} reads {host:?}", token.site))
            })?
        }),
    }
}

/// The readers among these that read something else than those before them.
pub fn views<R: Copy, T: PartialEq>(readers: impl Iterator<Item = R>, read: impl Fn(R) -> T) -> Vec<R> {
    let mut seen: Vec<T> = Vec::new();
    readers
        .filter(|reader| {
            let own = read(*reader);
            let new = !seen.contains(&own);
            seen.push(own);
            new
        })
        .collect()
}

/// Which part of the request it was that this reader reads otherwise.
fn parted(set: &RuleSet, passed: &Passed, view: &View<'_>) -> &'static str {
    let (head, rule) = (view.head, passed.rule);
    let plain_fields = FieldReader::all()[0];
    let plain_query = QueryReader::all()[0];
    let literal_host = HostReader::Literal.read(&head.authority);
    if set.met(&View { fields: plain_fields, ..*view }) == rule {
        return if view.fields.folds { "header condition, name folded" } else { "header condition" };
    }
    if set.met(&View { query: plain_query, ..*view }) == rule {
        return "query condition";
    }
    let other_host = HostReader::ALL
        .into_iter()
        .any(|own| set.met(&View { host: &own.read(&head.authority), ..*view }) == rule);
    if other_host || set.met(&View { host: &literal_host, ..*view }) == rule {
        let authority = head.authority.to_ascii_lowercase();
        let port = authority.rsplit_once(':').map(|(_, port)| port);
        return match port {
            _ if authority.contains('@') => "host with a user",
            Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) => "host with a port that is none",
            _ => "host",
        };
    }
    if passed.only_reported {
        return "path, refused in a report alone";
    }
    match set.policy_of(rule) {
        _ if set.rules.iter().any(|rule| rule.policy == Some(Policy::MatchRaw)) => {
            "path, beside a match_raw rule"
        }
        Policy::Normalize => "path, under normalize",
        Policy::Reject => "path, under reject",
        Policy::MatchRaw => "under match_raw",
    }
}

fn token_kind(reader: TokenReader) -> &'static str {
    match reader {
        TokenReader::Header | TokenReader::LenientHeader => "token in a header",
        TokenReader::FoldedHeader => "token in a header, name folded",
        TokenReader::Cookie | TokenReader::CookieCommas | TokenReader::CookieBlanks => "token in a cookie",
        TokenReader::CookieVariables => "token in a cookie, name folded",
        TokenReader::Param | TokenReader::ParamSemicolons => "token in the query",
        TokenReader::ParamVariables => "token in the query, name folded",
        TokenReader::Subprotocols => "token among subprotocols",
        TokenReader::LenientSubprotocols => "token among subprotocols, read leniently",
    }
}

fn told(met: Option<usize>, view: &View<'_>, host: HostReader) -> String {
    let met = met.map_or("no rule".to_owned(), |at| format!("r{at}"));
    let path = String::from_utf8_lossy(view.path).into_owned();
    let mut text = format!(
        "{met} is met by: {} (path {path:?}), host {host:?} ({:?})",
        view.reader.name, view.host.text
    );
    let _ = write!(text, ", {:?}, {:?}", view.fields, view.query);
    text
}

impl Machine {
    /// Tries so many requests under one rule set; `make` makes the judge. What is found first of each kind that is not
    /// in `seen` is given.
    pub fn try_set<J: Judge>(
        &self,
        set: &RuleSet,
        choices: &mut Choices<'_>,
        requests: usize,
        make: impl Fn(&RuleSet) -> Option<J>,
        seen: &mut Vec<Case>,
    ) -> Tally {
        let mut tally = Tally::default();
        let Some(mut judge) = make(set) else { return tally };
        for _ in 0..requests {
            let head = grammar::head(choices, set, &self.tokens, &self.forged);
            tally.asked += 1;
            let Some(passed) = judge.ask(&head) else { continue };
            tally.passed += 1;
            let Some(found) = self.check(set, &head, &passed) else { continue };
            tally.found += 1;
            if seen.iter().all(|case| case.found.kind != found.kind) {
                let case = Case { set: set.clone(), head, found };
                seen.push(self.shrunk(case, &make));
            }
        }
        tally
    }

    /// The same with a judge of the machine's own.
    pub fn try_naive(
        &self,
        set: &RuleSet,
        choices: &mut Choices<'_>,
        requests: usize,
        lacks: Option<Lacks>,
        seen: &mut Vec<Case>,
    ) -> Tally {
        let mut tally = Tally::default();
        let mut judge = Naive::new(set, &self.tokens, lacks);
        for _ in 0..requests {
            let head = grammar::head(choices, set, &self.tokens, &self.forged);
            if lacks.is_some_and(|lacks| !lacks.could_show(&head)) {
                continue;
            }
            tally.asked += 1;
            let Some(passed) = judge.ask(&head) else { continue };
            tally.passed += 1;
            if let Some(found) = self.check(set, &head, &passed) {
                tally.found += 1;
                seen.push(Case { set: set.clone(), head, found });
                return tally;
            }
        }
        tally
    }

    /// The case without what is not needed for it.
    fn shrunk<J: Judge>(&self, mut case: Case, make: &impl Fn(&RuleSet) -> Option<J>) -> Case {
        loop {
            let smaller = smaller(&case).into_iter().find_map(|(set, head)| {
                let passed = make(&set)?.ask(&head)?;
                let found = self.check(&set, &head, &passed)?;
                (found.kind == case.found.kind).then_some(Case { set, head, found })
            });
            match smaller {
                Some(smaller) => case = smaller,
                None => return case,
            }
        }
    }
}

/// How much was tried.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    pub asked: usize,
    pub passed: usize,
    pub found: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.asked += other.asked;
        self.passed += other.passed;
        self.found += other.found;
    }
}

/// The case with one thing less, in every way.
fn smaller(case: &Case) -> Vec<(RuleSet, Head)> {
    let (set, head) = (&case.set, &case.head);
    let mut all = Vec::new();
    let mut with_set = |change: &dyn Fn(&mut RuleSet)| {
        let mut smaller = set.clone();
        change(&mut smaller);
        if smaller != *set && !smaller.rules.is_empty() {
            all.push((smaller, head.clone()));
        }
    };
    if head.route_rule.is_none() {
        for at in 0..set.rules.len() {
            with_set(&|set| drop(set.rules.remove(at)));
        }
    }
    for at in 0..set.rules.len() {
        with_set(&|set| set.rules[at].hosts.clear());
        with_set(&|set| set.rules[at].headers.clear());
        with_set(&|set| set.rules[at].query.clear());
        with_set(&|set| set.rules[at].methods.clear());
        with_set(&|set| set.rules[at].any_case = false);
        with_set(&|set| set.rules[at].report = false);
        with_set(&|set| set.rules[at].policy = None);
        with_set(&|set| set.rules[at].bind = None);
    }
    with_set(&|set| set.places.cookies.clear());
    with_set(&|set| set.places.params.clear());
    with_set(&|set| set.places.headers.truncate(1));
    let mut with_head = |change: &dyn Fn(&mut Head)| {
        let mut smaller = head.clone();
        change(&mut smaller);
        if smaller != *head && smaller.target.starts_with('/') {
            all.push((set.clone(), smaller));
        }
    };
    for at in 0..head.fields.len() {
        with_head(&|head| drop(head.fields.remove(at)));
    }
    with_head(&|head| head.authority = "www.example".to_owned());
    with_head(&|head| head.method = "GET".to_owned());
    with_head(&|head| head.route_rule = None);
    with_head(&|head| head.target = head.path().to_owned());
    let length = head.target.len();
    for width in [8, 4, 3, 2, 1] {
        for start in 0..length.saturating_sub(width) {
            with_head(&|head| {
                if head.target.is_char_boundary(start) && head.target.is_char_boundary(start + width) {
                    head.target.replace_range(start..start + width, "");
                }
            });
        }
    }
    all
}
