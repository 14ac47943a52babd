//! Judges, and the filter as one of them.

use std::rc::Rc;

use portcullis::{
    Config, Environment, FilterStateField, Gate, HostProperties, Outcome, Request,
    RouteMetadataValue as Metadata, StreamId, Timestamp,
};
use serde_json::Value;

use super::head::Head;
use super::rules::RuleSet;

/// What a judge let through.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Under which rule; none where no rule was met.
    pub rule: Option<usize>,
    /// It would have been refused, but the rule only reports.
    pub only_reported: bool,
    /// Whose token was accepted.
    pub subject: Option<String>,
    /// The request as it goes on, without what the judge adds.
    pub forwarded: Head,
}

/// Somebody who judges requests.
pub trait Judge {
    /// What becomes of a request; nothing where it is refused.
    fn ask(&mut self, head: &Head) -> Option<Passed>;
}

/// The filter, with keys in its configuration.
pub struct Filter {
    gate: Gate,
    now: Timestamp,
}

/// A route with a rule in its metadata.
struct Route<'r>(Option<&'r str>);

impl HostProperties for Route<'_> {
    fn is_tls(&self) -> bool {
        false
    }

    fn client_address(&self) -> Option<String> {
        None
    }

    fn route_metadata(&self, key: &str) -> Metadata {
        match self.0 {
            Some(rule) if key == "rule" => Metadata::Texts(vec![rule.to_owned()]),
            _ => Metadata::Absent,
        }
    }
}

impl Filter {
    /// The filter under these rules.
    ///
    /// # Errors
    /// What the filter says of the configuration.
    pub fn new(set: &RuleSet, keys: &Value, now: u64) -> Result<Self, String> {
        let now = Timestamp::from_secs(now);
        let text = set.to_json(keys).to_string();
        let config = Config::parse(text.as_bytes(), &|_| None).map_err(|problems| format!("{problems:?}"))?;
        Ok(Self { gate: Gate::new(config, Environment::alone(1), now), now })
    }
}

impl Judge for Filter {
    fn ask(&mut self, head: &Head) -> Option<Passed> {
        let fields = head.to_fields();
        let route = Route(head.route_rule.as_deref());
        let request = Request::new(&fields).within(&route);
        let outcome = self.gate.decide(StreamId(1), &request, self.now);
        while self.gate.next_effect().is_some() {}
        let Outcome::Allow(allow) = outcome else { return None };
        let state = |entry| allow.state.get(entry);
        let rule = state(FilterStateField::Rule).and_then(|name| name.strip_prefix('r')?.parse().ok());
        let is_gone = |name: &str| {
            allow.remove.iter().any(|gone: &Rc<[u8]>| name.as_bytes().eq_ignore_ascii_case(gone))
        };
        let mut forwarded = head.clone();
        forwarded.fields.retain(|(name, _)| !is_gone(name));
        for (name, left) in &allow.left {
            forwarded.fields.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
            let left = left.iter().map(|field| String::from_utf8_lossy(field).into_owned());
            forwarded.fields.extend(left.map(|field| ((*name).to_owned(), field)));
        }
        if let Some(target) = &allow.target {
            forwarded.target = String::from_utf8_lossy(target).into_owned();
        }
        Some(Passed {
            rule,
            only_reported: state(FilterStateField::Decision) == Some("would_deny"),
            subject: state(FilterStateField::Subject).map(str::to_owned),
            forwarded,
        })
    }
}
