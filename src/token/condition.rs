//! Conditions on single claims.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use super::ClaimPath;
use crate::json::{Json, Number, Object};
use crate::reason::excerpt;
use crate::request::PeerName;
use crate::text::TextMatch;
use crate::time::Timestamp;

/// What a condition may compare a claim with besides values of its own.
pub trait Bindings {
    /// The value of a variable of the rule's path template in this request, decoded.
    fn path_variable(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The value of a header field that is there once; `name` is in lower case.
    fn header(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The host that the request is for: in lower case, without port and trailing dot.
    fn host(&self) -> Option<Cow<'_, str>>;
    /// The time, and by how much clocks may differ; none: not known, so that no demand on a time is met.
    fn time(&self) -> Option<(Timestamp, Duration)> {
        None
    }
    /// A name in the certificate of the connection's client.
    fn peer(&self, _: PeerName) -> Option<Cow<'_, str>> {
        None
    }
}

/// A condition on a claim.
///
/// A claim that is absent or `null` is missing, and a missing claim meets `present: false` and `none_of`
/// alone. An object, and what is of another type than the condition asks for, meets nothing but
/// `present: true`. A list is looked into by `any_of`, `all_of`, `none_of` and `matches`, for which a single value
/// is a list of one; every other condition is on a single value, and a list does not meet it.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The claim.
    pub claim: ClaimPath,
    /// What it must be.
    pub test: ClaimOperator,
}

/// What a claim must be.
#[derive(Clone, Debug)]
pub enum ClaimOperator {
    /// This very value.
    Equals(Scalar),
    /// One of these, or a list that holds one of these.
    AnyOf(Vec<Scalar>),
    /// A list that holds each of these.
    AllOf(Vec<Scalar>),
    /// None of these, nor a list that holds one of these. A list that holds `null`, lists or objects does
    /// not meet it: what is in it cannot be compared.
    NoneOf(Vec<Scalar>),
    /// There, or missing.
    Present(bool),
    /// A text of which the whole matches, or a list that holds one.
    Matches(TextMatch),
    /// A number between these, both included.
    Between {
        /// The least
        min: Option<Number>,
        /// The most
        max: Option<Number>,
    },
    /// What the request says in this place.
    EqualsRequest(RequestValue),
}

/// A place in a request with which a claim is compared. A text must be the same to the letter; a whole
/// number is compared as it is written in decimal. What is empty is the same as nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestValue {
    /// The value of a variable of the rule's path template, decoded.
    Path(String),
    /// The header field of this name, in lower case.
    Header(String),
    /// The host, which is compared without case.
    Host,
    /// This name in the certificate of the connection's client.
    Peer(PeerName),
}

/// A value with which a claim is compared. Types count: `"1"` is not `1`, though `1` is `1.0`.
#[derive(Clone, PartialEq, Debug)]
pub enum Scalar {
    /// `true` or `false`
    Bool(bool),
    /// A number
    Number(Number),
    /// A string
    Text(String),
}

