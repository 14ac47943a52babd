//! The rules of a SecurityPolicy's authorization.

use serde_json::{Map, Value, json};

use super::super::change::{Changes, Kind};
use super::super::formula::Formula;
use super::super::input::list;
use super::super::istio::policy::texts;
use super::region::{Paths, Region};

/// A rule, without what only the proxy can judge.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) is_allow: bool,
    pub(super) region: Region,
    /// The paths that are taken out of the region, where the policy inverts them.
    pub(super) except: Option<Paths>,
    pub(super) condition: Formula,
}

/// The fields of a principal that are about the client's connection.
const OF_CLIENT: &[&str] = &["clientCIDRs", "clientIPGeoLocations"];

/// No field but these.
///
/// # Errors
/// The first other one.
pub(super) fn known(value: &Value, of: &str, names: &[&str]) -> Result<(), String> {
    let mut fields = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    match fields.find(|name| !names.contains(name)) {
        Some(name) => Err(format!("{name:?} of {of} is not known here; carry it over by hand")),
        None => Ok(()),
    }
}

/// Whether a rule asks for something that no filter for tokens sees: the client's address, or an expression.
pub(crate) fn is_of_client(rule: &Value) -> bool {
    rule.get("cel").is_some() || OF_CLIENT.iter().any(|name| rule["principal"].get(*name).is_some())
}

/// Reads the rules. `issuers`: of the providers, by name.
///
/// # Errors
/// A rule that can only be judged in one place, or that cannot be said here.
pub(super) fn rules(
    authorization: &Value,
    issuers: &Map<String, Value>,
    place: &str,
    changes: &mut Changes,
) -> Result<Vec<Rule>, String> {
    known(authorization, "authorization", &["defaultAction", "rules"])?;
    let all = list(&authorization["rules"]);
    let mut read: Vec<Read<'_>> = Vec::new();
    for (at, value) in all.iter().enumerate() {
        let failed = |error: String| format!("{place}: authorization.rules[{at}]: {error}");
        let own = rule(value, issuers).map_err(failed)?;
        let has_token = value["principal"].get("jwt").is_some();
        if !is_of_client(value) {
            read.push(Read { at, value, own, has_token });
            continue;
        }
        let what = "the client's address or an expression (clientCIDRs, clientIPGeoLocations, cel)";
        let mut stays = |text: String| {
            changes.add(Kind::Lost, "stays", "", format!("{place}: authorization.rules[{at}] {text}"));
        };
        match (own.is_allow, has_token) {
            (false, true) => {
                return Err(failed(format!(
                    "a Deny rule asks for {what} and for a token, which no filter sees together; split it by path or host"
                )));
            }
            (false, false) => stays(format!(
                "denies by {what}: it stays in the SecurityPolicy, where it comes before all that is said here"
            )),
            (true, _) => {
                stays(format!(
                    "asks for {what} too: keep a rule with that part in the SecurityPolicy, and allow there what needs none; both must let a request pass"
                ));
                read.push(Read { at, value, own, has_token });
            }
        }
    }
    apart(&read, place)?;
    Ok(read.into_iter().map(|read| read.own).collect())
}

/// A rule that was read.
struct Read<'v> {
    at: usize,
    value: &'v Value,
    own: Rule,
    has_token: bool,
}

/// What a rule asks for that no filter for tokens sees.
fn of_client(rule: &Value) -> Value {
    json!([rule["cel"], rule["principal"]["clientCIDRs"], rule["principal"]["clientIPGeoLocations"]])
}

