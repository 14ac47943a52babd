//! What a rule asks of a verified token.

use std::rc::Rc;

use super::authentication::{Authentication, StepUp};
use super::set_requirement::SetRequirement;
use crate::reason::{Reason, Rejected};
use crate::token::{Bindings, Claims, Condition, RequestValue};

/// What the token of a request must grant.
#[derive(Clone, Debug)]
pub struct Authorize {
    clause: Clause,
    depends_on_request: bool,
    challenge: Option<String>,
    step_up: Option<Rc<StepUp>>,
}

/// Demands on a token; all that are given count, and they are checked in the order of these fields.
#[derive(Clone, Debug, Default)]
pub struct Clause {
    /// How the user has to have logged in. Such demands in `all` are checked with it, before anything else.
    pub authentication: Option<Authentication>,
    /// The scopes, among them those that a scope of the token implies: `none_of` forbids these too.
    pub scopes: Option<SetRequirement>,
    /// The roles.
    pub roles: Option<SetRequirement>,
    /// Conditions on claims, all of which must hold.
    pub claims: Vec<Condition>,
    /// Clauses of which each is met.
    pub all: Vec<Clause>,
    /// Clauses of which one is met, where there are any.
    pub any: Vec<Clause>,
    /// A clause that is not met: for whatever reason, a claim that is missing among them.
    pub not: Option<Box<Clause>>,
}

impl Authorize {
    /// These demands.
    pub fn new(clause: Clause) -> Self {
        let mut scopes = Vec::new();
        clause.wanted(&mut scopes);
        let challenge = (!scopes.is_empty()).then(|| scopes.join(" "));
        let depends_on_request = !clause.places().is_empty() || clause.depends_on_time();
        let step_up = clause.step_up(None).map(Rc::new);
        Self { clause, depends_on_request, challenge, step_up }
    }

    /// Whether a token with these claims may do what the request asks for.
    ///
    /// # Errors
    /// Which kind of demand is not met first: [`Reason::AuthenticationInsufficient`], [`Reason::ScopeInsufficient`],
    /// [`Reason::RoleInsufficient`] or [`Reason::ClaimMismatch`]. Of `any`, the reason of its first clause; of `not`, the kind of the first
    /// demand in it.
    pub fn check(&self, claims: &Claims, request: &dyn Bindings) -> Result<(), Rejected> {
        // A clause of `any` may fail on the way of a token that passes: words are made for the one that decides.
        self.clause.check(claims, request).map_err(|reason| {
            let words = self.clause.unmet(claims, request).unwrap_or_default();
            reason.explained(words)
        })
    }

    /// Whether the outcome depends on the request or the time, and not on the token alone.
    pub fn depends_on_request(&self) -> bool {
        self.depends_on_request
    }

    /// The `scope` of a challenge (RFC 6750 section 3): what is enough to ask for. All of each `all_of` and
    /// the first of each `any_of`, here and in `all` and in the first clause of `any`. What `none_of` and
    /// `not` forbid cannot be asked for.
    pub fn challenge(&self) -> Option<String> {
        self.challenge.clone()
    }

    /// What a challenge asks the user to do (RFC 9470 section 3), whether or not the token shows some of it: all that is
    /// asked here, in `all` and in the first clause of `any`.
    pub fn step_up(&self) -> Option<Rc<StepUp>> {
        self.step_up.clone()
    }

    /// The demands.
    pub fn clause(&self) -> &Clause {
        &self.clause
    }
}

