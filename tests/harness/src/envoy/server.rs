//! The process of an Envoy.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Mutex, MutexGuard};

use super::find::Version;
use super::{filter, process, tail};
use crate::client::{Request, Response};

/// The process, its log and its admin interface.
pub(super) struct Server {
    child: Mutex<Child>,
    pid: u32,
    /// Where its log is.
    folder: PathBuf,
    pub(super) admin: SocketAddr,
    pub(super) version: Version,
}

impl Server {
    pub(super) fn new(child: Child, folder: PathBuf, admin: SocketAddr, version: Version) -> Self {
        Self { pid: child.id(), child: Mutex::new(child), folder, admin, version }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks the admin interface.
    ///
    /// # Panics
    /// When no answer comes: with the end of the log.
    #[track_caller]
    pub(super) fn admin(&self, method: &str, path: &str) -> Response {
        match Request::new(method, path).header("content-length", "0").try_send(self.admin) {
            Ok(response) => response,
            Err(error) => panic!("{method} {path} at the admin interface: {error}\n{}", self.situation()),
        }
    }

    /// The active listeners by name.
    pub(super) fn listeners(&self) -> Result<BTreeMap<String, SocketAddr>, String> {
        let answer = self.admin("GET", "/listeners?format=json").json();
        let statuses = answer["listener_statuses"].as_array().cloned().unwrap_or_default();
        let mut found = BTreeMap::new();
        for status in statuses {
            let socket = &status["local_address"]["socket_address"];
            let (Some(name), Some(ip), Some(port)) =
                (status["name"].as_str(), socket["address"].as_str(), socket["port_value"].as_u64())
            else {
                continue;
            };
            let addr = format!("{ip}:{port}").parse().map_err(|error| format!("listener {name}: {error}"))?;
            found.insert(name.to_owned(), addr);
        }
        Ok(found)
    }

    /// The counters and gauges whose name matches a regular expression.
    #[track_caller]
    pub(super) fn stats_matching(&self, regex: &str) -> BTreeMap<String, u64> {
        let regex = filter::own_statistic(regex);
        let filter: String = form_urlencoded::byte_serialize(regex.as_bytes()).collect();
        let text = self.admin("GET", &format!("/stats?filter={filter}")).text();
        text.lines()
            .filter_map(|line| line.rsplit_once(": "))
            .filter_map(|(name, value)| Some((filter::common_statistic(name), value.parse().ok()?)))
            .collect()
    }

    /// Everything that it has logged so far.
    pub(super) fn log(&self) -> String {
        self.log_from(0)
    }

    /// How many bytes it has logged.
    pub(super) fn log_length(&self) -> usize {
        let file = fs::metadata(self.folder.join("envoy.log"));
        file.map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX))
    }

    /// What it has logged behind the first `from` bytes.
    pub(super) fn log_from(&self, from: usize) -> String {
        let log = fs::read(self.folder.join("envoy.log")).unwrap_or_default();
        String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned()
    }

    pub(super) fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// Whether it lives, and the end of its log.
    pub(super) fn situation(&self) -> String {
        let state = match self.child().try_wait() {
            Ok(None) => "Envoy is running".to_owned(),
            Ok(Some(status)) => format!("Envoy has ended: {}", process::describe(status)),
            Err(error) => error.to_string(),
        };
        format!("{state}; the end of its log:\n{}", tail(&self.log()))
    }

    /// Kills it where it still runs.
    pub(super) fn kill(&self) {
        let mut child = self.child();
        if matches!(child.try_wait(), Ok(None)) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