impl Scalar {
    /// The scalar that a value is.
    pub fn of(value: &Json) -> Option<Self> {
        match value {
            Json::Bool(value) => Some(Self::Bool(*value)),
            Json::Number(number) => Some(Self::Number(*number)),
            Json::String(text) => Some(Self::Text(text.to_string())),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }

    fn is(&self, value: &Json) -> bool {
        match (self, value) {
            (Self::Bool(own), Json::Bool(value)) => own == value,
            (Self::Number(own), Json::Number(value)) => own.compare(*value) == Ordering::Equal,
            (Self::Text(own), Json::String(value)) => value == own,
            _ => false,
        }
    }
}

impl Condition {
    /// Whether the claims meet it.
    pub fn holds(&self, claims: &Object, request: &dyn Bindings) -> bool {
        let value = match self.claim.find(claims) {
            None | Some(Json::Null) => {
                return matches!(self.test, ClaimOperator::Present(false) | ClaimOperator::NoneOf(_));
            }
            Some(value) => value,
        };
        match &self.test {
            ClaimOperator::Present(present) => *present,
            ClaimOperator::Equals(own) => own.is(value),
            ClaimOperator::AnyOf(list) => {
                elements(value).iter().any(|value| list.iter().any(|own| own.is(value)))
            }
            ClaimOperator::AllOf(list) => {
                list.iter().all(|own| elements(value).iter().any(|value| own.is(value)))
            }
            ClaimOperator::NoneOf(list) => {
                let comparable =
                    |value: &Json| !matches!(value, Json::Null | Json::Array(_) | Json::Object(_));
                let differs = |value: &Json| !list.iter().any(|own| own.is(value));
                elements(value).iter().all(|value| comparable(value) && differs(value))
            }
            ClaimOperator::Matches(regex) => {
                elements(value).iter().filter_map(Json::as_str).any(|text| regex.holds(text))
            }
            ClaimOperator::Between { min, max } => {
                let Json::Number(number) = value else { return false };
                min.is_none_or(|min| number.compare(min) != Ordering::Less)
                    && max.is_none_or(|max| number.compare(max) != Ordering::Greater)
            }
            ClaimOperator::EqualsRequest(place) => {
                let requested = match place {
                    RequestValue::Path(name) => request.path_variable(name),
                    RequestValue::Header(name) => request.header(name),
                    RequestValue::Host => request.host(),
                    RequestValue::Peer(name) => request.peer(*name),
                };
                let same = |requested: &str, claim: &str| match place {
                    RequestValue::Host => requested.eq_ignore_ascii_case(claim),
                    RequestValue::Path(_) | RequestValue::Header(_) | RequestValue::Peer(_) => {
                        requested == claim
                    }
                };
                requested
                    .filter(|requested| !requested.is_empty())
                    .zip(text(value))
                    .is_some_and(|(requested, claim)| same(&requested, &claim))
            }
        }
    }

    /// What it asks for and what the claim is instead, in words without the claim's value.
    pub fn unmet(&self, claims: &Object) -> String {
        match self.claim.find(claims) {
            Some(claim) => format!("{self}; it is {}", claim.kind()),
            None => format!("{self}; it is absent{}", self.claim.hint(claims)),
        }
    }

    /// Whether it asks for a claim that is not there.
    pub(super) fn is_of_absence(&self) -> bool {
        matches!(self.test, ClaimOperator::Present(false))
    }

    /// The place in the request with which the claim is compared, if it is.
    pub fn place(&self) -> Option<&RequestValue> {
        match &self.test {
            ClaimOperator::EqualsRequest(place) => Some(place),
            _ => None,
        }
    }
}

/// Says what the claim must be.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "claim {} must {}", self.claim, self.test)
    }
}

/// Completes "it must".
impl fmt::Display for ClaimOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |list: &[Scalar]| {
            let shown: Vec<_> = list.iter().take(MAX_LISTED).map(ToString::to_string).collect();
            shown.join(", ") + if list.len() > MAX_LISTED { ", …" } else { "" }
        };
        match self {
            Self::Equals(own) => write!(f, "equal {own}"),
            Self::AnyOf(own) => write!(f, "have any of {}", list(own)),
            Self::AllOf(own) => write!(f, "have all of {}", list(own)),
            Self::NoneOf(own) => write!(f, "have none of {}", list(own)),
            Self::Present(true) => f.write_str("be present"),
            Self::Present(false) => f.write_str("be absent"),
            Self::Matches(own) => write!(f, "be, or have, a string with {own}"),
            Self::Between { min, max } => {
                f.write_str("be a number")?;
                min.map_or(Ok(()), |min| write!(f, " from {}", Json::Number(min)))?;
                max.map_or(Ok(()), |max| write!(f, " to {}", Json::Number(max)))
            }
            Self::EqualsRequest(RequestValue::Path(name)) => write!(f, "equal the path variable {name:?}"),
            Self::EqualsRequest(RequestValue::Header(name)) => write!(f, "equal the header {name:?}"),
            Self::EqualsRequest(RequestValue::Host) => f.write_str("equal the host"),
            Self::EqualsRequest(RequestValue::Peer(name)) => f.write_str(match name {
                PeerName::UriSan => "equal the first URI in the client's certificate",
                PeerName::DnsSan => "equal the first DNS name in the client's certificate",
                PeerName::Subject => "equal the subject of the client's certificate",
            }),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(own) => own.fmt(f),
            Self::Number(own) => Json::Number(*own).fmt(f),
            Self::Text(own) => f.write_str(&excerpt(own)),
        }
    }
}

