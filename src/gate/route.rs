//! What the proxy's route says of its own requests: metadata under the name of this filter.
//!
//! It is read when a request comes, of the route that the proxy had chosen by then. A filter before this one, and
//! every header that this one takes away or writes, can make the proxy choose another route afterwards, and a wasm
//! filter can neither see that nor ask. So it is read again when the answer comes, of the route that served.

use std::rc::Rc;

use crate::config::RouteRules;
use crate::request::{HostProperties, Metadata};

/// What the route that serves is compared with.
#[derive(Clone, Debug, Default)]
pub enum RouteCheck {
    /// A route without rules, as was the one by which the request was judged.
    #[default]
    Silent,
    /// Nothing: no route could have asked anything of this request.
    Exempt,
    /// A route with the same rules.
    Same(Rc<Judged>),
}

/// What the route said by which a request was judged.
#[derive(Debug)]
pub struct Judged {
    on_route: RouteMetadata,
    /// Whether the rule that decided only reports.
    reports: bool,
}

/// How what the serving route says compares with what the request was judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// It is the same.
    AsJudged,
    /// It asks for other scopes, of a request whose rule only reports.
    Reported,
    /// It is something else: whether this request may have the answer was not judged.
    Otherwise,
}

impl RouteCheck {
    pub(super) fn new(on_route: Option<&RouteMetadata>, reports: bool) -> Self {
        if !reports && on_route.is_none_or(RouteMetadata::is_silent) {
            return Self::Silent;
        }
        let on_route = on_route.cloned().unwrap_or_else(RouteMetadata::none);
        Self::Same(Rc::new(Judged { on_route, reports }))
    }

    /// Compares with what the serving route says.
    pub(super) fn compare(&self, properties: &dyn HostProperties, rules: RouteRules) -> Served {
        let none = RouteMetadata::none();
        let (judged, reports) = match self {
            Self::Exempt => return Served::AsJudged,
            Self::Silent => (&none, false),
            Self::Same(judged) => (&judged.on_route, judged.reports),
        };
        let serving = RouteMetadata::read(properties, rules).unwrap_or_else(RouteMetadata::none);
        if serving.asks_like(judged) {
            Served::AsJudged
        } else if reports && serving.chooses_like(judged) {
            Served::Reported
        } else {
            Served::Otherwise
        }
    }
}

/// The rules on a route. What is there and cannot be read is kept as such: nothing can be allowed by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RouteMetadata {
    /// The rule to use, whatever the path says.
    pub(super) rule: Result<Option<String>, Unreadable>,
    /// The requirement to ask for instead of the rule's.
    pub(super) requirement: Result<Option<String>, Unreadable>,
    /// Further scopes that the token must grant.
    pub(super) scopes: Result<Vec<String>, Unreadable>,
    /// Whether nothing is asked of its requests; read only where the configuration allows it.
    pub(super) is_disabled: Result<bool, Unreadable>,
}

/// It cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable;

impl RouteMetadata {
    /// What a route says that has no rules.
    pub(super) fn none() -> Self {
        Self { rule: Ok(None), requirement: Ok(None), scopes: Ok(Vec::new()), is_disabled: Ok(false) }
    }

    /// Whether it says nothing, as nearly every route does: told without making and comparing another.
    fn is_silent(&self) -> bool {
        matches!(self, Self { rule: Ok(None), requirement: Ok(None), scopes: Ok(scopes), is_disabled: Ok(false) } if scopes.is_empty())
    }

    /// What a route says of whose requests nothing is asked.
    pub(super) fn disabled() -> Self {
        Self { is_disabled: Ok(true), ..Self::none() }
    }

    /// What a route says; nothing where it has no metadata for this filter at all, as most have none.
    pub(super) fn read(properties: &dyn HostProperties, rules: RouteRules) -> Option<Self> {
        if !rules.is_on || !properties.has_route_metadata() {
            return None;
        }
        let scopes = match properties.route_metadata("scopes") {
            Metadata::Absent => Ok(Vec::new()),
            // One text may hold several, as the `scope` of a token does (RFC 6749 section 3.3).
            Metadata::Texts(texts) => Ok(texts
                .iter()
                .flat_map(|text| text.split(' '))
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect()),
            Metadata::Flag(_) | Metadata::Unreadable => Err(Unreadable),
        };
        let is_disabled = match rules.allow_disable {
            true => match properties.route_metadata("disabled") {
                Metadata::Absent => Ok(false),
                Metadata::Flag(is_disabled) => Ok(is_disabled),
                Metadata::Texts(_) | Metadata::Unreadable => Err(Unreadable),
            },
            false => Ok(false),
        };
        let name = |key| match properties.route_metadata(key) {
            Metadata::Absent => Ok(None),
            Metadata::Texts(texts) => match <[String; 1]>::try_from(texts) {
                Ok([name]) => Ok(Some(name)),
                Err(_) => Err(Unreadable),
            },
            Metadata::Flag(_) | Metadata::Unreadable => Err(Unreadable),
        };
        Some(Self { rule: name("rule"), requirement: name("requirement"), scopes, is_disabled })
    }

