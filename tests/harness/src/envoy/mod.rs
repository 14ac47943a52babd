//! A real Envoy: found, configured, started, read, stopped.

mod bootstrap;
mod filter;
mod find;
mod process;
mod server;
mod shared;
mod turn;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fmt, thread};

use serde_json::Value;

pub use bootstrap::{Cluster, EnvoyBuilder, Listener, MAIN, UPSTREAM};
pub use filter::{FailPolicy, Filter, Host, PluginConfig, Wasm, native_folder, portcullis_module};
pub use find::{Binary, PINNED, Version, find};
pub use process::spawn;

use crate::client::{Request, Response};
use crate::idp::{GATE, PREFIX};
use crate::wait::poll;
use server::Server;
use shared::Place;
use turn::Turn;

/// How much of the log a failure shows.
const TAIL: usize = 40;

/// A running Envoy. It is stopped when it is dropped, and dies with this process in any case.
///
/// One that is [shared](EnvoyBuilder::shared) is a place in a process that goes on: what would tell of others, too
/// (statistics, memory, time), cannot be asked of it.
pub struct Envoy {
    server: Arc<Server>,
    /// Its own: the bootstrap, the access log.
    folder: PathBuf,
    listeners: BTreeMap<String, SocketAddr>,
    place: Option<Place>,
}

/// Why an Envoy is not there.
#[derive(Debug, Clone)]
pub struct StartError {
    /// What went wrong.
    pub message: String,
    /// Its exit code, where it ended by itself.
    pub exit: Option<i32>,
    /// Everything that it wrote to its log.
    pub log: String,
}

impl StartError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: None, log: String::new() }
    }

    /// The log lines in which `needle` occurs.
    pub fn lines_with(&self, needle: &str) -> Vec<&str> {
        self.log.lines().filter(|line| line.contains(needle)).collect()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envoy did not start: {}", self.message)?;
        if !self.log.is_empty() {
            write!(f, "\nthe end of its log:\n{}", tail(&self.log))?;
        }
        Ok(())
    }
}

impl std::error::Error for StartError {}

impl Envoy {
    /// An Envoy to be described first.
    pub fn builder() -> EnvoyBuilder {
        EnvoyBuilder::new()
    }

