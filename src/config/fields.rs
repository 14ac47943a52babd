//! Reads the fields of one configuration object: types, spellings, and what is left over.

use std::time::Duration;

use super::problem::{HostFeatures, Report};
use super::{Variables, protobuf};
use crate::json::{Json, Number, Object};

/// An object of the configuration that is being read. Each field is taken once by its name; what
/// was not taken when [`Fields::finish`] is called is reported.
pub(super) struct Fields<'c> {
    object: &'c Object,
    pub(super) path: String,
    pub(super) report: &'c Report,
    of_envoy: OfEnvoy,
    asked: Vec<&'static str>,
    /// Which of these are known only to be refused.
    refused: Vec<&'static str>,
}

/// Which fields of an object are Envoy's own, and read as protobuf's JSON reads them.
#[derive(Clone, Copy)]
enum OfEnvoy {
    Nothing,
    These(&'static [&'static str]),
    All,
}

/// A value of the configuration and its path.
#[derive(Clone)]
pub(super) struct Item<'c> {
    pub(super) json: &'c Json,
    pub(super) path: String,
    pub(super) report: &'c Report,
    /// Whether the field is Envoy's own.
    is_envoys: bool,
}

impl<'c> Item<'c> {
    /// The configuration as a whole.
    pub(super) fn root(json: &'c Json, report: &'c Report) -> Self {
        Self { json, path: String::new(), report, is_envoys: true }
    }

    pub(super) fn error(&self, message: impl Into<String>) {
        self.report.error(&self.path, message);
    }

    pub(super) fn warning(&self, message: impl Into<String>) {
        self.report.warning(&self.path, message);
    }

    fn wrong<T>(&self, expected: &str, way: &str) -> Option<T> {
        self.error(match self.json {
            Json::Null => format!("expected {expected}; leave the field out instead of null"),
            other => format!("expected {expected}, not {}; {way}", other.kind()),
        });
        None
    }

    /// The fields of an object. They are Envoy's own where the object is.
    pub(super) fn fields(&self) -> Option<Fields<'c>> {
        self.object(if self.is_envoys { OfEnvoy::All } else { OfEnvoy::Nothing })
    }

    /// The fields of an object, of which these are Envoy's own and the others this filter's.
    pub(super) fn message(&self, of_envoy: &'static [&'static str]) -> Option<Fields<'c>> {
        self.object(OfEnvoy::These(of_envoy))
    }

    fn object(&self, of_envoy: OfEnvoy) -> Option<Fields<'c>> {
        let Some(object) = self.json.as_object() else {
            return self.wrong("an object", "write its fields between { and }");
        };
        let path = self.path.clone();
        Some(Fields { object, path, report: self.report, of_envoy, asked: Vec::new(), refused: Vec::new() })
    }

    pub(super) fn string(&self) -> Option<&'c str> {
        self.json.as_str().or_else(|| self.wrong("a string", "write it in quotes"))
    }

    /// A string that is not empty.
    pub(super) fn text(&self) -> Option<&'c str> {
        match self.string()? {
            "" => {
                self.error("must not be empty; write its value");
                None
            }
            text => Some(text),
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self.json {
            Json::Bool(value) => Some(*value),
            _ => self.wrong("true or false", "write true or false, without quotes"),
        }
    }

    /// A `google.protobuf.BoolValue`, which Envoy also takes as the message that it is.
    pub(super) fn bool_value(&self) -> Option<bool> {
        if self.json.as_object().is_none() {
            return self.bool();
        }
        let mut fields = self.fields()?;
        let value = fields.bool("value", false);
        fields.finish();
        Some(value)
    }

    /// A whole number in a range.
    pub(super) fn whole(&self, low: u64, high: u64) -> Option<u64> {
        let value = match self.json {
            Json::Number(Number::Unsigned(value)) => Some(*value),
            json @ (Json::Number(_) | Json::String(_)) if self.is_envoys => {
                protobuf::integer(json).and_then(|value| u64::try_from(value).ok())
            }
            Json::Number(_) => None,
            _ => return self.wrong("a whole number", "write it without quotes"),
        };
        let value = value.filter(|value| (low..=high).contains(value));
        if value.is_none() {
            self.error(format!("must be a whole number from {low} to {high}"));
        }
        value
    }

    /// The elements of a list. In a field of Envoy's one object stands for a list of one.
    pub(super) fn list(&self) -> Option<Vec<Item<'c>>> {
        self.elements(|json| json.as_object().is_some_and(|object| !object.is_empty()))
    }

    /// The elements of a list of texts. In a field of Envoy's one text stands for a list of one.
    pub(super) fn list_of_texts(&self) -> Option<Vec<Item<'c>>> {
        self.elements(|json| json.as_str().is_some())
    }

    fn elements(&self, is_one: fn(&Json) -> bool) -> Option<Vec<Item<'c>>> {
        let item = |json, path| Item { json, path, report: self.report, is_envoys: self.is_envoys };
        match self.json {
            Json::Array(items) => {
                let items = items.iter().enumerate();
                Some(items.map(|(at, json)| item(json, format!("{}[{at}]", self.path))).collect())
            }
            json if self.is_envoys && is_one(json) => Some(vec![item(json, self.path.clone())]),
            _ => self.wrong("a list", "write its elements between [ and ]"),
        }
    }

    /// A list of strings that are not empty.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let items = self.list_of_texts()?;
        let texts: Vec<String> = items.iter().filter_map(Item::text).map(str::to_owned).collect();
        (texts.len() == items.len()).then_some(texts)
    }

    /// The members of a map, whose names are the operator's own.
    pub(super) fn entries(&self) -> Option<Vec<(&'c str, Item<'c>)>> {
        let object = match self.json.as_object() {
            Some(object) => object,
            None => return self.wrong("an object", "write each entry under its name, between { and }"),
        };
        let (report, is_envoys) = (self.report, self.is_envoys);
        let entry = |(name, json)| (name, Item { json, path: join(&self.path, name), report, is_envoys });
        Some(object.iter().map(entry).collect())
    }

    /// `600s`, `1.5s` or `{ seconds: 600, nanos: 0 }`, as protobuf writes a Duration.
    pub(super) fn duration(&self, min: Duration, max: Duration) -> Option<Duration> {
        let value = match self.json {
            Json::String(text) => seconds(text),
            Json::Object(_) => {
                let mut fields = self.fields()?;
                let seconds = fields.whole("seconds", 0, 1 << 40);
                let nanos = fields.whole("nanos", 0, 999_999_999);
                fields.finish();
                let seconds = Duration::from_secs(seconds.unwrap_or(0));
                Some(seconds.saturating_add(Duration::from_nanos(nanos.unwrap_or(0))))
            }
            _ => {
                return self
                    .wrong("a duration such as \"600s\" or \"1.5s\"", "write it in quotes, with its unit");
            }
        };
        match value {
            None => {
                self.error("is not a duration; write seconds, such as \"600s\" or \"1.5s\"");
                None
            }
            Some(value) if value < min || value > max => {
                let (min, max) = (min.as_secs_f64(), max.as_secs_f64());
                self.error(format!("must be from {min}s to {max}s"));
                None
            }
            Some(value) => Some(value),
        }
    }
}

