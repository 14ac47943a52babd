//! An authorization server that nobody here wrote: oidc-provider, from npm. What it gives out passes, what it revokes
//! does not, and what it will not speak about shuts nobody else out.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::idp::b64;
use harness::{Cluster, Envoy, Port, Request, Response, SOON, Upstream, Wasm, wait::poll};
use serde_json::json;

use super::gateway::WORKERS;
use crate::common::{assert_problem, assert_sound};

const VERSION: &str = "9.13.3";
const SCRIPT: &str = include_str!("oidc_provider.mjs");

/// How long an answer counts.
const ACTIVE: Duration = Duration::from_secs(2);

/// A running server. It is stopped when it is dropped.
struct Server {
    child: Child,
    port: Port,
}

/// The folder with the package, which is fetched once; else why there is none.
fn package() -> Result<PathBuf, String> {
    for program in ["node", "npm"] {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Err(format!("{program} is not installed"));
        }
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oidc-provider-{VERSION}"));
    if !folder.join("node_modules/oidc-provider/package.json").exists() {
        // Another run may do the same: whoever is ready first has it.
        let fresh = folder.with_extension(std::process::id().to_string());
        fs::create_dir_all(&fresh).map_err(|error| error.to_string())?;
        fs::write(fresh.join("package.json"), r#"{"private":true,"type":"module"}"#)
            .map_err(|error| error.to_string())?;
        let arguments =
            ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--fetch-retries=1"];
        let installed = Command::new("npm")
            .args(arguments)
            .arg(format!("oidc-provider@{VERSION}"))
            .current_dir(&fresh)
            .stdin(Stdio::null())
            .output();
        let moved = match installed {
            Ok(output) if output.status.success() => fs::rename(&fresh, &folder).is_ok() || folder.exists(),
            _ => false,
        };
        let _ = fs::remove_dir_all(&fresh);
        if !moved {
            return Err(format!("npm cannot install oidc-provider {VERSION}"));
        }
    }
    Ok(folder)
}

impl Server {
    fn start(package: &Path) -> Self {
        // Its name is its address, so that it has to know its port before it starts.
        let port = Port::reserve();
        // Next to the package, where Node looks for it.
        let script = package.join(format!("server-{}.mjs", port.addr().port()));
        fs::write(&script, SCRIPT).expect("the script is written");
        let child = Command::new("node")
            .arg(&script)
            .arg(port.addr().port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let server = Self { child, port };
        let up = poll(SOON, || Request::get("/jwks").try_send(server.addr()).ok());
        let _ = fs::remove_file(&script);
        assert!(up.is_some_and(|answer| answer.status == 200), "oidc-provider does not answer");
        server
    }

    fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    fn post(&self, path: &str, form: &str) -> Response {
        let basic = BASE64_STANDARD.encode("svc:svc-secret");
        Request::post(path, form)
            .host(self.addr().to_string())
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .send(self.addr())
    }

    /// A token for this resource.
    fn token(&self, resource: &str) -> String {
        let form = format!("grant_type=client_credentials&scope=orders.read&resource=urn:orders:{resource}");
        let answer = self.post("/token", &form);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    fn revoke(&self, token: &str) {
        assert_eq!(self.post("/token/revocation", &format!("token={token}")).status, 200);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `/json` and `/signed`: the same server, asked by two clients of it.
fn gateway(server: &Server, upstream: &Upstream) -> Envoy {
    let http_uri = |path: &str| json!({ "uri": server.url(path), "cluster": "op", "timeout": "5s" });
    let block = |client: &str, secret: &str, accept: &str| {
        json!({
            "http_uri": http_uri("/token/introspection"),
            "client_id": client,
            "client_secret": { "environment_variable": secret },
            "accept": accept,
            "cache": { "active": format!("{}s", ACTIVE.as_secs()), "inactive": "1s" },
        })
    };
    let issuer = server.url("");
    let rule = |name: &str| {
        json!({
            "match": { "prefix": format!("/{name}") },
            "requires": { "provider_name": name },
            "authorize": { "scopes": { "all_of": ["orders.read"] } },
        })
    };
    let config = json!({
        "providers": {
            "json": {
                "issuer": issuer,
                "audiences": ["orders"],
                "introspection": block("gate:odd", "ODD", "json"),
                "claim_to_headers": [{ "header_name": "x-tenant", "claim_name": "tenant" }],
            },
            "signed": {
                "issuer": issuer,
                "audiences": ["orders"],
                "remote_jwks": { "http_uri": http_uri("/jwks") },
                "introspection": block("gate-signed", "SIGNED", "jwt"),
                "claim_to_headers": [{ "header_name": "x-tenant", "claim_name": "tenant" }],
            },
        },
        "rules": [rule("json"), rule("signed")],
    });
    let wasm =
        Wasm::portcullis(config).env("ODD", "p:w+d %2F/&=x%41 end").env("SIGNED", "gate-signed-secret");
    Envoy::builder()
        .upstream(upstream)
        .cluster("op", Cluster::new(server.addr()))
        .concurrency(u32::try_from(WORKERS).expect("few"))
        .log_level("info", "wasm:trace")
        .filter(wasm)
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_server_that_nobody_here_wrote_is_asked_and_its_word_counts() {
    let package = match package() {
        Ok(package) => package,
        Err(why) => {
            return harness::skip("a_server_that_nobody_here_wrote_is_asked_and_its_word_counts", &why);
        }
    };
    let server = Server::start(&package);
    let upstream = Upstream::start();
    let envoy = gateway(&server, &upstream);
    let ask = |path: &str, token: &str| Request::get(path).bearer(token).send(envoy.addr());
    for path in ["/json", "/signed"] {
        let token = server.token("opaque");
        for _ in 0..10 {
            let response = ask(path, &token);
            assert_eq!(response.status, 200, "{path}: {}", response.text());
            assert_eq!(response.echoed("x-tenant"), ["t1"], "{path}");
        }
        // It answers 400 to whatever looks like a JWT, its own among them: that is about this token alone.
        let foreign =
            format!("{}.{}.{}", b64(r#"{"alg":"none"}"#), b64("{}"), b64("a signature of somebody"));
        for jwt in [&foreign, &server.token("jwt")] {
            let response = ask("/json", jwt);
            assert_problem("a JWT", &response, 401, "token_inactive");
            let response = ask(path, &server.token("opaque"));
            assert_eq!(response.status, 200, "{path}: another token at the same time: {}", response.text());
        }
        assert_problem(path, &ask(path, &b64("nobody ever issued this one")), 401, "token_inactive");

        server.revoke(&token);
        let revoked = Instant::now();
        while revoked.elapsed() < ACTIVE + Duration::from_secs(1) {
            let response = ask(path, &token);
            assert!([200, 401].contains(&response.status), "{path}: {}", response.text());
        }
        for _ in 0..20 {
            assert_problem(path, &ask(path, &token), 401, "token_inactive");
        }
    }
    // Its JWTs are judged by themselves where its keys are known.
    assert_eq!(ask("/signed", &server.token("jwt")).status, 200);
    let log = envoy.log();
    for secret in ["p:w+d", "p%3Aw", "gate-signed-secret"] {
        assert!(!log.contains(secret), "a secret in the log");
    }
    assert_sound(&envoy);
}
