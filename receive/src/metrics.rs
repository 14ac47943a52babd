//! What is counted, in the text form of Prometheus.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Every metric, its type, and what it says.
pub(crate) const METRICS: &[(&str, &str, &str)] = &[
    (
        "portcullis_receive_events_total",
        "counter",
        "Events by the way that they came, their kind and what became of them.",
    ),
    ("portcullis_receive_entries", "gauge", "Entries and cut-offs on the list that is served."),
    ("portcullis_receive_list_bytes", "gauge", "Bytes of the document that is served."),
    ("portcullis_receive_list_requests_total", "counter", "Answers about the list by status."),
    ("portcullis_receive_key_fetches_total", "counter", "Fetches of keys by issuer and outcome."),
    ("portcullis_receive_polls_total", "counter", "Polls of transmitters by endpoint and outcome."),
    ("portcullis_receive_connections", "gauge", "Connections that are open."),
];

/// Counters and gauges.
#[derive(Default)]
pub(crate) struct Metrics(RefCell<BTreeMap<(&'static str, String), u64>>);

impl Metrics {
    /// Counts one more. Labels are few: none is made of what a client says.
    pub(crate) fn count(&self, name: &'static str, labels: &[(&str, &str)]) {
        let mut values = self.0.borrow_mut();
        let value = values.entry((name, text(labels))).or_default();
        *value = value.saturating_add(1);
    }

    pub(crate) fn set(&self, name: &'static str, value: u64) {
        self.0.borrow_mut().insert((name, String::new()), value);
    }

    pub(crate) fn render(&self) -> String {
        let values = self.0.borrow();
        let mut out = String::new();
        for (name, kind, help) in METRICS {
            let mut own = values.iter().filter(|((own, _), _)| own == name).peekable();
            if own.peek().is_none() {
                continue;
            }
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((_, labels), value) in own {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        }
        out
    }
}

fn text(labels: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let each: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if each.is_empty() { String::new() } else { format!("{{{}}}", each.join(",")) }
}