/// "This address, or a token with that claim" is nothing that two filters can say, each of which must let a request pass:
/// nor is "this address and that claim, or another claim".
fn apart(read: &[Read<'_>], place: &str) -> Result<(), String> {
    for one in read.iter().filter(|one| is_of_client(one.value)) {
        let other = read.iter().find(|other| {
            other.has_token
                && other.at != one.at
                && (other.own.is_allow || other.at > one.at)
                && of_client(other.value) != of_client(one.value)
                && other.own.condition != one.own.condition
                && other.own.region.may_overlap(&one.own.region)
        });
        if let Some(other) = other {
            return Err(format!(
                "{place}: authorization.rules[{}] asks for the client's address or an expression, and rules[{}] for a token of the same requests: one or the other cannot be said by two filters that must both let a request pass; give them a path, method or host each",
                one.at, other.at
            ));
        }
    }
    Ok(())
}

fn rule(value: &Value, issuers: &Map<String, Value>) -> Result<Rule, String> {
    known(value, "a rule", &["name", "action", "operation", "principal", "cel"])?;
    let (operation, principal) = (&value["operation"], &value["principal"]);
    known(operation, "an operation", &["methods", "path"])?;
    known(principal, "a principal", &[OF_CLIENT, &["jwt", "headers"]].concat())?;
    let is_allow = match value["action"].as_str() {
        Some("Allow") => true,
        Some("Deny") => false,
        _ => return Err("\"action\" is Allow or Deny".to_owned()),
    };
    let path = &operation["path"];
    known(path, "a path", &["type", "value", "invert"])?;
    let paths = if path.is_null() { Paths::All } else { Paths::of(path)? };
    let (paths, except) = match path["invert"] == true {
        true => (Paths::All, Some(paths)),
        false => (paths, None),
    };
    let mut region = Region::of_paths(paths);
    let methods = texts(operation, "methods");
    region.methods = (!methods.is_empty()).then(|| methods.into_iter().map(str::to_owned).collect());
    for header in list(&principal["headers"]) {
        let name = header["name"].as_str().unwrap_or_default().to_ascii_lowercase();
        let values = texts(header, "values").into_iter().map(str::to_owned).collect();
        let one = Region { headers: [(name, values)].into(), ..Region::all() };
        region = region.both(&one)?.ok_or("asks for two values of one header field, which no request has")?;
    }
    let condition = match principal.get("jwt") {
        Some(jwt) => token(jwt, issuers)?,
        None => Formula::Is(true),
    };
    Ok(Rule { is_allow, region, except, condition })
}

/// What a `principal.jwt` asks of a token.
fn token(jwt: &Value, issuers: &Map<String, Value>) -> Result<Formula, String> {
    known(jwt, "principal.jwt", &["provider", "scopes", "claims"])?;
    let name = jwt["provider"].as_str().unwrap_or_default();
    let issuer = issuers.get(name).ok_or_else(|| format!("there is no provider {name:?} in \"jwt\""))?;
    let mut parts = Vec::new();
    if issuers.len() > 1 {
        let same = issuers.values().filter(|other| *other == issuer).count();
        if issuer == "" || same > 1 {
            return Err(format!(
                "asks for a token of the provider {name:?}, which only its issuer could tell from others', and that is missing or the same; name the issuers"
            ));
        }
        parts.push(Formula::Claim(json!({ "claims": [{ "claim": "iss", "equals": issuer }] })));
    }
    let scopes = texts(jwt, "scopes");
    if !scopes.is_empty() {
        parts.push(Formula::Claim(json!({ "scopes": { "all_of": scopes } })));
    }
    for claim in list(&jwt["claims"]) {
        known(claim, "a claim", &["name", "valueType", "values"])?;
        let is_list = match claim["valueType"].as_str().unwrap_or("String") {
            "String" => false,
            "StringArray" => true,
            other => return Err(format!("the type {other:?} of a claim is not known here")),
        };
        let name = claim["name"].as_str().unwrap_or_default();
        parts.push(of_claim(name, is_list, &texts(claim, "values")));
    }
    match parts.is_empty() {
        true => {
            Err("principal.jwt names neither scopes nor claims; say what is asked of the token".to_owned())
        }
        false => Ok(Formula::all(parts)),
    }
}

fn of_claim(name: &str, is_list: bool, values: &[&str]) -> Formula {
    if ["scope", "scp"].contains(&name) {
        // Their text is a list of scopes by the time that the policy looks at it.
        return match is_list {
            true => Formula::Claim(json!({ "scopes": { "any_of": values } })),
            false => Formula::Is(false),
        };
    }
    let path: Vec<&str> = name.split('.').collect();
    let claim = match path[..] {
        [one] if !one.starts_with('/') => json!(one),
        _ => json!(path),
    };
    if is_list {
        return Formula::Claim(json!({ "claims": [{ "claim": claim, "any_of": values }] }));
    }
    let one = |value: &&str| Formula::Claim(json!({ "claims": [{ "claim": claim, "equals": value }] }));
    Formula::any(values.iter().map(one))
}
