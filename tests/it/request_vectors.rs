//! Requests with what becomes of them, as a table: the rows of `request_cases`, and the published ones of the same form
//! where they are at hand.

#[path = "request_cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::idp::{flip_bit, now};
use harness::{Alg, Idp, Key, Request, shared};
use serde_json::{Value, json};

use crate::common::{corp, local_provider, parts, with};

/// The tokens, and the rows.
pub(crate) fn read() -> (Value, Vec<Value>) {
    let (mut tokens, mut rows) = (cases::tokens(), cases::rows());
    let Some(folder) = shared("vectors/request_cases.jsonl").and_then(|file| Some(file.parent()?.to_owned()))
    else {
        return (tokens, rows);
    };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a readable file");
    let published: Value = serde_json::from_str(&read("request_tokens.json")).expect("JSON");
    tokens = with(tokens, published["tokens"].clone());
    rows.extend(read("request_cases.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")));
    (tokens, rows)
}

/// The clock of the table.
const CLOCK: i64 = 1_760_000_000;

/// A request of the table, with its tokens signed anew: by a key of ours, and with the times of the table
/// moved to today.
pub(crate) struct Vectors {
    tokens: BTreeMap<String, String>,
}

impl Vectors {
    pub(crate) fn read(tokens: &Value, idp: &Idp) -> Self {
        let foreign = Key::cached(Alg::RS256, "another");
        let own = idp.key(Alg::RS256);
        let moved = |payload: &[u8]| {
            let mut claims: Value = serde_json::from_slice(payload).expect("claims");
            for name in ["exp", "nbf", "iat"] {
                if let Some(time) = claims[name].as_i64() {
                    claims[name] = json!(time - CLOCK + now());
                }
            }
            claims.to_string()
        };
        let sign = |(name, token): (&String, &Value)| {
            let token = token.as_str().expect("a token");
            if matches!(name.as_str(), "NONE" | "unsigned") {
                return (name.clone(), token.to_owned());
            }
            let [header, payload, _] = parts(token);
            let is_foreign = matches!(name.as_str(), "UNKNOWNKID" | "strange" | "stranger");
            let signed =
                if is_foreign { &foreign } else { &own }.sign_parts(&header, moved(&payload).as_bytes());
            let is_forged = matches!(name.as_str(), "BADSIG" | "forged");
            (name.clone(), if is_forged { flip_bit(&signed) } else { signed })
        };
        Self { tokens: tokens.as_object().expect("tokens").iter().map(sign).collect() }
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
