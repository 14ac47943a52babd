//! Rules of which the first decides, for policies of which any allows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::formula::Formula;
use super::super::input::list;
use super::policy::{Cell, Policies, header_of, texts};
use super::region::{Hosts, Paths};

/// How many sets of paths, with their overlaps, are distinguished at most.
const MAX_PATHS: usize = 150;

/// How many conditions on headers are distinguished at most.
const MAX_HEADERS: usize = 4;

/// The rules, and whether some are for requests without a token, with others for those with one.
pub(super) struct Made {
    pub(super) rules: Vec<Value>,
    pub(super) is_split: bool,
}

/// A rule to be.
#[derive(Debug)]
struct Draft {
    cell: Cell,
    /// None: all.
    methods: Option<Vec<String>>,
    formula: Formula,
}

/// The rules for these policies.
///
/// # Errors
/// What cannot be said here.
pub(super) fn rules(policies: &Policies) -> Result<Made, String> {
    let (paths, hosts, methods, headers) = seen(policies)?;
    let mut drafts = Vec::new();
    for (paths, hosts, headers) in regions(&paths, &hosts, &headers) {
        let cell = |method: Option<&String>| Cell {
            paths: paths.clone(),
            hosts: hosts.clone(),
            method: method.cloned(),
            headers: headers.clone(),
        };
        let rest = policies.formula(&cell(None))?;
        let mut groups: Vec<(Vec<String>, Formula)> = Vec::new();
        for method in &methods {
            let formula = policies.formula(&cell(Some(method)))?;
            match groups.iter_mut().find(|(_, known)| *known == formula) {
                _ if formula == rest => {}
                Some((methods, _)) => methods.push(method.clone()),
                None => groups.push((vec![method.clone()], formula)),
            }
        }
        let named = groups.into_iter().map(|(methods, formula)| (Some(methods), formula));
        for (methods, formula) in named.chain([(None, rest)]) {
            drafts.push(Draft { cell: cell(None), methods, formula });
        }
    }
    prune(&mut drafts);
    let is_split = drafts.iter().any(Draft::is_split);
    Ok(Made { rules: drafts.iter().flat_map(Draft::to_rules).collect(), is_split })
}

type Headers = BTreeSet<(String, String)>;

type Seen = (Vec<Paths>, Vec<Hosts>, BTreeSet<String>, Headers);

/// The sets of paths and hosts, the methods and the conditions on headers that policies name.
fn seen(policies: &Policies) -> Result<Seen, String> {
    let (mut paths, mut hosts) = (vec![Paths::all()], vec![Hosts::All]);
    let (mut methods, mut headers) = (BTreeSet::new(), Headers::new());
    for rule in policies.rules() {
        for to in list(&rule["to"]) {
            let operation = &to["operation"];
            let of = |names: [&str; 2]| {
                names.into_iter().flat_map(|name| texts(operation, name)).collect::<Vec<_>>()
            };
            paths.extend(of(["paths", "notPaths"]).into_iter().map(Paths::of));
            for list in ["hosts", "notHosts"] {
                hosts.extend(hosts_of(&texts(operation, list))?);
            }
            for method in of(["methods", "notMethods"]).into_iter().filter(|method| *method != "*") {
                if method.contains('*') {
                    return Err(format!("the methods {method:?} cannot be said here; name them"));
                }
                methods.insert(method.to_owned());
            }
        }
        for condition in list(&rule["when"]) {
            let Some(name) = condition["key"].as_str().and_then(header_of) else { continue };
            for pattern in texts(condition, "values").into_iter().chain(texts(condition, "notValues")) {
                headers.insert((name.to_ascii_lowercase(), pattern.to_owned()));
            }
        }
    }
    if headers.len() > MAX_HEADERS {
        return Err(format!(
            "more than {MAX_HEADERS} conditions on headers; carry the policies over by hand"
        ));
    }
    close(&mut paths)?;
    hosts.sort();
    hosts.dedup();
    Ok((paths, hosts, methods, headers))
}

/// The hosts of a list. One that is named with any port, too, is no set of its own: with a port it would be another.
fn hosts_of(patterns: &[&str]) -> Result<Vec<Hosts>, String> {
    let all = patterns.iter().map(|pattern| Hosts::of(pattern)).collect::<Result<Vec<_>, _>>()?;
    let is_whole = |host: &&Hosts| match host {
        Hosts::Exact(name) => !all.contains(&Hosts::AnyPort(name.clone())),
        _ => true,
    };
    Ok(all.iter().filter(is_whole).cloned().collect())
}

