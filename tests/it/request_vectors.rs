//! The published request cases: `request_cases.jsonl` and `request_tokens.json` of the shared vectors.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use harness::idp::{flip_bit, now};
use harness::{Alg, Idp, Key, Request};
use serde_json::{Value, json};

use crate::common::{corp, local_provider, parts, with};

/// The tokens, and the rows.
pub(crate) fn read(folder: &Path) -> (Value, Vec<Value>) {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a readable file");
    let tokens = serde_json::from_str(&read("request_tokens.json")).expect("JSON");
    let rows = read("request_cases.jsonl");
    (tokens, rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

/// A request of the shared table, with its tokens signed anew: by a key of ours, and with the times of the table
/// moved to today.
pub(crate) struct Vectors {
    tokens: BTreeMap<String, String>,
}

impl Vectors {
    /// The clock of the table.
    const CLOCK: i64 = 1_760_000_000;

    pub(crate) fn read(published: &Value, idp: &Idp) -> Self {
        let foreign = Key::cached(Alg::RS256, "another");
        let own = idp.key(Alg::RS256);
        let moved = |payload: &[u8]| {
            let mut claims: Value = serde_json::from_slice(payload).expect("claims");
            for name in ["exp", "nbf", "iat"] {
                if let Some(time) = claims[name].as_i64() {
                    claims[name] = json!(time - Self::CLOCK + now());
                }
            }
            claims.to_string()
        };
        let sign = |(name, token): (&String, &Value)| {
            let token = token.as_str().expect("a token");
            if name == "NONE" {
                return (name.clone(), token.to_owned());
            }
            let [header, payload, _] = parts(token);
            let key = if name == "UNKNOWNKID" { &foreign } else { &own };
            let signed = key.sign_parts(&header, moved(&payload).as_bytes());
            (name.clone(), if name == "BADSIG" { flip_bit(&signed) } else { signed })
        };
        Self { tokens: published["tokens"].as_object().expect("tokens").iter().map(sign).collect() }
    }

    fn fill(&self, text: &str) -> String {
        self.tokens
            .iter()
            .fold(text.to_owned(), |text, (name, token)| text.replace(&format!("{{{{{name}}}}}"), token))
    }

    pub(crate) fn request(&self, row: &Value, h2: bool) -> Request {
        let text = |name: &str| self.fill(row["request"][name].as_str().expect("a text"));
        let request = Request::new(text("method"), text("path")).host(text("authority"));
        let fields = row["request"]["headers"].as_array().expect("a list").iter();
        fields.fold(request.timeout(Duration::from_secs(10)), |request, field| {
            let part = |at: usize| self.fill(field[at].as_str().expect("a text"));
            request.header(if h2 { part(0).to_lowercase() } else { part(0) }, part(1))
        })
    }
}

/// What each configuration of the table says besides: of the provider, and of the whole.
pub(crate) fn settings() -> [(&'static str, Value, Value); 4] {
    let places = json!({
        "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
        "from_params": ["access_token"],
        "from_cookies": ["session"],
        "forward": true,
    });
    [
        ("base", json!({ "forward": true }), json!({})),
        ("strip", json!({ "forward": false }), json!({})),
        ("multi", places, json!({})),
        ("cors", json!({ "forward": true }), json!({ "bypass_cors_preflight": true })),
    ]
}

/// The configuration of a row, with what it says besides of the provider and of the whole.
pub(crate) fn configuration(idp: &Idp, of_provider: &Value, of_all: &Value) -> Value {
    let corp_provider = with(
        local_provider(idp),
        json!({
            "issuer": "https://issuer.example",
            "audiences": ["api"],
            "clock_skew_seconds": 0,
            "local_jwks": { "inline": { "keys": [idp.key(Alg::RS256).public_jwk()] } },
            "forward_payload_header": "x-jwt-payload",
            "claim_to_headers": [
                { "header_name": "x-user-id", "claim_name": "sub" },
                { "header_name": "x-scopes", "claim_name": "scope" },
            ],
        }),
    );
    let optional = json!({ "requires_any": { "requirements": [corp(), { "allow_missing": {} }] } });
    let rules = json!([
        { "match": { "path": "/healthz", "hosts": ["api.example"] } },
        { "match": { "prefix": "/public/", "hosts": ["api.example"] } },
        { "match": { "prefix": "/admin" }, "requires": corp(),
          "authorize": { "scopes": { "all_of": ["admin"] } } },
        { "match": { "prefix": "/optional" }, "requires": optional },
        { "match": { "prefix": "/" }, "requires": corp() },
    ]);
    let config = json!({
        "providers": { "corp": with(corp_provider, of_provider.clone()) },
        "rules": rules,
        "filter_state": ["decision", "reason", "rule", "provider", "subject", "scopes"],
    });
    with(config, of_all.clone())
}
