//! A configuration of `jwt_authn`, so that it means the same here.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::member_path;
use serde_json::{Map, Value, json};

use super::change::{Changes, Kind};
use super::input::{Route, Says, is_on, list, number};

/// The largest skew that the filter takes, in seconds.
const MAX_SKEW: f64 = 300.0;

/// Brings a configuration over: what it is here, and what changes. `is_rest_open`: what no rule matches passes today.
pub(crate) fn migrate(today: &Value, routes: &[Route], is_rest_open: bool) -> (Value, Changes) {
    let (mut config, mut changes) = (today.clone(), Changes::default());
    if let Some(members) = config.as_object_mut() {
        if let Some(Value::Object(providers)) = members.get_mut("providers") {
            for (name, provider) in providers.iter_mut() {
                let Value::Object(provider) = provider else { continue };
                let path = member_path("providers", name);
                let is_asked_by_rules = has_audiences_of_rules(today, name);
                Provider { name, path, is_asked_by_rules, changes: &mut changes }.migrate(provider);
            }
        }
        whole(members, routes, is_rest_open, &mut changes);
    }
    requirements(&config, &mut changes);
    (config, changes)
}

/// Whether a requirement somewhere asks for audiences of a provider.
fn has_audiences_of_rules(value: &Value, provider: &str) -> bool {
    value["provider_and_audiences"]["provider_name"] == provider
        || match value {
            Value::Object(members) => members.values().any(|value| has_audiences_of_rules(value, provider)),
            Value::Array(elements) => elements.iter().any(|value| has_audiences_of_rules(value, provider)),
            _ => false,
        }
}

/// What is not about one provider.
fn whole(members: &mut Map<String, Value>, routes: &[Route], is_rest_open: bool, changes: &mut Changes) {
    if members.shift_remove("stat_prefix").is_some() {
        changes.add(
            Kind::Lost,
            "metrics",
            "",
            "stat_prefix: counters have other names here; see docs/operations.md, and \"instance\"",
        );
    }
    let is_rest = |rule: &Value| rule["match"] == json!({ "prefix": "/" });
    if is_rest_open && !list(members.get("rules").unwrap_or(&Value::Null)).iter().any(is_rest) {
        members.insert("unmatched".to_owned(), json!("allow"));
        let text = "jwt_authn lets pass what no rule matches; deny it when every path has its rule";
        changes.add(Kind::Open, "unmatched", "unmatched", text);
    }
    for Route { place, says } in routes {
        let written = match says {
            Says::Requirement(name) => json!({ "requirement": name }),
            Says::Disabled => json!({ "disabled": true }),
        };
        let text = format!(
            "{place}: the filter reads no PerRouteConfig; write into the metadata of the route (of each route, where a virtual host says it) \"metadata\": {}",
            json!({ "filter_metadata": { "portcullis": written } })
        );
        changes.add(Kind::Lost, "per_route", "", text);
    }
    if routes.iter().any(|route| route.says == Says::Disabled) {
        members.insert("route_rules".to_owned(), json!({ "allow_disable": true }));
        let text =
            "a route turns the filter off; what a route says is only as sure as the choice of the route is";
        changes.add(Kind::Open, "per_route", "route_rules", text);
    }
}

struct Provider<'m> {
    name: &'m str,
    path: String,
    /// Whether a rule asks for audiences of its own.
    is_asked_by_rules: bool,
    changes: &'m mut Changes,
}

