//! A glewlwyd on loopback, from Debian's packages `glewlwyd` and `rnbyc`: started, set up over its own API, stopped.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use harness::{Port, Request, Response, SOON, wait::poll};
use serde_json::{Value, json};

const TABLES: &str = "/usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz";
const MODULES: &str = "/usr/lib/glewlwyd";
/// The secret of each of its clients.
pub(crate) const SECRET: &str = "a-secret-of-thirty-two-characters";
/// What its tokens are for.
pub(crate) const RESOURCE: &str = "https://orders.example.com/";

/// A running server. It is stopped, and its folder goes, when it is dropped.
pub(crate) struct Glewlwyd {
    child: Child,
    folder: PathBuf,
    port: Port,
    session: String,
    /// Its private keys; the first is the one that it signs with.
    keys: Vec<Value>,
}

/// Why there is none: in words for whoever runs the tests.
pub(crate) fn missing() -> Option<String> {
    for (program, argument) in [("glewlwyd", "--version"), ("rnbyc", "--version"), ("python3", "--version")] {
        let found = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return Some(format!("{program} is not installed (Debian's packages glewlwyd and rnbyc)"));
        }
    }
    let files = [TABLES, MODULES].into_iter().find(|file| !Path::new(file).exists());
    files.map(|file| format!("{file} is missing; Debian's package glewlwyd has it"))
}

impl Glewlwyd {
    /// Starts one that holds these keys and has a client for each, named after the key.
    pub(crate) fn start(keys: Vec<Value>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("portcullis-glewlwyd-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("none")).expect("a folder");
        // Its name is its address, so that it has to know its port before it starts.
        let port = Port::reserve();
        let child = launch(&folder, port.addr());
        let mut server = Self { child, folder, port, session: String::new(), keys };
        let up = poll(SOON, || Request::get("/api/").try_send(server.addr()).ok());
        assert!(up.is_some(), "glewlwyd does not answer at {}:\n{}", server.addr(), server.log());
        server.set_up();
        server
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}/api/oidc", self.addr())
    }

