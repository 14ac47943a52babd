//! What `explain` says of a request beside what a real Envoy did with it.

use harness::idp::now;
use harness::{Record, Request, Response};
use portcullis::Timestamp;
use portcullis_explain::{Bench, Explanation, KeysGiven, RequestSketch, without_tokens};
use serde_json::Value;

/// What Envoy itself adds to a request, or changes.
const OF_ENVOY: [&str; 9] = [
    "content-length",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-envoy-expected-rq-timeout-ms",
    "x-forwarded-proto",
    "x-request-id",
    "connection",
];

/// The gate of a configuration, with these keys for what it would fetch.
pub fn bench(config: &Value, keys: &Value) -> Bench {
    let mut bench = Bench::new(config.to_string().as_bytes(), &|_| None)
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    // There need be no provider that fetches keys.
    let _ = bench.set_keys(None, keys.to_string().as_bytes(), KeysGiven::Fetched);
    bench
}

/// A request as the tool would have it; none where it is no text.
pub fn sketch(request: &Request) -> Option<RequestSketch> {
    let (method, target, host, fields) = request.parts();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let headers = fields.iter().map(|(name, value)| Some((text(name)?, text(value)?)));
    Some(RequestSketch {
        method: text(method)?,
        path: text(target)?,
        host: text(host?)?,
        headers: headers.collect::<Option<_>>()?,
        ..RequestSketch::default()
    })
}

/// What is explained of it now.
pub fn explain(bench: &Bench, sketch: &RequestSketch) -> Explanation {
    bench.explain(sketch, Timestamp::from_secs(u64::try_from(now()).expect("after 1970")), &[])
}

/// How what Envoy did differs from what is explained. What Envoy refused by itself, before the gate saw it, is not
/// compared.
pub fn differences(explanation: &Explanation, response: &Response, passed: &[Record]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, explained: String, found: String| {
        if explained != found {
            wrong.push(format!("{what}: explained {explained}, and Envoy {found}"));
        }
    };
    let is_own = response.header("cache-control").as_deref() == Some("no-store") || !passed.is_empty();
    if response.status >= 400 && !is_own {
        return wrong;
    }
    compare("status", explanation.status.to_string(), response.status.to_string());
    if let Some(answer) = &explanation.answer {
        for (name, values) in &answer.headers.0 {
            compare(name, format!("{values:?}"), format!("{:?}", response.headers_named(name)));
        }
        compare("body", answer.body.clone(), response.text());
    }
    match (&explanation.upstream, passed) {
        (Some(upstream), [record]) => {
            let hidden = |text: &str| without_tokens(text, &[]);
            let own = |name: &str| upstream.headers.0.get(name).cloned().unwrap_or_default();
            compare(":path", own(":path").concat(), hidden(&record.path()));
            let mut names: Vec<&str> = upstream.headers.0.keys().map(String::as_str).collect();
            names.extend(record.headers.iter().map(|(name, _)| name.as_str()));
            names.sort_unstable();
            names.dedup();
            names.retain(|name| !name.starts_with(':') && !OF_ENVOY.contains(name));
            for name in names {
                let found: Vec<String> =
                    record.headers_named(name).iter().map(|value| hidden(value)).collect();
                compare(&format!("upstream {name}"), format!("{:?}", own(name)), format!("{found:?}"));
            }
        }
        (None, []) => {}
        (upstream, passed) => {
            compare("reaches the upstream", upstream.is_some().to_string(), passed.len().to_string());
        }
    }
    wrong
}
