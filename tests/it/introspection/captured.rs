//! What servers answer to tokens: in their forms, made here, and as it was captured, at the moment of the answer.

use std::collections::BTreeSet;

use portcullis::HttpResponse;
use serde_json::{Value, json};

use super::replay::{Answer, Replay, config, form, introspection};
use crate::common::{parts, with};
use crate::made::{self, Folder, Root};
use crate::vectors::judge;

/// How the provider is set up whose endpoint answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Setup {
    /// Without keys: whatever the token looks like, the answer says what it is.
    Opaque,
    /// The same, without audiences: the server names none.
    NoAudience,
    /// With the server's keys, and a rule that asks for the call.
    Hybrid,
    /// With the server's keys and `claims: answer`.
    Answer,
    /// With the server's keys and `accept: jwt`, as this client.
    Signed(&'static str),
}
use Setup::{Answer as FromAnswer, Hybrid, NoAudience, Opaque, Signed};

struct Server {
    folder: &'static str,
    issuer: &'static str,
    audience: &'static str,
    /// More of the `introspection` block without keys.
    more: &'static str,
    cases: &'static [(&'static str, Setup, &'static str)],
}

const INACTIVE: &str = "token_inactive";
const UNAVAILABLE: &str = "introspection_unavailable";
const AUDIENCE: &str = "audience_mismatch";
const BOUND: &str = "token_bound";