impl Provider<'_> {
    fn add(&mut self, kind: Kind, row: &'static str, field: &str, text: impl Into<String>) {
        let path = if field.is_empty() { self.path.clone() } else { member_path(&self.path, field) };
        self.changes.add(kind, row, path, text);
    }

    fn migrate(&mut self, provider: &mut Map<String, Value>) {
        self.tokens(provider);
        self.keys(provider);
        self.places(provider);
        self.metadata(provider);
        let field = |name: &str| provider.get(name).unwrap_or(&Value::Null);
        let is_forwarded = is_on(field("forward"));
        if !list(field("from_cookies")).is_empty() && !is_forwarded {
            let text = "the cookie of a token is taken away here; jwt_authn leaves it. forward: true keeps every token";
            self.add(Kind::Differs, "cookie", "from_cookies", text);
        }
        if !list(field("claim_to_headers")).is_empty() {
            let text = "a number with a fraction is written as the token has it, not with six digits";
            self.add(Kind::Differs, "number", "claim_to_headers", text);
        }
    }

    /// What is asked of a token's claims.
    fn tokens(&mut self, provider: &mut Map<String, Value>) {
        let before = provider.clone();
        let field = |name: &str| before.get(name).unwrap_or(&Value::Null);
        if field("issuer").as_str().is_none_or(str::is_empty) {
            let text = "any issuer is taken, as jwt_authn does without one; name it";
            self.add(Kind::Open, "issuer", "", text);
        }
        match list(field("audiences")).is_empty() {
            true => {
                let text = "no audience is asked for: tokens for other services are taken, as before; name your audience";
                self.add(Kind::Open, "audience", "", text);
                if self.is_asked_by_rules {
                    self.normalized(provider);
                }
            }
            false => self.normalized(provider),
        }
        // A lifetime asks for an end by itself.
        if !is_on(field("require_expiration")) && field("max_lifetime").is_null() {
            provider.insert("require_expiration".to_owned(), json!(false));
            let text =
                "jwt_authn takes a token without exp for ever; require it when all your tokens have one";
            self.add(Kind::Open, "no_exp", "require_expiration", text);
        }
        provider.insert("sender_constrained".to_owned(), json!("ignore"));
        let text = "jwt_authn takes a token that is bound to a key (cnf) from whoever has it; reject or enforce is safe";
        self.add(Kind::Open, "bound", "sender_constrained", text);
        let skew = provider.get("clock_skew_seconds").and_then(number);
        if skew == Some(0.0) {
            provider.insert("clock_skew_seconds".to_owned(), json!(60));
            self.add(Kind::Open, "skew_zero", "clock_skew_seconds", "0 is 60 to jwt_authn; here 0 is 0");
        }
        if skew.is_some_and(|skew| skew > MAX_SKEW) {
            provider.insert("clock_skew_seconds".to_owned(), json!(MAX_SKEW as u64));
            let text = "more than 300 seconds cannot be said here; set the clocks that are wrong";
            self.add(Kind::Differs, "skew_limit", "clock_skew_seconds", text);
        }
    }

    /// Compares audiences as `jwt_authn` does.
    fn normalized(&mut self, provider: &mut Map<String, Value>) {
        provider.insert("audience_match".to_owned(), json!("normalized"));
        let text = "jwt_authn compares audiences without http(s):// and one trailing slash; exact is safer";
        self.add(Kind::Open, "audiences", "audience_match", text);
    }

    fn keys(&mut self, provider: &mut Map<String, Value>) {
        let Some(Value::Object(keys)) = provider.get_mut("local_jwks") else { return };
        keys.shift_remove("watched_directory");
        if let Some(file) = keys.shift_remove("filename") {
            let variable = variable(self.name);
            keys.insert("environment_variable".to_owned(), json!(variable));
            let text = format!(
                "the keys were in the file {}, and a wasm module has no files: give its content in the variable {variable}, or as inline_string",
                file.as_str().unwrap_or_default()
            );
            self.add(Kind::Lost, "filename", "local_jwks", text);
            return;
        }
        let text = match (keys.get("inline_string"), keys.get("inline_bytes")) {
            (Some(Value::String(text)), _) => text.clone().into_bytes(),
            (None, Some(Value::String(text))) => {
                STANDARD.decode(text.replace('-', "+").replace('_', "/")).unwrap_or_default()
            }
            _ => return,
        };
        let set: Value = serde_json::from_slice(&text).unwrap_or_default();
        let (secrets, others): (Vec<&Value>, Vec<&Value>) =
            list(&set["keys"]).iter().partition(|key| key["kty"] == "oct");
        if secrets.is_empty() {
            return;
        }
        if !others.is_empty() {
            let text = "the set has a secret beside public keys: tokens signed with it (HS*) are refused; give it a provider of its own";
            self.add(Kind::Differs, "algorithms", "local_jwks", text);
            return;
        }
        let named: BTreeSet<&str> = secrets.iter().filter_map(|key| key["alg"].as_str()).collect();
        let all = secrets.iter().any(|key| key.get("alg").is_none());
        let algorithms = ["HS256", "HS384", "HS512"].into_iter().filter(|name| all || named.contains(name));
        let algorithms: Vec<&str> = algorithms.collect();
        provider.insert("algorithms".to_owned(), json!(algorithms));
        let text = "the keys are secrets, and HS* must be named here; whoever verifies with a secret can sign with it";
        self.add(Kind::Open, "algorithms", "algorithms", text);
    }

    /// Where no place is named, `jwt_authn` looks into two.
    fn places(&mut self, provider: &mut Map<String, Value>) {
        let names = ["from_headers", "from_params", "from_cookies"];
        let is_named = |name: &&str| !list(provider.get(*name).unwrap_or(&Value::Null)).is_empty();
        if names.iter().any(is_named) {
            return;
        }
        names.iter().for_each(|name| _ = provider.shift_remove(*name));
        provider.insert(
            "from_headers".to_owned(),
            json!([{ "name": "Authorization", "value_prefix": "Bearer " }]),
        );
        provider.insert("from_params".to_owned(), json!(["access_token"]));
        let text = "jwt_authn reads the query parameter access_token too, where no place is named; URLs end up in logs: remove both fields if no client sends its token so";
        self.add(Kind::Open, "places", "from_params", text);
    }

    /// What the filter writes for others, in a form that a wasm filter cannot write.
    fn metadata(&mut self, provider: &mut Map<String, Value>) {
        let fields = [
            "payload_in_metadata",
            "header_in_metadata",
            "failed_status_in_metadata",
            "normalize_payload_in_metadata",
        ];
        for field in fields {
            let Some(value) = provider.shift_remove(field) else { continue };
            if value == "" {
                continue;
            }
            let text = format!(
                "{field}: a wasm filter cannot write dynamic metadata. Whoever reads it (RBAC, Lua, ext_authz, rate limit, access log, routes) sees nothing any more, and a DENY on it fails open: say it under authorize, in claim_to_headers or in filter_state first"
            );
            self.add(Kind::Lost, "metadata", "", text);
        }
    }
}

