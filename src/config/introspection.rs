//! `introspection`: the endpoint of a provider that says whether a token is active.

use std::rc::Rc;
use std::time::Duration;

use super::Variables;
use super::fields::{Fields, Item, join, variable};
use super::problem::Report;
use super::provider::Provider;
use super::values::{HOUR, SECOND, endpoint};
use crate::fetch::SecretValue;
use crate::introspection::{AnswerForm, ClaimSource, ClientAuthentication, Introspection, MAX_OPAQUE};
use crate::rules::Rule;
use crate::token::Policy;

/// The methods of client authentication, as the operator writes them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Basic,
    Post,
    Bearer,
    None,
}

pub(super) fn read(
    provider: &mut Fields<'_>,
    environment: Variables<'_>,
    policy: &Policy,
) -> Option<Introspection> {
    let item = provider.get("introspection")?;
    let keys = !provider.present(&["remote_jwks", "discovery", "local_jwks"]).is_empty();
    let wants_expiration = !provider.present(&["require_expiration"]).is_empty() && policy.require_expiration;
    let mut fields = item.fields()?;
    let http_uri =
        fields.required("http_uri", "give { uri, cluster, timeout } of the introspection endpoint");
    let endpoint = http_uri.and_then(|item| endpoint(&item));
    let client_id = fields.get("client_id").and_then(|item| self::client_id(&item));
    let authentication = authentication(&mut fields, environment, client_id.clone());
    let form =
        fields.choice("accept", &[("json", AnswerForm::Json), ("jwt", AnswerForm::Jwt)], AnswerForm::Json);
    let claims = fields.choice(
        "claims",
        &[("token", ClaimSource::Token), ("answer", ClaimSource::Answer)],
        ClaimSource::Token,
    );
    let token_prefix =
        fields.get("token_prefix").and_then(|item| prefix(&item, keys && form == AnswerForm::Json));
    let (active, inactive, size) = cache(&mut fields);
    let max_in_flight = fields.whole("max_in_flight", 1, 1024).unwrap_or(16);
    check_form(&fields, form, claims, keys, policy, client_id.is_some());
    if policy.issuers.len() > 1 {
        let text = "stands at a provider with several issuers: an answer without \"iss\" counts as the first one's in lists of revoked tokens; write a provider for each issuer";
        fields.report.warning(&fields.path, text);
    }
    fields.finish();
    let answer_policy = Policy { require_expiration: wants_expiration, ..policy.clone() };
    Some(Introspection {
        endpoint: endpoint?,
        client_id,
        authentication: authentication?,
        form,
        token_prefix,
        active,
        inactive,
        size,
        max_in_flight: usize::try_from(max_in_flight).ok()?,
        claims,
        token_policy: (claims == ClaimSource::Answer).then(|| of_the_token_alone(policy)),
        answer_policy,
    })
}

/// What a JWT must say where the answer about it says the rest: whose it is, and for how long.
fn of_the_token_alone(policy: &Policy) -> Policy {
    Policy {
        audiences: Vec::new(),
        subjects: None,
        required_claims: Vec::new(),
        required_conditions: Vec::new(),
        ..policy.clone()
    }
}

/// What has to be there beside `accept` and `claims`.
fn check_form(
    fields: &Fields<'_>,
    form: AnswerForm,
    claims: ClaimSource,
    keys: bool,
    policy: &Policy,
    has_client_id: bool,
) {
    let error = |field, text: &str| fields.report.error(&join(&fields.path, field), text);
    if form == AnswerForm::Jwt {
        if !keys {
            error(
                "accept",
                "is \"jwt\", and nothing verifies the answers; give the provider \"remote_jwks\", \"discovery\" or \"local_jwks\"",
            );
        }
        if policy.issuers.is_empty() {
            error(
                "accept",
                "is \"jwt\", and the answers must name their issuer; give the provider an \"issuer\"",
            );
        }
        if !has_client_id && policy.audiences.is_empty() {
            error(
                "accept",
                "is \"jwt\", and the answers must name whom they are for; give \"client_id\", or the provider \"audiences\"",
            );
        }
    }
    if claims == ClaimSource::Answer && !keys {
        error(
            "claims",
            "has no effect at a provider without keys, where claims always come from the answer; leave it out",
        );
    }
}

