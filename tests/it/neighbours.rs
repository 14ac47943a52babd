//! What stands beside a token travels as it came, and a token of each kind of place is found and taken out alone: other
//! schemes of `Authorization`, cookies in their fields, parameters with escapes, several prefixes of one header, the
//! subprotocols of WebSockets, and the scheme `DPoP`.

use crate::common;

use common::{Gateway, assert_problem, challenge, local_provider, with};
use harness::{Idp, Record, Request, Response};
use serde_json::{Value, json};

fn of(provider: &str) -> Value {
    json!({ "provider_name": provider })
}

fn any(provider: &str, lenient: &str) -> Value {
    json!({ "requires_any": { "requirements": [of(provider), { lenient: {} }] } })
}

/// Providers with places of every kind, and for each of them rules that ask for a token, may do without it, bear a bad
/// one, and pass it on: `/strict-NAME`, `/missing-NAME`, `/failed-NAME`, `/forward-NAME`.
fn places(idp: &Idp) -> Value {
    let header = |name: &str, prefix: &str| json!({ "name": name, "value_prefix": prefix });
    let protocol = |prefix: &str| json!({ "from_headers": [header("Sec-WebSocket-Protocol", prefix)] });
    let all = [
        ("usual", json!({})),
        (
            "all",
            json!({
                "from_headers": [header("Authorization", "Bearer "), header("x-token", "")],
                "from_cookies": ["session"],
                "from_params": ["access_token"],
            }),
        ),
        (
            "prefixes",
            json!({ "from_headers": [
                header("Authorization", "Bearer "),
                header("Authorization", "Token "),
                header("x-jwt", "jwt="),
                header("x-jwt", ""),
            ] }),
        ),
        ("blank", json!({ "from_headers": [header("Authorization", "Bearer")] })),
        ("marked", protocol("bearer")),
        ("begun", protocol("bearer.")),
        ("ignoring", json!({ "sender_constrained": "ignore" })),
    ];
    let mut providers = json!({});
    let mut rules = Vec::new();
    for (name, more) in all {
        let forward = format!("{name}-forward");
        providers[name] = with(local_provider(idp), more.clone());
        providers[&forward] = with(providers[name].clone(), json!({ "forward": true }));
        for (kind, requires) in [
            ("strict", of(name)),
            ("missing", any(name, "allow_missing")),
            ("failed", any(name, "allow_missing_or_failed")),
            ("forward", of(&forward)),
            ("forward-failed", any(&forward, "allow_missing_or_failed")),
        ] {
            let path = format!("/{kind}-{name}");
            rules.push(json!({ "match": { "path": path }, "requires": requires }));
        }
    }
    json!({ "providers": providers, "rules": rules })
}

/// A gateway with these places that lets WebSockets through.
fn start() -> Gateway {
    Gateway::start_with(places, |builder| {
        builder
            .shared()
            .main(|listener| listener.hcm("upgrade_configs", json!([{ "upgrade_type": "websocket" }])))
    })
}

fn request(path: &str, fields: &[(&str, &str)]) -> Request {
    fields.iter().fold(Request::get(path), |request, (name, value)| request.header(name, value))
}

fn send(gateway: &Gateway, request: &Request, h2: bool) -> Response {
    if h2 { request.send_h2(gateway.addr()) } else { request.send(gateway.addr()) }
}

/// What reached the upstream of a request that passes.
#[track_caller]
fn passed(gateway: &Gateway, what: &str, request: &Request, h2: bool) -> Record {
    let response = send(gateway, request, h2);
    assert_eq!(response.status, 200, "{what}: {}", response.text());
    gateway.upstream.take().pop().expect("a request")
}

/// Fields of requests: name and value.
type Fields<'a> = Vec<(&'a str, &'a str)>;

