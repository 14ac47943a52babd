//! Log lines: one JSON object each, on standard error. No token and nothing that a token says is in one.

use std::io::Write as _;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// How many lines a second are written; of the others the next line says how many there were.
const PER_SECOND: u32 = 50;

struct Rate {
    began: Option<Instant>,
    written: u32,
    left_out: u64,
}

static RATE: Mutex<Rate> = Mutex::new(Rate { began: None, written: 0, left_out: 0 });

pub(crate) type Members<'m> = &'m [(&'static str, Value)];

pub(crate) fn info(message: &str, members: Members<'_>) {
    line("info", message, members);
}

pub(crate) fn warn(message: &str, members: Members<'_>) {
    line("warn", message, members);
}

pub(crate) fn error(message: &str, members: Members<'_>) {
    line("error", message, members);
}

/// Writes a line.
pub(crate) fn line(level: &str, message: &str, members: Members<'_>) {
    let Ok(mut rate) = RATE.lock() else { return };
    if rate.began.is_none_or(|began| began.elapsed().as_secs() >= 1) {
        rate.began = Some(Instant::now());
        rate.written = 0;
    }
    if rate.written >= PER_SECOND {
        rate.left_out = rate.left_out.saturating_add(1);
        return;
    }
    rate.written = rate.written.saturating_add(1);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut object = Map::new();
    object.insert("time".to_owned(), json!(time.as_secs_f64()));
    object.insert("level".to_owned(), json!(level));
    object.insert("message".to_owned(), json!(message));
    object.extend(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    if rate.left_out > 0 {
        object.insert("lines_left_out".to_owned(), json!(std::mem::take(&mut rate.left_out)));
    }
    // Nobody to tell where this fails.
    let _ = writeln!(std::io::stderr(), "{}", Value::Object(object));
}
