//! Removes from a configuration what the filter rejects, so that the rest can be checked for warnings.

use portcullis::{Config, Problem, member_path};
use serde_json::{Map, Value, json};

use super::finding::Finding;
use super::judge::{KEYS, NOT_ON_THIS_HOST};

/// How often the filter reads it again: a removed part may be missing elsewhere.
const ROUNDS: usize = 5;

/// What could not be judged.
#[derive(Default)]
pub(super) struct LeftOut {
    /// Paths of the configuration.
    paths: Vec<String>,
}

impl LeftOut {
    fn add(&mut self, path: String) {
        if !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }

    /// Whether a place is in something that was left out.
    pub(super) fn has(&self, path: &str) -> bool {
        let is_in = |out: &String| {
            path.strip_prefix(out.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.paths.iter().any(is_in)
    }

    /// Whether a warning can be given although this was left out.
    pub(super) fn allows(&self, finding: &Finding) -> bool {
        let names_providers =
            |path: &String| ["rules", "requirement"].iter().any(|name| path.starts_with(name));
        let is_unsure = finding.rule == "provider-unused" && self.paths.iter().any(names_providers);
        !is_unsure && !self.has(&finding.path)
    }
}

/// A configuration of the rest, if there is one. `read` is the filter's own reader.
pub(super) fn mend(
    text: &str,
    errors: &[Problem],
    read: &dyn Fn(&str) -> Result<Config, Vec<Problem>>,
) -> Option<(Config, LeftOut)> {
    let mut whole: Value = serde_json::from_str(text).ok()?;
    let mut out = LeftOut::default();
    let mut errors = errors.to_vec();
    for _ in 0..ROUNDS {
        for Problem { path, message } in &errors {
            take_out(&mut whole, path, message.starts_with(NOT_ON_THIS_HOST), &mut out)?;
        }
        match read(&whole.to_string()) {
            Ok(config) => return Some((config, out)),
            Err(more) => errors = more,
        }
    }
    None
}

/// A step of a path.
#[derive(Debug)]
enum Step {
    Member(String),
    Element(usize),
}

/// Takes out what a path is in: a rule or a provider keeps its place, and one of which there is nothing to say stands in
/// for it. A field that this host lacks (`is_lacking`) goes alone.
fn take_out(whole: &mut Value, path: &str, is_lacking: bool, out: &mut LeftOut) -> Option<()> {
    let steps = steps(whole, path);
    let is_match = matches!(steps.get(2), Some(Step::Member(name)) if name == "match");
    match steps.as_slice() {
        [inner @ .., Step::Member(last)] if is_lacking && !is_match => {
            let object = inner.iter().try_fold(whole, step_mut)?.as_object_mut()?;
            object.shift_remove(last);
            if last == "filename" {
                object.insert("inline_string".to_owned(), json!(KEYS));
            }
        }
        [Step::Member(providers), Step::Member(name), ..] if providers == "providers" => {
            let stand_in = json!({
                "issuer": format!("https://{}.invalid", out.paths.len()),
                "audiences": ["none"],
                "token_types": ["at+jwt"],
                "local_jwks": { "inline_string": KEYS },
            });
            out.add(member_path(providers, name));
            whole.get_mut(providers)?.as_object_mut()?.insert(name.clone(), stand_in);
        }
        [Step::Member(rules), Step::Element(at), ..] if rules == "rules" => {
            out.add(format!("rules[{at}]"));
            *whole.get_mut(rules)?.get_mut(*at)? =
                json!({ "match": { "path": format!("/.not-judged/{at}") }, "public": true });
        }
        [Step::Member(map), Step::Member(name), ..] if map.starts_with("requirement") => {
            out.add(member_path(map, name));
            whole.get_mut(map)?.as_object_mut()?.shift_remove(name);
        }
        [Step::Member(name), ..] => {
            out.add(name.clone());
            whole.as_object_mut()?.shift_remove(name);
        }
        _ => return None,
    }
    Some(())
}

fn step_mut<'v>(value: &'v mut Value, step: &Step) -> Option<&'v mut Value> {
    match step {
        Step::Member(name) => value.get_mut(name),
        Step::Element(at) => value.get_mut(*at),
    }
}

/// The steps of a path, as far as they lead. Names are put together as the filter does it.
fn steps(whole: &Value, path: &str) -> Vec<Step> {
    let (mut steps, mut at, mut done) = (Vec::new(), whole, String::new());
    let is_on_way = |way: &str| {
        let rest = path.strip_prefix(way);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    while done.len() < path.len() {
        let none = Map::new();
        let members = at.as_object().unwrap_or(&none).keys();
        let member = members.map(|key| (key, member_path(&done, key))).filter(|(_, way)| is_on_way(way));
        let member = member.max_by_key(|(_, way)| way.len());
        let elements = at.as_array().map(Vec::len).unwrap_or_default();
        let element = (0..elements).map(|at| (at, format!("{done}[{at}]"))).find(|(_, way)| is_on_way(way));
        let (step, way) = match (member, element) {
            (Some((key, way)), _) => (Step::Member(key.clone()), way),
            (None, Some((at, way))) => (Step::Element(at), way),
            (None, None) => break,
        };
        let next = match &step {
            Step::Member(name) => at.get(name),
            Step::Element(number) => at.get(*number),
        };
        let Some(next) = next else { break };
        (at, done) = (next, way);
        steps.push(step);
    }
    steps
}