    fn launch(mut builder: EnvoyBuilder) -> Result<Self, StartError> {
        if builder.shared {
            return shared::join(builder);
        }
        let binary = find().map_err(StartError::new)?;
        let folder =
            scratch().map_err(|error| StartError::new(format!("no folder for its files: {error}")))?;
        let bootstrap = builder.bootstrap(&folder.join("access.log"));
        let turn = Turn::wait().map_err(|error| StartError::new(format!("no turn to start: {error}")))?;
        let started = Self::spawn(&builder, &binary, &folder, &bootstrap);
        let (mut child, log) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                return Err(StartError::new(format!("{}: {error}", binary.path.display())));
            }
        };

        let mut admin = None;
        let ready = poll(builder.start_timeout, || {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Some(Err((process::describe(status), status.code()))),
                Err(error) => return Some(Err((error.to_string(), None))),
            }
            let addr = fs::read_to_string(folder.join("admin")).ok()?.trim().parse().ok()?;
            admin = Some(addr);
            let ready = Request::get("/ready").timeout(Duration::from_secs(1)).try_send(addr).ok()?;
            (ready.status == 200).then_some(Ok(addr))
        });
        let failed = |message: String, exit: Option<i32>| {
            let log = fs::read(&log).unwrap_or_default();
            StartError { message, exit, log: String::from_utf8_lossy(&log).into_owned() }
        };
        drop(turn);
        let admin = match ready {
            Some(Ok(admin)) => admin,
            Some(Err((message, exit))) => {
                let error = failed(message, exit);
                discard(&folder);
                return Err(error);
            }
            None => {
                let _ = child.kill();
                let _ = child.wait();
                let what = if admin.is_some() { "/ready to say 200" } else { "its admin address" };
                let error = failed(format!("waited {:?} in vain for {what}", builder.start_timeout), None);
                discard(&folder);
                return Err(error);
            }
        };
        let server = Server::new(child, folder.clone(), admin, binary.version);
        let mut envoy = Self { server: Arc::new(server), folder, listeners: BTreeMap::new(), place: None };
        envoy.listeners = envoy.server.listeners().map_err(|message| failed(message, None))?;
        Ok(envoy)
    }

    fn spawn(
        builder: &EnvoyBuilder,
        binary: &Binary,
        folder: &Path,
        bootstrap: &Value,
    ) -> std::io::Result<(Child, PathBuf)> {
        let config = folder.join("envoy.json");
        fs::write(&config, serde_json::to_vec_pretty(bootstrap)?)?;
        let log = folder.join("envoy.log");
        let mut command = Command::new(&binary.path);
        command
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(folder.join("admin"))
            // Hot restart claims shared memory by number, of which parallel Envoys would fight over one.
            .arg("--disable-hot-restart")
            .args(["--concurrency", &builder.concurrency.to_string()])
            .args(["--log-level", &builder.log_level])
            .args(["--file-flush-interval-msec", "50"])
            .args(&builder.arguments)
            .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", native_folder())
            .envs(builder.filters().flat_map(Filter::envoy_environment).map(|(name, value)| (name, value)))
            .envs(builder.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        if !builder.component_log_level.is_empty() {
            command.args(["--component-log-level", &builder.component_log_level]);
        }
        Ok((spawn(command)?, log))
    }

    /// Where the listener `main` listens.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        self.addr_of(MAIN)
    }

    /// Where a listener listens.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn addr_of(&self, listener: &str) -> SocketAddr {
        match self.listeners.get(listener) {
            Some(addr) => *addr,
            None => panic!("no listener {listener:?}, only {:?}", self.listeners),
        }
    }

    /// Where the admin interface listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.alone().admin
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.server.version
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.alone().pid()
    }

    /// Asks the admin interface.
    ///
    /// # Panics
    /// When no answer comes: with the end of the log.
    #[track_caller]
    pub fn admin(&self, method: &str, path: &str) -> Response {
        self.alone().admin(method, path)
    }

    /// The process, which serves nobody else.
    ///
    /// # Panics
    /// When it is shared: what is asked of it would tell of others, too.
    #[track_caller]
    fn alone(&self) -> &Server {
        assert!(self.place.is_none(), "this Envoy serves other tests, too: ask for one of your own");
        &self.server
    }

    /// Every counter and gauge.
    #[track_caller]
    pub fn stats(&self) -> BTreeMap<String, u64> {
        self.stats_matching("")
    }

    /// The counters and gauges whose name matches a regular expression.
    #[track_caller]
    pub fn stats_matching(&self, regex: &str) -> BTreeMap<String, u64> {
        self.alone().stats_matching(regex)
    }

    /// What should never be seen, of all that it serves: the process has ended, the module trapped, a virtual machine was
    /// lost.
    pub fn faults(&self) -> Vec<String> {
        if !self.is_running() {
            return vec![self.server.situation()];
        }
        let trapped =
            |line: &Value| line["details"].as_str().unwrap_or_default().contains("wasm_fail_stream");
        let mut faults: Vec<String> = self
            .access_log()
            .iter()
            .filter(|line| trapped(line))
            .map(|line| format!("trapped: {line}"))
            .collect();
        // Envoy's own statistics of its virtual machines; the filter's own begin with `wasmcustom`.
        let lost = self.server.stats_matching(r"vm_reload|^wasm\..*fail");
        faults.extend(
            lost.iter().filter(|(_, value)| **value > 0).map(|(name, value)| format!("{name}: {value}")),
        );
        let log = self.log();
        for sign in ["panicked", "RuntimeError", "wasm critical", "In-VM backtrace"] {
            if log.contains(sign) {
                faults.push(format!("{sign:?} in Envoy's log:\n{log}"));
            }
        }
        faults
    }

    /// One counter or gauge; 0 when there is none of this name.
    #[track_caller]
    pub fn stat(&self, name: &str) -> u64 {
        self.stats().get(&filter::common_statistic(name)).copied().unwrap_or_default()
    }

    /// Waits until a counter or gauge satisfies `holds`, and gives its value.
    ///
    /// # Panics
    /// When it does not, in time.
    #[track_caller]
    pub fn wait_for_stat(&self, name: &str, timeout: Duration, holds: impl Fn(u64) -> bool) -> u64 {
        let mut last = 0;
        let found = poll(timeout, || {
            last = self.stat(name);
            holds(last).then_some(last)
        });
        match found {
            Some(value) => value,
            None => panic!(
                "waited {timeout:?} in vain for the statistic {name}; it is {last}\n{}",
                self.server.situation()
            ),
        }
    }

    /// The statistics as Prometheus reads them.
    #[track_caller]
    pub fn prometheus(&self) -> String {
        filter::common_exposition(self.admin("GET", "/stats/prometheus").text())
    }

    /// Everything that it has logged so far; of one that is shared what others' virtual machines said is left out.
    pub fn log(&self) -> String {
        self.place.as_ref().map_or_else(|| self.server.log(), Place::log)
    }

    /// Waits until `needle` stands in the log, and gives the line.
    ///
    /// # Panics
    /// When it does not, in time.
    #[track_caller]
    pub fn wait_for_log(&self, needle: &str, timeout: Duration) -> String {
        let line = poll(timeout, || self.log().lines().find(|line| line.contains(needle)).map(str::to_owned));
        match line {
            Some(line) => line,
            None => panic!(
                "waited {timeout:?} in vain for {needle:?} in Envoy's log\n{}",
                self.server.situation()
            ),
        }
    }

    /// The lines of the access log so far, of every listener.
    pub fn access_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("access.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until the access log has at least `count` lines, and gives them all.
    ///
    /// # Panics
    /// When it has not, in time.
    #[track_caller]
    pub fn wait_for_access_log(&self, count: usize, timeout: Duration) -> Vec<Value> {
        let lines = poll(timeout, || {
            let lines = self.access_log();
            (lines.len() >= count).then_some(lines)
        });
        match lines {
            Some(lines) => lines,
            None => panic!(
                "waited {timeout:?} in vain for {count} lines in the access log; there are {}\n{}",
                self.access_log().len(),
                self.server.situation()
            ),
        }
    }

    /// Waits until the latest line of the access log whose path is `path`, and gives it.
    ///
    /// # Panics
    /// When there is none, in time.
    #[track_caller]
    pub fn logged(&self, path: &str, timeout: Duration) -> Value {
        let line = poll(timeout, || self.access_log().into_iter().rev().find(|line| line["path"] == path));
        match line {
            Some(line) => line,
            None => {
                panic!("waited {timeout:?} in vain for {path} in the access log\n{}", self.server.situation())
            }
        }
    }

    /// Waits until it is ready (again).
    ///
    /// # Panics
    /// When it is not, in time.
    #[track_caller]
    pub fn wait_ready(&self, timeout: Duration) {
        let ready = poll(timeout, || {
            let answer =
                Request::get("/ready").timeout(Duration::from_secs(1)).try_send(self.server.admin).ok()?;
            (answer.status == 200).then_some(())
        });
        assert!(
            ready.is_some(),
            "waited {timeout:?} in vain for Envoy to be ready\n{}",
            self.server.situation()
        );
    }

    /// Whether the process is still there.
    pub fn is_running(&self) -> bool {
        self.server.is_running()
    }

    /// The time on the processor that it has used so far, in user and in kernel mode.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn cpu_time(&self) -> Duration {
        process::cpu_time(self.alone().pid())
            .unwrap_or_else(|error| panic!("no processor time: {error}\n{}", self.server.situation()))
    }

    /// The memory that it has resident, in bytes.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn memory(&self) -> u64 {
        process::resident(self.alone().pid())
            .unwrap_or_else(|error| panic!("no memory size: {error}\n{}", self.server.situation()))
    }

    /// Stops it in good order, or by force after five seconds, and gives the whole log.
    pub fn stop(self) -> String {
        let _ = process::end(&mut self.alone().child(), Duration::from_secs(5));
        self.log()
    }

    /// The folder with its bootstrap, its log and its access log. It goes when the Envoy does, unless
    /// `$PORTCULLIS_KEEP` is set or a test has failed.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lines of its log and of its access log that hold something shaped like a token, up to there. What a client
    /// put into its path is in `%REQ(:PATH)%`, which Envoy writes and not the filter: it is left out.
    pub fn tokens_told(&self) -> Vec<String> {
        let log = self.log();
        let access = fs::read(self.folder.join("access.log")).unwrap_or_default();
        let access = String::from_utf8_lossy(&access);
        let without_path = |line: &str| {
            let mut parsed: Value = serde_json::from_str(line).unwrap_or_else(|_| line.into());
            if let Some(fields) = parsed.as_object_mut() {
                fields.remove("path");
            }
            parsed.to_string()
        };
        let lines = log.lines().map(|line| format!("envoy.log: {line}"));
        let lines = lines.chain(access.lines().map(|line| format!("access.log: {}", without_path(line))));
        // A message of a test is a log, too.
        let shown = |line: String| {
            let at = ["eyJ", PREFIX, GATE.1].iter().filter_map(|start| line.find(start)).min();
            line.get(..at.unwrap_or(0)).map(|before| format!("{before}…")).unwrap_or_default()
        };
        lines.filter(|line| holds_token(line)).map(shown).collect()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        match self.place.take() {
            Some(place) => drop(place),
            None => self.server.kill(),
        }
        let told = self.tokens_told();
        discard(&self.folder);
        if !thread::panicking() {
            assert!(told.is_empty(), "a token is to be read in {}", told.join("\n"));
        }
    }
}