#[test]
fn a_credential_of_another_scheme_reaches_the_upstream_as_it_came() {
    let gateway = start();
    let good = gateway.idp.token(json!({}));
    let session = format!("session={good}");
    for value in [
        "Basic dTpw",
        "Basic  dTpw==",
        "basic dTpw",
        "ApiKey 0123456789abcdef",
        "Digest username=\"ann\", realm=\"a@b\", uri=\"/x?y\", response=\"00\"",
        "Negotiate YIIJvwYGKwYBBQUC",
        "NTLM TlRMTVNTUAAB",
        "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=c",
        "Signature keyId=\"a\",algorithm=\"hs2019\",signature=\"Zm9v\"",
        "DPoP opaque",
    ] {
        let own = ("authorization", value);
        let parameter = format!("/strict-all?access_token={good}");
        let cases: [(&str, Fields<'_>); 9] = [
            ("/missing-usual", vec![own]),
            ("/failed-usual", vec![own]),
            ("/missing-all", vec![("x-a", "1"), own, ("x-b", "2")]),
            ("/strict-all", vec![own, ("x-token", &good)]),
            ("/strict-all", vec![("cookie", &session), own]),
            ("/forward-all", vec![own, ("x-token", &good)]),
            (&parameter, vec![own]),
            ("/failed-all", vec![own, ("x-token", "bad")]),
            ("/missing-prefixes", vec![own]),
        ];
        for ((path, fields), h2) in cases.iter().flat_map(|case| [(case, false), (case, true)]) {
            let record = passed(&gateway, value, &request(path, fields), h2);
            assert_eq!(record.headers_named("authorization"), [value], "{path} {h2}");
        }
        assert_problem(value, &request("/strict-usual", &[own]).send(gateway.addr()), 401, "token_missing");
    }
    gateway.assert_sound();
}

#[test]
fn an_empty_credential_is_no_token() {
    let gateway = start();
    let good = gateway.idp.token(json!({}));
    for (fields, query) in [
        (vec![("authorization", "Bearer")], ""),
        (vec![("authorization", "bearer   ")], ""),
        (vec![("x-token", "")], ""),
        (vec![("cookie", "session=")], ""),
        (vec![("cookie", "a=b; session=\"\"; c=d")], ""),
        (vec![("cookie", "session; session=")], ""),
        (vec![], "?access_token="),
        (vec![], "?access_token&a=b"),
    ] {
        for h2 in [false, true] {
            let what = format!("{fields:?} {query} {h2}");
            let response = send(&gateway, &request(&format!("/strict-all{query}"), &fields), h2);
            assert_problem(&what, &response, 401, "token_missing");
            let challenge = challenge(&response).expect("a challenge");
            assert!(!challenge.contains_key("error"), "{what}: {challenge:?}");
            passed(&gateway, &what, &request(&format!("/missing-all{query}"), &fields), h2);
        }
    }
    // Beside a token.
    let (first, last) =
        (format!("session=; a=b; session={good}"), format!("session={good}; session=\"\"; a=b"));
    let bearer = format!("Bearer {good}");
    for (fields, query) in [
        (vec![("cookie", first.as_str())], ""),
        (vec![("cookie", last.as_str())], ""),
        (vec![("cookie", "session="), ("authorization", &bearer)], ""),
        (vec![("authorization", "Bearer"), ("x-token", &good)], ""),
        (vec![("authorization", bearer.as_str())], "?access_token="),
    ] {
        for kind in ["strict", "missing", "forward"] {
            let what = format!("{kind} {fields:?} {query}");
            let record = passed(&gateway, &what, &request(&format!("/{kind}-all{query}"), &fields), false);
            if kind != "forward" {
                let cookies = record.headers_named("cookie").join("; ");
                assert!(!cookies.contains("session"), "{what}: {cookies}");
                assert!(!record.path().contains("access_token"), "{what}");
            }
        }
    }
    // Two that are full are still two, and so is a repeated field or parameter.
    let two = format!("session=; session={good}; session={good}");
    for fields in [
        vec![("cookie", two.as_str())],
        vec![("authorization", "Bearer"), ("authorization", &bearer)],
        vec![("x-token", ""), ("x-token", &good)],
    ] {
        let response = request("/missing-all", &fields).send(gateway.addr());
        assert_problem(&format!("{fields:?}"), &response, 400, "token_multiple");
    }
    let response =
        Request::get(format!("/missing-all?access_token=&access_token={good}")).send(gateway.addr());
    assert_problem("a repeated parameter", &response, 400, "token_multiple");
    gateway.assert_sound();
}

#[test]
fn other_cookies_stay_in_their_fields_to_the_byte() {
    let gateway = start();
    let good = gateway.idp.token(json!({}));
    let own = format!("session={good}");
    let within = format!("lang=\"en\";  session=\"{good}\" ;x= y");
    for (fields, expected) in [
        (vec!["theme=dark; a=1", &own, "b=%20;c"], vec!["theme=dark; a=1", "b=%20;c"]),
        (vec![&within, "last=1"], vec!["lang=\"en\";x= y", "last=1"]),
        (vec!["a = b ;;c", &own], vec!["a = b ;;c"]),
        (vec!["a=b; session=", &own], vec!["a=b"]),
        (vec![&own], vec![]),
    ] {
        let pairs: Vec<_> = fields.iter().map(|field| ("cookie", *field)).collect();
        let what = format!("{fields:?}");
        let record = passed(&gateway, &what, &request("/strict-all", &pairs), false);
        assert_eq!(record.headers_named("cookie"), expected, "{what}");
        // HTTP/2 clients may split them where they like; Envoy joins them.
        let record = passed(&gateway, &what, &request("/strict-all", &pairs), true);
        let joined = record.headers_named("cookie").join("; ");
        assert_eq!(joined, expected.join("; "), "{what}");
    }
    gateway.assert_sound();
}

#[test]
fn a_parameter_is_decoded_once_and_taken_out_alone() {
    let gateway = start();
    let good = gateway.idp.token(json!({}));
    let escaped: String = good.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let twice = good.replacen("eyJ", "%2565yJ", 1);
    for (value, expected) in [
        (good.clone(), None),
        (good.replace('.', "%2E"), None),
        (good.replace('.', "%2e"), None),
        (good.replacen('e', "%65", 1), None),
        (escaped, None),
        (twice, Some("token_malformed")),
        (format!("{good}%20"), Some("token_malformed")),
        (format!("%20{good}"), Some("token_malformed")),
        (format!("{good}%"), Some("token_malformed")),
        (format!("{good}%zz"), Some("token_malformed")),
        (format!("{good}%00"), Some("token_malformed")),
        (good.replace('.', "%252E"), Some("token_malformed")),
        ("%20".to_owned(), Some("token_malformed")),
    ] {
        let query = format!("?a=%2F&access%5Ftoken={value}&xaccess_token=1&b=c%65");
        let request = |kind: &str| Request::get(format!("/{kind}-all{query}"));
        for h2 in [false, true] {
            if let Some(reason) = expected {
                assert_problem(&value, &send(&gateway, &request("strict"), h2), 401, reason);
                // A bad one is taken away where it is borne, from its parameter alone.
                let record = passed(&gateway, &value, &request("failed"), h2);
                assert_eq!(record.path(), "/failed-all?a=%2F&xaccess_token=1&b=c%65", "{value}");
                continue;
            }
            let record = passed(&gateway, &value, &request("strict"), h2);
            assert_eq!(record.path(), "/strict-all?a=%2F&xaccess_token=1&b=c%65", "{value}");
            let record = passed(&gateway, &value, &request("forward"), h2);
            assert_eq!(record.path(), format!("/forward-all{query}"), "{value}");
        }
    }
    let too_long = format!("/strict-all?access_token={}", "%61".repeat(4000));
    assert_problem("4,000 bytes", &Request::get(too_long).send(gateway.addr()), 401, "token_malformed");
    let too_long = format!("/strict-all?access_token={}", "%61".repeat(9000));
    assert_problem("9,000 bytes", &Request::get(too_long).send(gateway.addr()), 401, "token_too_large");
    gateway.assert_sound();
}

#[test]
fn a_header_may_have_several_prefixes_of_which_one_is_there() {
    let gateway = start();
    let good = gateway.idp.token(json!({}));
    let with_token = |text: &str| text.replace("GOOD", &good);
    for (provider, name, value, expected) in [
        ("prefixes", "authorization", "Bearer GOOD", Ok(())),
        ("prefixes", "authorization", "bearer  GOOD", Ok(())),
        ("prefixes", "authorization", "token GOOD", Ok(())),
        ("prefixes", "x-jwt", "GOOD", Ok(())),
        ("prefixes", "x-jwt", "jwt=GOOD", Ok(())),
        ("prefixes", "x-jwt", "jwt= GOOD", Ok(())),
        ("prefixes", "x-jwt", "JWT=GOOD", Err((401, "token_malformed"))),
        ("prefixes", "authorization", "Bearer GOOD,token GOOD", Err((400, "token_multiple"))),
        ("prefixes", "authorization", "token GOOD, Bearer GOOD", Err((400, "token_multiple"))),
        ("prefixes", "authorization", "token", Err((401, "token_missing"))),
        ("blank", "authorization", "Bearer GOOD", Ok(())),
        ("blank", "authorization", "Bearer   GOOD", Ok(())),
        ("blank", "authorization", "Bearer", Err((401, "token_missing"))),
        ("blank", "authorization", "Basic GOOD", Err((401, "token_missing"))),
    ] {
        let value = with_token(value);
        for h2 in [false, true] {
            let what = format!("{provider} {name}: {value} {h2}");
            let sent = |kind: &str| request(&format!("/{kind}-{provider}"), &[(name, &value)]);
            match expected {
                Ok(()) => {
                    let record = passed(&gateway, &what, &sent("strict"), h2);
                    assert_eq!(record.headers_named(name), [""; 0], "{what}");
                    let record = passed(&gateway, &what, &sent("forward"), h2);
                    assert_eq!(record.headers_named(name), [value.as_str()], "{what}");
                }
                Err((status, reason)) => {
                    assert_problem(&what, &send(&gateway, &sent("strict"), h2), status, reason);
                }
            }
        }
    }
    let both = request("/strict-prefixes", &[("authorization", &format!("Token {good}")), ("x-jwt", &good)]);
    assert_problem("two places", &both.send(gateway.addr()), 400, "token_multiple");
    gateway.assert_sound();
}

/// The handshake of a WebSocket with these lists of subprotocols.
fn handshake(path: &str, lists: &[String]) -> Request {
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    lists.iter().fold(request(path, &upgrade), |request, list| request.header("sec-websocket-protocol", list))
}

#[test]
fn a_token_among_the_subprotocols_of_a_websocket_is_taken_out_alone() {
    let gateway = start();
    let good = gateway.idp.token(json!({}));
    let forged = harness::idp::flip_bit(&good);
    let put = |text: &str| text.replace("GOOD", &good).replace("FORGED", &forged);
    for (provider, list, expected) in [
        ("marked", "bearer, GOOD", Ok("bearer")),
        ("marked", "bearer,GOOD", Ok("bearer")),
        ("marked", "bearer , GOOD , chat", Ok("bearer , chat")),
        ("marked", "chat, bearer, GOOD, v12.stomp", Ok("chat, bearer, v12.stomp")),
        ("begun", "bearer.GOOD, chat", Ok("chat")),
        ("begun", "chat,  v1.x,bearer.GOOD", Ok("chat,  v1.x")),
        ("begun", "bearer.GOOD", Ok("")),
        ("begun", "bearer., GOOD, chat", Ok("bearer., chat")),
        ("marked", "chat, superchat", Err((401, "token_missing"))),
        ("marked", "bearer", Err((401, "token_missing"))),
        ("marked", "chat, bearer", Err((401, "token_missing"))),
        ("marked", "Bearer, GOOD", Err((401, "token_missing"))),
        ("marked", "bearer2, GOOD", Err((401, "token_missing"))),
        ("marked", "GOOD, bearer", Err((401, "token_missing"))),
        ("begun", "Bearer.GOOD, chat", Err((401, "token_missing"))),
        ("marked", "bearer, chat, GOOD", Err((400, "token_multiple"))),
        ("marked", "bearer, chat", Err((401, "token_malformed"))),
        ("marked", "bearer, GOOD, FORGED", Err((400, "token_multiple"))),
        ("marked", "FORGED, bearer, GOOD", Err((400, "token_multiple"))),
        ("begun", "bearer.GOOD, bearer., chat, FORGED", Err((400, "token_multiple"))),
        ("marked", "bearer, FORGED", Err((401, "token_rejected"))),
        ("begun", "bearer.FORGED, chat", Err((401, "token_rejected"))),
        ("marked", "bearer, GOOD, bearer, GOOD", Err((400, "token_multiple"))),
        ("marked", "Bearer, FORGED, bearer, GOOD", Err((400, "token_multiple"))),
        ("marked", "bearer, bearer, GOOD", Err((400, "token_multiple"))),
        ("begun", "bearer.GOOD, bearer.FORGED", Err((400, "token_multiple"))),
    ] {
        let sent = |kind: &str| handshake(&format!("/{kind}-{provider}"), &[put(list)]);
        let protocols = |record: &Record| record.headers_named("sec-websocket-protocol").join(" | ");
        match expected {
            Ok(left) => {
                for kind in ["strict", "missing", "failed"] {
                    let record = passed(&gateway, list, &sent(kind), false);
                    assert_eq!(protocols(&record), left, "{kind} {list}");
                    assert_eq!(record.header("upgrade").as_deref(), Some("websocket"), "{kind} {list}");
                }
                let record = passed(&gateway, list, &sent("forward"), false);
                assert_eq!(protocols(&record), put(list), "{list}");
            }
            Err((status, reason)) => {
                assert_problem(list, &sent("strict").send(gateway.addr()), status, reason);
                // Where nothing of it is needed, no token reaches the upstream that was not judged.
                for kind in ["failed", "forward-failed"] {
                    let protocols = protocols(&passed(&gateway, list, &sent(kind), false));
                    let is_found =
                        provider == "begun" && protocols.to_ascii_lowercase().contains("bearer.ey");
                    assert!(!is_found, "{kind} {list}: {protocols}");
                    let lower = protocols.to_ascii_lowercase();
                    assert!(!lower.starts_with("bearer, ey"), "{kind} {list}: {protocols}");
                }
            }
        }
    }
    // Other protocols stay where there is no token; and two fields are nothing that one can judge.
    for list in ["chat, superchat", "chat,v1.x ,  y"] {
        let record = passed(&gateway, list, &handshake("/missing-marked", &[list.to_owned()]), false);
        assert_eq!(record.headers_named("sec-websocket-protocol"), [list]);
    }
    for lists in [["bearer", good.as_str()], ["chat", "superchat"], [&format!("bearer, {good}"), "chat"]] {
        let lists = lists.map(str::to_owned);
        for kind in ["strict", "missing", "forward"] {
            let response = handshake(&format!("/{kind}-marked"), &lists).send(gateway.addr());
            assert_problem(&format!("{kind} {lists:?}"), &response, 400, "token_multiple");
        }
        let record = passed(&gateway, "two fields", &handshake("/failed-marked", &lists), false);
        let left = record.headers_named("sec-websocket-protocol").join(",");
        assert!(!left.contains("eyJ"), "{lists:?}: {left}");
    }
    // A name that servers fold.
    let folded = request("/missing-marked", &[("sec_websocket_protocol", &format!("bearer, {good}"))]);
    assert_problem("a folded name", &folded.send(gateway.addr()), 400, "request_ambiguous");
    gateway.assert_sound();
}

#[test]
fn the_scheme_dpop_is_refused_for_bound_tokens_or_taken_as_bearer() {
    let gateway = start();
    let idp = &gateway.idp;
    let bound =
        idp.mint().claim("cnf", json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })).sign();
    let plain = idp.token(json!({}));
    let forged = harness::idp::flip_bit(&plain);
    let expired = idp.mint().expires_in(-100).sign();
    for (token, by_reject, by_ignore) in [
        (&bound, "token_rejected", None),
        (&plain, "token_missing", None),
        (&forged, "token_missing", Some("token_rejected")),
        (&expired, "token_missing", Some("expired")),
        (&"opaque".to_owned(), "token_missing", Some("token_malformed")),
    ] {
        for (scheme, h2) in [("DPoP", false), ("dpop ", false), ("DPOP", true)] {
            let value = format!("{scheme} {token}");
            let sent = |path: &str| {
                request(path, &[("authorization", &value), ("dpop", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln")])
            };
            let what = format!("{scheme} {by_reject} {by_ignore:?}");
            for kind in ["strict", "missing"] {
                let path = format!("/{kind}-usual?{}", scheme.trim());
                let response = send(&gateway, &sent(&path), h2);
                if kind == "missing" && by_reject == "token_missing" {
                    // It is of another scheme.
                    assert_eq!(response.status, 200, "{what}");
                    let record = gateway.upstream.take().pop().expect("a request");
                    assert_eq!(record.headers_named("authorization"), [value.as_str()], "{what}");
                    continue;
                }
                assert_problem(&what, &response, 401, by_reject);
                // Until the signature holds, the client is not told why.
                if by_reject == "token_rejected" {
                    assert_eq!(gateway.logged(&path)["details"], "portcullis_token_bound", "{what}");
                }
            }
            let response = send(&gateway, &sent("/strict-ignoring"), h2);
            match by_ignore {
                Some(reason) => assert_problem(&what, &response, 401, reason),
                None => {
                    assert_eq!(response.status, 200, "{what}: {}", response.text());
                    let record = gateway.upstream.take().pop().expect("a request");
                    for name in ["authorization", "dpop"] {
                        assert_eq!(record.headers_named(name), [""; 0], "{what} {name}");
                    }
                    let record = passed(&gateway, &what, &sent("/forward-ignoring"), h2);
                    assert_eq!(record.headers_named("authorization"), [value.as_str()], "{what}");
                    assert_eq!(record.headers_named("dpop").len(), 1, "{what}");
                }
            }
            // A bad token that is borne goes, and its proof with it.
            for path in ["/failed-ignoring", "/forward-failed-ignoring"] {
                let record = passed(&gateway, &what, &sent(path), h2);
                let travels = path.starts_with("/forward") && by_ignore.is_none();
                for name in ["authorization", "dpop"] {
                    assert_eq!(
                        record.headers_named(name).len(),
                        usize::from(travels),
                        "{what} {path} {name}"
                    );
                }
            }
            let record = passed(&gateway, &what, &sent("/failed-usual"), h2);
            let stays = by_reject == "token_missing";
            assert_eq!(record.headers_named("authorization").len(), usize::from(stays), "{what}");
        }
    }
    // Two credentials are two, in whichever schemes.
    let (bearer, dpop) = (format!("Bearer {plain}"), format!("DPoP {bound}"));
    for fields in [
        vec![("authorization", bearer.as_str()), ("authorization", &dpop)],
        vec![("authorization", &dpop), ("authorization", &bearer)],
        vec![("authorization", &dpop), ("authorization", &dpop)],
    ] {
        for path in ["/strict-usual", "/strict-ignoring", "/missing-ignoring"] {
            let response = request(path, &fields).send(gateway.addr());
            assert_problem(&format!("{path} {}", fields[0].1), &response, 400, "token_multiple");
        }
    }
    let both = request("/strict-all", &[("authorization", &dpop), ("x-token", &plain)]);
    assert_problem("a bound token beside another", &both.send(gateway.addr()), 400, "token_multiple");
    // A stray proof says nothing of a token by itself.
    let stray = request("/strict-usual", &[("authorization", &bearer), ("dpop", "x")]);
    passed(&gateway, "a stray proof", &stray, false);
    gateway.assert_sound();
}

#[test]
fn a_header_of_ours_is_refused_beside_every_kind_of_token() {
    let gateway = Gateway::start(|idp| {
        let mut config = places(idp);
        config["spoofed_headers"] = json!("reject");
        for name in ["all", "marked", "ignoring"] {
            config["providers"][name]["claim_to_headers"] =
                json!([{ "header_name": "x-user", "claim_name": "sub" }]);
        }
        config
    });
    let good = gateway.idp.token(json!({}));
    let (cookie, list, dpop) = (format!("session={good}"), format!("bearer, {good}"), format!("DPoP {good}"));
    for (path, name, value) in [
        ("/strict-all", "cookie", &cookie),
        ("/strict-marked", "sec-websocket-protocol", &list),
        ("/strict-ignoring", "authorization", &dpop),
    ] {
        let record = passed(&gateway, path, &request(path, &[(name, value)]), false);
        assert_eq!(record.headers_named("x-user"), ["alice"], "{path}");
        let spoofed = request(path, &[(name, value), ("x_user", "mallory")]);
        assert_problem(path, &spoofed.send(gateway.addr()), 400, "request_ambiguous");
    }
    gateway.assert_sound();
}
