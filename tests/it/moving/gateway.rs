//! A model of Envoy Gateway's SecurityPolicy: `jwt` and `authorization`, for one route. Own code, none of the filter's.

use serde_json::Value;

use super::ask::Ask;
use super::jwt::{Found, Provider, member, strings};
use super::text::fits_gateway_path;
use super::tokens::Tokens;

/// The policy of a route.
pub struct Policy {
    providers: Vec<Provider>,
    optional: bool,
    fail_open: bool,
    /// None where there is no authorization.
    authorization: Option<Value>,
}

#[track_caller]
fn known(value: &Value, names: &[&str]) {
    for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
        assert!(names.contains(&name.as_str()), "the model does not know {name}: {value}");
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

fn provider(value: &Value) -> Provider {
    known(
        value,
        &[
            "name",
            "issuer",
            "audiences",
            "remoteJWKS",
            "localJWKS",
            "extractFrom",
            "claimToHeaders",
            "recomputeRoute",
        ],
    );
    let (from, text) = (&value["extractFrom"], |value: &Value| value.as_str().unwrap_or_default().to_owned());
    let headers = from["headers"].as_array().into_iter().flatten();
    Provider {
        name: text(&value["name"]),
        issuer: text(&value["issuer"]),
        audiences: texts(&value["audiences"]),
        headers: headers.map(|header| (text(&header["name"]), text(&header["valuePrefix"]))).collect(),
        parameters: texts(&from["params"]),
        cookies: texts(&from["cookies"]),
        space_delimited: ["scope", "scp"].map(str::to_owned).to_vec(),
    }
}

impl Policy {
    /// Reads a manifest.
    pub fn read(document: &Value) -> Self {
        let spec = &document["spec"];
        known(spec, &["targetRefs", "jwt", "authorization"]);
        known(&spec["jwt"], &["optional", "failOpen", "providers"]);
        let providers = spec["jwt"]["providers"].as_array().into_iter().flatten();
        let flag = |name: &str| spec["jwt"][name].as_bool().unwrap_or_default();
        Self {
            providers: providers.map(provider).collect(),
            optional: flag("optional"),
            fail_open: flag("failOpen"),
            authorization: spec.get("authorization").cloned(),
        }
    }

    /// Whether a request passes.
    pub fn passes(&self, ask: &Ask, tokens: &Tokens) -> bool {
        let judged: Vec<(&str, Found)> =
            self.providers.iter().map(|one| (one.name.as_str(), one.judge(ask, tokens))).collect();
        let good = judged.iter().find_map(|(name, found)| match found {
            Found::Good(claims) => Some((*name, claims)),
            _ => None,
        });
        let is_missing = judged.iter().all(|(_, found)| *found == Found::Missing);
        let may_be_without = judged.is_empty() || self.fail_open || (self.optional && is_missing);
        if good.is_none() && !may_be_without {
            return false;
        }
        let Some(authorization) = &self.authorization else { return true };
        known(authorization, &["rules", "defaultAction"]);
        let rules = authorization["rules"].as_array().into_iter().flatten();
        let action = rules
            .filter(|rule| matches(rule, ask, good))
            .map(|rule| &rule["action"])
            .next()
            .unwrap_or(&authorization["defaultAction"]);
        action == "Allow"
    }
}

fn matches(rule: &Value, ask: &Ask, good: Option<(&str, &Value)>) -> bool {
    known(rule, &["name", "action", "operation", "principal"]);
    let (operation, principal) = (&rule["operation"], &rule["principal"]);
    known(operation, &["methods", "path"]);
    known(principal, &["jwt", "headers"]);
    let methods = texts(&operation["methods"]);
    let mut headers = principal["headers"].as_array().into_iter().flatten();
    (methods.is_empty() || methods.contains(&ask.method))
        && (operation["path"].is_null() || fits_gateway_path(&operation["path"], &ask.target))
        && headers.all(|header| {
            let value = ask.header(header["name"].as_str().expect("a name"));
            value.is_some_and(|value| texts(&header["values"]).iter().any(|one| one == value))
        })
        && (principal["jwt"].is_null() || is_granted(&principal["jwt"], good))
}

fn is_granted(jwt: &Value, good: Option<(&str, &Value)>) -> bool {
    known(jwt, &["provider", "scopes", "claims"]);
    let Some((provider, token)) = good else { return false };
    let holds = |claim: &str, scope: &str| token[claim].is_array() && strings(&token[claim]).contains(&scope);
    let mut claims = jwt["claims"].as_array().into_iter().flatten();
    jwt["provider"] == provider
        && texts(&jwt["scopes"]).iter().all(|scope| holds("scope", scope) || holds("scp", scope))
        && claims.all(|claim| {
            known(claim, &["name", "valueType", "values"]);
            let path: Vec<&str> = claim["name"].as_str().expect("a name").split('.').collect();
            let value = member(token, &path);
            let is_list = claim["valueType"] == "StringArray";
            let values = texts(&claim["values"]);
            value.is_array() == is_list
                && strings(value).iter().any(|own| values.iter().any(|one| one == own))
        })
}
