//! Introspection beside what else a configuration may ask for.

use serde_json::{Value, json};

use super::replay::{Replay, introspection, json_answer, opaque};

const NOW: u64 = 1_800_000_000;

fn provider() -> Value {
    json!({ "issuer": "https://id.example/", "audiences": ["orders"], "introspection": introspection(json!({})) })
}

fn active(audience: &str) -> Value {
    json!({ "active": true, "aud": audience })
}

/// The audiences of a rule take the place of the provider's, for what was asked about under another rule, too.
#[test]
fn a_rules_own_audiences_count_for_answers() {
    let own = json!({ "provider_and_audiences": { "provider_name": "p", "audiences": ["billing"] } });
    let config = json!({
        "providers": { "p": provider() },
        "rules": [
            { "match": { "prefix": "/billing" }, "requires": own },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "p" } },
        ],
    });
    for (audience, at_billing, elsewhere) in
        [("billing", "allow", "audience_mismatch"), ("orders", "audience_mismatch", "allow")]
    {
        for order in [["/billing", "/"], ["/", "/billing"]] {
            let mut replay = Replay::new(&config, NOW);
            let bearer = format!("Bearer {}", opaque(1));
            for _ in 0..2 {
                for path in order {
                    let got = replay.ask(path, &bearer, NOW, |_| json_answer(active(audience)));
                    let expected = if path == "/" { elsewhere } else { at_billing };
                    assert_eq!(got, expected, "{audience} at {path}, {order:?}");
                }
            }
            assert_eq!(replay.calls.len(), 1, "{audience} {order:?}");
        }
    }
}
