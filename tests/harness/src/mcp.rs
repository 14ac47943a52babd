//! A small MCP server with two tools, `read` and `write`, for the demo: over HTTP, without sessions, in the revisions
//! 2025-11-25 and 2026-07-28 of the Model Context Protocol.
//!
//! It checks what servers made with the SDKs check, and no more: it knows nothing of tokens, and runs what reaches it. Its
//! tools say for whom they ran, by the header `x-user`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONTENT_TYPE, HOST, HeaderMap};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};

use crate::door::{Door, Serve};

/// The revision in which every request stands for itself.
const NEWEST: &str = "2026-07-28";
/// The one before it.
const OLDER: &str = "2025-11-25";
/// The member of `_meta` in which a request of the newest revision says so.
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The tools, and what they say that they do.
const TOOLS: [(&str, &str); 2] = [("read", "Reads a file"), ("write", "Writes a file")];
/// No body of a client is larger.
const MAX_BYTES: usize = 64 << 10;

/// A running server. It stops when it is dropped.
pub struct McpServer {
    door: Door,
}

impl McpServer {
    /// A server here; port 0 takes a free one.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let serve: Arc<Serve> = Arc::new(|stream| {
            let own = stream.local_addr().map(|addr| addr.to_string()).unwrap_or_default();
            Box::pin(async move {
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let own = own.clone();
                    async move { Ok::<_, Infallible>(answer(request, &own).await) }
                });
                // A client that goes away in the middle is its own affair.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            })
        });
        Ok(Self { door: Door::open(addr, serve)? })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.door.addr()
    }
}

impl std::fmt::Debug for McpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "McpServer({})", self.addr())
    }
}

async fn answer(request: http::Request<Incoming>, own: &str) -> Response {
    let (parts, body) = request.into_parts();
    // As the SDKs do, lest a page reach it by a name of its own (DNS rebinding).
    if text(&parts.headers, HOST.as_str()) != Some(own) {
        return plain(421, "this server has another name\n");
    }
    match (parts.uri.path(), parts.method.as_str()) {
        ("/mcp", "POST") => {}
        // It has no session to follow, and none to end.
        ("/mcp", _) => return plain(405, "POST only\n"),
        _ => return plain(404, "it is at /mcp\n"),
    }
    let Ok(body) = axum::body::to_bytes(Body::new(body), MAX_BYTES).await else {
        return plain(413, "too large\n");
    };
    match serde_json::from_slice::<Value>(&body) {
        Ok(message) if message.is_object() => reply(&parts.headers, &message),
        _ => error(400, &Value::Null, -32_700, "the body is not one JSON-RPC message"),
    }
}

fn reply(headers: &HeaderMap, message: &Value) -> Response {
    let (method, params) = (message["method"].as_str().unwrap_or_default(), &message["params"]);
    let id = &message["id"];
    if id.is_null() {
        // A notification; it keeps none.
        return plain(202, "");
    }
    let is_newest = params["_meta"][VERSION] == NEWEST;
    if is_newest && !agree(headers, method, params) {
        return error(400, id, -32_020, "header fields and body disagree");
    }
    let result = match method {
        "initialize" => json!({
            "protocolVersion": OLDER, "capabilities": { "tools": {} }, "serverInfo": server_info(),
        }),
        "server/discover" => json!({
            "supportedVersions": [NEWEST], "capabilities": { "tools": {} }, "ttlMs": 0, "cacheScope": "private",
        }),
        "ping" => json!({}),
        "tools/list" => json!({ "tools": TOOLS.map(tool), "ttlMs": 0, "cacheScope": "private" }),
        "tools/call" => match call(headers, params) {
            Some(result) => result,
            None => return error(200, id, -32_602, "there is no such tool"),
        },
        _ => return error(if is_newest { 404 } else { 200 }, id, -32_601, "there is no such method"),
    };
    json_response(200, &json!({ "jsonrpc": "2.0", "id": id, "result": finished(result, is_newest) }))
}

/// Under the newest revision, what the header fields say has to be what the body says.
fn agree(headers: &HeaderMap, method: &str, params: &Value) -> bool {
    text(headers, "mcp-protocol-version") == Some(NEWEST)
        && text(headers, "mcp-method") == Some(method)
        && (method != "tools/call" || text(headers, "mcp-name") == params["name"].as_str())
}

fn call(headers: &HeaderMap, params: &Value) -> Option<Value> {
    let (name, _) = TOOLS.iter().find(|(name, _)| params["name"] == *name)?;
    let user = text(headers, "x-user").unwrap_or("nobody");
    Some(
        json!({ "content": [{ "type": "text", "text": format!("{name} ran for {user}") }], "isError": false }),
    )
}

fn tool((name, description): (&str, &str)) -> Value {
    json!({ "name": name, "description": description, "inputSchema": { "type": "object" } })
}

/// What every result of the newest revision has besides.
fn finished(mut result: Value, is_newest: bool) -> Value {
    if is_newest {
        result["resultType"] = json!("complete");
        result["_meta"] = json!({ "io.modelcontextprotocol/serverInfo": server_info() });
    }
    result
}

fn server_info() -> Value {
    json!({ "name": "demo", "version": "1" })
}

/// The one field of this name.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

fn error(status: u16, id: &Value, code: i32, message: &str) -> Response {
    let error = json!({ "code": code, "message": message });
    json_response(status, &json!({ "jsonrpc": "2.0", "id": id, "error": error }))
}

fn json_response(status: u16, value: &Value) -> Response {
    respond(status, "application/json", value.to_string())
}

fn plain(status: u16, body: &str) -> Response {
    respond(status, "text/plain", body.to_owned())
}

fn respond(status: u16, kind: &str, body: String) -> Response {
    let builder = Response::builder().status(status).header(CONTENT_TYPE, kind);
    let builder = if status == 405 { builder.header(ALLOW, "POST") } else { builder };
    builder.body(Body::from(body)).unwrap_or_default()
}
