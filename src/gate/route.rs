//! What the proxy's route says of its own requests: metadata under the name of this filter.
//!
//! It is read when a request comes, of the route that the proxy had chosen by then. A filter before this one, and
//! every header that this one takes away or writes, can make the proxy choose another route afterwards, and a wasm
//! filter can neither see that nor ask. So it is read again when the answer comes, of the route that served.

use std::rc::Rc;

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
    pub(super) fn new(on_route: &RouteMetadata, reports: bool) -> Self {
        if !reports && *on_route == RouteMetadata::none() {
            return Self::Silent;
        }
        Self::Same(Rc::new(Judged { on_route: on_route.clone(), reports }))
    }

    /// Compares with what the serving route says.
    pub(super) fn compare(&self, properties: &dyn HostProperties) -> Served {
        let none = RouteMetadata::none();
        let (judged, reports) = match self {
            Self::Exempt => return Served::AsJudged,
            Self::Silent => (&none, false),
            Self::Same(judged) => (&judged.on_route, judged.reports),
        };
        let serving = RouteMetadata::read(properties);
        if serving.asks_like(judged) {
            Served::AsJudged
        } else if reports && serving.rule == judged.rule {
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
    /// Further scopes that the token must grant.
    pub(super) scopes: Result<Vec<String>, Unreadable>,
}

impl RouteMetadata {
    /// Whether both ask for the same: the order of scopes does not count.
    fn asks_like(&self, other: &Self) -> bool {
        let all_in = |one: &[String], other: &[String]| one.iter().all(|scope| other.contains(scope));
        let scopes = match (&self.scopes, &other.scopes) {
            (Ok(own), Ok(others)) => all_in(own, others) && all_in(others, own),
            (own, others) => own == others,
        };
        scopes && self.rule == other.rule
    }
}

/// It cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable;

impl RouteMetadata {
    /// What a route says that has no rules.
    pub(super) fn none() -> Self {
        Self { rule: Ok(None), scopes: Ok(Vec::new()) }
    }

    pub(super) fn read(properties: &dyn HostProperties) -> Self {
        let rule = match properties.route_metadata("rule") {
            Metadata::Absent => Ok(None),
            Metadata::Texts(texts) => match <[String; 1]>::try_from(texts) {
                Ok([name]) => Ok(Some(name)),
                Err(_) => Err(Unreadable),
            },
            Metadata::Unreadable => Err(Unreadable),
        };
        let scopes = match properties.route_metadata("scopes") {
            Metadata::Absent => Ok(Vec::new()),
            // One text may hold several, as the `scope` of a token does (RFC 6749 section 3.3).
            Metadata::Texts(texts) => Ok(texts
                .iter()
                .flat_map(|text| text.split(' '))
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect()),
            Metadata::Unreadable => Err(Unreadable),
        };
        Self { rule, scopes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route with these values under `rule` and `scopes`.
    struct Route(Metadata, Metadata);

    impl HostProperties for Route {
        fn is_tls(&self) -> bool {
            false
        }

        fn client_address(&self) -> Option<String> {
            None
        }

        fn route_metadata(&self, key: &str) -> Metadata {
            if key == "rule" { self.0.clone() } else { self.1.clone() }
        }
    }

    fn texts(text: &str) -> Metadata {
        match text {
            "" => Metadata::Absent,
            "?" => Metadata::Unreadable,
            text => Metadata::Texts(text.split(',').map(str::to_owned).collect()),
        }
    }

    fn route((rule, scopes): (&str, &str)) -> Route {
        Route(texts(rule), texts(scopes))
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
            let check = RouteCheck::new(&RouteMetadata::read(&route(read)), reports);
            assert_eq!(check.compare(&route(serving)), expected, "{read:?} {reports} {serving:?}");
            assert_eq!(RouteCheck::Exempt.compare(&route(serving)), AsJudged);
        }
    }
}
