//! A real Prometheus: found, started beside an Envoy, asked.

use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Request;
use crate::envoy::{Scratch, spawn};
use crate::port::Port;
use crate::vectors::workspace;
use crate::wait::{SOON, poll};

/// Where Prometheus and its promtool are.
#[derive(Clone, Debug)]
pub struct Tools {
    prometheus: PathBuf,
    promtool: PathBuf,
}

impl Tools {
    /// In the folder `$PROMETHEUS`, where `scripts/prometheus` puts them, or on the PATH; `None` if they are nowhere.
    pub fn find() -> Option<Self> {
        let named = env::var_os("PROMETHEUS").map(PathBuf::from);
        let fetched = workspace().join(".cache/prometheus");
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = named.into_iter().chain([fetched]).chain(env::split_paths(&path));
        folders
            .map(|folder| Self { prometheus: folder.join("prometheus"), promtool: folder.join("promtool") })
            .find(|tools| tools.prometheus.is_file() && tools.promtool.is_file())
    }

    /// What a test says that cannot do without them.
    pub const MISSING: &str = "no prometheus and promtool here (scripts/prometheus fetches them on Debian)";

    /// Runs promtool.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn promtool(&self, arguments: &[&str]) -> Output {
        let done = Command::new(&self.promtool).args(arguments).stdin(Stdio::null()).output();
        done.unwrap_or_else(|error| panic!("{}: {error}", self.promtool.display()))
    }
}

/// A running Prometheus that scrapes every second. It stops when it is dropped.
pub struct Prometheus {
    child: Child,
    port: Port,
    folder: Scratch,
}

impl Prometheus {
    /// Scrapes this address, with the rules of these files.
    ///
    /// # Panics
    /// When it does not start: with its log.
    pub fn start(tools: &Tools, target: SocketAddr, rules: &[&Path]) -> Self {
        let folder = Scratch::new().expect("a folder");
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": rules,
            "scrape_configs": [{
                "job_name": "envoy",
                "metrics_path": "/stats/prometheus",
                "static_configs": [{ "targets": [target.to_string()] }],
                // The dynamic module's metrics under the names of the plugin's.
                "metric_relabel_configs": [{
                    "source_labels": ["__name__"],
                    "regex": "envoy_dynamicmodulescustom_(portcullis_.+)",
                    "target_label": "__name__",
                }],
            }],
        });
        let file = folder.path().join("prometheus.yaml");
        fs::write(&file, config.to_string()).expect("its configuration is written");
        let log = folder.path().join("prometheus.log");
        let port = Port::reserve();
        let mut command = Command::new(&tools.prometheus);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={}", port.addr()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("its log"));
        let mut child = spawn(command).expect("prometheus starts");
        let ready = poll(SOON, || {
            if !matches!(child.try_wait(), Ok(None)) {
                return Some(false);
            }
            let request = Request::get("/-/ready").timeout(Duration::from_secs(1));
            (request.try_send(port.addr()).ok()?.status == 200).then_some(true)
        });
        if ready == Some(true) {
            return Self { child, port, folder };
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("prometheus does not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
    }

    /// What a query gives now: the series, each with its labels and value.
    ///
    /// # Errors
    /// What Prometheus says of a query that it does not understand.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.ask(&format!("/api/v1/query?query={query}"))?;
        Ok(answer["result"].as_array().cloned().unwrap_or_default())
    }

    /// The alerts that are pending or firing.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn alerts(&self) -> Result<Vec<Value>, String> {
        let answer = self.ask("/api/v1/alerts")?;
        Ok(answer["alerts"].as_array().cloned().unwrap_or_default())
    }

    fn ask(&self, path: &str) -> Result<Value, String> {
        let answer =
            Request::get(path).try_send(self.port.addr()).map_err(|error| format!("{path}: {error}"))?;
        let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if parsed["status"] == "success" {
            Ok(parsed["data"].clone())
        } else {
            Err(format!("{path}: {}", answer.text()))
        }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("prometheus.log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
