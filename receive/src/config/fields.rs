//! A strict reader of a configuration: every field is asked for by name, every problem has its path, and all are reported at once.

use std::cell::RefCell;
use std::time::Duration;

use portcullis::Problem;
use serde_json::{Map, Value};

/// Where problems are collected.
#[derive(Default)]
pub(crate) struct Report(RefCell<Vec<Problem>>);

impl Report {
    pub(crate) fn error(&self, path: &str, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem { path: path.to_owned(), message: message.into() });
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// The fields of one object.
pub(crate) struct Fields<'v> {
    map: &'v Map<String, Value>,
    pub(crate) path: String,
    asked: Vec<&'static str>,
    report: &'v Report,
}

/// One value and its path.
#[derive(Clone)]
pub(crate) struct Item<'v> {
    pub(crate) value: &'v Value,
    pub(crate) path: String,
    report: &'v Report,
}

impl<'v> Item<'v> {
    pub(crate) fn root(value: &'v Value, report: &'v Report) -> Self {
        Self { value, path: String::new(), report }
    }

    pub(crate) fn error(&self, message: impl Into<String>) {
        self.report.error(&self.path, message);
    }

    pub(crate) fn fields(&self) -> Option<Fields<'v>> {
        let Some(map) = self.value.as_object() else {
            self.error("must be an object");
            return None;
        };
        Some(Fields { map, path: self.path.clone(), asked: Vec::new(), report: self.report })
    }

    pub(crate) fn text(&self) -> Option<&'v str> {
        match self.value.as_str() {
            Some(text) if !text.is_empty() => Some(text),
            Some(_) => {
                self.error("is empty; write a text");
                None
            }
            None => {
                self.error("must be a text");
                None
            }
        }
    }

    pub(crate) fn list(&self) -> Option<Vec<Item<'v>>> {
        let Some(list) = self.value.as_array() else {
            self.error("must be a list");
            return None;
        };
        let item = |(at, value)| Item { value, path: format!("{}[{at}]", self.path), report: self.report };
        Some(list.iter().enumerate().map(item).collect())
    }

    /// A list of texts, none of them empty, at least one.
    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        let list = self.list()?;
        if list.is_empty() {
            self.error("must not be empty");
        }
        list.iter().map(|item| item.text().map(str::to_owned)).collect()
    }

    /// A duration as the gate writes it: `10s`, `0.5s`.
    pub(crate) fn duration(&self, min: Duration, max: Duration) -> Option<Duration> {
        let shown = |span: Duration| format!("{}s", span.as_secs_f64());
        let read = self.value.as_str().and_then(seconds);
        let Some(span) = read.filter(|span| (min..=max).contains(span)) else {
            let (min, max) = (shown(min), shown(max));
            self.error(format!("must be a duration in seconds from {min} to {max}, such as \"{min}\""));
            return None;
        };
        Some(span)
    }

    /// A secret, which is in the environment.
    pub(crate) fn secret(&self, environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let mut fields = self.fields()?;
        let named = fields.required("environment_variable", "name the variable that holds the secret");
        fields.finish();
        let named = named?;
        let value = environment(named.text()?);
        let Some(value) = value else {
            named.error("this environment variable is not set");
            return None;
        };
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            named.error("must hold printable ASCII without blanks; a line end at its end counts too");
            return None;
        }
        Some(value)
    }
}

impl<'v> Fields<'v> {
    pub(crate) fn get(&mut self, name: &'static str) -> Option<Item<'v>> {
        self.asked.push(name);
        let value = self.map.get(name)?;
        Some(Item { value, path: join(&self.path, name), report: self.report })
    }

    pub(crate) fn required(&mut self, name: &'static str, hint: &str) -> Option<Item<'v>> {
        let item = self.get(name);
        if item.is_none() {
            self.report.error(&join(&self.path, name), format!("is missing; {hint}"));
        }
        item
    }

    pub(crate) fn duration(
        &mut self,
        name: &'static str,
        (min, max): (Duration, Duration),
        otherwise: Duration,
    ) -> Duration {
        self.get(name).and_then(|item| item.duration(min, max)).unwrap_or(otherwise)
    }

    pub(crate) fn bool(&mut self, name: &'static str) -> bool {
        let Some(item) = self.get(name) else { return false };
        item.value.as_bool().unwrap_or_else(|| {
            item.error("must be true or false");
            false
        })
    }

    pub(crate) fn error(&self, message: impl Into<String>) {
        self.report.error(&self.path, message);
    }

    /// Reports each unknown field.
    pub(crate) fn finish(self) {
        for key in self.map.keys() {
            if !self.asked.contains(&key.as_str()) {
                let known: Vec<String> = self.asked.iter().map(|name| format!("{name:?}")).collect();
                let text = format!("unknown field; known here: {}", known.join(", "));
                self.report.error(&join(&self.path, key), text);
            }
        }
    }
}

fn join(path: &str, name: &str) -> String {
    let is_plain = !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    match (path, is_plain) {
        ("", true) => name.to_owned(),
        (_, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{:?}]", name.chars().take(100).collect::<String>()),
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let first = number.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    if !is_plain || !first || number.len() > 20 || number.ends_with('.') {
        return None;
    }
    Duration::try_from_secs_f64(number.parse().ok()?).ok()
}