impl Clause {
    fn check(&self, claims: &Claims, request: &dyn Bindings) -> Result<(), Reason> {
        if self.unmet_authentication(claims, request).is_some() {
            return Err(Reason::AuthenticationInsufficient);
        }
        if self.scopes.as_ref().is_some_and(|scopes| !scopes.satisfied_by(|scope| claims.grants(scope))) {
            return Err(Reason::ScopeInsufficient);
        }
        if self.roles.as_ref().is_some_and(|roles| !roles.satisfied_by(|role| claims.has_role(role))) {
            return Err(Reason::RoleInsufficient);
        }
        if !self.claims.iter().all(|condition| condition.holds(claims.all(), request)) {
            return Err(Reason::ClaimMismatch);
        }
        self.all.iter().try_for_each(|clause| clause.check(claims, request))?;
        if let Some((first, others)) = self.any.split_first()
            && let Err(reason) = first.check(claims, request)
            && !others.iter().any(|clause| clause.check(claims, request).is_ok())
        {
            return Err(reason);
        }
        match &self.not {
            Some(clause) if clause.check(claims, request).is_ok() => Err(clause.kind()),
            _ => Ok(()),
        }
    }

    /// What the token does not show of the demands on its user's authentication that stand here and in `all`, in words.
    fn unmet_authentication(&self, claims: &Claims, request: &dyn Bindings) -> Option<String> {
        let own = self.authentication.as_ref().and_then(|demand| demand.unmet(claims, request));
        own.or_else(|| self.all.iter().find_map(|clause| clause.unmet_authentication(claims, request)))
    }

    /// The first demand that is not met, in words: the one for whose reason [`Self::check`] fails.
    fn unmet(&self, claims: &Claims, request: &dyn Bindings) -> Option<String> {
        let scopes = || self.scopes.as_ref()?.unmet("scope", |scope| claims.grants(scope));
        let roles = || self.roles.as_ref()?.unmet("role", |role| claims.has_role(role));
        let condition = || {
            let condition = self.claims.iter().find(|condition| !condition.holds(claims.all(), request))?;
            Some(condition.unmet(claims.all()))
        };
        let all = || self.all.iter().find_map(|clause| clause.unmet(claims, request));
        let any = || {
            let (first, others) = self.any.split_first()?;
            let words = first.unmet(claims, request)?;
            let none = !others.iter().any(|clause| clause.check(claims, request).is_ok());
            none.then(|| {
                if others.is_empty() { words } else { words + "; nor is another clause of \"any\" met" }
            })
        };
        let not = || {
            let clause = self.not.as_ref().filter(|clause| clause.check(claims, request).is_ok())?;
            Some(["\"not\" is met: ", &clause.first_demand()].concat())
        };
        let authentication = self.unmet_authentication(claims, request);
        authentication
            .or_else(scopes)
            .or_else(roles)
            .or_else(condition)
            .or_else(all)
            .or_else(any)
            .or_else(not)
    }

    /// The first demand, in words.
    fn first_demand(&self) -> String {
        if let Some(authentication) = &self.authentication {
            return format!("authentication {authentication}");
        }
        match (&self.scopes, &self.roles, self.claims.first(), self.inner().next()) {
            (Some(scopes), ..) => format!("scopes {scopes}"),
            (None, Some(roles), ..) => format!("roles {roles}"),
            (None, None, Some(condition), _) => condition.to_string(),
            (None, None, None, Some(inner)) => inner.first_demand(),
            (None, None, None, None) => "it asks for nothing".to_owned(),
        }
    }

    fn inner(&self) -> impl Iterator<Item = &Self> {
        self.all.iter().chain(&self.any).chain(self.not.as_deref())
    }

    /// The kind of the first demand.
    fn kind(&self) -> Reason {
        if self.authentication.is_some() {
            Reason::AuthenticationInsufficient
        } else if self.scopes.is_some() {
            Reason::ScopeInsufficient
        } else if self.roles.is_some() {
            Reason::RoleInsufficient
        } else if !self.claims.is_empty() {
            Reason::ClaimMismatch
        } else {
            self.inner().next().map_or(Reason::ClaimMismatch, Self::kind)
        }
    }

