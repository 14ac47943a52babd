//! The detail of audit lines: what each of them says of why a request was refused.

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::Sha256;

use super::*;
use crate::fetch::FetchError;
use crate::json::{self, Json};
use crate::request::Metadata;

const NOW: u64 = 1_700_000_000;
const KEY: &[u8] = b"a key that is long enough for HS512, whose hash has sixty-four bytes";

/// A token of the provider: `claims` come after an issuer, an audience and an end in ten minutes.
fn token(claims: &str) -> String {
    let claims = match claims {
        "" => String::new(),
        claims => format!(",{claims}"),
    };
    let usual = format!(r#"{{"iss":"https://idp","aud":"orders","exp":{}{claims}}}"#, NOW + 600);
    signed(r#"{"alg":"HS256","kid":"k1"}"#, &usual)
}

/// A token of just these claims.
fn bare(claims: &str) -> String {
    signed(r#"{"alg":"HS256"}"#, claims)
}

fn signed(header: &str, claims: &str) -> String {
    let encode = |text: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(text);
    let input = [&encode(header.as_bytes()), ".", &encode(claims.as_bytes())].concat();
    let mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap().chain_update(&input);
    [&input, ".", &encode(&mac.finalize().into_bytes())].concat()
}

/// A route that says this under `rule`.
struct Route(&'static str);

impl HostProperties for Route {
    fn is_tls(&self) -> bool {
        false
    }

    fn client_address(&self) -> Option<String> {
        Some("192.0.2.1:4711".to_owned())
    }

    fn route_metadata(&self, key: &str) -> Metadata {
        match (key, self.0) {
            ("rule", text) if !text.is_empty() => Metadata::Texts(vec![text.to_owned()]),
            _ => Metadata::Absent,
        }
    }
}

/// A case: what is configured besides, and what is sent.
#[derive(Clone, Copy)]
struct Case<'c> {
    /// Fields of the provider
    provider: &'c str,
    /// Fields of the rule
    rule: &'c str,
    /// Fields of the whole
    whole: &'c str,
    method: &'c str,
    path: &'c str,
    /// The header that carries the token
    header: &'c str,
    /// The rule that the route names
    route: &'static str,
}

const USUAL: Case<'_> =
    Case { provider: "", rule: "", whole: "", method: "GET", path: "/a", header: "authorization", route: "" };

impl Case<'_> {
    fn gate(&self) -> Gate {
        let key = BASE64_URL_SAFE_NO_PAD.encode(KEY);
        let Case { provider, rule, whole, .. } = self;
        let keys = format!(
            r#""algorithms":["HS256"],"local_jwks":{{"inline":{{"keys":[{{"kty":"oct","k":"{key}","kid":"k1","alg":"HS256"}}]}}}}"#
        );
        let keys = if provider.contains("remote_jwks") { String::new() } else { format!("{keys},") };
        let text = format!(
            r#"{{{whole}"providers":{{"corp":{{{provider}{keys}"issuer":"https://idp","audiences":["orders","billing"]}}}},
            "rules":[{{"name":"r","match":{{"prefix":"/a"}},{rule}"requires":{{"provider_name":"corp"}}}},
                {{"name":"p","match":{{"prefix":"/p"}}}}]}}"#
        );
        let config = Config::parse(text.as_bytes(), &|_| None);
        let config = config.unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        Gate::new(config, Environment::alone(1), Timestamp::from_secs(NOW))
    }

    /// What the audit line says: its reason and its detail.
    fn ask(&self, gate: &mut Gate, value: &str) -> (String, String) {
        let value = if self.header == "authorization" { format!("Bearer {value}") } else { value.to_owned() };
        let mut fields = vec![
            (&b":method"[..], self.method.as_bytes()),
            (b":path", self.path.as_bytes()),
            (b":authority", b"api.example"),
        ];
        if value != "Bearer " {
            fields.push((self.header.as_bytes(), value.as_bytes()));
        }
        let route = Route(self.route);
        let request = Request::new(&fields).within(&route);
        let outcome = gate.decide(StreamId(7), &request, Timestamp::from_secs(NOW));
        if let Outcome::Wait = outcome {
            return ("wait".to_owned(), String::new());
        }
        let Some(line) = audit_line(gate) else { panic!("no line for {outcome:?}") };
        let Ok(Json::Object(line)) = json::parse(line.as_bytes()) else { panic!("{line}") };
        let text = |name| line.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        (text("reason"), text("detail"))
    }
}

