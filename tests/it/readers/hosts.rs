//! Virtual hosts of a real Envoy: none that asks for a token answers without one, however the authority is spelled.

use harness::{Envoy, Idp, Listener, Request, Wasm};
use serde_json::{Value, json};

use crate::common::{assert_sound, config, corp, idp, local_provider};

/// What the virtual hosts answer.
const OPEN: &str = "the open virtual host";
const GUARDED: &str = "the guarded virtual host";

/// How a connection manager reads the authority: fields of it, and of its route table.
const READINGS: [(&str, &[&str], bool); 5] = [
    ("as-it-comes", &[], false),
    ("ports-ignored", &[], true),
    ("ports-stripped", &["strip_any_host_port"], false),
    ("dots-stripped", &["strip_trailing_host_dot"], false),
    ("both-stripped", &["strip_any_host_port", "strip_trailing_host_dot"], false),
];

/// What may stand behind a host, and before it.
const ENDS: [&str; 18] = [
    "", ":80", ":8080", ":443", ":0", ":", ".", ".:80", ":80.", "..", ":x", ":80x", ":+80", ":8080:80",
    ":-1", ":%38", "%2e", ":80,",
];
const STARTS: [&str; 5] = ["", "u@", "other.example@", "guarded.example:80@", "open.example@"];

/// A virtual host that answers by itself.
fn virtual_host(name: &str, domain: &str, text: &str) -> Value {
    let answer = json!({ "status": 200, "body": { "inline_string": text } });
    json!({ "name": name, "domains": [domain], "routes": [{ "match": { "prefix": "/" }, "direct_response": answer }] })
}

/// Which of the two is named: the other is for all other hosts.
#[derive(Clone, Copy, Debug)]
enum Named {
    Open,
    Guarded,
}

fn listener(name: &str, named: Named, reading: &(&str, &[&str], bool), idp: &Idp) -> Listener {
    let (of_named, of_rest, host) = match named {
        Named::Open => (OPEN, GUARDED, "open.example"),
        Named::Guarded => (GUARDED, OPEN, "guarded.example"),
    };
    let routes = json!({
        "name": name,
        "ignore_port_in_host_matching": reading.2,
        "virtual_hosts": [virtual_host("named", host, of_named), virtual_host("rest", "*", of_rest)],
    });
    let rules = match named {
        Named::Open => json!([
            { "match": { "prefix": "/", "hosts": [host] } },
            { "match": { "prefix": "/" }, "requires": corp() },
        ]),
        Named::Guarded => json!([
            { "match": { "prefix": "/", "hosts": [host] }, "requires": corp() },
            { "match": { "prefix": "/" } },
        ]),
    };
    let filter = Wasm::portcullis(config(local_provider(idp), rules));
    let listener = Listener::new(name).filter(filter).route_config(routes);
    reading.1.iter().fold(listener, |listener, field| listener.hcm(field, json!(true)))
}

#[test]
fn no_virtual_host_answers_without_its_token_however_the_authority_is_spelled() {
    let idp = idp();
    let mut builder =
        Envoy::builder().shared().concurrency(1).idp("idp", &idp).main(|main| main.routes(json!([])));
    let mut listeners = Vec::new();
    for named in [Named::Open, Named::Guarded] {
        for reading in &READINGS {
            let name = format!("{named:?}-{}", reading.0).to_lowercase();
            builder = builder.listener(listener(&name, named, reading, &idp));
            listeners.push(name);
        }
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({}));
    let (mut open, mut passed) = (Vec::new(), 0);
    for name in &listeners {
        let addr = envoy.addr_of(name);
        let host = name.split('-').next().expect("a name");
        let with_token = Request::get("/").host(format!("{host}.example")).bearer(&token).send(addr);
        assert_eq!(with_token.status, 200, "{name}: {}", with_token.text());
        for (start, end) in STARTS.iter().flat_map(|start| ENDS.map(|end| (*start, end))) {
            for host in ["open.example", "guarded.example", "OPEN.example", "Guarded.Example"] {
                let request = Request::get("/").host(format!("{start}{host}{end}"));
                // Over HTTP/2 Envoy takes no user for an authority, and lets a second pass before it says so.
                let http2 = start.is_empty().then(|| request.try_send_h2(addr).ok()).flatten();
                let answers = [request.try_send(addr).ok(), http2];
                for answer in answers.into_iter().flatten() {
                    passed += usize::from(answer.text() == OPEN);
                    if answer.text() == GUARDED {
                        open.push(format!("{name}: {start}{host}{end}"));
                    }
                }
            }
        }
    }
    assert!(open.is_empty(), "{}", open.join("\n"));
    assert!(passed > 0, "nothing passed");
    assert_sound(&envoy);
}