    fn wanted<'c>(&'c self, scopes: &mut Vec<&'c str>) {
        for scope in self.scopes.iter().flat_map(SetRequirement::wanted) {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        self.all.iter().chain(self.any.first()).for_each(|clause| clause.wanted(scopes));
    }

    /// What is asked of the user here, in `all` and in the first clause of `any`, besides what was asked before.
    fn step_up(&self, before: Option<StepUp>) -> Option<StepUp> {
        let own = match &self.authentication {
            Some(demand) => Some(before.unwrap_or_default().and(demand)),
            None => before,
        };
        self.all.iter().chain(self.any.first()).fold(own, |asked, clause| clause.step_up(asked))
    }

    fn depends_on_time(&self) -> bool {
        let own = self.authentication.as_ref().is_some_and(|demand| demand.max_age.is_some());
        own || self.inner().any(Self::depends_on_time)
    }

    /// The places in the request with which claims are compared, here and inside.
    pub fn places(&self) -> Vec<&RequestValue> {
        let own = self.claims.iter().filter_map(Condition::place);
        let inner = self.inner().flat_map(Self::places);
        own.chain(inner).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, Json};
    use crate::token::testing::Bound;
    use crate::token::{ClaimOperator, ClaimPath, Grants, RoleClaim, RoleFormat, Scalar, ScopeHierarchy};

    fn claims(text: &str) -> Claims {
        let Ok(Json::Object(all)) = json::parse(text.as_bytes()) else { panic!("{text}") };
        let line = |left: &str, right: &str| (left.to_owned(), vec![right.to_owned()]);
        let grants = Grants {
            scope_claims: vec![ClaimPath::parse("scope"), ClaimPath::parse("scp")],
            role_claims: vec![RoleClaim { claim: ClaimPath::parse("roles"), format: RoleFormat::Auto }],
            hierarchy: ScopeHierarchy::new([line("write", "read"), line("orders:*", "orders:list")]),
        };
        Claims::new(all, &grants).unwrap()
    }

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn any_of(text: &str) -> Option<SetRequirement> {
        Some(SetRequirement { any_of: list(text), ..SetRequirement::default() })
    }

    fn all_of(text: &str) -> Option<SetRequirement> {
        Some(SetRequirement { all_of: list(text), ..SetRequirement::default() })
    }

    fn none_of(text: &str) -> Option<SetRequirement> {
        Some(SetRequirement { none_of: list(text), ..SetRequirement::default() })
    }

    fn scopes(scopes: Option<SetRequirement>) -> Clause {
        Clause { scopes, ..Clause::default() }
    }

    fn roles(roles: Option<SetRequirement>) -> Clause {
        Clause { roles, ..Clause::default() }
    }

    fn claim(name: &str, test: ClaimOperator) -> Clause {
        let condition = Condition { claim: ClaimPath::parse(name), test };
        Clause { claims: vec![condition], ..Clause::default() }
    }

    fn is(name: &str, value: &str) -> Clause {
        claim(name, ClaimOperator::Equals(Scalar::Text(value.to_owned())))
    }

    fn all(all: &[Clause]) -> Clause {
        Clause { all: all.to_vec(), ..Clause::default() }
    }

    fn any(any: &[Clause]) -> Clause {
        Clause { any: any.to_vec(), ..Clause::default() }
    }

    fn not(clause: Clause) -> Clause {
        Clause { not: Some(Box::new(clause)), ..Clause::default() }
    }