fn audit_line(gate: &mut Gate) -> Option<String> {
    let lines = std::iter::from_fn(|| gate.next_effect()).filter_map(|effect| match effect {
        Effect::Log(_, text) => text.strip_prefix("audit ").map(str::to_owned),
        _ => None,
    });
    lines.last()
}

#[test]
fn a_platform_engineer_reads_what_is_wrong() {
    let authorize = |what: &str| format!(r#""authorize":{what},"#);
    let (all_of, any_of, none_of) = (
        authorize(r#"{"scopes":{"all_of":["orders:read","a"]}}"#),
        authorize(r#"{"scopes":{"any_of":["b","c"]}}"#),
        authorize(r#"{"scopes":{"none_of":["a"]}}"#),
    );
    let roles = authorize(r#"{"roles":{"any_of":["admin","ops"]}}"#);
    let equals = authorize(r#"{"claims":[{"claim":"tenant","equals":"acme"}]}"#);
    let dotted = authorize(r#"{"claims":[{"claim":"realm.a.b.c","equals":1}]}"#);
    let header = authorize(r#"{"claims":[{"claim":"tenant","equals_header":"x-tenant"}]}"#);
    let not = authorize(r#"{"not":{"claims":[{"claim":"tenant","equals":"evil"}]}}"#);
    let exp = NOW + 600;
    let good = token("");
    let provider = |provider| Case { provider, ..USUAL };
    let rule = |rule| Case { rule, ..USUAL };
    let whole = |whole| Case { whole, ..USUAL };
    let twice = format!("{good}, Bearer {good}");
    let long = "x".repeat(9000);
    let aud = |aud: &str| bare(&format!(r#"{{"iss":"https://idp","exp":{exp},"aud":{aud}}}"#));
    let dates = |dates: &str| bare(&format!(r#"{{"iss":"https://idp","aud":"orders"{dates}}}"#));
    let mut forged = good.clone();
    forged.replace_range(forged.len() - 4..forged.len() - 2, "AA");
    let mut wrong = Vec::new();
    for (case, token, reason, detail) in [
        (USUAL, "", "token_missing", r#"there is none in: header "authorization" with "Bearer ""#),
        (
            USUAL,
            &twice,
            "token_multiple",
            r#"it is in: header "authorization" with "Bearer ", more than once"#,
        ),
        (USUAL, &long, "token_too_large", "9000 bytes; max_token_size is 8192"),
        (USUAL, "a.b", "token_malformed", "it does not have three parts"),
        (USUAL, "a.b.c", "token_malformed", "its header is empty or not base64url"),
        (USUAL, &signed("{}", "{}"), "token_malformed", r#"its header has no "alg""#),
        (USUAL, &bare("[]"), "token_malformed", "its payload is no JSON object"),
        (
            USUAL,
            &bare(r#"{"iss":"https://idp","aud":"orders","iss":"https://evil"}"#),
            "token_malformed",
            r#"its payload has the member "iss" twice"#,
        ),
        (
            USUAL,
            &token(r#""tenant":{"id":"a","i\u0064":"b"}"#),
            "token_malformed",
            r#"its payload has the member "id" twice"#,
        ),
        (
            USUAL,
            &token(r#""x":1e999"#),
            "token_malformed",
            "its payload cannot be read: not valid JSON (line 1, column 62)",
        ),
        (
            USUAL,
            &signed(r#"{"alg":"HS256","kid":"a","kid":"b"}"#, "{}"),
            "token_malformed",
            r#"its header has the member "kid" twice"#,
        ),
        (
            USUAL,
            &signed(
                r#"{"alg":"HS256","kid":"k1","x":{"y":1,"y":2}}"#,
                &format!(r#"{{"iss":"https://idp","aud":"orders","exp":{exp}}}"#),
            ),
            "token_malformed",
            r#"its header has the member "y" twice"#,
        ),
        (
            USUAL,
            &token(r#""events":{"http://schemas.openid.net/event/backchannel-logout":{}}"#),
            "type_not_allowed",
            r#"it has the claim "events": it is a logout token or another security event token"#,
        ),
        (
            provider(r#""required_claims":[{"claim":"typ","any_of":["Bearer","DPoP"]}],"#),
            &token(r#""typ":"ID""#),
            "claim_invalid",
            r#"claim "typ" must have any of "Bearer", "DPoP"; it is a string (required_claims)"#,
        ),
        (
            provider(r#""required_claims":[{"claim":"typ","none_of":["ID"]}],"#),
            &good,
            "claim_invalid",
            r#"claim "typ" must have none of "ID"; it is absent (required_claims)"#,
        ),
        (
            provider(r#""required_claims":["realm.a.b"],"#),
            &token(r#""realm":{"a.b":1}"#),
            "claim_missing",
            r#"claim "realm.a.b" is absent; required_claims needs it; a name has a dot in it: write ["realm", "a.b"]"#,
        ),
        (
            Case { rule: &roles, ..provider(r#""role_claims":["resource_access.shop.web.roles"],"#) },
            &token(r#""resource_access":{"shop.web":{"roles":["admin"]}}"#),
            "role_insufficient",
            r#"role "admin", "ops" is missing (any_of); a name has a dot in it: write ["resource_access", "shop.web", "roles"]"#,
        ),
        (
            Case { rule: &roles, ..provider(r#""role_claims":["resource_access.shop.roles"],"#) },
            &token(r#""resource_access":{"shop.web":{"roles":["admin"]}}"#),
            "role_insufficient",
            r#"role "admin", "ops" is missing (any_of)"#,
        ),
        (
            Case { rule: &all_of, ..provider(r#""scope_claims":["grants.shop.web"],"#) },
            &token(r#""grants":{"shop.web":"a"}"#),
            "scope_insufficient",
            r#"scope "orders:read", "a" is missing (all_of); a name has a dot in it: write ["grants", "shop.web"]"#,
        ),
        (
            rule(&dotted),
            &token(r#""realm":{"a.b":{"c":1}}"#),
            "claim_mismatch",
            r#"claim "realm.a.b.c" must equal 1; it is absent; a name has a dot in it: write ["realm", "a.b", "c"]"#,
        ),
        (USUAL, "a.b.c.d.e", "token_encrypted", "it has five parts, as a JWE"),
        (
            USUAL,
            &token(r#""cnf":{"jkt":"x"}"#),
            "token_bound",
            r#"it has the claim "cnf", and sender_constrained is "reject""#,
        ),
        (
            USUAL,
            &signed(r#"{"alg":"HS256","typ":"dpop+jwt"}"#, "{}"),
            "type_not_allowed",
            r#"typ is "dpop+jwt"; accepted: "absent", "jwt", "at+jwt""#,
        ),
        (
            USUAL,
            &signed(r#"{"alg":"none"}"#, "{}"),
            "algorithm_not_allowed",
            r#"alg is "none"; accepted: the signature algorithms that are known"#,
        ),
        (
            USUAL,
            &signed(r#"{"alg":"ES256"}"#, "{}"),
            "algorithm_not_allowed",
            r#"alg is "ES256"; accepted: HS256"#,
        ),
        (
            USUAL,
            &signed(r#"{"alg":"HS256","crit":["exp"]}"#, "{}"),
            "critical_header",
            r#"its header has "crit""#,
        ),
        (
            USUAL,
            &signed(
                r#"{"alg":"HS256","kid":"k9"}"#,
                &format!(r#"{{"iss":"https://idp","aud":"orders","exp":{exp}}}"#),
            ),
            "key_not_found",
            r#"alg HS256, kid "k9"; no key fits"#,
        ),
        (USUAL, &forged, "signature_invalid", r#"alg HS256, kid "k1"; 1 key tried"#),
        (
            USUAL,
            &bare(r#"{"iss":"https://evil"}"#),
            "issuer_unknown",
            r#"claim "iss" is another; accepted: "https://idp""#,
        ),
        (USUAL, &bare("{}"), "issuer_unknown", r#"claim "iss" is absent; accepted: "https://idp""#),
        (
            USUAL,
            &aud(r#"["shop","x"]"#),
            "audience_mismatch",
            r#"claim "aud" is another; accepted: "orders", "billing""#,
        ),
        (
            USUAL,
            &aud("[]"),
            "audience_mismatch",
            r#"claim "aud" is an empty list; accepted: "orders", "billing""#,
        ),
        (
            provider(r#""subjects":{"prefix":"repo:"},"#),
            &token(r#""sub":"alice""#),
            "subject_mismatch",
            r#"claim "sub" is another; accepted: prefix "repo:""#,
        ),
        (
            USUAL,
            &dates(r#","exp":1699999000"#),
            "expired",
            r#""exp" is 1699999000, 1000 s ago; clock_skew_seconds is 60 s"#,
        ),
        (
            USUAL,
            &token(r#""nbf":1700000100"#),
            "not_yet_valid",
            r#""nbf" is 1700000100, in 100 s; clock_skew_seconds is 60 s"#,
        ),
        (
            USUAL,
            &token(r#""iat":1700000100"#),
            "issued_in_future",
            r#""iat" is 1700000100, in 100 s; clock_skew_seconds is 60 s"#,
        ),
        (USUAL, &dates(""), "expiration_missing", r#"claim "exp" is absent; require_expiration needs it"#),
        (
            provider(r#""max_lifetime":"60s","#),
            &good,
            "lifetime_exceeded",
            r#""exp" is 1700000600, in 600 s; max_lifetime is 60 s"#,
        ),
        (
            provider(r#""max_age":"60s","#),
            &token(r#""iat":1699999900"#),
            "too_old",
            r#""iat" is 1699999900, 100 s ago; max_age is 60 s"#,
        ),
        (
            provider(r#""max_age":"60s","#),
            &good,
            "claim_missing",
            r#"claim "iat" is absent; max_age needs it"#,
        ),
        (
            provider(r#""required_claims":["tenant"],"#),
            &good,
            "claim_missing",
            r#"claim "tenant" is absent; required_claims needs it"#,
        ),
        (
            USUAL,
            &dates(r#","exp":"soon""#),
            "claim_invalid",
            r#"claim "exp" is a string, expected a number of seconds from 0 to 2^63"#,
        ),
        (USUAL, &token(r#""jti":7"#), "claim_invalid", r#"claim "jti" is a number, expected a string"#),
        (
            USUAL,
            &aud("7"),
            "claim_invalid",
            r#"claim "aud" is a number, expected a string or a list of strings"#,
        ),
        (
            USUAL,
            &token(r#""scope":{}"#),
            "claim_invalid",
            r#"claim "scope" is an object, expected a string or a list of strings"#,
        ),
        (
            provider(r#""role_claims":["roles"],"#),
            &token(r#""roles":["a",7]"#),
            "claim_invalid",
            r#"claim "roles" is a list with something else than strings, expected a string or a list of strings"#,
        ),
        (
            provider(
                r#""required_claims":["tenant"],"claim_to_headers":[{"header_name":"x-tenant","claim_name":"tenant"}],"#,
            ),
            &token(r#""tenant":"\u0007""#),
            "claim_invalid",
            r#"required claim "tenant" cannot be written to the header "x-tenant""#,
        ),
        (
            rule(&all_of),
            &token(r#""scope":"a""#),
            "scope_insufficient",
            r#"scope "orders:read" is missing (all_of)"#,
        ),
        (
            rule(&any_of),
            &token(r#""scope":"a""#),
            "scope_insufficient",
            r#"scope "b", "c" is missing (any_of)"#,
        ),
        (
            rule(&none_of),
            &token(r#""scope":"a""#),
            "scope_insufficient",
            r#"scope "a" is forbidden (none_of)"#,
        ),
        (
            rule(r#""authorize":{"authentication":{"acr_values":["phr","mfa"]}},"#),
            &token(r#""acr":"pwd""#),
            "authentication_insufficient",
            r#"claim "acr" must be one of "phr", "mfa"; it is another"#,
        ),
        (
            rule(r#""authorize":{"authentication":{"max_age":"300s"}},"#),
            &token(r#""auth_time":1699999600"#),
            "authentication_insufficient",
            r#"claim "auth_time" must be at most 300 s ago; it is 400 s ago"#,
        ),
        (
            rule(r#""authorize":{"not":{"authentication":{"acr_values":["pwd"],"max_age":"300s"}}},"#),
            &token(r#""acr":"pwd","auth_time":1700000000"#),
            "authentication_insufficient",
            r#""not" is met: authentication acr "pwd", a log-in at most 300 s ago"#,
        ),
        (rule(&roles), &good, "role_insufficient", r#"role "admin", "ops" is missing (any_of)"#),
        (
            rule(&equals),
            &token(r#""tenant":"evil""#),
            "claim_mismatch",
            r#"claim "tenant" must equal "acme"; it is a string"#,
        ),
        (
            rule(&header),
            &good,
            "claim_mismatch",
            r#"claim "tenant" must equal the header "x-tenant"; it is absent"#,
        ),
        (
            rule(&not),
            &token(r#""tenant":"evil""#),
            "claim_mismatch",
            r#""not" is met: claim "tenant" must equal "evil""#,
        ),
        (Case { path: "/b", ..USUAL }, &good, "route_unmatched", r#"no rule matches; unmatched is "deny""#),
        (
            Case { route: "gone", ..USUAL },
            &good,
            "route_unmatched",
            r#"the route names the rule "gone", which is not configured"#,
        ),
        (Case { path: "/a/../p", ..USUAL }, &good, "path_ambiguous", r#"it has a segment "." or "..""#),
        (
            Case {
                path: "/a/b;c",
                ..whole(
                    r#""protected_resources":[{"resource":"https://r.example/a/b","match":{"path":"/a/b"}}],"#,
                )
            },
            &good,
            "path_ambiguous",
            r#"which of "protected_resources" it is for depends on the reader"#,
        ),
        (
            Case {
                whole: r#""spoofed_headers":"reject","#,
                provider: r#""claim_to_headers":[{"header_name":"x-user","claim_name":"sub"}],"#,
                header: "x_user",
                ..USUAL
            },
            "root",
            "request_ambiguous",
            r#"it has the header "x_user", which only this filter writes; spoofed_headers is "reject""#,
        ),
        (
            Case { provider: r#""from_cookies":["session"],"#, header: "cookie", ..USUAL },
            "a=b,session=x",
            "request_ambiguous",
            "some servers would find another token in the cookies",
        ),
        (
            whole(r#""require_tls":"connection","#),
            &good,
            "transport_insecure",
            r#"require_tls is "connection", and the connection is not TLS"#,
        ),
        (
            Case {
                provider: r#""from_cookies":["session"],"csrf":{},"#,
                header: "cookie",
                method: "POST",
                ..USUAL
            },
            "session=x",
            "csrf_suspected",
            "sec-fetch-site is absent, origin is absent",
        ),
        (
            whole(
                r#""revocation":{"inline":{"version":1,"entries":[{"issuer":"https://idp","jti":"t1","until":1800000000}]}},"#,
            ),
            &token(r#""jti":"t1""#),
            "revoked",
            "an entry of the inline list",
        ),
        (
            whole(r#""revocation":{"inline":{"version":1,"entries":[]}},"#),
            &token(r#""sid":7"#),
            "claim_invalid",
            r#"claim "sid" is a number, expected a string"#,
        ),
        (
            whole(r#""revocation":{"status_lists":[{"uri_prefix":"https://status/","cluster":"c"}]},"#),
            &token(r#""status":{"status_list":{"uri":"https://evil/1","idx":0}}"#),
            "claim_invalid",
            r#"no uri_prefix of status_lists covers "https://evil/1""#,
        ),
    ] {
        let line = case.ask(&mut case.gate(), token);
        if line != (reason.to_owned(), detail.to_owned()) {
            wrong.push(format!("{line:?}, and not {reason}: {detail}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn it_says_what_was_not_to_be_had() {
    let failed = |gate: &mut Gate| {
        gate.tick(Timestamp::from_secs(NOW));
        let fetches: Vec<_> = std::iter::from_fn(|| gate.next_effect()).collect();
        for effect in fetches {
            if let Effect::Fetch { lookup, .. } = effect {
                gate.fetched(lookup, Err(FetchError::Status(500)), Timestamp::from_secs(NOW));
            }
        }
    };
    let list =
        r#""revocation":{"lists":[{"name":"list","http_uri":{"uri":"https://idp/l","cluster":"c"}}]},"#;
    let remote = r#""remote_jwks":{"http_uri":{"uri":"https://idp/k","cluster":"c","timeout":"5s"}},"#;
    let es256 = |kid| {
        let claims = format!(r#"{{"iss":"https://idp","aud":"orders","exp":{}}}"#, NOW + 600);
        signed(&format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), &claims)
    };
    for (case, token, reason, detail) in [
        (
            Case { provider: remote, ..USUAL },
            es256("k1"),
            "keys_unavailable",
            r#"the keys of provider "corp" were never fetched"#,
        ),
        (
            Case { whole: list, ..USUAL },
            token(""),
            "revocation_unavailable",
            r#"revocation list "list" cannot be had"#,
        ),
    ] {
        let mut gate = case.gate();
        failed(&mut gate);
        assert_eq!(case.ask(&mut gate, &token), (reason.to_owned(), detail.to_owned()));
    }
    let case = Case { provider: remote, ..USUAL };
    let mut gate = case.gate();
    let authorization = format!("Bearer {}", es256("k1"));
    for stream in 0..u32::try_from(MAX_WAITING).unwrap() {
        let fields =
            [(&b":method"[..], &b"GET"[..]), (b":path", b"/a"), (b"authorization", authorization.as_bytes())];
        let outcome = gate.decide(StreamId(stream + 10), &Request::new(&fields), Timestamp::from_secs(NOW));
        assert!(matches!(outcome, Outcome::Wait), "{outcome:?}");
    }
    let expected = ("overloaded".to_owned(), "1024 requests wait already".to_owned());
    assert_eq!(case.ask(&mut gate, &es256("k1")), expected);
}

#[test]
fn it_says_which_brake_held_a_token_up() {
    let failures = r#""limits":{"failures":{"per_client":1,"block":"30s"}},"#;
    let signatures = r#""limits":{"verifications_per_second":1},"#;
    for (whole, first, reason, detail) in [
        (
            failures,
            "forged",
            "too_many_failures",
            "its address reached limits.failures.per_client, 1 in 60 s; for 30 s more only tokens that are known pass",
        ),
        (
            signatures,
            &*token(r#""jti":"1""#),
            "overloaded",
            "1 new tokens were already verified in this second (limits.verifications_per_second)",
        ),
    ] {
        let case = Case { whole, ..USUAL };
        let mut gate = case.gate();
        let authorization = format!("Bearer {first}");
        let fields =
            [(&b":method"[..], &b"GET"[..]), (b":path", b"/a"), (b"authorization", authorization.as_bytes())];
        let request = Request::new(&fields).within(&Route(""));
        gate.decide(StreamId(8), &request, Timestamp::from_secs(NOW));
        while gate.next_effect().is_some() {}
        assert_eq!(case.ask(&mut gate, &token("")), (reason.to_owned(), detail.to_owned()));
    }
}

/// Without a configuration there is no audit line.
#[test]
fn every_reason_has_a_detail() {
    let text = [
        include_str!("audit_details_tests.rs"),
        include_str!("bound_tests.rs"),
        include_str!("introspection_tests.rs"),
    ]
    .concat();
    for reason in Reason::ALL {
        let is_tested = text.contains(&format!("\"{}\",", reason.as_str())) || *reason == Reason::Overloaded;
        let is_known = matches!(reason, Reason::ConfigurationRefused);
        assert!(is_tested != is_known, "{reason:?}");
    }
}

#[test]
fn a_client_cannot_write_lines_tokens_or_subjects_into_it() {
    let long = "é".repeat(1000);
    let jwt = token("");
    for typ in ["a\\r\\naudit {}", "a\\u2028b\\u0085c\\u007f", "\\\"}{\\\\", &long, &jwt, "\\u202e"] {
        let claims = format!(r#"{{"iss":"https://idp","sub":"alice","exp":{}}}"#, NOW + 600);
        let token = signed(&format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#), &claims);
        let mut gate = USUAL.gate();
        let fields =
            [(&b":path"[..], &b"/a"[..]), (b"authorization", format!("Bearer {token}").leak().as_bytes())];
        gate.decide(StreamId(1), &Request::new(&fields), Timestamp::from_secs(NOW));
        let line = audit_line(&mut gate).expect("a line");
        assert!(!line.contains(crate::text::could_end_a_line), "{line:?}");
        assert!(!line.contains("eyJ") && !line.contains("alice"), "{line}");
        assert!(line.len() < 1000, "{line}");
        let Ok(Json::Object(line)) = json::parse(line.as_bytes()) else { panic!("{line}") };
        let detail = line.get("detail").and_then(Json::as_str).unwrap();
        assert!(detail.starts_with("typ is \""), "{detail}");
        assert!(detail.ends_with("accepted: \"absent\", \"jwt\", \"at+jwt\""), "{detail}");
        assert!(detail.chars().count() <= MAX_TEXT, "{detail}");
    }
}

#[test]
fn the_log_names_a_claim_that_becomes_no_header_once_in_a_while() {
    let case = Case {
        provider: r#""claim_to_headers":[{"header_name":"x-name","claim_name":"name"},
            {"header_name":"x-groups","claim_name":"groups","list_format":"csv"}],"#,
        ..USUAL
    };
    let mut gate = case.gate();
    let mut lines = |claims: String, at: u64| -> Vec<String> {
        let value = format!("Bearer {}", token(&claims));
        let fields =
            [(&b":method"[..], &b"GET"[..]), (b":path", b"/a"), (b"authorization", value.as_bytes())];
        let outcome = gate.decide(StreamId(1), &Request::new(&fields), Timestamp::from_secs(at));
        assert!(matches!(outcome, Outcome::Allow(_)), "{outcome:?}");
        let effects = std::iter::from_fn(|| gate.next_effect());
        effects
            .filter_map(|effect| if let Effect::Log(_, text) = effect { Some(text) } else { None })
            .collect()
    };
    let name = |n: u64| format!(r#""jti":"{n}","name":"secret\u0007value""#);
    let why = "it has a control character; \"encoding\": \"percent\" or \"base64\" writes it";
    let line = format!(r#"provider "corp": claim "name" is not written to the header "x-name": {why}"#);
    let minute = NOW / LEFT_OUT_SECONDS * LEFT_OUT_SECONDS;
    assert_eq!(lines(name(0), minute), [line.as_str()]);
    // A token that is known says nothing again, and another one waits for the next minute.
    assert_eq!(lines(name(0), minute), [""; 0]);
    for n in 1..5 {
        assert_eq!(lines(name(n), minute + n), [""; 0]);
    }
    // One claim does not hide another.
    let groups = lines(r#""groups":["a,b"],"name":"J\u00fcrgen""#.to_owned(), minute + 6);
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert!(groups[0].contains(r#"claim "groups" is not written to the header "x-groups": it has a comma"#));
    let next = lines(name(6), minute + LEFT_OUT_SECONDS);
    assert_eq!(next, [format!("{line} (4 more were not written before)")]);
    assert!(!next[0].contains("secret"), "{next:?}");
}

#[test]
fn what_a_rule_remembers_of_a_token_it_says_again() {
    let rule = r#""authorize":{"scopes":{"all_of":["orders:read"]}},"#;
    let case = Case { rule, ..USUAL };
    let mut gate = case.gate();
    let expected = ("scope_insufficient".to_owned(), "scope \"orders:read\" is missing (all_of)".to_owned());
    for _ in 0..3 {
        assert_eq!(case.ask(&mut gate, &token("")), expected);
    }
    let whole = r#""revocation":{"inline":{"version":1,"entries":[{"issuer":"https://idp","jti":"t1","until":1800000000}]}},"#;
    let case = Case { whole, ..USUAL };
    let mut gate = case.gate();
    for _ in 0..3 {
        let expected = ("revoked".to_owned(), "an entry of the inline list".to_owned());
        assert_eq!(case.ask(&mut gate, &token(r#""jti":"t1""#)), expected);
    }
}