impl<'c> Fields<'c> {
    /// The field of that name, in snake_case or lowerCamelCase.
    pub(super) fn get(&mut self, name: &'static str) -> Option<Item<'c>> {
        self.asked.push(name);
        let mut found = self.object.iter().filter(|(key, _)| is_name(key, name));
        let (key, json) = found.next()?;
        if found.next().is_some() {
            self.report.error(&join(&self.path, key), "is given in two spellings; keep one");
        }
        let is_envoys = self.is_envoys(name);
        let item = Item { json, path: join(&self.path, key), report: self.report, is_envoys };
        if !self.is_absent(name, json) {
            return Some(item);
        }
        if protobuf::narrows(name) {
            item.warning("is null, which is the same as no field; remove it");
        }
        None
    }

    fn is_envoys(&self, name: &str) -> bool {
        match self.of_envoy {
            OfEnvoy::Nothing => false,
            OfEnvoy::These(names) => names.contains(&name),
            OfEnvoy::All => true,
        }
    }

    /// Whether a field that is there counts as left out: protobuf writes null for that.
    fn is_absent(&self, name: &str, json: &Json) -> bool {
        *json == Json::Null && self.is_envoys(name) && !protobuf::opens(name)
    }

    /// A field that must be there.
    pub(super) fn required(&mut self, name: &'static str, hint: &str) -> Option<Item<'c>> {
        let item = self.get(name);
        if item.is_none() {
            self.report.error(&join(&self.path, name), format!("is missing; {hint}"));
        }
        item
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<&'c str> {
        self.get(name)?.text()
    }

    pub(super) fn bool(&mut self, name: &'static str, default: bool) -> bool {
        self.get(name).and_then(|item| item.bool()).unwrap_or(default)
    }

    pub(super) fn whole(&mut self, name: &'static str, low: u64, high: u64) -> Option<u64> {
        self.get(name)?.whole(low, high)
    }

    /// A duration in seconds, both bounds included.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        min: Duration,
        max: Duration,
        default: Duration,
    ) -> Duration {
        self.get(name).and_then(|item| item.duration(min, max)).unwrap_or(default)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)], default: T) -> T {
        let Some(item) = self.get(name) else {
            return default;
        };
        let Some(text) = item.string() else {
            return default;
        };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => *value,
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
                item.error(format!("must be one of {}", words.join(", ")));
                default
            }
        }
    }

    /// What the host can do.
    pub(super) fn host(&self) -> HostFeatures {
        self.report.host
    }

    /// Fields of Envoy's `jwt_authn` that this host cannot serve, each with the way here. A name that is empty
    /// turns nothing on, as in Envoy.
    pub(super) fn refuse(&mut self, names: &[(&'static str, &str)]) {
        let host = self.host().name();
        for (name, hint) in names {
            self.refused.push(name);
            if let Some(item) = self.get(name).filter(|item| item.json.as_str() != Some("")) {
                item.error(format!("cannot be done in {host}; {hint}"));
            }
        }
    }

    /// Which of these fields are there.
    pub(super) fn present(&self, names: &[&'static str]) -> Vec<&'static str> {
        let is = |key: &str, json: &Json, name: &str| is_name(key, name) && !self.is_absent(name, json);
        let there = |name: &&&str| self.object.iter().any(|(key, json)| is(key, json, name));
        names.iter().filter(there).copied().collect()
    }

    pub(super) fn error(&self, message: impl Into<String>) {
        self.report.error(&self.path, message);
    }

    /// Reports every unknown field, with the nearest known name.
    pub(super) fn finish(self) {
        for (key, _) in self.object.iter() {
            let is_type = key == "@type" && !matches!(self.of_envoy, OfEnvoy::Nothing);
            if is_type || self.asked.iter().any(|name| is_name(key, name)) {
                continue;
            }
            if self.path.is_empty() && WRAPPERS.contains(&key) {
                self.report.error(key, "is a wrapper around the configuration; write only what is inside it");
                continue;
            }
            // No name is as long: more of the key would only cost time.
            let beginning: String = snake(key).chars().take(64).collect();
            let nearest = self
                .asked
                .iter()
                .map(|name| (strsim::osa_distance(&beginning, name), name))
                .filter(|(distance, name)| *distance <= name.len().max(3) / 3)
                .min();
            let hint = match nearest {
                Some((_, name)) => format!("unknown field; did you mean {name:?}?"),
                None => {
                    let known = self.asked.iter().filter(|name| !self.refused.contains(name));
                    let known: Vec<_> = known.map(|name| format!("{name:?}")).collect();
                    format!("unknown field; known here: {}", known.join(", "))
                }
            };
            self.report.error(&join(&self.path, key), hint);
        }
    }
}

/// Where the files of Envoy and Kubernetes have the configuration inside.
const WRAPPERS: &[&str] = &[
    "typed_config",
    "typedConfig",
    "configuration",
    "config",
    "plugin_config",
    "pluginConfig",
    "value",
    "spec",
];

/// The value of the environment variable that a field names.
pub(super) fn variable(item: &Item<'_>, environment: Variables<'_>) -> Option<String> {
    let value = environment(item.text()?);
    if value.is_none() {
        item.error("this environment variable is not set; name it in the vm_config's environment_variables");
    }
    value
}

/// The path of a member, as the paths of a [`Problem`](super::Problem) have it: `a.b`, or `a["b c"]` for a name that
/// would not be clear behind a dot.
pub fn join(path: &str, name: &str) -> String {
    let plain = !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match (path, plain) {
        ("", true) => name.to_owned(),
        (_, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{:?}]", name.chars().take(100).collect::<String>()),
    }
}

/// Whether a key is a field's snake_case name or its lowerCamelCase form.
fn is_name(key: &str, name: &str) -> bool {
    key == name || (key.bytes().any(|b| b.is_ascii_uppercase()) && !key.contains('_') && snake(key) == name)
}

fn snake(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// `600s`: digits, perhaps a fraction of up to nine digits, and `s`.
fn seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos: u64 = format!("{fraction:0<9}").parse().ok()?;
    Duration::from_secs(whole.parse().ok()?).checked_add(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_in_seconds() {
        for (text, expected) in [
            ("600s", Some(600.0)),
            ("1.5s", Some(1.5)),
            ("0s", Some(0.0)),
            ("0.000000001s", Some(1e-9)),
            ("600", None),
            ("10m", None),
            ("s", None),
            (".5s", None),
            ("1.s", None),
            ("-1s", None),
            ("1e3s", None),
            ("1.0000000001s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(seconds(text).map(|d| d.as_secs_f64()), expected, "{text}");
        }
    }

    #[test]
    fn a_field_is_known_in_both_spellings() {
        assert!(is_name("remote_jwks", "remote_jwks"));
        assert!(is_name("remoteJwks", "remote_jwks"));
        assert!(!is_name("RemoteJwks", "remote_jwks"));
        assert!(!is_name("remote_Jwks", "remote_jwks"));
        assert!(!is_name("remotejwks", "remote_jwks"));
    }
}
