//! One Envoy for many tests: to compile the filter takes seconds of the processor, and one process does it once.
//!
//! Each has listeners and clusters of its own there, which come and go by files that Envoy watches, and virtual machines
//! of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, Once, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use super::bootstrap::EnvoyBuilder;
use super::filter::Wasm;
use super::{Envoy, StartError, discard, scratch};
use crate::wait::poll;

/// The Envoy that is shared, and what it serves now.
struct House {
    envoy: Envoy,
    /// Where the files are that it watches.
    folder: PathBuf,
    served: Mutex<Served>,
}

#[derive(Default)]
struct Served {
    clusters: BTreeMap<String, Value>,
    listeners: BTreeMap<String, Value>,
    /// How often a file was written.
    version: u64,
}

/// What one of those that share an Envoy has there. It goes when this is dropped.
pub(super) struct Place {
    house: &'static House,
    clusters: Vec<String>,
    listeners: Vec<String>,
    number: usize,
    /// How long the log was when it came.
    log_began: usize,
}

/// How the ids of virtual machines begin here; the number of the place follows. Envoy's log names them.
const VM: &str = "shared-";

/// The two kinds of files: the name, the type of what is in it, and the statistics that tell what became of it.
const CLUSTERS: (&str, &str, &str) = ("clusters.json", "cluster.v3.Cluster", "cluster_manager.cds");
const LISTENERS: (&str, &str, &str) = ("listeners.json", "listener.v3.Listener", "listener_manager.lds");

/// Serves what the builder describes in the Envoy of this process.
pub(super) fn join(builder: EnvoyBuilder) -> Result<Envoy, StartError> {
    let house =
        house(&(builder.concurrency, builder.log_level.clone(), builder.component_log_level.clone()))?;
    let folder = scratch().map_err(|error| StartError::new(format!("no folder for its files: {error}")))?;
    let (place, names) = match house.take_in(&builder, &folder) {
        Ok(taken) => taken,
        Err(error) => {
            discard(&folder);
            return Err(error);
        }
    };
    let mut envoy =
        Envoy { server: house.envoy.server.clone(), folder, listeners: BTreeMap::new(), place: Some(place) };
    // Bound is not yet listening: a worker does that.
    let all = poll(builder.start_timeout, || {
        let active = envoy.server.listeners().ok()?;
        names
            .iter()
            .map(|(own, there)| Some((own.clone(), *active.get(there)?)))
            .collect::<Option<BTreeMap<_, _>>>()
    });
    let failed = |envoy: &Envoy| StartError {
        log: envoy.log(),
        ..StartError::new("waited in vain for its listeners")
    };
    envoy.listeners = all.ok_or_else(|| failed(&envoy))?;
    let open = poll(builder.start_timeout, || {
        envoy.listeners.values().all(|addr| TcpStream::connect(addr).is_ok()).then_some(())
    });
    open.ok_or_else(|| failed(&envoy))?;
    Ok(envoy)
}

/// What those that share an Envoy must agree on: the number of workers and the log levels.
type Sort = (u32, String, String);

static HOUSES: Mutex<BTreeMap<Sort, &'static OnceLock<Result<House, StartError>>>> =
    Mutex::new(BTreeMap::new());

fn house(sort: &Sort) -> Result<&'static House, StartError> {
    static ENDS: Once = Once::new();
    ENDS.call_once(|| {
        // SAFETY: the function takes and returns nothing and does not unwind.
        unsafe { libc::atexit(close) };
    });
    let mut houses = HOUSES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // It is there for as long as the process.
    let house: &'static OnceLock<_> = houses.entry(sort.clone()).or_insert_with(|| Box::leak(Box::default()));
    drop(houses);
    house.get_or_init(|| House::open(sort)).as_ref().map_err(StartError::clone)
}

/// When the process ends. Nothing else drops what is static.
extern "C" fn close() {
    let houses = HOUSES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for house in houses.values().filter_map(|house| house.get()?.as_ref().ok()) {
        house.envoy.server.kill();
        let _ = fs::remove_dir_all(&house.folder);
        discard(house.envoy.folder());
    }
}

