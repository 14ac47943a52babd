//! PHP behind a real Envoy: the token and the identity that a program reads are those that were judged, however their
//! names are spelled.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::envoy::spawn;
use harness::{Cluster, Envoy, Port, Request, Wasm, eventually, skip};
use serde_json::{Value, json};

use crate::common::{SOON, corp, idp, local_provider, with};
use crate::readers::servers::is_php_here;

/// Fields and target; `GOOD` stands for the token that is judged, `EVIL` for one that is not.
type Row = (&'static [(&'static str, &'static str)], &'static str);

const ROWS: [Row; 22] = [
    (&[("cookie", "session_id=GOOD")], "/"),
    (&[("cookie", "session_id=GOOD; session.id=EVIL")], "/"),
    (&[("cookie", "session.id=EVIL; session_id=GOOD")], "/"),
    (&[("cookie", "session%5fid=EVIL; session_id=GOOD")], "/"),
    (&[("cookie", "session[id=EVIL; session_id=GOOD")], "/"),
    (&[("cookie", "session_id[]=EVIL; session_id=GOOD")], "/"),
    (&[("cookie", "session_id=GOOD; x=y session_id=EVIL")], "/"),
    (&[("cookie", "session id=EVIL; session_id=GOOD")], "/"),
    (&[("cookie", "session+id=EVIL"), ("cookie", "session_id=GOOD")], "/"),
    (&[("cookie", "session_id=GOOD"), ("cookie", "session_id=EVIL")], "/"),
    (&[], "/?access_token=GOOD"),
    (&[], "/?access_token=GOOD&access.token=EVIL"),
    (&[], "/?access.token=EVIL&access_token=GOOD"),
    (&[], "/?access_token=GOOD&access+token=EVIL"),
    (&[], "/?access_token=GOOD&access%20token=EVIL"),
    (&[], "/?access_token=GOOD&access[token=EVIL"),
    (&[], "/?access_token=GOOD&access_token[]=EVIL"),
    (&[], "/?access_token=GOOD&%20access_token=EVIL"),
    (&[], "/?access_token=GOOD&access_token%00x=EVIL"),
    (&[("x-token", "GOOD"), ("x_token", "EVIL")], "/"),
    (&[("x-token", "GOOD"), ("x.token", "EVIL")], "/"),
    (&[("x-token", "GOOD"), ("x_user", "EVIL"), ("x.user", "EVIL")], "/"),
];

/// What the program says of a request: the tokens in cookie, query and field, and the user.
fn told(text: &str) -> Option<[String; 4]> {
    let values = text.lines().map(|line| serde_json::from_str::<Value>(line).ok());
    // A list is one too, and tells what is in it.
    let values: Option<Vec<String>> =
        values.map(|value| value.map(|v| v.as_str().map_or(v.to_string(), str::to_owned))).collect();
    values?.try_into().ok()
}

#[test]
fn a_program_in_php_reads_the_token_that_was_judged() {
    if let Err(why) = is_php_here() {
        return skip("php::a_program_in_php_reads_the_token_that_was_judged", &why);
    }
    let www = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readers-php-{}", std::process::id()));
    fs::create_dir_all(&www).expect("a folder");
    fs::write(www.join("index.php"), include_str!("servers/token.php")).expect("a file");
    let port = Port::reserve();
    let addr = port.addr();
    let mut command = Command::new("php");
    command.args(["-S", &addr.to_string(), "-t"]).arg(&www);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut php = spawn(command).expect("php starts");
    eventually("php to serve", SOON, || Request::get("/").try_send(addr).ok());

    let idp = idp();
    let places = json!({
        "forward": true,
        "from_headers": [{ "name": "x-token" }],
        "from_cookies": ["session_id"],
        "from_params": ["access_token"],
        "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
    });
    let config = json!({
        "providers": { "corp": with(local_provider(&idp), places) },
        "rules": [{ "match": { "prefix": "/" }, "requires": corp() }],
    });
    let builder =
        Envoy::builder().shared().concurrency(1).cluster("upstream", Cluster::new(addr)).idp("idp", &idp);
    let envoy = builder.filter(Wasm::portcullis(config)).start().unwrap_or_else(|error| panic!("{error}"));
    let good = idp.token(json!({ "sub": "ann" }));
    let (mut wrong, mut passed) = (Vec::new(), 0);
    for (fields, target) in ROWS {
        let put = |text: &str| text.replace("GOOD", &good).replace("EVIL", "not.judged.at-all");
        let request = Request::get(put(target));
        let request = fields.iter().fold(request, |request, (name, value)| request.header(name, put(value)));
        let answer = request.send(envoy.addr());
        if answer.status != 200 {
            continue;
        }
        passed += 1;
        let text = answer.text();
        let told = told(&text);
        let judged = |[cookie, param, field, user]: &[String; 4]| {
            [cookie, param, field].iter().all(|token| token.is_empty() || **token == good) && user == "ann"
        };
        if !told.as_ref().is_some_and(judged) {
            wrong.push(format!("{fields:?} {target}: {text}"));
        }
    }
    let _ = php.kill();
    let _ = php.wait();
    let _ = fs::remove_dir_all(&www);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(passed >= 2, "only {passed} passed");
}