    /// Whether both ask for the same: the order of scopes does not count.
    fn asks_like(&self, other: &Self) -> bool {
        let all_in = |one: &[String], other: &[String]| one.iter().all(|scope| other.contains(scope));
        let scopes = match (&self.scopes, &other.scopes) {
            (Ok(own), Ok(others)) => all_in(own, others) && all_in(others, own),
            (own, others) => own == others,
        };
        scopes && self.chooses_like(other)
    }

    /// Whether both ask for the same but for scopes.
    fn chooses_like(&self, other: &Self) -> bool {
        self.rule == other.rule
            && self.requirement == other.requirement
            && self.is_disabled == other.is_disabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: RouteRules = RouteRules { is_on: true, allow_disable: true };

    /// A route with these values.
    #[derive(Clone, Copy, Default, Debug)]
    struct Route {
        rule: &'static str,
        scopes: &'static str,
        requirement: &'static str,
        disabled: &'static str,
    }

    impl HostProperties for Route {
        fn is_tls(&self) -> bool {
            false
        }

        fn client_address(&self) -> Option<String> {
            None
        }

        fn route_metadata(&self, key: &str) -> Metadata {
            let text = match key {
                "rule" => self.rule,
                "scopes" => self.scopes,
                "requirement" => self.requirement,
                _ => self.disabled,
            };
            match text {
                "" => Metadata::Absent,
                "?" => Metadata::Unreadable,
                "true" => Metadata::Flag(true),
                "false" => Metadata::Flag(false),
                text => Metadata::Texts(text.split(',').map(str::to_owned).collect()),
            }
        }
    }

    fn route((rule, scopes): (&'static str, &'static str)) -> Route {
        Route { rule, scopes, ..Route::default() }
    }

    #[test]
    fn what_the_serving_route_says_is_what_was_judged() {
        use Served::{AsJudged, Otherwise, Reported};
        // What was read, whether the rule only reports, what is read of the route that serves.
        for (read, reports, serving, expected) in [
            (("", ""), false, ("", ""), AsJudged),
            (("", ""), true, ("", ""), AsJudged),
            (("", ""), false, ("", "a"), Otherwise),
            (("", ""), true, ("", "a"), Reported),
            (("", ""), false, ("app", ""), Otherwise),
            (("", ""), true, ("app", ""), Otherwise),
            (("", ""), false, ("?", ""), Otherwise),
            (("", ""), false, ("", "?"), Otherwise),
            (("", ""), true, ("", "?"), Reported),
            (("public", ""), false, ("public", ""), AsJudged),
            (("public", ""), false, ("", ""), Otherwise),
            (("public", ""), true, ("", ""), Otherwise),
            (("public", ""), false, ("app", ""), Otherwise),
            (("app", ""), false, ("public", ""), Otherwise),
            (("app", "a"), false, ("app", "a"), AsJudged),
            (("app", "a"), false, ("app", ""), Otherwise),
            (("app", "a"), true, ("app", ""), Reported),
            (("app", "a"), false, ("app", "a,b"), Otherwise),
            (("", "a,b"), false, ("", "a"), Otherwise),
            (("", "a,b"), false, ("", "a b"), AsJudged),
            (("", "a,b"), false, ("", "b,a"), AsJudged),
            (("", "a,b"), false, ("", "b,a,b"), AsJudged),
            (("", "?"), true, ("", "?"), AsJudged),
            (("", "?"), true, ("app", "?"), Otherwise),
        ] {
            let check = RouteCheck::new(RouteMetadata::read(&route(read), ON).as_ref(), reports);
            assert_eq!(check.compare(&route(serving), ON), expected, "{read:?} {reports} {serving:?}");
            assert_eq!(RouteCheck::Exempt.compare(&route(serving), ON), AsJudged);
        }
    }

    #[test]
    fn another_requirement_or_a_route_that_is_disabled_is_something_else() {
        let requirement = |requirement| Route { requirement, ..Route::default() };
        let disabled = |disabled| Route { disabled, ..Route::default() };
        let routes = [
            Route::default(),
            requirement("staff"),
            requirement("guests"),
            requirement("?"),
            requirement("true"),
            disabled("true"),
            disabled("yes"),
        ];
        for (at, judged) in routes.iter().enumerate() {
            for (other, serving) in routes.iter().enumerate() {
                // Both cannot be read, and nothing was allowed by the first.
                let is_same = at == other || [at, other].iter().all(|at| matches!(at, 3 | 4));
                let expected = if is_same { Served::AsJudged } else { Served::Otherwise };
                for reports in [false, true] {
                    let check = RouteCheck::new(RouteMetadata::read(judged, ON).as_ref(), reports);
                    assert_eq!(check.compare(serving, ON), expected, "{judged:?} {serving:?}");
                }
            }
        }
        let check = RouteCheck::new(None, false);
        assert_eq!(check.compare(&disabled("false"), ON), Served::AsJudged);
        // Where it is not allowed, a route that says so is one like any other.
        let off = RouteRules { allow_disable: false, ..ON };
        assert_eq!(check.compare(&disabled("true"), off), Served::AsJudged);
        assert_eq!(check.compare(&requirement("staff"), off), Served::Otherwise);
    }
}