impl House {
    fn open((workers, level, components): &Sort) -> Result<Self, StartError> {
        let folder =
            scratch().map_err(|error| StartError::new(format!("no folder for its files: {error}")))?;
        let house = |envoy| Self { envoy, folder: folder.clone(), served: Mutex::default() };
        for kind in [CLUSTERS, LISTENERS] {
            write(&folder, kind, 0, &BTreeMap::new())?;
        }
        let watched = |kind: (&str, &str, &str)| {
            json!({
                "resource_api_version": "V3",
                "path_config_source": { "path": folder.join(kind.0), "watched_directory": { "path": folder } },
            })
        };
        let discovery = json!({ "cds_config": watched(CLUSTERS), "lds_config": watched(LISTENERS) });
        // A listener that stays keeps the compiled module alive.
        let routes = json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 404 } }]);
        let nothing = json!({ "providers": {}, "rules": [{ "match": { "prefix": "/" } }] });
        Envoy::builder()
            .filter(Wasm::portcullis(nothing))
            .main(|listener| listener.routes(routes).without_access_log())
            .concurrency(*workers)
            .log_level(level, components)
            .argument("--drain-time-s")
            .argument("1")
            .patch(move |bootstrap| bootstrap["dynamic_resources"] = discovery)
            .start()
            .map(house)
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn failed(&self, message: &str, place: &Place) -> StartError {
        StartError { log: place.log(), ..StartError::new(message) }
    }

    /// Puts its clusters and listeners under names of its own; gives those of the listeners, its own first.
    fn take_in(
        &'static self,
        builder: &EnvoyBuilder,
        folder: &Path,
    ) -> Result<(Place, Vec<(String, String)>), StartError> {
        if !builder.is_plain() {
            return Err(StartError::new(
                "an Envoy that is shared has listeners and clusters, and nothing else",
            ));
        }
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let of = |name: &str| format!("{name}.{number}");
        let vm = |id: &str| format!("{id}{}{VM}{number}", if id.is_empty() { "" } else { "." });
        let known: BTreeSet<&str> = builder.clusters.keys().map(String::as_str).collect();
        let mut place = Place {
            house: self,
            clusters: Vec::new(),
            listeners: Vec::new(),
            number,
            log_began: self.envoy.server.log_length(),
        };
        let mut served = self.served();
        for (name, cluster) in &builder.clusters {
            place.clusters.push(of(name));
            served.clusters.insert(of(name), cluster.to_json(&of(name)));
        }
        let mut names = Vec::new();
        for listener in std::iter::once(&builder.main).chain(&builder.listeners) {
            let mut json = listener.to_json(&folder.join("access.log"));
            set_apart(&mut json, &known, &of, &vm);
            json["name"] = json!(of(&listener.name));
            place.listeners.push(of(&listener.name));
            names.push((listener.name.clone(), of(&listener.name)));
            served.listeners.insert(of(&listener.name), json);
        }
        let mut put = || {
            if !place.clusters.is_empty() {
                self.put(CLUSTERS, &mut served, &place, builder.start_timeout)?;
            }
            self.put(LISTENERS, &mut served, &place, builder.start_timeout)
        };
        if let Err(error) = put() {
            // Before anybody else's turn: Envoy would reject with it what comes next.
            place.leave(&mut served);
            return Err(error);
        }
        drop(served);
        Ok((place, names))
    }

    /// Writes one of the files, and waits until Envoy has taken it.
    fn put(
        &self,
        kind: (&str, &str, &str),
        served: &mut Served,
        place: &Place,
        timeout: Duration,
    ) -> Result<(), StartError> {
        let (_, _, statistics) = kind;
        let rejected = || self.envoy.stat(&format!("{statistics}.update_rejected"));
        let before = rejected();
        let version = self.write(kind, served)?;
        let taken = poll(timeout, || {
            if rejected() > before {
                return Some(Err(self.failed("its configuration was rejected", place)));
            }
            let text = self.envoy.admin("GET", &format!("/stats?filter=^{statistics}.version_text$")).text();
            let now: u64 = text.split('"').nth(1)?.parse().ok()?;
            (now >= version).then_some(Ok(()))
        });
        taken.unwrap_or_else(|| Err(self.failed("waited in vain for its configuration to be taken", place)))
    }

    fn write(&self, kind: (&str, &str, &str), served: &mut Served) -> Result<u64, StartError> {
        served.version += 1;
        let all = if kind == CLUSTERS { &served.clusters } else { &served.listeners };
        write(&self.folder, kind, served.version, all)?;
        Ok(served.version)
    }
}

