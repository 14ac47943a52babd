//! The stage: all servers that are installed, and one Envoy before them with the filter in every setting.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use harness::envoy::spawn;
use harness::{Cluster, Envoy, Idp, Listener, Port, Request, Wasm};
use serde_json::{Value, json};

use super::kinds::Kind;
use crate::common::{config, corp, idp, local_provider};
use crate::readers::model::grammar;
use crate::readers::model::rules::{PathRule, RuleSet};

/// What is served to everybody.
pub const PUBLIC: &str = "for-everybody";
/// What is served under `/admin`; also a part of the names of its files, so that a list of them is found out too.
pub const GUARDED: &str = "guarded-content-4f1d";

/// One stage for all tests of a process. What it has started ends with this process, however that ends.
pub static STAGE: OnceLock<Stage> = OnceLock::new();

pub struct Stage {
    pub envoy: Envoy,
    pub token: String,
    servers: BTreeMap<Kind, Server>,
    listeners: Vec<Setting>,
    folder: PathBuf,
    www: PathBuf,
    _idp: Idp,
}

/// A server that is installed: where it listens, and its process once a test asks for it.
struct Server {
    port: Port,
    child: Mutex<Option<Child>>,
}

/// Whether guarded content must never come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guarded {
    Always,
    /// The operator vouches for one reading; what comes is only counted.
    Vouched,
}

/// A listener of Envoy.
#[derive(Clone, Debug)]
pub struct Setting {
    pub name: String,
    pub guarded: Guarded,
}

impl Stage {
    /// Starts Envoy before everything that is installed.
    pub fn start() -> Self {
        let folder = folder();
        let www = write_content(&folder);
        let installed = Kind::ALL.into_iter().filter(|kind| kind.is_installed().is_ok());
        let servers: BTreeMap<Kind, Server> =
            installed.map(|kind| (kind, Server { port: Port::reserve(), child: Mutex::new(None) })).collect();
        let idp = idp();
        let mut builder =
            Envoy::builder().concurrency(1).idp("idp", &idp).main(|main| main.routes(json!([])));
        for (kind, server) in &servers {
            builder = builder.cluster(kind.name(), Cluster::new(server.port.addr()));
        }
        let mut listeners = Vec::new();
        for (rules, policy, normalized) in settings() {
            let name = format!("{rules}-{policy}-{}", if normalized { "normalized" } else { "as-it-comes" });
            let mut filter = config(local_provider(&idp), rules_of(rules));
            filter["ambiguous_paths"] = json!(policy);
            let route = json!([{ "match": { "prefix": "/" }, "route": { "cluster_header": "x-server", "timeout": "60s" } }]);
            let listener = Listener::new(&name).filter(Wasm::portcullis(filter)).routes(route);
            builder = builder
                .listener(listener.normalize_path(normalized).merge_slashes(normalized).without_access_log());
            let guarded = if policy == "match_raw" { Guarded::Vouched } else { Guarded::Always };
            listeners.push(Setting { name, guarded });
        }
        let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
        let token = idp.token(json!({}));
        Self { envoy, token, servers, listeners, folder, www, _idp: idp }
    }

    pub fn listeners(&self) -> &[Setting] {
        &self.listeners
    }

    /// Starts a server, waits until it serves, and tells where.
    pub fn wait_for(&self, kind: Kind) -> SocketAddr {
        let server = &self.servers[&kind];
        let addr = server.port.addr();
        let mut child = server.child.lock().expect("a child");
        let child = child.get_or_insert_with(|| start(kind, &self.folder, &self.www, addr));
        let log = || fs::read_to_string(self.folder.join(kind.name()).join("log")).unwrap_or_default();
        harness::eventually(&format!("{kind:?} to serve"), harness::SOON, || {
            let ended = child.try_wait().ok().flatten();
            assert!(ended.is_none(), "{kind:?} has ended: {ended:?}\n{}", log());
            let answer =
                Request::get("/public/x").host("www.example").timeout(Duration::from_secs(5)).try_send(addr);
            answer.ok().filter(|answer| answer.text().contains(PUBLIC))
        });
        addr
    }
}

/// Rules, setting of ambiguous paths, and whether Envoy normalizes.
fn settings() -> Vec<(&'static str, &'static str, bool)> {
    let rules = ["closed", "open", "report"];
    let each = rules.iter().flat_map(|rules| ["reject", "normalize"].map(|policy| (*rules, policy)));
    let all = each.chain([("closed", "match_raw")]);
    all.flat_map(|(rules, policy)| [false, true].map(|normalized| (rules, policy, normalized))).collect()
}

/// Everybody may see `/public/`; what is under `/admin` needs a token. The rest needs one too, or nothing, or the
/// public part is on trial.
fn rules_of(name: &str) -> Value {
    let public = json!({ "match": { "prefix": "/public/" } });
    let admin = json!({ "match": { "path_separated_prefix": "/admin" }, "requires": corp() });
    let rest = json!({ "match": { "prefix": "/" }, "requires": corp() });
    match name {
        "closed" => json!([public, admin, rest]),
        "open" => json!([admin, { "match": { "prefix": "/" } }]),
        "report" => json!([
            { "match": { "prefix": "/public/" }, "requires": corp(), "mode": "report" }, admin, rest,
        ]),
        other => panic!("no rules {other}"),
    }
}

/// The rules for whose paths the grammar makes requests.
pub fn corpus() -> RuleSet {
    let mut set = grammar::plain_set(&[
        PathRule::Prefix("/public/"),
        PathRule::Separated("/admin"),
        PathRule::Exact("/admin/x"),
    ]);
    set.rules.push(grammar::plain_rule(PathRule::Exact("/public/x")));
    set
}

fn start(kind: Kind, folder: &Path, www: &Path, addr: SocketAddr) -> Child {
    let own = folder.join(kind.name());
    fs::create_dir_all(&own).expect("a folder for a server");
    let log = fs::File::create(own.join("log")).expect("a server's log");
    let mut command = kind.command(&own, www, addr);
    command.current_dir(&own).stdout(log.try_clone().expect("a file")).stderr(log);
    let started = match kind {
        Kind::Apache => command.spawn(),
        _ => {
            command.stdin(Stdio::null());
            spawn(command)
        }
    };
    started.unwrap_or_else(|error| panic!("{kind:?} does not start: {error}"))
}

/// A folder of this process. Those of processes that have ended are removed.
fn folder() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers");
    for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let own = all.join(std::process::id().to_string());
    fs::create_dir_all(&own).expect("a folder for the servers");
    own
}

/// What servers of files serve: the same names under both folders.
fn write_content(folder: &Path) -> PathBuf {
    let www = folder.join("www");
    for (name, text) in [("public", PUBLIC), ("admin", GUARDED)] {
        let under = www.join(name);
        fs::create_dir_all(&under).expect("a folder");
        for file in ["x", "admin", "y.txt", "evil", "public", "acme", "index.html", text] {
            fs::write(under.join(file), text).expect("a file");
        }
    }
    www
}