impl fmt::Debug for Envoy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envoy({}, pid {}, {:?})", self.server.version, self.server.pid(), self.listeners)
    }
}

/// A folder for the files of a program that a test starts; it goes when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> std::io::Result<Self> {
        scratch().map(Self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A new folder for one Envoy.
fn scratch() -> std::io::Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("portcullis-envoy-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn discard(folder: &Path) {
    if env::var_os("PORTCULLIS_KEEP").is_some() || thread::panicking() {
        eprintln!("Envoy's files are in {}", folder.display());
        return;
    }
    let _ = fs::remove_dir_all(folder);
}

/// Whether a text holds what is shaped like a signed token (three parts of base64url between dots, the first of which
/// is the beginning of a JSON object and the last a signature's worth long), an opaque token of the demo's identity
/// provider, or the secret of the client that may ask about those.
pub fn holds_token(text: &str) -> bool {
    let is_opaque = text.match_indices(PREFIX).any(|(at, _)| {
        let rest = text.get(at + PREFIX.len()..).unwrap_or_default();
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).count() >= 16
    });
    if is_opaque || text.contains(GATE.1) {
        return true;
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split(|c| !letter(c)).any(|word| {
        let Some(at) = word.find("eyJ") else { return false };
        let parts: Vec<&str> = word[at..].split('.').collect();
        parts.windows(3).any(|parts| {
            parts[0].starts_with("eyJ") && parts[0].len() >= 10 && parts[1].len() >= 4 && parts[2].len() >= 16
        })
    })
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::holds_token;

    #[test]
    fn a_token_is_found_wherever_it_stands_and_nothing_else_is_taken_for_one() {
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ";
        let opaque = "demo_at_c2lnbmF0dXJlLXNpZ25hdHVyZQ";
        for token in [token, opaque, "demo-gate-secret"] {
            for text in [
                token.to_owned(),
                format!("GET /a?t={token}&b"),
                format!("\"{token}\""),
                format!("x.{token}.y"),
            ] {
                assert!(holds_token(&text), "{text}");
            }
        }
        for text in [
            "",
            "eyJhbGciOiJFUzI1NiJ9",
            "eyJhbGci.x",
            "portcullis.requests.decision.allow",
            "a.b.c",
            "demo_at_",
            "demo_at_…",
        ] {
            assert!(!holds_token(text), "{text}");
        }
    }
}