/// How many values of a list are named.
const MAX_LISTED: usize = 5;

/// The elements of a list; any other value is a list of one.
fn elements(value: &Json) -> &[Json] {
    match value {
        Json::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

/// The text that a claim is, for comparing it with a place in a request, where there is nothing but text.
fn text(value: &Json) -> Option<Cow<'_, str>> {
    match value {
        Json::String(text) => Some(Cow::Borrowed(text)),
        Json::Number(Number::Unsigned(whole)) => Some(Cow::Owned(whole.to_string())),
        Json::Number(Number::Negative(whole)) => Some(Cow::Owned(whole.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bound;
    use super::*;
    use crate::json;

    /// The claims that the conditions are tried on: each kind of value once.
    const CLAIMS: &str = r#"{
        "text":"acme","empty":"","one":1,"big":9007199254740993,"half":1.5,"negative":-3,"float":1.0,
        "yes":true,"no":false,"nothing":null,"digits":"1","word":"true",
        "list":["a","b",1,true],"none":[],"odd":["a",null],"deep":[["a"]],"objects":[{"a":1}],
        "object":{"a":1,"b.c":{"d":"x"},"l":["p","q"]},"a.b":"literal","a":{"b":"nested"},
        "https://e.example/roles":["admin"],"host":"Shop.Example"}"#;

    fn holds(claim: &str, test: ClaimOperator) -> bool {
        let claims = json::parse(CLAIMS.as_bytes()).unwrap();
        let request = Bound {
            path: &[("tenant", "acme"), ("id", "1"), ("rest", ""), ("minus", "-3"), ("float", "1.5")],
            headers: &[("x-tenant", "acme"), ("x-empty", ""), ("x-upper", "ACME"), ("x-yes", "true")],
            host: Some("shop.example"),
        };
        Condition { claim: ClaimPath::parse(claim), test }.holds(claims.as_object().unwrap(), &request)
    }

    /// Values as JSON, one by one.
    fn scalars(text: &str) -> Vec<Scalar> {
        let list = json::parse(format!("[{text}]").as_bytes()).unwrap();
        list.as_array().unwrap().iter().filter_map(Scalar::of).collect()
    }

    #[test]
    fn a_claim_equals_a_value_of_its_own_type_alone() {
        for (claim, value, expected) in [
            ("text", r#""acme""#, true),
            ("text", r#""Acme""#, false),
            ("text", r#""acm""#, false),
            ("empty", r#""""#, true),
            ("one", "1", true),
            ("one", "1.0", true),
            ("float", "1", true),
            ("half", "1.5", true),
            ("half", "1", false),
            ("negative", "-3", true),
            ("big", "9007199254740992", false),
            ("one", r#""1""#, false),
            ("digits", "1", false),
            ("digits", r#""1""#, true),
            ("one", "true", false),
            ("yes", "true", true),
            ("yes", "1", false),
            ("no", "true", false),
            ("no", "false", true),
            ("word", "true", false),
            ("yes", r#""true""#, false),
            ("absent", r#""acme""#, false),
            ("absent", "false", false),
            ("nothing", "false", false),
            ("nothing", r#""""#, false),
            ("list", r#""a""#, false),
            ("none", r#""""#, false),
            ("object", "1", false),
            ("object.a", "1", true),
            ("/object/a", "1", true),
            ("/object/b.c/d", r#""x""#, true),
            ("/object/l/1", r#""q""#, true),
            ("object.b.c.d", r#""x""#, false),
            ("a.b", r#""literal""#, true),
            ("/a/b", r#""nested""#, true),
        ] {
            let value = scalars(value).remove(0);
            assert_eq!(
                holds(claim, ClaimOperator::Equals(value.clone())),
                expected,
                "{claim} equals {value:?}"
            );
        }
    }

    #[test]
    fn a_list_is_looked_into_and_a_single_value_is_a_list_of_one() {
        // claim, values, any_of, all_of, none_of
        for (claim, values, any, all, none) in [
            ("text", r#""acme","x""#, true, false, false),
            ("text", r#""acme""#, true, true, false),
            ("text", r#""x""#, false, false, true),
            ("list", r#""b","x""#, true, false, false),
            ("list", r#""b","a",1.0"#, true, true, false),
            ("list", r#""1","true""#, false, false, true),
            ("list", "true", true, true, false),
            ("https://e.example/roles", r#""admin""#, true, true, false),
            ("none", r#""a""#, false, false, true),
            ("one", "1.0", true, true, false),
            ("one", r#""1""#, false, false, true),
            ("yes", "true", true, true, false),
            // What cannot be compared is no proof that something is not there.
            ("odd", r#""a""#, true, true, false),
            ("odd", r#""x""#, false, false, false),
            ("deep", r#""a""#, false, false, false),
            ("objects", r#""a",1"#, false, false, false),
            ("object", r#""a",1"#, false, false, false),
            ("/object/l", r#""p","q""#, true, true, false),
            ("absent", r#""a""#, false, false, true),
            ("nothing", r#""a""#, false, false, true),
            ("text.deeper", r#""acme""#, false, false, true),
        ] {
            let got = [
                holds(claim, ClaimOperator::AnyOf(scalars(values))),
                holds(claim, ClaimOperator::AllOf(scalars(values))),
                holds(claim, ClaimOperator::NoneOf(scalars(values))),
            ];
            assert_eq!(got, [any, all, none], "{claim} and {values}: any_of, all_of, none_of");
        }
    }

    #[test]
    fn null_is_missing_and_everything_else_is_there() {
        for (claim, there) in [
            ("text", true),
            ("empty", true),
            ("no", true),
            ("none", true),
            ("object", true),
            ("object.a", true),
            ("a.b", true),
            ("nothing", false),
            ("absent", false),
            ("object.x", false),
            ("text.x", false),
            ("__proto__", false),
        ] {
            assert_eq!(holds(claim, ClaimOperator::Present(true)), there, "{claim}");
            assert_eq!(holds(claim, ClaimOperator::Present(false)), !there, "{claim}");
        }
    }

    #[test]
    fn an_expression_is_for_whole_texts() {
        for (claim, expression, expected) in [
            ("text", "ac.e", true),
            ("text", "ac", false),
            ("empty", ".*", true),
            ("one", ".*", false),
            ("yes", ".*", false),
            // One element is enough; what is no string is none.
            ("list", "a|c", true),
            ("list", "c", false),
            ("list", "1|true", false),
            ("odd", "a", true),
            ("odd", "null", false),
            ("none", ".*", false),
            ("deep", "a", false),
            ("objects", ".*", false),
            ("/object/l", "q", true),
            ("object", ".*", false),
            ("nothing", ".*", false),
            ("absent", ".*", false),
        ] {
            let test = ClaimOperator::Matches(TextMatch::regex(expression).unwrap());
            assert_eq!(holds(claim, test), expected, "{claim} matches {expression}");
        }
    }

    #[test]
    fn bounds_are_for_numbers_and_hold_themselves() {
        for (claim, min, max, expected) in [
            ("one", Some(1), None, true),
            ("one", Some(2), None, false),
            ("one", None, Some(1), true),
            ("one", None, Some(0), false),
            ("one", Some(1), Some(1), true),
            ("half", Some(1), Some(2), true),
            ("half", Some(2), None, false),
            ("negative", None, Some(0), true),
            ("negative", Some(0), None, false),
            ("big", Some(9_007_199_254_740_992), None, true),
            ("big", None, Some(9_007_199_254_740_992), false),
            ("digits", Some(0), None, false),
            ("yes", Some(0), None, false),
            ("list", Some(0), None, false),
            ("object", Some(0), None, false),
            ("nothing", None, Some(9), false),
            ("absent", None, Some(9), false),
        ] {
            let bound = |bound: Option<u64>| bound.map(Number::Unsigned);
            let test = ClaimOperator::Between { min: bound(min), max: bound(max) };
            assert_eq!(holds(claim, test), expected, "{claim} from {min:?} to {max:?}");
        }
    }

    #[test]
    fn a_claim_is_bound_to_what_the_request_says() {
        let path = |name: &str| RequestValue::Path(name.to_owned());
        let header = |name: &str| RequestValue::Header(name.to_owned());
        for (claim, place, expected) in [
            ("text", path("tenant"), true),
            ("text", path("id"), false),
            ("text", path("unbound"), false),
            ("one", path("id"), true),
            ("digits", path("id"), true),
            ("float", path("id"), false),
            ("half", path("float"), false),
            ("negative", path("minus"), true),
            ("absent", path("tenant"), false),
            ("nothing", path("tenant"), false),
            ("absent", path("unbound"), false),
            ("empty", path("rest"), false),
            ("list", path("tenant"), false),
            ("object", path("tenant"), false),
            ("text", header("x-tenant"), true),
            ("text", header("x-upper"), false),
            ("empty", header("x-empty"), false),
            ("yes", header("x-yes"), false),
            ("text", header("x-absent"), false),
            ("absent", header("x-absent"), false),
            ("host", RequestValue::Host, true),
            ("text", RequestValue::Host, false),
            ("absent", RequestValue::Host, false),
        ] {
            let test = ClaimOperator::EqualsRequest(place.clone());
            assert_eq!(holds(claim, test), expected, "{claim} and {place:?}");
        }
        let nowhere = Bound { path: &[], headers: &[], host: None };
        let claims = json::parse(CLAIMS.as_bytes()).unwrap();
        let condition = Condition {
            claim: ClaimPath::parse("host"),
            test: ClaimOperator::EqualsRequest(RequestValue::Host),
        };
        assert!(!condition.holds(claims.as_object().unwrap(), &nowhere));
    }

    #[test]
    fn a_missing_claim_meets_nothing_but_its_absence() {
        for claim in ["absent", "nothing", "object.x", "a.b.c"] {
            for (test, expected) in [
                (ClaimOperator::Equals(Scalar::Bool(false)), false),
                (ClaimOperator::AnyOf(scalars("false,0,\"\"")), false),
                (ClaimOperator::AllOf(scalars("false")), false),
                (ClaimOperator::NoneOf(scalars("true")), true),
                (ClaimOperator::Present(true), false),
                (ClaimOperator::Present(false), true),
                (ClaimOperator::Matches(TextMatch::regex(".*").unwrap()), false),
                (ClaimOperator::Between { min: Some(Number::Unsigned(0)), max: None }, false),
                (ClaimOperator::Between { min: None, max: Some(Number::Unsigned(0)) }, false),
                (ClaimOperator::EqualsRequest(RequestValue::Path("tenant".to_owned())), false),
                (ClaimOperator::EqualsRequest(RequestValue::Path("rest".to_owned())), false),
                (ClaimOperator::EqualsRequest(RequestValue::Header("x-empty".to_owned())), false),
                (ClaimOperator::EqualsRequest(RequestValue::Host), false),
            ] {
                let what = format!("{claim} {test:?}");
                assert_eq!(holds(claim, test), expected, "{what}");
            }
        }
    }
}
