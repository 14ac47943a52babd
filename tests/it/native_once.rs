//! On the dynamic module what was fetched is in memory once for the process, however many workers there are.

use crate::common;

use common::{SOON, config, corp, local_provider, with};
use harness::envoy::Host;
use harness::idp::now;
use harness::{Cluster, Documents, Envoy, Idp, Request, Upstream, Wasm, burst, eventually};
use portcullis::{
    RevocationDraft as Draft, RevocationIndex as Index, RevocationKey as Key, RevocationKind as Kind,
    Timestamp,
};
use serde_json::json;

const COUNT: usize = 1_000_000;
const PAGE: usize = 8192;
/// What the entries take in memory, once.
const SIZE: u64 = COUNT as u64 * 16;
const WORKERS: u32 = 4;

/// Resident bytes of an Envoy in which every worker refuses a revoked token, or, without a list, lets it pass.
fn resident(idp: &Idp, documents: Option<&Documents>, workers: u32) -> u64 {
    let upstream = Upstream::start();
    let mut gate = config(local_provider(idp), json!([{ "match": { "prefix": "/" }, "requires": corp() }]));
    let mut builder = Envoy::builder().upstream(&upstream).concurrency(workers);
    if let Some(documents) = documents {
        let uri = json!({ "uri": documents.uri("/index.json"), "cluster": "lists", "timeout": "5s" });
        gate = with(gate, json!({ "revocation": { "lists": [{ "http_uri": uri }] } }));
        builder = builder.cluster("lists", Cluster::new(documents.addr()));
    }
    let envoy = builder
        .filter(Wasm::portcullis(gate).on(Host::Native))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let request = Request::get("/").bearer(&idp.token(json!({ "jti": "jti-7" })));
    let wanted = if documents.is_some() { 401 } else { 200 };
    eventually("every worker has the list", SOON, || {
        // On connections of their own, which the kernel spreads over the workers.
        let answers = burst(envoy.addr(), 64, |_| request.clone());
        answers.iter().all(|answer| answer.status == wanted).then_some(())
    });
    envoy.memory()
}

#[test]
fn a_list_of_a_million_takes_as_much_memory_with_four_workers_as_with_one() {
    let (idp, documents) = (common::idp(), Documents::start());
    let mut draft = Draft::default();
    let until = Some(now() as u64 + 3600);
    (0..COUNT).for_each(|n| draft.entry(Key::new(Kind::Token, idp.issuer(), &format!("jti-{n}")), until));
    let list = draft.finish(PAGE, Timestamp::from_secs(0));
    for page in list.pages() {
        documents.put(&Index::page_path("/index.json", page.digest()), page.bytes().to_vec());
    }
    documents.put("/index.json", list.index().to_json());
    let more = |workers| {
        let [with, without] = [Some(&documents), None].map(|documents| resident(&idp, documents, workers));
        with.saturating_sub(without)
    };
    let (one, all) = (more(1), more(WORKERS));
    println!("a list of {COUNT}: {one} bytes more with one worker, {all} with {WORKERS}");
    assert!(one > SIZE / 2, "{one}: the list is there");
    assert!(all < one + SIZE / 2, "{all} with {WORKERS} workers, {one} with one: no worker has its own");
}