/// The variable for a provider's keys.
pub(super) fn variable(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("PORTCULLIS_{}_JWKS", name.chars().map(letter).collect::<String>())
}

/// What differs by the requirements that the rules have.
fn requirements(config: &Value, changes: &mut Changes) {
    let rules = list(&config["rules"]).iter().enumerate();
    let rules = rules.map(|(at, rule)| (format!("rules[{at}]"), &rule["requires"]));
    let named = config["requirement_map"].as_object().into_iter().flatten();
    let named = named.map(|(name, value)| (member_path("requirement_map", name), value));
    for (path, requires) in rules.chain(named) {
        let mut seen = Seen::default();
        seen.look(requires);
        if seen.or_failed {
            let text =
                "a token that failed is taken away before the request goes on; jwt_authn lets it travel";
            changes.add(Kind::Differs, "failed_token", &path, text);
        }
        if seen.twice {
            let text = "requires_all names one provider twice: every request failed, since the first took the token away; here it is judged once";
            changes.add(Kind::Differs, "twice", &path, text);
        }
        let several = seen.providers.len() > 1 || seen.alone;
        if several && (seen.missing || seen.or_failed) {
            let text = "of several good tokens the first alone is told to the upstream";
            changes.add(Kind::Differs, "first_alone", &path, text);
            let text = "a good token and a bad one: 401 in every order";
            changes.add(Kind::Differs, "any_good", &path, text);
        }
        if several {
            let text = "a token in the place of another provider that the rule names does not travel on, unless it was accepted and forward is true";
            changes.add(Kind::Differs, "other_place", &path, text);
        }
    }
}

/// What a requirement is made of.
#[derive(Default)]
struct Seen {
    providers: BTreeSet<String>,
    missing: bool,
    or_failed: bool,
    /// Whether no provider is named, so that all are meant.
    alone: bool,
    twice: bool,
}

impl Seen {
    fn look(&mut self, requires: &Value) {
        self.walk(requires);
        self.alone = (self.missing || self.or_failed) && self.providers.is_empty();
    }

    fn walk(&mut self, requires: &Value) {
        self.missing |= requires.get("allow_missing").is_some();
        self.or_failed |= requires.get("allow_missing_or_failed").is_some();
        self.providers.extend(provider_of(requires).map(str::to_owned));
        for kind in ["requires_any", "requires_all"] {
            let parts = list(&requires[kind]["requirements"]);
            let mut names = BTreeSet::new();
            for part in parts {
                self.twice |=
                    kind == "requires_all" && provider_of(part).is_some_and(|name| !names.insert(name));
                self.walk(part);
            }
        }
    }
}

/// The provider that a requirement names.
pub(super) fn provider_of(requires: &Value) -> Option<&str> {
    requires["provider_name"]
        .as_str()
        .or_else(|| requires["provider_and_audiences"]["provider_name"].as_str())
}