#[rustfmt::skip]
const SERVERS: &[Server] = &[
    Server {
        folder: "real-keycloak",
        issuer: "https://localhost:21443/realms/demo",
        audience: "orders-api",
        more: "{}",
        cases: &[
            ("introspected", Hybrid, "allow"),
            ("introspected", FromAnswer, "allow"),
            ("introspected", Opaque, "allow"),
            ("client-credentials-audience", Hybrid, "allow"),
            ("aud-by-mapper", Hybrid, "allow"),
            ("full-jwt-accepted", Hybrid, "allow"),
            ("full-jwt-accepted", FromAnswer, "allow"),
            // It never signs, whatever it is asked for.
            ("introspected-accept-jwt", Hybrid, "allow"),
            ("introspected-accept-jwt", Signed("orders-api"), UNAVAILABLE),
            ("introspected-accept-rfc9701", Hybrid, "allow"),
            ("introspected-accept-rfc9701", Signed("orders-api"), UNAVAILABLE),
            ("full-jwt-accepted", Signed("orders-api"), UNAVAILABLE),
            // The audience of a lightweight token is in the answer alone.
            ("lightweight", Hybrid, AUDIENCE),
            ("lightweight", FromAnswer, "allow"),
            ("lightweight-client-credentials", Hybrid, AUDIENCE),
            ("lightweight-client-credentials", FromAnswer, "allow"),
            ("lightweight-accept-jwt", FromAnswer, "allow"),
            ("lightweight-jwt-accepted", FromAnswer, "allow"),
            ("lightweight-dpop", FromAnswer, BOUND),
            ("dpop-introspected", Hybrid, BOUND),
            ("dpop-introspected", Opaque, BOUND),
            ("mtls", Hybrid, BOUND),
            ("mtls", Opaque, BOUND),
            // A client that the audience does not name is told that nothing is active.
            ("client-not-in-audience", Hybrid, INACTIVE),
            ("client-without-audience-check", Hybrid, "allow"),
            ("expired", Opaque, INACTIVE),
        ],
    },
    Server {
        folder: "real-hydra",
        issuer: "http://127.0.0.1:22100/",
        audience: "orders",
        more: r#"{"auth_method":"none"}"#,
        cases: &[
            ("client-credentials", Opaque, "allow"),
            ("two-audiences", Opaque, "allow"),
            ("hint", Opaque, "allow"),
            ("user", Opaque, "allow"),
            ("empty-aud", Opaque, AUDIENCE),
            ("inactive", Opaque, INACTIVE),
            ("revoked", Opaque, INACTIVE),
            ("jwt", Hybrid, "allow"),
            ("user-jwt", Hybrid, "allow"),
            ("revoked-jwt", Hybrid, INACTIVE),
            ("jwt", Opaque, "allow"),
            ("revoked-jwt", Opaque, INACTIVE),
        ],
    },
    Server {
        folder: "real-oidc-provider-opaque",
        issuer: "http://127.0.0.1:22010",
        audience: "orders-opaque",
        more: "{}",
        cases: &[
            ("client-credentials", Opaque, "allow"),
            ("hint", Opaque, "allow"),
            ("odd-client", Opaque, "allow"),
            ("private_key_jwt", Opaque, "allow"),
            ("no-scope", Opaque, "allow"),
            ("no-aud", Opaque, AUDIENCE),
            ("user", Opaque, AUDIENCE),
            ("no-aud", NoAudience, "allow"),
            ("user", NoAudience, "allow"),
            ("dpop", Opaque, BOUND),
            ("user-dpop", NoAudience, BOUND),
            ("mtls", Opaque, BOUND),
            ("inactive", Opaque, INACTIVE),
            ("revoked", Opaque, INACTIVE),
            ("signed", Signed("gate-signed"), "allow"),
            ("signed-ES256", Signed("gate-signed-es"), "allow"),
            // Signed for another client.
            ("signed", Signed("gate"), UNAVAILABLE),
            ("signed-dpop", Signed("gate-signed"), BOUND),
            ("signed-user", Signed("gate-signed"), AUDIENCE),
            ("signed-inactive", Signed("gate-signed"), INACTIVE),
            // JSON where a signed answer was asked for.
            ("client-credentials", Signed("gate"), UNAVAILABLE),
            // A signed answer where JSON was asked for.
            ("signed", Opaque, UNAVAILABLE),
        ],
    },
    Server {
        folder: "real-spring-authorization-server",
        issuer: "http://127.0.0.1:22300",
        audience: "orders",
        more: "{}",
        cases: &[
            ("client-credentials", Opaque, "allow"),
            ("hint", Opaque, "allow"),
            ("odd-client", Opaque, "allow"),
            ("user", Opaque, "allow"),
            ("no-scope", Opaque, AUDIENCE),
            ("dpop", Opaque, BOUND),
            ("user-dpop", Opaque, BOUND),
            ("dpop-jwt", Hybrid, BOUND),
            ("inactive", Opaque, INACTIVE),
            ("revoked", Opaque, INACTIVE),
            ("jwt", Hybrid, "allow"),
            ("user-jwt", Hybrid, "allow"),
            ("jwt", FromAnswer, "allow"),
            ("revoked-jwt", Hybrid, INACTIVE),
        ],
    },
    Server {
        folder: "real-zitadel-oidc",
        issuer: "http://127.0.0.1:22200/",
        audience: "web",
        more: "{}",
        cases: &[
            // Five parts, as an encrypted JWT has them.
            ("user", NoAudience, "allow"),
            ("hint", NoAudience, "allow"),
            ("user", Opaque, AUDIENCE),
            ("revoked", NoAudience, INACTIVE),
            ("inactive", NoAudience, INACTIVE),
            // Not active, and an `exp` beside it.
            ("by-another-client", NoAudience, INACTIVE),
            ("client-credentials", NoAudience, INACTIVE),
            // It does not know who asks.
            ("client-credentials-by-itself", NoAudience, UNAVAILABLE),
        ],
    },
    Server {
        folder: "real-canaille-introspection",
        issuer: "http://127.0.0.1:22400",
        audience: "svc-a",
        more: "{}",
        cases: &[
            ("client-credentials", Opaque, "allow"),
            ("hint", Opaque, "allow"),
            ("inactive", Opaque, INACTIVE),
            ("revoked", Opaque, INACTIVE),
            ("user-jwt", Opaque, "allow"),
            ("user-jwt", Hybrid, "allow"),
        ],
    },
    Server {
        folder: "real-django-oauth-toolkit",
        issuer: "https://id.example",
        audience: "orders",
        more: r#"{"auth_method":"bearer"}"#,
        cases: &[
            ("basic", NoAudience, "allow"),
            ("client-credentials", NoAudience, "allow"),
            ("hint", NoAudience, "allow"),
            ("user", NoAudience, "allow"),
            ("user", Opaque, AUDIENCE),
            ("inactive", NoAudience, INACTIVE),
            ("inactive-basic", NoAudience, INACTIVE),
            ("revoked", NoAudience, INACTIVE),
        ],
    },
    Server {
        folder: "real-glewlwyd-introspection",
        issuer: "http://127.0.0.1:22450/api/oidc",
        audience: "https://orders.example.com/",
        more: "{}",
        cases: &[
            ("jwt", Hybrid, "allow"),
            ("hint", Hybrid, "allow"),
            ("jwt", FromAnswer, "allow"),
            ("jwt", Opaque, "allow"),
            ("inactive", Opaque, INACTIVE),
            ("revoked", Hybrid, INACTIVE),
            ("scopes-as-aud", Hybrid, AUDIENCE),
            ("scopes-as-aud", Opaque, AUDIENCE),
            // The audience of the signed answer is the token's, and not the client that asks.
            ("signed", Signed("svc-a"), "allow"),
            // 400 without a word: nothing is known of this token.
            ("signed-inactive", Signed("svc-a"), UNAVAILABLE),
            ("signed-revoked", Signed("svc-a"), UNAVAILABLE),
        ],
    },
];