fn write(
    folder: &Path,
    (name, kind, _): (&str, &str, &str),
    version: u64,
    resources: &BTreeMap<String, Value>,
) -> Result<(), StartError> {
    let kind = json!(format!("type.googleapis.com/envoy.config.{kind}"));
    let typed = |resource: &Value| {
        let mut resource = resource.clone();
        resource["@type"] = kind.clone();
        resource
    };
    let all: Vec<Value> = resources.values().map(typed).collect();
    let content = json!({ "version_info": version.to_string(), "resources": all });
    let fresh = folder.join(format!("{name}.new"));
    fs::write(&fresh, content.to_string())
        .and_then(|()| fs::rename(&fresh, folder.join(name)))
        .map_err(|error| StartError::new(format!("{}: {error}", fresh.display())))
}

/// Names its clusters and its virtual machines so that they are nobody else's, in the filter's configuration too.
fn set_apart(
    value: &mut Value,
    clusters: &BTreeSet<&str>,
    of: &dyn Fn(&str) -> String,
    vm: &dyn Fn(&str) -> String,
) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| set_apart(value, clusters, of, vm)),
        Value::Object(members) => {
            if members.contains_key("runtime") && members.contains_key("code") {
                let id = members.get("vm_id").and_then(Value::as_str).unwrap_or_default();
                let own = json!(vm(id));
                members.insert("vm_id".to_owned(), own);
            }
            let is_text =
                members.get("@type") == Some(&json!("type.googleapis.com/google.protobuf.StringValue"));
            for (name, value) in members {
                let Some(text) = value.as_str() else {
                    set_apart(value, clusters, of, vm);
                    continue;
                };
                if name == "cluster" && clusters.contains(text) {
                    *value = json!(of(text));
                } else if name == "value" && is_text {
                    // What names none of them stays as it is written, to the byte.
                    let Ok(written) = serde_json::from_str::<Value>(text) else { continue };
                    let mut inner = written.clone();
                    set_apart(&mut inner, clusters, of, vm);
                    if inner != written {
                        *value = json!(inner.to_string());
                    }
                }
            }
        }
        _ => {}
    }
}

impl Place {
    /// What was logged since it is there, but for what virtual machines of others said; its own say it as they would in
    /// an Envoy of its own.
    pub(super) fn log(&self) -> String {
        let own = format!("{VM}{}:", self.number);
        let mut log = String::new();
        for line in self.house.envoy.server.log_from(self.log_began).lines() {
            let Some((before, after)) = line.split_once(VM).filter(|_| line.contains("wasm")) else {
                log += line;
                log.push('\n');
                continue;
            };
            if line.contains(&own) {
                let rest = after.split_once(':').map_or("", |(_, rest)| rest);
                log += &format!("{}:{rest}\n", before.trim_end_matches([' ', '.']));
            }
        }
        log
    }
}

impl Place {
    /// Takes out what it has there.
    fn leave(&mut self, served: &mut Served) {
        for name in self.listeners.drain(..) {
            served.listeners.remove(&name);
        }
        for name in self.clusters.drain(..) {
            served.clusters.remove(&name);
        }
        // What is written next takes them out as well.
        let _ = self.house.write(LISTENERS, served);
        let _ = self.house.write(CLUSTERS, served);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.listeners.is_empty() {
            let house = self.house;
            self.leave(&mut house.served());
        }
    }
}
