//! How, and how long ago, the user of a token has to have logged in (RFC 9470).

use std::fmt;
use std::time::Duration;

use crate::json::Json;
use crate::reason::excerpts;
use crate::time::Timestamp;
use crate::token::{Bindings, Claims};

/// A demand on the user's authentication; all that is given counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Authentication {
    /// The claim `acr` is one of these, to the letter; none: not asked.
    pub acr_values: Vec<String>,
    /// How long ago `auth_time` may be, in whole seconds.
    pub max_age: Option<Duration>,
}

/// What a challenge asks the client to have its user do (RFC 9470 section 3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StepUp {
    /// Of the values of `acr` those that are enough, the preferred first.
    pub acr_values: Vec<String>,
    /// How many seconds ago the user may have logged in.
    pub max_age: Option<u64>,
}

impl Authentication {
    /// What of this a token does not show, in words without the value of a claim but a time; none where it shows all.
    ///
    /// An `acr` that is no text, and an `auth_time` that is no date or lies in the future by more than clocks may differ,
    /// show nothing.
    pub fn unmet(&self, claims: &Claims, request: &dyn Bindings) -> Option<String> {
        self.unmet_class(claims).or_else(|| self.unmet_age(claims, request))
    }

    fn unmet_class(&self, claims: &Claims) -> Option<String> {
        if self.acr_values.is_empty() {
            return None;
        }
        let found = match claims.all().get("acr") {
            Some(Json::String(acr)) if self.acr_values.iter().any(|own| *acr == **own) => return None,
            None | Some(Json::Null) => "absent",
            Some(Json::String(_)) => "another",
            Some(other) => other.kind(),
        };
        let accepted = excerpts(self.acr_values.iter().map(String::as_str));
        Some(format!("claim \"acr\" must be one of {accepted}; it is {found}"))
    }

    fn unmet_age(&self, claims: &Claims, request: &dyn Bindings) -> Option<String> {
        let limit = self.max_age?;
        let asked = format!("claim \"auth_time\" must be at most {} s ago", limit.as_secs());
        let found = match claims.all().get("auth_time") {
            None | Some(Json::Null) => "it is absent".to_owned(),
            Some(Json::Number(number)) => match (Timestamp::from_number(*number), request.time()) {
                (Err(_), _) => "it is no date".to_owned(),
                (Ok(_), None) => "the time is not known".to_owned(),
                (Ok(login), Some((now, skew))) if login > now.plus(skew) => {
                    format!("it lies {} s ahead", login.since(now).as_secs())
                }
                (Ok(login), Some((now, _))) if now.since(login) > limit => {
                    format!("it is {} s ago", now.since(login).as_secs())
                }
                (Ok(_), Some(_)) => return None,
            },
            Some(other) => format!("it is {}", other.kind()),
        };
        Some([&asked, "; ", &found].concat())
    }
}

impl StepUp {
    /// What meets this and one more demand. Of classes that both take where there are any: one token has one.
    pub(super) fn and(self, demand: &Authentication) -> Self {
        let takes = |acr: &&String| demand.acr_values.contains(acr);
        let both: Vec<String> = self.acr_values.iter().filter(takes).cloned().collect();
        let acr_values = match (self.acr_values.is_empty(), both.is_empty()) {
            (true, _) => demand.acr_values.clone(),
            (false, true) => self.acr_values,
            (false, false) => both,
        };
        let ages = self.max_age.into_iter().chain(demand.max_age.map(|age| age.as_secs()));
        Self { acr_values, max_age: ages.min() }
    }
}

/// Says what is asked for.
impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.acr_values.is_empty() {
            write!(f, "acr {}", excerpts(self.acr_values.iter().map(String::as_str)))?;
        }
        match self.max_age {
            Some(age) if self.acr_values.is_empty() => write!(f, "a log-in at most {} s ago", age.as_secs()),
            Some(age) => write!(f, ", a log-in at most {} s ago", age.as_secs()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;
    use crate::token::Grants;
    use crate::token::testing::At;

    fn met(acr_values: &[&str], max_age: Option<u64>, claims: &str) -> bool {
        let acr_values = acr_values.iter().map(|acr| (*acr).to_owned()).collect();
        let demand = Authentication { acr_values, max_age: max_age.map(Duration::from_secs) };
        let Ok(Json::Object(all)) = parse(claims.as_bytes()) else { panic!("{claims}") };
        let claims = Claims::new(all, &Grants::default()).unwrap();
        demand.unmet(&claims, &At(Timestamp::from_secs(1000), Duration::from_secs(60))).is_none()
    }

    #[test]
    fn a_class_is_one_whole_text() {
        for (claims, expected) in [
            (r#"{"acr":"phr"}"#, true),
            (r#"{"acr":"mfa"}"#, true),
            (r#"{"acr":"PHR"}"#, false),
            (r#"{"acr":"phr mfa"}"#, false),
            (r#"{"acr":"phrh"}"#, false),
            (r#"{"acr":["phr"]}"#, false),
            (r#"{"acr":null}"#, false),
            (r#"{"acr":1}"#, false),
            (r#"{"amr":["mfa"]}"#, false),
            ("{}", false),
        ] {
            assert_eq!(met(&["phr", "mfa"], None, claims), expected, "{claims}");
        }
    }

    #[test]
    fn a_log_in_counts_for_as_long_as_is_said_and_not_before_it_was() {
        for (claims, expected) in [
            (r#"{"auth_time":1000}"#, true),
            (r#"{"auth_time":700}"#, true),
            (r#"{"auth_time":699.9}"#, false),
            (r#"{"auth_time":699}"#, false),
            (r#"{"auth_time":1060}"#, true),
            (r#"{"auth_time":1060.5}"#, false),
            (r#"{"auth_time":1061}"#, false),
            (r#"{"auth_time":0}"#, false),
            (r#"{"auth_time":-1}"#, false),
            (r#"{"auth_time":1e300}"#, false),
            (r#"{"auth_time":"1000"}"#, false),
            (r#"{"auth_time":[1000]}"#, false),
            (r#"{"auth_time":true}"#, false),
            (r#"{"auth_time":null}"#, false),
            (r#"{"iat":1000}"#, false),
        ] {
            assert_eq!(met(&[], Some(300), claims), expected, "{claims}");
        }
        assert!(met(&["a"], Some(300), r#"{"acr":"a","auth_time":900}"#));
        assert!(!met(&["a"], Some(300), r#"{"acr":"b","auth_time":900}"#));
        assert!(!met(&["a"], Some(300), r#"{"acr":"a","auth_time":600}"#));
    }

    #[test]
    fn what_meets_two_demands_is_asked_for_in_one() {
        let demand = |text: &str, max_age: Option<u64>| Authentication {
            acr_values: text.split_whitespace().map(str::to_owned).collect(),
            max_age: max_age.map(Duration::from_secs),
        };
        for (one, other, acr_values, max_age) in [
            (demand("a b", None), demand("", Some(60)), "a b", Some(60)),
            (demand("", Some(30)), demand("a", Some(60)), "a", Some(30)),
            (demand("a b c", Some(90)), demand("c b", Some(60)), "b c", Some(60)),
            // No token can meet both.
            (demand("a", None), demand("b", None), "a", None),
        ] {
            let asked = StepUp::default().and(&one).and(&other);
            assert_eq!((asked.acr_values.join(" ").as_str(), asked.max_age), (acr_values, max_age));
        }
    }
}
