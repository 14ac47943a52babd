//! The few things that the test asks of Docker, by its command line.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;

/// A container of the stack.
#[derive(Clone, Debug)]
pub(super) struct Container {
    /// The service of which it is the one container.
    pub(super) service: &'static str,
    id: String,
}

impl Container {
    /// The container of a service; `compose` is the command that knows the stack, a word a line.
    pub(super) fn find(compose: &str, service: &'static str) -> Result<Self, String> {
        let mut words = compose.lines();
        let program = words.next().ok_or("no compose command")?;
        let answer = answer(Command::new(program).args(words).args(["ps", "-q", service]))?;
        let mut ids = answer.split_whitespace();
        match (ids.next(), ids.next()) {
            (Some(id), None) => Ok(Self { service, id: id.to_owned() }),
            (None, _) => Err(format!("{service} does not run (make compose-up starts it)")),
            (Some(_), Some(_)) => Err(format!("there are several containers of {service}")),
        }
    }

    /// Where a port of it is published. Where that was left to Docker, it is another after each start.
    pub(super) fn published(&self, port: u16) -> Result<SocketAddr, String> {
        let answer = self.docker(&["port"], &[&format!("{port}/tcp")])?;
        let first = answer.lines().next().unwrap_or_default();
        first.trim().parse().map_err(|error| format!("port {port} of {}: {first:?}: {error}", self.service))
    }

    /// Ends it on the spot, as a crash would.
    pub(super) fn kill(&self) -> Result<(), String> {
        self.docker(&["kill"], &[]).map(drop)
    }

    /// Asks it to end.
    pub(super) fn stop(&self) -> Result<(), String> {
        self.docker(&["stop", "--time", "10"], &[]).map(drop)
    }

    /// Starts it again.
    pub(super) fn start(&self) -> Result<(), String> {
        self.docker(&["start"], &[]).map(drop)
    }

    /// What it wrote to standard output lately, line by line, where a line is JSON.
    pub(super) fn json_lines(&self) -> Vec<Value> {
        let lines = self.docker(&["logs", "--tail", "500"], &[]).unwrap_or_default();
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn docker(&self, verb: &[&str], arguments: &[&str]) -> Result<String, String> {
        answer(Command::new("docker").args(verb).arg(&self.id).args(arguments))
            .map_err(|error| format!("{}: {error}", self.service))
    }
}

/// What a command writes to standard output; what it complains of where it fails.
fn answer(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("{shown} does not run: {error}"))?;
    if !output.status.success() {
        return Err(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
