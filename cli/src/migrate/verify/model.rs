//! A model of `jwt_authn`, from its documentation: own code, none of the filter's.

use std::cell::Cell;

use portcullis_explain::RequestSketch;
use serde_json::{Map, Value};

use super::super::input::{is_on, list, number};
use super::super::jwt_authn::provider_of;
use super::Behind;
use super::matching::{header, is_met, matches, parameters};
use super::tokens::Tokens;

pub(super) struct Model<'c> {
    /// In one form, as `input` gives it.
    pub(super) config: &'c Value,
    /// What is asked behind it.
    pub(super) behind: &'c Behind,
    pub(super) tokens: &'c Tokens,
    pub(super) now: u64,
    /// Whether a provider was named twice, and the second time its token was gone.
    pub(super) is_gone: Cell<bool>,
}

/// What became of the tokens that a requirement is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Good,
    Missing,
    Bad,
}

/// The provider of a token, and its claims.
type Taken<'t> = (String, &'t Map<String, Value>);

/// The skew where none is set, in seconds.
const SKEW: f64 = 60.0;

impl Model<'_> {
    /// Whether a request passes.
    pub(super) fn passes(&self, request: &RequestSketch) -> Result<bool, String> {
        if !self.passes_jwt_authn(request)? {
            return Ok(false);
        }
        let taken = self.taken(request)?;
        self.behind.passes(request, taken.as_ref().map(|(name, claims)| (name.as_str(), *claims)))
    }

    /// The provider of the token that was taken, and its claims: what others behind see.
    fn taken(&self, request: &RequestSketch) -> Result<Option<Taken<'_>>, String> {
        if is_on(&self.config["bypass_cors_preflight"]) && is_preflight(request) {
            return Ok(None);
        }
        for name in self.names() {
            for text in texts_of(&self.config["providers"][name.as_str()], request) {
                if let (true, Some(token)) = (self.is_good(&text, &name, None)?, self.tokens.get(&text)) {
                    return Ok(Some((name, &token.claims)));
                }
            }
        }
        Ok(None)
    }

    fn passes_jwt_authn(&self, request: &RequestSketch) -> Result<bool, String> {
        if is_on(&self.config["bypass_cors_preflight"]) && is_preflight(request) {
            return Ok(true);
        }
        if request.route.disabled == Some(true) {
            return Ok(true);
        }
        if let Some(name) = &request.route.requirement {
            return Ok(self.judge(&self.config["requirement_map"][name.as_str()], request)? == Found::Good);
        }
        for rule in list(&self.config["rules"]) {
            if matches(&rule["match"], request)? {
                let named = rule["requirement_name"].as_str();
                let requires = match named {
                    Some(name) => &self.config["requirement_map"][name],
                    None => &rule["requires"],
                };
                return Ok(self.judge(requires, request)? == Found::Good);
            }
        }
        Ok(true)
    }

    fn judge(&self, requires: &Value, request: &RequestSketch) -> Result<Found, String> {
        if let Some(name) = provider_of(requires) {
            let audiences = requires["provider_and_audiences"].get("audiences");
            return self.provider(name, audiences, request);
        }
        if requires.get("allow_missing").is_some() {
            return self.all_of(&self.names(), request).map(or_missing);
        }
        if requires.get("allow_missing_or_failed").is_some() {
            return Ok(Found::Good);
        }
        if let Some(parts) = requires["requires_any"].get("requirements") {
            return self.any(list(parts), request);
        }
        if let Some(parts) = requires["requires_all"].get("requirements") {
            return self.all(list(parts), request);
        }
        match requires.as_object().is_none_or(Map::is_empty) {
            true => Ok(Found::Good),
            false => Err("the model of jwt_authn does not know a requirement".to_owned()),
        }
    }

    fn names(&self) -> Vec<String> {
        self.config["providers"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    fn any(&self, parts: &[Value], request: &RequestSketch) -> Result<Found, String> {
        let mut worst = Found::Good;
        let (mut is_missing_allowed, mut named) = (false, Vec::new());
        for part in parts {
            if part.get("allow_missing_or_failed").is_some() {
                return Ok(Found::Good);
            }
            if part.get("allow_missing").is_some() {
                is_missing_allowed = true;
                continue;
            }
            named.extend(provider_of(part).map(str::to_owned));
            let found = self.judge(part, request)?;
            if found == Found::Good {
                return Ok(found);
            }
            if worst != Found::Bad {
                worst = found;
            }
        }
        if !is_missing_allowed {
            return Ok(worst);
        }
        let names = if named.is_empty() { self.names() } else { named };
        self.all_of(&names, request).map(or_missing)
    }

    fn all(&self, parts: &[Value], request: &RequestSketch) -> Result<Found, String> {
        let (mut worst, mut taken) = (Found::Good, Vec::new());
        for part in parts {
            let name = provider_of(part);
            // The first part took the token away.
            let is_gone = name.is_some_and(|name| taken.contains(&name));
            self.is_gone.set(self.is_gone.get() || is_gone);
            let found = if is_gone { Found::Missing } else { self.judge(part, request)? };
            taken.extend(name.filter(|name| !is_on(&self.config["providers"][*name]["forward"])));
            if worst == Found::Good {
                worst = found;
            }
        }
        Ok(worst)
    }

    /// Judges the tokens in the places of these providers, whosoever they are: each must be good for one of them.
    fn all_of(&self, names: &[String], request: &RequestSketch) -> Result<Found, String> {
        let mut texts: Vec<(String, Vec<&String>)> = Vec::new();
        for name in names {
            for text in texts_of(&self.config["providers"][name.as_str()], request) {
                match texts.iter_mut().find(|(known, _)| *known == text) {
                    Some((_, owners)) => owners.push(name),
                    None => texts.push((text, vec![name])),
                }
            }
        }
        if texts.is_empty() {
            return Ok(Found::Missing);
        }
        for (text, owners) in &texts {
            let mut is_good = false;
            for name in owners {
                is_good |= self.is_good(text, name, None)?;
            }
            if !is_good {
                return Ok(Found::Bad);
            }
        }
        Ok(Found::Good)
    }

    /// Judges what is in a provider's places: all of it must be good.
    fn provider(
        &self,
        name: &str,
        audiences: Option<&Value>,
        request: &RequestSketch,
    ) -> Result<Found, String> {
        let texts = texts_of(&self.config["providers"][name], request);
        for text in &texts {
            if !self.is_good(text, name, audiences)? {
                return Ok(Found::Bad);
            }
        }
        Ok(if texts.is_empty() { Found::Missing } else { Found::Good })
    }

    fn is_good(&self, text: &str, name: &str, audiences: Option<&Value>) -> Result<bool, String> {
        let provider = &self.config["providers"][name];
        let Some(token) = self.tokens.get(text).filter(|token| token.is_genuine && token.provider == name)
        else {
            return Ok(false);
        };
        let claim = |name: &str| token.claims.get(name).unwrap_or(&Value::Null);
        let issuer = provider["issuer"].as_str().filter(|issuer| !issuer.is_empty());
        let is_issuer = issuer.is_none_or(|issuer| claim("iss") == issuer);
        let wanted = list(audiences.unwrap_or(&provider["audiences"]));
        let own: Vec<&str> = match claim("aud") {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let is_wanted =
            |own: &&str| wanted.iter().filter_map(Value::as_str).any(|wanted| plain(wanted) == plain(own));
        let is_audience = wanted.is_empty() || own.iter().any(is_wanted);
        let is_subject = match provider.get("subjects") {
            Some(matcher) => match claim("sub").as_str() {
                Some(subject) => is_met(matcher, subject)?,
                None => false,
            },
            None => true,
        };
        Ok(is_issuer && is_audience && is_subject && self.is_in_time(provider, &token.claims))
    }

    fn is_in_time(&self, provider: &Value, claims: &Map<String, Value>) -> bool {
        let time = |name: &str| claims.get(name).and_then(Value::as_f64).filter(|at| *at > 0.0);
        let now = self.now as f64;
        let skew = number(&provider["clock_skew_seconds"]).filter(|skew| *skew > 0.0).unwrap_or(SKEW);
        let max = provider.get("max_lifetime").map(seconds);
        let needs_end = max.is_some() || is_on(&provider["require_expiration"]);
        let is_begun = time("nbf").is_none_or(|start| now + skew >= start);
        is_begun
            && match time("exp") {
                Some(end) => now <= end + skew && max.is_none_or(|max| end - now <= max),
                None => !needs_end,
            }
    }
}

fn or_missing(found: Found) -> Found {
    if found == Found::Missing { Found::Good } else { found }
}

/// A duration: `3.5s`, or an object.
fn seconds(value: &Value) -> f64 {
    match value.as_str() {
        Some(text) => text.trim_end_matches('s').parse().unwrap_or_default(),
        None => number(&value["seconds"]).unwrap_or_default(),
    }
}

/// An audience as it is compared.
fn plain(audience: &str) -> &str {
    let bare =
        audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://")).unwrap_or(audience);
    bare.strip_suffix('/').unwrap_or(bare)
}

fn is_preflight(request: &RequestSketch) -> bool {
    let has = |name: &str| header(request, name).is_some_and(|value| !value.is_empty());
    request.method == "OPTIONS" && has("origin") && has("access-control-request-method")
}

/// A place where a token may be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    /// Its name, and what stands before the token.
    Header(String, String),
    Parameter(String),
    Cookie(String),
}

/// The places of a provider.
pub(super) fn places(provider: &Value) -> Vec<Place> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let headers = list(&provider["from_headers"]).iter();
    let mut places: Vec<Place> =
        headers.map(|header| Place::Header(text(&header["name"]), text(&header["value_prefix"]))).collect();
    places.extend(list(&provider["from_params"]).iter().map(|name| Place::Parameter(text(name))));
    places.extend(list(&provider["from_cookies"]).iter().map(|name| Place::Cookie(text(name))));
    if places.is_empty() {
        places.push(Place::Header("authorization".to_owned(), "Bearer ".to_owned()));
        places.push(Place::Parameter("access_token".to_owned()));
    }
    places
}

/// The tokens in a provider's places.
fn texts_of(provider: &Value, request: &RequestSketch) -> Vec<String> {
    let is_part = |letter: &char| letter.is_ascii_alphanumeric() || "-_.=/+".contains(*letter);
    let mut texts = Vec::new();
    for place in places(provider) {
        match place {
            Place::Header(name, prefix) => {
                let rest =
                    header(request, &name).and_then(|value| Some(value.split_once(prefix.as_str())?.1));
                texts.extend(rest.map(|rest| rest.chars().take_while(is_part).collect::<String>()));
            }
            Place::Parameter(name) => {
                texts.extend(parameters(request, &name).into_iter().map(str::to_owned));
            }
            Place::Cookie(name) => {
                let pairs = header(request, "cookie").unwrap_or_default().split("; ");
                let pairs = pairs.filter_map(|pair| pair.split_once('='));
                texts.extend(pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()));
            }
        }
    }
    texts
}