    /// The outcome for a token of these claims; empty where it passes.
    fn outcome(clause: Clause, token: &str) -> &'static str {
        let request = Bound { path: &[("t", "acme")], headers: &[], host: None };
        let outcome = Authorize::new(clause).check(&claims(token), &request);
        outcome.err().map_or("", |rejected| rejected.reason.as_str())
    }

    #[test]
    fn what_is_not_met_first_names_the_reason() {
        const SCOPE: &str = "scope_insufficient";
        const ROLE: &str = "role_insufficient";
        const CLAIM: &str = "claim_mismatch";
        let everything = || Clause {
            authentication: None,
            scopes: all_of("a"),
            roles: any_of("ops"),
            claims: is("tenant", "acme").claims,
            all: vec![is("x", "1")],
            any: vec![roles(any_of("admin")), scopes(any_of("b"))],
            not: Some(Box::new(is("banned", "yes"))),
        };
        for (clause, token, expected) in [
            (everything(), r#"{"scope":"b","roles":[]}"#, SCOPE),
            (everything(), r#"{"scope":"a b"}"#, ROLE),
            (everything(), r#"{"scope":"a b","roles":"ops"}"#, CLAIM),
            (everything(), r#"{"scope":"a b","roles":"ops","tenant":"acme"}"#, CLAIM),
            (everything(), r#"{"scope":"a","roles":"ops","tenant":"acme","x":"1"}"#, ROLE),
            (everything(), r#"{"scope":"a b","roles":"ops","tenant":"acme","x":"1"}"#, ""),
            (everything(), r#"{"scope":"a","roles":["ops","admin"],"tenant":"acme","x":"1"}"#, ""),
            (everything(), r#"{"scope":"a b","roles":"ops","tenant":"acme","x":"1","banned":"yes"}"#, CLAIM),
            (any(&[scopes(all_of("a")), is("x", "1")]), "{}", SCOPE),
            (any(&[is("x", "1"), scopes(all_of("a"))]), "{}", CLAIM),
            (all(&[roles(all_of("a")), scopes(all_of("a"))]), "{}", ROLE),
            (not(scopes(any_of("a"))), r#"{"scp":["a"]}"#, SCOPE),
            (scopes(none_of("a")), r#"{"scp":["a"]}"#, SCOPE),
            (not(roles(any_of("a"))), r#"{"roles":["a"]}"#, ROLE),
            (not(any(&[roles(any_of("a")), is("x", "1")])), r#"{"x":"1"}"#, ROLE),
            (not(not(scopes(any_of("a")))), "{}", SCOPE),
            // A claim that is missing is not equal to anything.
            (not(is("x", "1")), "{}", ""),
            (not(is("x", "1")), r#"{"x":null}"#, ""),
            (not(is("x", "1")), r#"{"x":["1"]}"#, ""),
            (not(is("x", "1")), r#"{"x":"1"}"#, CLAIM),
            (all(&[not(is("x", "1")), claim("x", ClaimOperator::Present(true))]), "{}", CLAIM),
        ] {
            assert_eq!(outcome(clause.clone(), token), expected, "{clause:?} and {token}");
        }
    }

    #[test]
    fn a_scope_that_stands_for_another_grants_it_and_is_refused_with_it() {
        for (clause, token, passes) in [
            (scopes(all_of("read write")), r#"{"scope":"write"}"#, true),
            (scopes(all_of("write")), r#"{"scope":"read"}"#, false),
            (scopes(any_of("x orders:list")), r#"{"scp":["orders:cancel"]}"#, true),
            (scopes(none_of("read")), r#"{"scope":"write"}"#, false),
            (scopes(none_of("read")), r#"{"scope":"x"}"#, true),
        ] {
            assert_eq!(outcome(clause.clone(), token).is_empty(), passes, "{clause:?} and {token}");
        }
        assert_eq!(claims(r#"{"scope":"write"}"#).scopes, ["write"], "what the token itself says");
    }

    /// Substrings, another case, lists, texts and blanks (RFC 6749 section 3.3, RFC 8693 section 4.2).
    #[test]
    fn c16_a_scope_is_one_whole_word_of_the_claim() {
        for (token, passes) in [
            (r#"{"scope":"read administrator"}"#, false),
            (r#"{"scope":"ADMIN"}"#, false),
            (r#"{"scope":"read,admin"}"#, false),
            (r#"{"scope":"read\tadmin"}"#, false),
            (r#"{"scope":"read\nadmin"}"#, false),
            (r#"{"scope":"read\u00a0admin"}"#, false),
            (r#"{"scope":["read admin"]}"#, false),
            (r#"{"scope":[]}"#, false),
            (r#"{"scope":""}"#, false),
            (r#"{"scopes":"admin"}"#, false),
            (r#"{"scope":"read admin"}"#, true),
            (r#"{"scope":"  admin  "}"#, true),
            (r#"{"scope":["read","admin"]}"#, true),
            (r#"{"scope":"read","scp":"admin"}"#, true),
        ] {
            assert_eq!(outcome(scopes(all_of("admin")), token).is_empty(), passes, "{token}");
        }
    }

    /// A name with dots and a path with the same text are two claims; the whole name comes first.
    #[test]
    fn c18_a_name_with_dots_is_not_taken_for_a_path() {
        let path = |names: &[&str]| ClaimPath::of(names.iter().map(|name| (*name).to_owned()).collect());
        let at = |claim: ClaimPath| {
            let condition = Condition { claim, test: ClaimOperator::Equals(Scalar::Text("x".to_owned())) };
            Clause { claims: vec![condition], ..Clause::default() }
        };
        for (claim, token, passes) in [
            (ClaimPath::parse("a.b"), r#"{"a.b":"x","a":{"b":"y"}}"#, true),
            (ClaimPath::parse("a.b"), r#"{"a.b":"y","a":{"b":"x"}}"#, false),
            (ClaimPath::parse("a.b"), r#"{"a":{"b":"x"}}"#, true),
            (path(&["a", "b"]), r#"{"a.b":"x"}"#, false),
            (path(&["a.b"]), r#"{"a":{"b":"x"}}"#, false),
            (path(&["a", "b.c"]), r#"{"a":{"b.c":"x","b":{"c":"y"}}}"#, true),
            (ClaimPath::parse("/a/b"), r#"{"a.b":"x"}"#, false),
            (ClaimPath::parse("https://x/y"), r#"{"https://x/y":"x"}"#, true),
            (ClaimPath::parse("https://x/y"), r#"{"https:":{"":{"x":{"y":"x"}}}}"#, false),
            (ClaimPath::parse("__proto__"), r#"{"__proto__":"x"}"#, true),
            (ClaimPath::parse("__proto__.a"), r#"{"a":"x"}"#, false),
            (ClaimPath::parse("constructor.name"), "{}", false),
        ] {
            assert_eq!(outcome(at(claim.clone()), token).is_empty(), passes, "{claim:?} and {token}");
        }
    }

    #[test]
    fn a_challenge_names_what_is_enough_to_ask_for() {
        for (clause, expected) in [
            (scopes(all_of("a b")), Some("a b")),
            (scopes(any_of("a b")), Some("a")),
            (scopes(none_of("a b")), None),
            (roles(all_of("a")), None),
            (all(&[scopes(all_of("a")), scopes(any_of("b c")), scopes(all_of("a"))]), Some("a b")),
            (any(&[scopes(all_of("a")), scopes(all_of("b"))]), Some("a")),
            (any(&[is("x", "1"), scopes(all_of("b"))]), None),
            (not(scopes(all_of("a"))), None),
            (Clause { scopes: all_of("a"), ..any(&[all(&[scopes(all_of("b"))])]) }, Some("a b")),
        ] {
            assert_eq!(Authorize::new(clause.clone()).challenge().as_deref(), expected, "{clause:?}");
        }
    }

    /// The demand for one class of authentication, and for an age of it.
    fn authentication(acr: &str, max_age: Option<u64>) -> Clause {
        let max_age = max_age.map(std::time::Duration::from_secs);
        let demand = Authentication { acr_values: list(acr), max_age };
        Clause { authentication: Some(demand), ..Clause::default() }
    }

    #[test]
    fn authentication_is_judged_before_all_else_that_is_asked_for_in_any_case() {
        const AUTHENTICATION: &str = "authentication_insufficient";
        let phr = || authentication("phr", None);
        let with = |clause: Clause, more: Clause| Clause { authentication: more.authentication, ..clause };
        for (clause, token, expected) in [
            (phr(), "{}", AUTHENTICATION),
            (phr(), r#"{"acr":"phr"}"#, ""),
            (with(scopes(all_of("a")), phr()), "{}", AUTHENTICATION),
            (with(scopes(all_of("a")), phr()), r#"{"acr":"phr"}"#, "scope_insufficient"),
            (Clause { scopes: all_of("a"), ..all(&[is("x", "1"), phr()]) }, "{}", AUTHENTICATION),
            (all(&[scopes(all_of("a")), all(&[phr()])]), "{}", AUTHENTICATION),
            (all(&[scopes(all_of("a")), all(&[phr()])]), r#"{"acr":"phr"}"#, "scope_insufficient"),
            // Where another clause is enough, it has no precedence.
            (any(&[scopes(all_of("a")), phr()]), "{}", "scope_insufficient"),
            (any(&[phr(), scopes(all_of("a"))]), "{}", AUTHENTICATION),
            (any(&[phr(), scopes(all_of("a"))]), r#"{"scope":"a"}"#, ""),
            (any(&[phr(), scopes(all_of("a"))]), r#"{"acr":"phr"}"#, ""),
            (not(phr()), "{}", ""),
            (not(phr()), r#"{"acr":"phr"}"#, AUTHENTICATION),
            (not(not(phr())), "{}", AUTHENTICATION),
            // Where the time is not known, no log-in is new enough.
            (authentication("", Some(60)), r#"{"auth_time":1}"#, AUTHENTICATION),
        ] {
            assert_eq!(outcome(clause.clone(), token), expected, "{clause:?} and {token}");
        }
    }

    #[test]
    fn a_step_up_asks_for_all_that_the_user_has_to_do() {
        let demand = |acr: &str, max_age| authentication(acr, max_age);
        for (clause, expected) in [
            (scopes(all_of("a")), None),
            (demand("a b", Some(60)), Some(("a b", Some(60)))),
            (all(&[demand("a b", None), all(&[demand("b", Some(60))])]), Some(("b", Some(60)))),
            (any(&[demand("a", None), demand("b", None)]), Some(("a", None))),
            (any(&[scopes(all_of("a")), demand("b", None)]), None),
            (not(demand("a", None)), None),
        ] {
            let asked = Authorize::new(clause.clone()).step_up();
            let asked = asked.map(|asked| (asked.acr_values.join(" "), asked.max_age));
            let expected = expected.map(|(acr, age)| (acr.to_owned(), age));
            assert_eq!(asked, expected, "{clause:?}");
        }
        for (clause, expected) in [
            (demand("a", None), false),
            (any(&[scopes(all_of("a")), not(all(&[demand("", Some(60))]))]), true),
        ] {
            assert_eq!(Authorize::new(clause.clone()).depends_on_request(), expected, "{clause:?}");
        }
    }

    #[test]
    fn an_outcome_depends_on_the_request_where_a_condition_does_however_deep() {
        let bound = || claim("x", ClaimOperator::EqualsRequest(RequestValue::Path("t".to_owned())));
        for (clause, expected) in [
            (is("x", "1"), false),
            (bound(), true),
            (all(&[is("x", "1"), bound()]), true),
            (any(&[is("x", "1"), not(all(&[bound()]))]), true),
            (not(scopes(all_of("a"))), false),
        ] {
            assert_eq!(Authorize::new(clause.clone()).depends_on_request(), expected, "{clause:?}");
        }
        assert_eq!(outcome(bound(), r#"{"x":"acme"}"#), "");
        assert_eq!(outcome(bound(), r#"{"x":"other"}"#), "claim_mismatch");
    }
}
