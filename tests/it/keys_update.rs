//! A new configuration comes while requests wait for keys: each of them is answered, and what was fetched is kept.

use crate::common;

use std::fs;
use std::time::Instant;

use common::{HeldKeys, SOON, config, corp, provider, with};
use harness::{Cluster, Connection, Envoy, Request, Upstream, Wasm};
use serde_json::{Value, json};

/// Moves the listeners of a bootstrap into a file that Envoy watches.
pub fn watched(bootstrap: &mut Value, folder: &std::path::Path) {
    let listeners = bootstrap["static_resources"]["listeners"].take();
    bootstrap["static_resources"].as_object_mut().expect("an object").remove("listeners");
    put(folder, &listeners);
    bootstrap["node"] = json!({ "id": "test", "cluster": "test" });
    bootstrap["dynamic_resources"] = json!({ "lds_config": {
        "resource_api_version": "V3",
        "path_config_source": { "path": folder.join("listeners.json"), "watched_directory": { "path": folder } },
    } });
}

/// Gives Envoy these listeners.
pub fn put(folder: &std::path::Path, listeners: &Value) {
    let mut resources = listeners.as_array().cloned().expect("a list");
    for listener in &mut resources {
        listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    }
    let fresh = folder.join("fresh");
    let content = json!({ "version_info": listeners.to_string().len().to_string(), "resources": resources });
    fs::write(&fresh, content.to_string()).expect("the file is written");
    fs::rename(fresh, folder.join("listeners.json")).expect("the file is put in place");
}

#[test]
fn a_new_configuration_leaves_nobody_waiting_and_keeps_what_was_fetched() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let keys = HeldKeys::start(&idp.jwks());
    let remote = json!({ "http_uri": { "uri": keys.uri(), "cluster": "held", "timeout": "20s" } });
    let corp_config = with(provider(&idp), json!({ "remote_jwks": remote }));
    let rules = json!([{ "match": { "prefix": "/" }, "requires": corp() }]);
    let folder = std::env::temp_dir().join(format!("portcullis-listeners-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let inside = folder.clone();
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .cluster("held", Cluster::new(keys.addr()))
        .concurrency(2)
        .filter(Wasm::portcullis(config(corp_config, rules)))
        .patch(move |bootstrap| watched(bootstrap, &inside))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({}));
    let mut waiting: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(envoy.addr()).expect("a connection");
            connection.write(&Request::get("/orders").bearer(&token)).expect("a request is sent");
            connection
        })
        .collect();
    envoy.wait_for_stat("http.main.downstream_rq_active", SOON, |active| active == 20);

    // The same with a public path in front, so that it can be told from the one before.
    let text = fs::read_to_string(folder.join("listeners.json")).expect("the listeners");
    let mut listeners: Value = serde_json::from_str(&text).expect("JSON");
    let mut listener = listeners["resources"][0].take();
    let place = if common::is_native() { "filter_config" } else { "config/configuration" };
    let filter = "/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config";
    let plugin =
        listener.pointer_mut(&format!("{filter}/{place}/value")).expect("the plugin's configuration");
    let mut changed: Value = serde_json::from_str(plugin.as_str().expect("text")).expect("JSON");
    let rules = changed["rules"].as_array_mut().expect("rules");
    rules.insert(0, json!({ "match": { "path": "/new" } }));
    *plugin = json!(changed.to_string());
    put(&folder, &json!([listener]));
    let eventually_new = || (Request::get("/new").send(envoy.addr()).status == 200).then_some(());
    harness::eventually("the new configuration", SOON, eventually_new);

    keys.release();
    for (number, connection) in waiting.iter_mut().enumerate() {
        let response = connection.read(false, Instant::now() + SOON);
        let response = response.unwrap_or_else(|error| panic!("request {number}: {error}"));
        assert_eq!(response.status, 200, "request {number}: {}", response.text());
    }
    for _ in 0..4 {
        assert_eq!(Request::get("/orders").bearer(&token).send(envoy.addr()).status, 200);
    }
    assert_eq!(keys.asked(), 1, "the new configuration has the keys of the old one");
    common::assert_sound(&envoy);
    let _ = fs::remove_dir_all(&folder);
}
