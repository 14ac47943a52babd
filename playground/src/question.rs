//! What the page asks, and what it is answered.

use std::collections::BTreeSet;

use portcullis::{Json, JsonObject, Timestamp, TokenLocation, parse_json};
use portcullis_explain::{
    Bench, Explanation, Forge, KeysGiven, RequestSketch, RouteSketch, TokenSketch, VERSION, parse_time,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::configuration::{self, Problem};
use crate::token::ShownToken;

/// The fields of the page. What is empty is as if it were not there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// The configuration, YAML or JSON.
    pub config: String,
    /// The method; GET where there is none.
    pub method: String,
    /// The host; localhost where there is none.
    pub host: String,
    /// The path with its query; / where there is none.
    pub path: String,
    /// Header fields, one a line.
    pub headers: String,
    /// A token, or an object of claims to sign one with.
    pub token: String,
    /// The time, in seconds or as a date.
    pub now: String,
    /// The provider whose token is signed.
    pub provider: String,
    /// The algorithm that it is signed with.
    pub alg: String,
    /// The keys that providers publish, as a JWK set.
    pub keys: String,
    /// What introspection endpoints answer.
    pub introspection: String,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The address of the client.
    pub client_address: String,
    /// What filters before the gate wrote: an object of metadata by namespace.
    pub metadata: String,
    /// What the metadata of the route says for the gate: an object of rule, requirement, scopes, disabled.
    pub route: String,
}

/// What the page shows.
#[derive(Debug, Default, Serialize)]
pub struct Answer {
    /// What is wrong with the configuration.
    pub problems: Vec<Problem>,
    /// What is wrong with another field: its name, and what to write instead.
    pub wrong: Option<(&'static str, String)>,
    /// What the gate does; as `portcullis explain --format json` has it.
    pub explanation: Option<Explanation>,
    /// The token, taken apart.
    pub token: Option<ShownToken>,
    /// The header fields in which tokens come, in lower case: a link that is shared has none of them.
    pub token_headers: BTreeSet<String>,
    /// The query parameters in which tokens come.
    pub token_params: BTreeSet<String>,
    /// The names of the providers.
    pub providers: Vec<String>,
    /// The version of the core.
    pub version: &'static str,
}

/// What is kept from one question to the next: keys, which take long to make.
#[derive(Default)]
pub struct Seat {
    forge: Forge,
    /// What the keys were made for.
    made_for: String,
}

type Wrong = (&'static str, String);

impl Seat {
    /// Answers a question that is JSON, with JSON.
    pub fn answer_json(&mut self, question: &[u8]) -> Vec<u8> {
        let answer = match serde_json::from_slice(question) {
            Ok(question) => self.answer(&question),
            Err(error) => Answer { wrong: Some(("config", error.to_string())), ..Answer::default() },
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    /// Answers a question.
    pub fn answer(&mut self, question: &Question) -> Answer {
        let (bench, problems) = configuration::bench_of(&question.config);
        let mut answer = Answer { problems, version: VERSION, ..Answer::default() };
        let Some(mut bench) = bench else { return answer };
        for provider in &bench.config().providers {
            answer.providers.push(provider.name.clone());
            for location in &provider.locations {
                answer.token_headers.extend(location.header_name().map(str::to_ascii_lowercase));
                if let TokenLocation::Param(name) = location {
                    answer.token_params.insert(name.clone());
                }
            }
        }
        match self.explain(&mut bench, question) {
            Ok((explanation, token)) => (answer.explanation, answer.token) = (Some(explanation), token),
            Err(wrong) => answer.wrong = Some(wrong),
        }
        answer
    }

    fn explain(
        &mut self,
        bench: &mut Bench,
        question: &Question,
    ) -> Result<(Explanation, Option<ShownToken>), Wrong> {
        let now = parse_time(question.now.trim()).map_err(|error| ("now", error))?;
        let mut request = request_of(question)?;
        if !question.keys.trim().is_empty() {
            let set = bench.set_keys(None, question.keys.as_bytes(), KeysGiven::Fetched);
            set.map_err(|error| ("keys", error))?;
        }
        if !question.introspection.trim().is_empty() {
            bench.set_introspection(question.introspection.clone().into_bytes());
        }
        let given = question.token.trim();
        let (token, signed_here) = if given.starts_with('{') {
            (Some(self.sign(bench, &mut request, question, now)?), true)
        } else if given.is_empty() {
            (None, false)
        } else if given.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err((
                "token",
                "has a blank within it; give the token alone, without \"Bearer\"".to_owned(),
            ));
        } else {
            request.headers.push(("authorization".to_owned(), format!("Bearer {given}")));
            (Some(given.to_owned()), false)
        };
        let shown = token.as_ref().and_then(|token| ShownToken::of(token, signed_here));
        let secrets: Vec<String> = token.into_iter().collect();
        Ok((bench.explain(&request, Timestamp::from_secs(now), &secrets), shown))
    }

    /// Signs a token with the claims that are written.
    fn sign(
        &mut self,
        bench: &mut Bench,
        request: &mut RequestSketch,
        question: &Question,
        now: u64,
    ) -> Result<String, Wrong> {
        let claims: Map<String, Value> = serde_json::from_str(&question.token)
            .map_err(|error| ("token", format!("these claims are no JSON: {error}")))?;
        let (alg, provider) = (given(&question.alg), given(&question.provider));
        let wanted = self.wanted(bench, question);
        if self.made_for != wanted {
            (self.forge, self.made_for) = (Forge::default(), wanted);
        }
        let sketch = TokenSketch { claims, alg: alg.map(str::to_owned), ..TokenSketch::default() };
        bench.carry(request, &sketch, provider, (&mut self.forge, now)).map_err(|error| ("token", error))
    }

    /// What decides which keys are made.
    fn wanted(&self, bench: &Bench, question: &Question) -> String {
        let providers = bench.config().providers.iter();
        let providers: Vec<_> =
            providers.map(|provider| (&provider.name, format!("{:?}", provider.policy.algorithms))).collect();
        format!("{:?} {:?} {providers:?}", question.alg, question.provider)
    }
}

fn request_of(question: &Question) -> Result<RequestSketch, Wrong> {
    let usual = RequestSketch::default();
    let word = |field, text: &str, usual: String| match given(text) {
        None => Ok(usual),
        Some(text) if text.contains(|c: char| c.is_ascii_whitespace() || c.is_control()) => {
            Err((field, "has a blank; no proxy lets such a request through".to_owned()))
        }
        Some(text) => Ok(text.to_owned()),
    };
    let lines = question.headers.lines().filter(|line| !line.trim().is_empty());
    let headers = lines.map(RequestSketch::header_of).collect::<Result<_, _>>();
    Ok(RequestSketch {
        method: word("method", &question.method, usual.method)?,
        host: word("host", &question.host, usual.host)?,
        path: word("path", &question.path, usual.path)?,
        headers: headers.map_err(|error| ("headers", error.to_string()))?,
        tls: question.tls,
        client_address: given(&question.client_address).map(str::to_owned),
        metadata: given(&question.metadata).map(metadata).transpose()?.unwrap_or_default(),
        route: match given(&question.route) {
            Some(text) => serde_json::from_str(text).map_err(|error| ("route", error.to_string()))?,
            None => RouteSketch::default(),
        },
    })
}

fn metadata(text: &str) -> Result<JsonObject, Wrong> {
    match parse_json(text.as_bytes()) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(("metadata", "is no object; write {\"NAMESPACE\": {…}}".to_owned())),
        Err(error) => Err(("metadata", error.to_string())),
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}
