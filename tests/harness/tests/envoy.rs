//! A real Envoy starts, answers, and says why when it does not.

use std::time::Duration;

use harness::idp::flip_bit;
use harness::{Cluster, Envoy, Filter, Idp, Listener, PluginConfig, Request, SOON, Upstream, Wasm, get};
use serde_json::json;

/// Envoy's own filter with one provider, whose keys are fetched.
fn jwt_authn(idp: &Idp) -> Filter {
    Filter::JwtAuthn(json!({
        "providers": {
            "corp": {
                "issuer": idp.issuer(),
                "audiences": [idp.audience()],
                "remote_jwks": {
                    "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "5s" },
                },
            },
        },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
    }))
}

#[test]
fn two_listeners_logs_and_statistics() {
    let (idp, upstream) = (Idp::start(), Upstream::start());
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .idp("idp", &idp)
        .listener(Listener::new("native").filter(jwt_authn(&idp)))
        .concurrency(2)
        .start()
        .expect("Envoy starts");

    assert_eq!(get(envoy.addr(), "/open").json()["path"], "/open");

    let native = envoy.addr_of("native");
    assert_eq!(get(native, "/none").status, 401);
    for alg in [harness::Alg::RS256, harness::Alg::ES256] {
        let token = idp.mint().alg(alg).sign();
        assert_eq!(Request::get("/good").bearer(&token).send(native).status, 200, "{alg}");
        assert_eq!(Request::get("/bent").bearer(&flip_bit(&token)).send(native).status, 401, "{alg}");
    }
    // Each of the two workers fetches for itself.
    assert!((1..=2).contains(&idp.fetches()), "{} fetches", idp.fetches());
    assert!(upstream.requests().iter().all(|request| request.path() != "/bent"));

    let line = envoy.logged("/bent", SOON);
    assert_eq!((&line["status"], &line["listener"]), (&json!(401), &json!("native")));
    assert!(line["details"].as_str().is_some_and(|details| details.starts_with("jwt_authn_access_denied")));
    envoy.wait_for_access_log(6, SOON);

    assert_eq!(envoy.stat("http.native.jwt_authn.denied"), 3);
    envoy.wait_for_stat("cluster.upstream.upstream_rq_total", SOON, |count| count == 3);
    assert!(envoy.memory() > 10 << 20);
    assert!(envoy.cpu_time() > Duration::ZERO);
    assert!(envoy.is_running());
    let log = envoy.stop();
    assert!(log.contains("starting main dispatch loop"), "{log}");
}

#[test]
fn http2_to_the_upstream() {
    let upstream = Upstream::start();
    let envoy = Envoy::builder()
        .cluster("upstream", Cluster::new(upstream.addr()).http2())
        .start()
        .expect("Envoy starts");
    let answer = Request::grpc("/a.B/C").send_h2(envoy.addr());
    assert_eq!(answer.trailer("grpc-status").as_deref(), Some("0"));
    assert_eq!(upstream.last().version, "HTTP/2");
}

#[test]
fn a_wrong_bootstrap_is_an_error_with_the_log() {
    let error = Envoy::builder()
        .patch(|bootstrap| bootstrap["static_resources"]["clustres"] = json!([]))
        .start()
        .expect_err("an unknown field");
    assert_eq!(error.exit, Some(1));
    assert!(!error.lines_with("clustres").is_empty(), "{error}");
}

#[test]
fn a_module_that_is_none_is_an_error_with_the_log() {
    let folder = std::env::temp_dir().join(format!("portcullis-no-module-{}", std::process::id()));
    std::fs::write(&folder, b"\0asm is not all it takes").expect("a file");
    let error =
        Envoy::builder().filter(Wasm::new(&folder, PluginConfig::Absent)).start().expect_err("not a module");
    let _ = std::fs::remove_file(&folder);
    assert_eq!(error.exit, Some(1), "{error}");
    assert!(!error.lines_with("wasm").is_empty(), "{error}");
}

/// The filter in front of an upstream, with keys that are fetched.
fn gate(idp: &Idp, upstream: &Upstream) -> Result<Envoy, harness::StartError> {
    let config = json!({
        "providers": { "corp": {
            "issuer": idp.issuer(),
            "audiences": [idp.audience()],
            "remote_jwks": { "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "20s" } },
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
    });
    Envoy::builder().shared().upstream(upstream).idp("idp", idp).filter(Wasm::portcullis(config)).start()
}

#[test]
fn those_that_share_an_envoy_have_all_but_the_process_to_themselves() {
    let [(one, first), (two, second)] = [(); 2].map(|()| (Idp::start(), Upstream::start()));
    let (a, b) = (gate(&one, &first).expect("the first"), gate(&two, &second).expect("the second"));
    assert_ne!(a.addr(), b.addr());
    for (envoy, own, other) in [(&a, &one, &two), (&b, &two, &one)] {
        let ask =
            |idp: &Idp, path: &str| Request::get(path).bearer(&idp.mint().sign()).send(envoy.addr()).status;
        assert_eq!((ask(own, "/own"), ask(other, "/other")), (200, 401));
        assert_eq!(envoy.wait_for_access_log(2, SOON).len(), 2);
        assert_eq!(envoy.logged("/other", SOON)["listener"], json!("main"));
        assert!(envoy.faults().is_empty());
    }
    assert_eq!((first.count(), second.count()), (1, 1));

    let wrong = Wasm::portcullis(json!({ "of_this_one": 1 }));
    let refused = Envoy::builder().shared().upstream(&second).filter(wrong).start();
    let refused = refused.expect_err("no configuration");
    assert!(!refused.lines_with("wasm log: portcullis:   of_this_one: ").is_empty(), "{refused}");
    assert!(
        a.is_running() && !a.log().contains("of_this_one") && !a.log().contains("shared-"),
        "{}",
        a.log()
    );

    let gone = a.addr();
    drop(a);
    harness::wait::eventually("its place is taken away", SOON, || Request::get("/").try_send(gone).err());
    assert_eq!(Request::get("/own").bearer(&two.mint().sign()).send(b.addr()).status, 200);
}

#[test]
#[should_panic(expected = "serves other tests, too")]
fn what_would_tell_of_others_cannot_be_asked_of_one_that_is_shared() {
    let envoy = Envoy::builder().shared().main(|main| main.routes(json!([]))).start().expect("Envoy starts");
    envoy.stat("http.main.downstream_rq_total");
}

#[test]
fn what_is_refused_to_one_takes_nothing_from_those_that_come_beside_it() {
    let (idp, upstream) = (Idp::start(), Upstream::start());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let wrong = Wasm::portcullis(json!({ "of_this_one": 1 }));
                    let refused = Envoy::builder().shared().upstream(&upstream).filter(wrong).start();
                    assert!(refused.expect_err("no configuration").message.contains("rejected"));
                }
            });
            scope.spawn(|| {
                for _ in 0..5 {
                    gate(&idp, &upstream).expect("nothing is wrong with it");
                }
            });
        }
    });
}
