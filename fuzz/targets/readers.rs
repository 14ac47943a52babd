//! Any rules and any requests out of the grammar of `tests/it/readers`: whatever passes is a request of the rule under
//! which it passed, for every reader.
//!
//! The bytes are choices: first those of a configuration, then those of one request after another.

#![no_main]

#[path = "../../tests/it/readers/model/mod.rs"]
mod model;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use model::choices::Choices;
use model::gate::{Filter, Judge as _};
use model::grammar::{self, Known, PEOPLE, Token};
use model::machine::Machine;
use model::paths;
use portcullis_fuzz::{NOW, signed};
use serde_json::{Value, json};

/// The secret that signs the tokens, as a key set.
fn keys() -> Value {
    json!({ "keys": [{ "kty": "oct", "kid": "h", "alg": "HS256", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8" }] })
}

fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let sign = |(subject, tenant, site, scope): (&str, &str, &str, &str)| {
            let claims = json!({
                "iss": "https://idp.example/", "aud": "orders", "exp": NOW + 600, "iat": NOW - 10,
                "sub": subject, "tenant": tenant, "site": site, "scope": scope,
            });
            signed(br#"{"alg":"HS256","kid":"h"}"#, claims.to_string().as_bytes())
        };
        let token = |person: &(&'static str, &'static str, &'static str, &'static str)| {
            let (subject, tenant, site, _) = *person;
            Token { text: sign(*person), subject, tenant, site }
        };
        let tokens: Vec<Token> = PEOPLE.iter().map(token).collect();
        // The signature of another token.
        let (head, _) = tokens[0].text.rsplit_once('.').expect("three parts");
        let (_, signature) = tokens[1].text.rsplit_once('.').expect("three parts");
        let forged = format!("{head}.{signature}");
        Machine { readers: paths::readers(), tokens, forged, known: Known { ports: true } }
    })
}

fuzz_target!(|input: &[u8]| {
    let machine = machine();
    let mut choices = Choices::Bytes(input);
    let set = grammar::rule_set(&mut choices, machine.known);
    let Ok(mut filter) = Filter::new(&set, &keys(), NOW) else { return };
    for _ in 0..8 {
        if matches!(choices, Choices::Bytes([])) {
            return;
        }
        let head = grammar::head(&mut choices, &set, &machine.tokens, &machine.forged);
        let Some(passed) = filter.ask(&head) else { continue };
        if let Some(found) = machine.check(&set, &head, &passed) {
            panic!("[{}] {head}\n  {}\n{}", found.kind, found.text, set.to_json(&json!("…")));
        }
    }
});