    /// A token of the client that signs with this key; no client is named: the one that signs with the first.
    pub(crate) fn token(&self, client: &str) -> String {
        let form =
            form(&[("grant_type", "client_credentials"), ("scope", "orders.read"), ("resource", RESOURCE)]);
        let answer = self.post_as(client, "/api/oidc/token", &form);
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// Revokes a token of a client.
    pub(crate) fn revoke(&self, client: &str, token: &str) {
        self.post_as(client, "/api/oidc/revoke", &form(&[("token", token)]));
    }

    fn post_as(&self, client: &str, path: &str, form: &str) -> Response {
        let basic = BASE64_STANDARD.encode(format!("{client}:{SECRET}"));
        let request = Request::post(path, form)
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/x-www-form-urlencoded");
        self.checked(&request)
    }

    /// What it publishes.
    pub(crate) fn published(&self) -> Vec<String> {
        let set = Request::get("/api/oidc/jwks").send(self.addr()).json();
        let keys = set["keys"].as_array().expect("a key set");
        keys.iter().map(|key| key["kid"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Puts a new key before all others, or, with none, drops all but the first.
    pub(crate) fn rotate(&mut self, fresh: Option<Value>) {
        match fresh {
            Some(key) => self.keys.insert(0, key),
            None => self.keys.truncate(1),
        }
        let path = "/api/mod/plugin/oidc";
        let mut plugin = self.get(path);
        plugin["parameters"]["jwks-private"] = json!(json!({ "keys": self.keys }).to_string());
        self.api("PUT", path, &plugin);
        self.api("PUT", "/api/mod/plugin/oidc/reset", &json!({}));
    }

    fn set_up(&mut self) {
        let login =
            Request::post("/api/auth/", json!({ "username": "admin", "password": "password" }).to_string())
                .header("content-type", "application/json");
        let cookie = self.checked(&login).header("set-cookie").expect("a session");
        cookie.split(';').next().unwrap_or_default().clone_into(&mut self.session);
        // A client may name the key that its tokens are signed with.
        let mut clients = self.get("/api/mod/client/database");
        clients["parameters"]["data-format"]["key"] = json!({
            "multiple": false, "read": true, "write": true, "profile-read": false, "profile-write": false,
        });
        self.api("PUT", "/api/mod/client/database", &clients);
        self.api("PUT", "/api/mod/client/database/reset", &json!({}));
        self.api("POST", "/api/mod/plugin/", &self.plugin());
        let scope = json!({ "name": "orders.read", "display_name": "read", "password_required": false, "scheme": {} });
        self.api("POST", "/api/scope/", &scope);
        self.add_client("first", None);
        for key in &self.keys {
            let kid = key["kid"].as_str().expect("a kid");
            self.add_client(kid, Some(kid));
        }
    }

    fn add_client(&self, name: &str, key: Option<&str>) {
        let mut client = json!({
            "client_id": name,
            "name": name,
            "enabled": true,
            "confidential": true,
            "client_secret": SECRET,
            "password": SECRET,
            "token_endpoint_auth_method": ["client_secret_basic"],
            "authorization_type": ["client_credentials", "introspection", "revocation"],
            "redirect_uri": [],
            "scope": ["orders.read"],
        });
        if let Some(key) = key {
            client["key"] = json!(key);
        }
        self.api("POST", "/api/client/", &client);
    }

    /// OpenID Connect with access tokens for one resource.
    fn plugin(&self) -> Value {
        let mut parameters = json!({
            "iss": self.issuer(),
            "jwks-show": true,
            "jwks-private": json!({ "keys": self.keys }).to_string(),
            "default-kid": "",
            "client-sign_kid-parameter": "key",
            "subject-type": "public",
            "access-token-duration": 3600,
            "refresh-token-duration": 3600,
            "code-duration": 600,
            "refresh-token-one-use": "never",
            "name-claim": "no",
            "email-claim": "no",
            "scope-claim": "no",
            "scope": [],
            "claims": [],
            "additional-parameters": [],
            "allowed-scope": ["openid", "orders.read"],
            "resource-scope": { "orders.read": [RESOURCE] },
            "introspection-revocation-auth-scope": [],
        });
        let flags = [
            ("allow-non-oidc", true),
            ("refresh-token-rolling", true),
            ("auth-type-client-enabled", true),
            ("auth-type-code-enabled", true),
            ("auth-type-code-revoke-replayed", false),
            ("auth-type-token-enabled", false),
            ("auth-type-id-token-enabled", true),
            ("auth-type-none-enabled", false),
            ("auth-type-password-enabled", false),
            ("auth-type-device-enabled", false),
            ("auth-type-refresh-enabled", false),
            ("request-parameter-allow", false),
            ("encrypt-out-token-allow", false),
            ("introspection-revocation-allowed", true),
            ("introspection-revocation-allow-target-client", true),
            ("register-client-allowed", false),
            ("session-management-allowed", false),
            ("pkce-allowed", false),
            ("resource-allowed", true),
            ("resource-change-allowed", true),
            ("resource-scope-and-client-property", false),
        ];
        for (name, on) in flags {
            parameters[name] = json!(on);
        }
        json!({
            "module": "oidc",
            "name": "oidc",
            "display_name": "OpenID Connect",
            "enabled": true,
            "readonly": false,
            "parameters": parameters,
        })
    }

    fn get(&self, path: &str) -> Value {
        self.checked(&Request::get(path).header("cookie", &self.session)).json()
    }

    fn api(&self, method: &str, path: &str, body: &Value) {
        let request = Request::new(method, path)
            .header("cookie", &self.session)
            .header("content-type", "application/json")
            .body(body.to_string());
        self.checked(&request);
    }

    fn checked(&self, request: &Request) -> Response {
        let response = request.send(self.addr());
        let (text, log) = (response.text(), self.log());
        assert_eq!(response.status, 200, "{request:?}: {text}\nits log:\n{log}");
        response
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Glewlwyd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn launch(folder: &Path, addr: SocketAddr) -> Child {
    let database = folder.join("database");
    let fill = "import gzip, sqlite3, sys\n\
                sqlite3.connect(sys.argv[2]).executescript(gzip.open(sys.argv[1], 'rt').read())";
    let filled = Command::new("python3").args(["-c", fill, TABLES]).arg(&database).status();
    assert!(filled.is_ok_and(|status| status.success()), "the database is filled");
    let place = |name: &str| format!("{MODULES}/{name}");
    let (log, none) = (folder.join("log"), folder.join("none"));
    let text = format!(
        "port={port}\nbind_address=\"127.0.0.1\"\nexternal_url=\"http://{addr}\"\nlogin_url=\"login.html\"\n\
         api_prefix=\"api\"\nstatic_files_path={none:?}\nlog_mode=\"file\"\nlog_level=\"INFO\"\nlog_file={log:?}\n\
         cookie_domain=\"127.0.0.1\"\ncookie_secure=0\nsession_expiration=3600\nsession_key=\"session\"\n\
         admin_scope=\"g_admin\"\nprofile_scope=\"g_profile\"\nhash_algorithm=\"SHA512\"\n\
         user_module_path={user:?}\nuser_middleware_module_path={none:?}\nclient_module_path={client:?}\n\
         user_auth_scheme_module_path={scheme:?}\nplugin_module_path={plugin:?}\n\
         database = {{ type = \"sqlite3\" path = {database:?} }};\n",
        port = addr.port(),
        user = place("user"),
        client = place("client"),
        scheme = place("scheme"),
        plugin = place("plugin"),
    );
    let config = folder.join("config");
    fs::write(&config, text).expect("its configuration is written");
    let mut command = Command::new("glewlwyd");
    command.arg(format!("--config-file={}", config.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("glewlwyd starts")
}

fn form(fields: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.replace(':', "%3A").replace('/', "%2F");
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    fields.join("&")
}

/// A new private key, as the tool of glewlwyd's own library makes it.
pub(crate) fn make_key(kind: &str, alg: &str, kid: &str) -> Value {
    let file = std::env::temp_dir().join(format!("portcullis-key-{}-{kid}", std::process::id()));
    let made = Command::new("rnbyc")
        .args(["-j", "-g", kind, "-k", kid, "-a", alg, "-n", "0", "-p", "/dev/null", "-o"])
        .arg(&file)
        .stdout(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "rnbyc makes a key of kind {kind}");
    let set = fs::read_to_string(&file).expect("a key set");
    let _ = fs::remove_file(&file);
    let set: Value = serde_json::from_str(&set).expect("JSON");
    set["keys"][0].clone()
}

/// How many bytes a member of a key has.
pub(crate) fn size(key: &Value, member: &str) -> usize {
    BASE64_URL_SAFE_NO_PAD.decode(key[member].as_str().unwrap_or_default()).map_or(0, |bytes| bytes.len())
}