/// A captured call: the token that was asked about, and what came back.
pub(super) struct Captured {
    pub token: String,
    status: u16,
    body: String,
}

impl Captured {
    pub(super) fn read(folder: &Folder, label: &str) -> Self {
        let read = |end: &str| folder.text(&format!("introspection.{label}.{end}"));
        let request = read("request");
        let form = request.lines().find_map(|line| line.split_once("token=")).expect("a token").1;
        let token = form.split('&').next().expect("a token");
        let token = match token.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
            Some(file) => folder.text(file),
            None => token.to_owned(),
        };
        let head = read("headers");
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let is_signed = folder.has(&format!("introspection.{label}.jwt"));
        let body = read(if is_signed { "jwt" } else { "json" });
        Self { token, status, body }
    }

    pub(super) fn answer(&self) -> Answer {
        let body = self.body.clone().into_bytes();
        Ok(HttpResponse { status: self.status, body, ..HttpResponse::default() })
    }

    /// When it was captured.
    pub(super) fn moment(&self, folder: &Folder) -> u64 {
        if folder.has("verify_at") {
            return folder.text("verify_at").parse().expect("a time");
        }
        let claims: Value = serde_json::from_slice(&parts(&self.token)[1]).expect("claims");
        claims["iat"].as_u64().expect("iat")
    }
}

impl Server {
    fn config(&self, folder: &Folder, setup: Setup) -> Value {
        let own: Value = serde_json::from_str(self.more).expect("fields");
        let mut provider = json!({ "issuer": self.issuer, "audiences": [self.audience] });
        let mut rule = json!({});
        let mut block = introspection(own);
        if block["auth_method"] == "none" {
            for name in ["client_id", "client_secret"] {
                block.as_object_mut().expect("a block").remove(name);
            }
        }
        if setup == NoAudience {
            provider.as_object_mut().expect("a provider").remove("audiences");
        }
        if !matches!(setup, Opaque | NoAudience) {
            let keys = folder.text("jwks.json");
            provider["local_jwks"] = json!({ "inline_string": keys });
        }
        match setup {
            Hybrid => rule = json!({ "introspect": true }),
            FromAnswer => block["claims"] = json!("answer"),
            Signed(client) => {
                block = introspection(json!({ "accept": "jwt", "client_id": client }));
                rule = json!({ "introspect": true });
            }
            Opaque | NoAudience => {}
        }
        config(&with(provider, json!({ "introspection": block })), rule)
    }
}

