//! Any bytes as what an introspection endpoint answers: a token passes only where they are a JSON object whose "active" is
//! the boolean true, under status 200; and as a signed answer only what was signed.
//!
//! The first byte chooses the status and whether answers are to be signed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::{Config, Effect, Environment, Gate, HttpResponse, Outcome, Request, StreamId};
use portcullis_fuzz::{KEYS, now};
use serde_json::Value;

const TOKEN: &[u8] = b"Bearer 2YotnFZFEjr1zCsicMWpAA";
const STATUSES: [u16; 8] = [200, 200, 200, 200, 201, 400, 401, 500];

fn gate(signed: bool) -> Gate {
    let keys = match signed {
        true => format!(r#""local_jwks":{{"inline":{KEYS}}},"algorithms":["HS256","ES256"],"#),
        false => String::new(),
    };
    let accept = if signed { "jwt" } else { "json" };
    let text = format!(
        r#"{{"providers":{{"joe":{{"issuer":"joe",{keys}"claim_to_headers":[{{"header_name":"x-user","claim_name":"sub"}}],
        "forward_payload_header":"x-payload","introspection":{{"http_uri":{{"uri":"https://i/i","cluster":"i"}},"client_id":"gate",
        "client_secret":{{"environment_variable":"S"}},"accept":"{accept}"}}}}}},
        "rules":[{{"match":{{"prefix":"/"}},"requires":{{"provider_name":"joe"}}}}]}}"#
    );
    let config = Config::parse(text.as_bytes(), &|_| Some("secret".to_owned())).expect("a configuration");
    Gate::new(config, Environment::alone(1), now())
}

fuzz_target!(|input: &[u8]| {
    let Some((first, body)) = input.split_first() else { return };
    let (signed, status) = (first & 8 != 0, STATUSES[usize::from(first & 7)]);
    let mut gate = gate(signed);
    let fields = [(&b":method"[..], &b"GET"[..]), (b":path", b"/"), (b"authorization", TOKEN)];
    let request = Request::new(&fields);
    assert!(matches!(gate.decide(StreamId(1), &request, now()), Outcome::Wait));
    let Some(Effect::Fetch { lookup, .. }) = gate.next_effect() else { panic!("no call") };
    gate.fetched(lookup, Ok(HttpResponse { status, body: body.to_vec(), ..HttpResponse::default() }), now());
    let waited = std::iter::from_fn(|| gate.next_effect()).find_map(|effect| match effect {
        Effect::Wake(_, waited) => Some(waited),
        Effect::Fetch { .. } | Effect::Close(_) | Effect::Log(..) => None,
    });
    match gate.resume(StreamId(1), waited.expect("it is woken"), &request, now()) {
        Outcome::Allow(_) => {
            assert_eq!(status, 200);
            if !signed {
                let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
                let value: Value = serde_json::from_slice(body).expect("JSON");
                assert_eq!(value.get("active"), Some(&Value::Bool(true)));
            } else {
                assert_eq!(body.iter().filter(|byte| **byte == b'.').count(), 2);
            }
        }
        Outcome::Deny(refusal) => drop(format!("{refusal:?}")),
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => panic!("it waits again"),
    }
});