/// How the gate shows which client it is.
fn authentication(
    fields: &mut Fields<'_>,
    environment: Variables<'_>,
    client_id: Option<String>,
) -> Option<ClientAuthentication> {
    let method = fields.choice(
        "auth_method",
        &[
            ("client_secret_basic", Method::Basic),
            ("client_secret_post", Method::Post),
            ("bearer", Method::Bearer),
            ("none", Method::None),
        ],
        Method::Basic,
    );
    let secret = fields.get("client_secret");
    if method == Method::None {
        if let Some(item) = secret {
            item.error("is not sent under \"auth_method\": \"none\"; leave one of them out");
        }
        return Some(ClientAuthentication::None);
    }
    if secret.is_none() {
        let text = match method {
            Method::Bearer => "is missing; name the environment variable with the access token of this gate",
            _ => {
                "is missing; name the environment variable that holds it, or write \"auth_method\": \"none\" where the endpoint asks for no secret"
            }
        };
        fields.report.error(&join(&fields.path, "client_secret"), text);
    }
    if client_id.is_none() && method != Method::Bearer && fields.present(&["client_id"]).is_empty() {
        let text = "is missing; name the client of this gate at the provider";
        fields.report.error(&join(&fields.path, "client_id"), text);
    }
    let secret = secret.and_then(|item| client_secret(&item, environment, method))?;
    Some(match method {
        Method::Basic => ClientAuthentication::Basic { id: client_id?, secret },
        Method::Post => ClientAuthentication::Post { id: client_id?, secret },
        Method::Bearer => ClientAuthentication::Bearer(secret),
        Method::None => ClientAuthentication::None,
    })
}

/// A secret of the environment, of any length: the provider made it.
fn client_secret(item: &Item<'_>, environment: Variables<'_>, method: Method) -> Option<SecretValue> {
    if item.json.as_str().is_some() {
        item.error("must not be in the configuration, where others can read it; put it into an environment variable of the vm_config and write { \"environment_variable\": \"NAME\" }");
        return None;
    }
    let mut fields = item.fields()?;
    let named = fields.required("environment_variable", "name the variable that holds the secret");
    fields.finish();
    let named = named?;
    let secret = variable(&named, environment)?;
    if secret.is_empty() {
        named.error("is empty; set it to the secret");
        return None;
    }
    if method == Method::Bearer && !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        named
            .error("holds characters that no access token has, perhaps a line end; set it to the token only");
        return None;
    }
    if secret.ends_with(['\n', '\r']) {
        named.warning("ends with a line end, which is sent too; set it to the secret only");
    }
    Some(SecretValue(secret))
}

/// What a provider calls its client. It is form-encoded wherever it goes.
fn client_id(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.chars().any(char::is_control) {
        item.error("has control characters; write the client's identifier as the provider has it");
        return None;
    }
    Some(text.to_owned())
}

fn prefix(item: &Item<'_>, is_unused: bool) -> Option<String> {
    let text = item.text()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if !text.bytes().all(is_plain) || text.len() > MAX_OPAQUE {
        item.error("has characters that no bearer token has (RFC 6750 section 2.1); write what the provider's tokens begin with, such as ory_at_");
        return None;
    }
    if is_unused {
        item.warning("has no effect: beside keys, and with answers in JSON, tokens are JWTs and not opaque");
    }
    Some(text.to_owned())
}

/// `cache`: how long answers count, and how many are kept.
fn cache(fields: &mut Fields<'_>) -> (Duration, Duration, usize) {
    const ACTIVE: Duration = Duration::from_secs(30);
    const INACTIVE: Duration = Duration::from_secs(10);
    const SIZE: usize = 1000;
    let Some(mut fields) = fields.get("cache").and_then(|item| item.fields()) else {
        return (ACTIVE, INACTIVE, SIZE);
    };
    let active = fields.duration("active", SECOND, HOUR, ACTIVE);
    let inactive = fields.duration("inactive", SECOND, HOUR, INACTIVE);
    let size = fields.whole("size", 1, 1_000_000).and_then(|size| usize::try_from(size).ok());
    fields.finish();
    (active, inactive, size.unwrap_or(SIZE))
}

/// A rule that wants its providers asked has one that can be.
pub(super) fn check_rules(rules: &[Rule], providers: &[Rc<Provider>], report: &Report) {
    for rule in rules.iter().filter(|rule| rule.introspect) {
        let path = format!("rules[{}].introspect", rule.id.0);
        let mut ids = Vec::new();
        let Some(requires) = &rule.requires else { continue };
        requires.collect_providers(&mut ids);
        let named: Vec<_> = match requires.looks_at_all() {
            true => providers.iter().collect(),
            false => ids.iter().filter_map(|id| providers.get(id.0)).collect(),
        };
        let others = named.iter().filter(|provider| provider.introspection.is_none());
        if others.clone().count() == named.len() {
            report.error(&path, "is true, and no provider of \"requires\" has an \"introspection\"; give it one, or leave this out");
            continue;
        }
        for other in others {
            let text = format!(
                "nobody is asked about the tokens of {:?}, which has no \"introspection\"",
                other.name
            );
            report.warning(&path, text);
        }
    }
}
