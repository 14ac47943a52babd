//! The steps of a client that knows only the URL of an MCP server.

use std::net::SocketAddr;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::Walker;
use super::step::Step;
use crate::client::Request;
use crate::idp::{b64, random};

/// Where the answer of a log-in would go, if there were a browser.
const REDIRECT_URI: &str = "http://127.0.0.1/callback";

/// Takes the steps, against the MCP server behind this address.
pub(super) fn all(walk: &mut Walker<'_>, addr: SocketAddr) -> Result<(), String> {
    let resource = format!("http://{addr}/mcp");
    let post = |with, body: Value| Step::new("POST", "/mcp", with).at(addr).message(&body);
    let tool = |name: &str| json!({ "name": name, "arguments": {} });
    walk.take(
        post("no token", call("tools/list", json!({})))
            .refused(401, &["token_missing"], "the answer says where to ask, and for what")
            .challenge(&["scope=\"mcp:use\"", "/.well-known/oauth-protected-resource/mcp\""]),
    )?;
    let idp = walk.target.idp;
    walk.take(
        Step::new("GET", "/.well-known/oauth-protected-resource/mcp", "no token")
            .at(addr)
            .passes("the gate itself says whose tokens it takes")
            .says(vec![resource.clone(), format!("http://{idp}")]),
    )?;
    let used = login(walk, &resource, "mcp:use")?;
    walk.take(
        post("a token for mcp:use, the tool read", call("tools/call", tool("read")))
            .bearer(&used)
            .refused(403, &["scope_insufficient"], "this tool asks for more, and says it")
            .challenge(&["error=\"insufficient_scope\"", "scope=\"mcp:use files:read\""]),
    )?;
    let read = login(walk, &resource, "mcp:use files:read")?;
    walk.take(
        post("a token for files:read, the tool read", call("tools/call", tool("read")))
            .bearer(&read)
            .passes("the client has logged in once more")
            .says(vec!["read ran for alice".to_owned()]),
    )?;
    walk.take(
        post("that token, the tool write", call("tools/call", tool("write")))
            .bearer(&read)
            .header("mcp-name", "write")
            .refused(403, &["scope_insufficient"], "each tool has its own scopes")
            .challenge(&["scope=\"mcp:use files:read files:write\""]),
    )
}

fn call(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// What a client does that finds its authorization server: it registers, has alice log in, and comes to a token.
fn login(walk: &Walker<'_>, resource: &str, scope: &str) -> Result<String, String> {
    let asked = json!({ "client_name": "walk", "redirect_uris": [REDIRECT_URI] });
    let client = walk.provider(&Request::post("/register", asked.to_string()))?;
    let client_id =
        client["client_id"].as_str().ok_or_else(|| format!("no client was registered: {client}"))?;
    let verifier = b64(random(32));
    let challenge = b64(digest(&SHA256, verifier.as_bytes()));
    let query = form(&[
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", REDIRECT_URI),
        ("scope", scope),
        ("resource", resource),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let sent = Request::get(format!("/authorize?{query}"))
        .try_send(walk.target.idp)
        .map_err(|error| format!("identity provider: {error}"))?;
    let location = sent.header("location").unwrap_or_default();
    let (_, answer) = location.split_once('?').unwrap_or_default();
    let code = form_urlencoded::parse(answer.as_bytes()).find(|(name, _)| name == "code");
    let (_, code) = code.ok_or_else(|| format!("the log-in gave no code: {location:?}"))?;
    let body = form(&[
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("client_id", client_id),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", &verifier),
        ("resource", resource),
    ]);
    let request = Request::post("/token", body).header("content-type", "application/x-www-form-urlencoded");
    let answer = walk.provider(&request)?;
    let token = answer["access_token"].as_str();
    token.map(str::to_owned).ok_or_else(|| format!("the code gave no token: {answer}"))
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
