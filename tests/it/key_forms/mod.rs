//! Keys as they are published, put to Envoy's own `jwt_authn` and to Portcullis in one Envoy.
//!
//! Each form is a document that a server publishes, and a token that its key signed. Both filters fetch the same
//! documents and get the same tokens. What one lets pass the other lets pass, but for the table "Key sets: where the two
//! differ" of `docs/migration.md`: each row says who accepts, and why. A form that differs without a row, or not as the
//! row says, and a row that no form shows all fail the test.

pub(crate) mod certificate;
mod forms;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::client::Connection;
use harness::envoy::MAIN;
use harness::{Cluster, Documents, Envoy, Filter, Listener, Request, Wasm};
use serde_json::{Value, json};

use crate::common::native::{NATIVE, OWN, merged, reasons};
use forms::{AUDIENCE, Form, ISSUER, Place};

/// A row of the page.
#[derive(Debug)]
struct Row {
    native: bool,
    own: bool,
}

/// The rows of the page's table, by their ids.
fn rows() -> BTreeMap<String, Row> {
    let page = include_str!("../../../docs/migration.md");
    let (_, rest) = page.split_once("Key sets: where the two differ\n").expect("the section");
    let section = rest.split("\n#").next().unwrap_or_default();
    let accepts = |cell: &str| match cell.trim() {
        cell if cell.starts_with("accepts") => true,
        cell if cell.starts_with("refuses") => false,
        cell => panic!("{cell:?} begins neither with accepts nor with refuses"),
    };
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [id, _, native, own, why] = cells[..] else { panic!("five cells: {line}") };
        assert!(why.trim().len() > 20, "a reason: {line}");
        let id = id.trim().trim_matches('`').to_owned();
        (id, Row { native: accepts(native), own: accepts(own) })
    };
    section.lines().filter(|line| line.starts_with("| `")).map(row).collect()
}

fn config(forms: &[Form], documents: &Documents, own: bool) -> Value {
    let provider = |number: usize, form: &Form| {
        let keys = match form.place {
            Place::Remote => json!({ "remote_jwks": { "http_uri": {
                "uri": documents.uri(&format!("/{number}")), "cluster": "documents", "timeout": "10s",
            } } }),
            Place::Local => {
                json!({ "local_jwks": { "inline_string": String::from_utf8_lossy(&form.document) } })
            }
        };
        let usual = json!({ "issuer": ISSUER, "audiences": [AUDIENCE] });
        // Portcullis verifies with a secret only where its algorithm is named.
        let secret = form.place == Place::Local && own;
        let more = if secret { json!({ "algorithms": ["HS256", "HS384", "HS512"] }) } else { json!({}) };
        (format!("f{number}"), merged(&[&usual, &keys, &more]))
    };
    let providers = forms.iter().enumerate().map(|(number, form)| provider(number, form));
    let rule = |number: usize| json!({ "match": { "path": format!("/form/{number}") }, "requires": { "provider_name": format!("f{number}") } });
    let rules: Vec<Value> = (0..forms.len()).map(rule).collect();
    json!({ "providers": Value::Object(providers.collect()), "rules": rules })
}

/// A listener that is asked over one connection for as long as it keeps that open.
struct Asked<'e> {
    envoy: &'e Envoy,
    listener: &'static str,
    connection: Option<Connection>,
}

impl Asked<'_> {
    /// Whether it accepts the token of a form.
    fn accepts(&mut self, number: usize, form: &Form) -> bool {
        let request = Request::get(format!("/form/{number}")).bearer(&form.token);
        let answer = self.connection.as_mut().and_then(|connection| connection.try_send(&request).ok());
        let answer = answer.unwrap_or_else(|| {
            let addr = self.envoy.addr_of(self.listener);
            self.connection.insert(Connection::open(addr).expect("a connection")).send(&request)
        });
        assert!(
            matches!(answer.status, 200 | 401 | 503),
            "{}, {}: {} {}",
            self.listener,
            form.name,
            answer.status,
            answer.text()
        );
        answer.status == 200
    }
}

#[test]
fn published_keys_are_judged_as_jwt_authn_judges_them_but_for_what_the_page_says() {
    let (forms, rows) = (forms::all(), rows());
    assert!(forms.len() >= 120, "only {} forms", forms.len());
    let names: BTreeSet<&str> = forms.iter().map(|form| form.name.as_str()).collect();
    assert_eq!(names.len(), forms.len(), "each form has a name of its own");

    let documents = Documents::start();
    for (number, form) in forms.iter().enumerate() {
        documents.put(&format!("/{number}"), form.document.clone());
    }
    let answer = || json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]);
    let (native, own) = (config(&forms, &documents, false), config(&forms, &documents, true));
    let envoy = Envoy::builder()
        .shared()
        .cluster("documents", Cluster::new(documents.addr()))
        .main(|listener| listener.routes(answer()))
        .listener(Listener::new(NATIVE).filter(Filter::JwtAuthn(native)).routes(answer()))
        .listener(Listener::new(OWN).filter(Wasm::portcullis(own)).routes(answer()))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(envoy.addr_of(MAIN), envoy.addr_of(OWN));
    let [mut native, mut own] =
        [NATIVE, OWN].map(|listener| Asked { envoy: &envoy, listener, connection: None });
    let verdicts: Vec<(bool, bool)> = forms
        .iter()
        .enumerate()
        .map(|(number, form)| (native.accepts(number, form), own.accepts(number, form)))
        .collect();

    envoy.wait_for_access_log(2 * forms.len(), Duration::from_secs(30));
    let reasons = reasons(&envoy, |listener| listener == OWN);
    let (mut wrong, mut shown) = (Vec::new(), BTreeSet::new());
    for (number, (form, (native, own))) in forms.iter().zip(&verdicts).enumerate() {
        let as_written = match rows.get(form.differs) {
            Some(row) => (row.native, row.own) == (*native, *own),
            None => form.differs.is_empty() && native == own && *own == form.accepted,
        };
        if !as_written {
            let does = |verdict: bool| if verdict { "accepts" } else { "refuses" };
            let reason = reasons.get(&number).map_or("", String::as_str);
            wrong.push(format!(
                "{} ({:?}): jwt_authn {}, Portcullis {} {reason}",
                form.name,
                form.differs,
                does(*native),
                does(*own)
            ));
        }
        shown.insert(form.differs);
    }
    assert!(wrong.is_empty(), "{} of {} forms:\n{}", wrong.len(), forms.len(), wrong.join("\n"));
    for id in rows.keys() {
        assert!(shown.contains(id.as_str()), "no form shows the row {id:?} of docs/migration.md");
    }
    let accepted = verdicts.iter().filter(|(_, own)| *own).count();
    println!("{} forms, of which Portcullis accepts {accepted}; {} rows", forms.len(), rows.len());
}
