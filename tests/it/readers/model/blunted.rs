//! The filter without one of its readings: what a fault in it would do.

use std::collections::BTreeSet;

use portcullis::{Config, PathReadings, PathStep, Request, RequestView, RuleMatch};
use serde_json::Value;

use super::gate::{Judge, Passed};
use super::head::Head;
use super::rules::RuleSet;

/// What is taken from the filter.
#[derive(Clone, Copy, Debug)]
pub enum Blunt {
    /// A step of its readings of paths.
    Path(PathStep),
    /// A difference in some other part: it is shown a request without it. Its name, and how that is done.
    Shown(&'static str, Change),
}

/// How a difference is taken out of a request.
type Change = fn(&mut Head);

/// The filter's search for a rule, as far as it knows this.
pub struct Blunted {
    config: Config,
    blunt: Option<Blunt>,
}

impl Blunted {
    pub fn new(set: &RuleSet, keys: &Value, blunt: Option<Blunt>) -> Option<Self> {
        let text = set.to_json(keys).to_string();
        Some(Self { config: Config::parse(text.as_bytes(), &|_| None).ok()?, blunt })
    }
}

impl Judge for Blunted {
    fn ask(&mut self, head: &Head) -> Option<Passed> {
        let mut shown = head.clone();
        let mut steps = PathStep::ALL.to_vec();
        match self.blunt {
            Some(Blunt::Path(gone)) => steps.retain(|step| *step != gone),
            Some(Blunt::Shown(_, change)) => change(&mut shown),
            None => {}
        }
        let fields = shown.to_fields();
        let request = Request::new(&fields);
        let path = PathReadings::by_steps(request.target()?, true, &steps);
        let rule = match self.config.rules.find(&RequestView::new(&request, path)) {
            RuleMatch::Rule(rule) => Some(rule.id.0),
            RuleMatch::Nothing => None,
            RuleMatch::Ambiguous(..) => return None,
        };
        Some(Passed { rule, only_reported: false, subject: None, forwarded: head.clone() })
    }
}

/// Every reading that can be taken from the filter, one at a time.
pub fn all() -> Vec<Blunt> {
    let shown: [(&'static str, Change); 10] = [
        ("the port", |head| head.authority = without_port(&head.authority).to_owned()),
        ("the dot behind the host", |head| head.authority = head.authority.trim_end_matches('.').to_owned()),
        ("the user before the host", |head| {
            head.authority = head.authority.rsplit('@').next().unwrap_or_default().to_owned();
        }),
        ("all values of a field but the first", |head| {
            let mut seen = BTreeSet::new();
            head.fields.retain(|(name, _)| seen.insert(name.to_ascii_lowercase()));
        }),
        ("all values of a field but the last", |head| {
            let mut seen = BTreeSet::new();
            head.fields.reverse();
            head.fields.retain(|(name, _)| seen.insert(name.to_ascii_lowercase()));
        }),
        ("names that are folded", |head| head.fields.retain(|(name, _)| !name.contains(['_', '.']))),
        ("all values of a parameter but the first", |head| {
            let mut seen = BTreeSet::new();
            keep_parts(head, |name| seen.insert(name.to_owned()));
        }),
        ("parameters with escapes in their names", |head| keep_parts(head, |name| !name.contains('%'))),
        ("parameters behind a semicolon", |head| {
            let cut: Vec<&str> = head.query().split('&').filter_map(|part| part.split(';').next()).collect();
            head.target = format!("{}?{}", head.path(), cut.join("&"));
        }),
        ("parameters whose names become variables", |head| {
            keep_parts(head, |name| !name.contains(['+', '[', ' ']))
        }),
    ];
    let paths = PathStep::ALL.into_iter().map(Blunt::Path);
    paths.chain(shown.into_iter().map(|(name, change)| Blunt::Shown(name, change))).collect()
}

fn without_port(authority: &str) -> &str {
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// Keeps the parts of the query whose name is wanted.
fn keep_parts(head: &mut Head, mut wanted: impl FnMut(&str) -> bool) {
    let name = |part: &str| part.split('=').next().unwrap_or_default().to_owned();
    let kept: Vec<&str> = head.query().split('&').filter(|part| wanted(&name(part))).collect();
    head.target = format!("{}?{}", head.path(), kept.join("&"));
}