#[test]
fn every_captured_answer_is_judged_as_what_it_is() {
    let mut complaints = Vec::new();
    for root in made::captured() {
        every_answer_is_judged_as_what_it_is(&root, &mut complaints);
    }
    judge::settle(&complaints);
}

fn every_answer_is_judged_as_what_it_is(root: &Root, complaints: &mut Vec<String>) {
    for server in SERVERS {
        let folder = root.folder(server.folder);
        for (label, setup, expected) in server.cases {
            let captured = Captured::read(&folder, label);
            let at = captured.moment(&folder);
            let mut replay = Replay::new(&server.config(&folder, *setup), at);
            let got = replay.bearer(&captured.token, at, |_| captured.answer());
            let what = format!("{}: {label}, {setup:?}", server.folder);
            if got != *expected {
                complaints.push(format!("{what}: {got}, not {expected}; log: {:?}", replay.log));
                continue;
            }
            for call in &replay.calls {
                if !form(call).contains("token_type_hint=access_token") {
                    complaints.push(format!("{what}: the form {:?} has no hint", form(call)));
                }
            }
            if replay.calls.len() > 1 {
                complaints.push(format!("{what}: {} calls", replay.calls.len()));
            }
            // What a JWT says by itself needs no call.
            if *expected == AUDIENCE && matches!(setup, Hybrid) && !replay.calls.is_empty() {
                complaints.push(format!("{what}: a call for a token whose audience is another"));
            }
            let calls = replay.calls.len();
            let again = replay.bearer(&captured.token, at, |_| captured.answer());
            if (again.as_str(), replay.calls.len()) != (*expected, calls) {
                complaints
                    .push(format!("{what}: {again} for the second time, after {} calls", replay.calls.len()));
            }
            for line in &replay.log {
                if line.contains(&captured.token) || line.contains("s3cret-value") {
                    complaints.push(format!("{what}: a log line with a token or a secret"));
                }
            }
        }
    }
}

/// A token that its server answers with an error of its own shuts nobody else out.
#[test]
fn an_error_about_one_token_is_about_that_one_alone() {
    let name = "real-glewlwyd-introspection";
    let server = SERVERS.iter().find(|server| server.folder == name).expect("a server");
    for root in made::captured() {
        let folder = root.folder(name);
        for bad in ["signed-inactive", "signed-revoked"] {
            let (bad, good) = (Captured::read(&folder, bad), Captured::read(&folder, "signed"));
            if bad.token == good.token {
                continue;
            }
            let at = good.moment(&folder);
            let mut replay = Replay::new(&server.config(&folder, Signed("svc-a")), at);
            assert_eq!(replay.bearer(&bad.token, at, |_| bad.answer()), UNAVAILABLE, "{name}");
            let after = replay.bearer(&good.token, at, |_| good.answer());
            assert_eq!(after, "allow", "{name}: in the same second");
            assert_eq!(replay.calls.len(), 2, "{name}");
        }
    }
}

#[test]
fn every_captured_call_has_a_row() {
    let rows: BTreeSet<(String, String)> = SERVERS
        .iter()
        .flat_map(|server| server.cases.iter().map(|case| (server.folder.to_owned(), case.0.to_owned())))
        .collect();
    for root in made::captured() {
        let calls = root.names().into_iter().flat_map(|server| {
            let label = |file: &String| {
                let label = file.strip_prefix("introspection.")?.strip_suffix(".request")?;
                Some((server.clone(), label.to_owned()))
            };
            root.folder(&server).names().iter().filter_map(label).collect::<Vec<_>>()
        });
        assert_eq!(calls.collect::<BTreeSet<_>>(), rows);
    }
}