/// Adds what sets have in common, until nothing is new.
fn close(paths: &mut Vec<Paths>) -> Result<(), String> {
    paths.sort();
    paths.dedup();
    let mut at = 0;
    while let Some(one) = paths.get(at).cloned() {
        for other in paths.clone() {
            if let Some(both) = one.both(&other)?
                && !paths.contains(&both)
            {
                paths.push(both);
            }
        }
        if paths.len() > MAX_PATHS {
            return Err(format!("more than {MAX_PATHS} paths overlap; carry the policies over in parts"));
        }
        at += 1;
    }
    Ok(())
}

/// All regions: one that is within another stands before it.
fn regions(paths: &[Paths], hosts: &[Hosts], headers: &Headers) -> Vec<(Paths, Hosts, Headers)> {
    let headers: Vec<_> = headers.iter().cloned().collect();
    let mut all = Vec::new();
    for path in paths {
        for host in hosts {
            for subset in 0..1_usize << headers.len() {
                let met = headers.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1);
                let met: Headers = met.map(|(_, header)| header.clone()).collect();
                let around = paths.iter().filter(|other| path.is_within(other)).count()
                    + hosts.iter().filter(|other| host.is_within(other)).count()
                    + met.len();
                all.push((around, path.clone(), host.clone(), met));
            }
        }
    }
    all.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| (&one.1, &one.2).cmp(&(&other.1, &other.2))));
    all.into_iter().map(|(_, path, host, met)| (path, host, met)).collect()
}

/// Takes out each rule whose requests meet the same in a later one.
fn prune(drafts: &mut Vec<Draft>) {
    let mut at = drafts.len();
    while at > 0 {
        at -= 1;
        let Some((draft, later)) = drafts.get(at..).and_then(<[Draft]>::split_first) else { break };
        let mut is_needless = draft.formula == Formula::Is(false);
        for other in later.iter().filter(|other| draft.overlaps(other)) {
            if other.formula != draft.formula {
                is_needless = false;
                break;
            }
            if other.covers(draft) {
                is_needless = true;
                break;
            }
        }
        if is_needless {
            drafts.remove(at);
        }
    }
}

impl Draft {
    fn overlaps(&self, other: &Self) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (Some(one), Some(other)) => one.iter().any(|method| other.contains(method)),
            _ => true,
        };
        let paths = self.cell.paths.both(&other.cell.paths);
        methods && !matches!(paths, Ok(None)) && self.cell.hosts.both(&other.cell.hosts).is_some()
    }

    fn covers(&self, other: &Self) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (None, _) => true,
            (Some(one), Some(other)) => other.iter().all(|method| one.contains(method)),
            (Some(_), None) => false,
        };
        methods
            && other.cell.paths.is_within(&self.cell.paths)
            && other.cell.hosts.is_within(&self.cell.hosts)
            && self.cell.headers.is_subset(&other.cell.headers)
    }

    /// Whether requests without a token pass, and a token has to meet something.
    fn is_split(&self) -> bool {
        self.formula.is_met_without_token() && self.formula != Formula::Is(true)
    }

    fn to_match(&self, more: Option<Value>) -> Value {
        let mut matcher = self.cell.paths.to_match();
        if let Some(methods) = &self.methods {
            matcher["methods"] = json!(methods);
        }
        if let Some(host) = self.cell.hosts.to_match() {
            matcher["hosts"] = json!([host]);
        }
        let headers = self.cell.headers.iter().map(|(name, pattern)| {
            let ends = (pattern.strip_prefix('*'), pattern.strip_suffix('*'));
            let text = match ends {
                _ if pattern == "*" => return json!({ "name": name, "present_match": true }),
                (Some(end), _) => json!({ "suffix": end }),
                (_, Some(start)) => json!({ "prefix": start }),
                _ => json!({ "exact": pattern }),
            };
            json!({ "name": name, "string_match": text })
        });
        let headers: Vec<Value> = headers.chain(more).collect();
        if !headers.is_empty() {
            matcher["headers"] = json!(headers);
        }
        matcher
    }

    fn to_rules(&self) -> Vec<Value> {
        let whole = self.to_match(None);
        if self.formula == Formula::Is(true) {
            return vec![json!({ "match": whole, "requirement_name": "open" })];
        }
        let mut rule = json!({ "match": whole, "requirement_name": "token" });
        if let Some(authorize) = self.formula.to_authorize() {
            rule["authorize"] = authorize;
        }
        if !self.is_split() {
            return vec![rule];
        }
        let absent = json!({ "name": "authorization", "present_match": false });
        vec![json!({ "match": self.to_match(Some(absent)), "requirement_name": "open" }), rule]
    }
}
