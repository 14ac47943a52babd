//! A filter configuration in the fake Envoy, and its main thread.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use super::faults::Faults;
use super::hooks::{self, Bytes, Field};
use super::stream::Worker;
use super::{Fault, eventually};

/// A request that the module sent.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: u64,
    pub cluster: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub timeout_milliseconds: u64,
}

impl Call {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// What comes of a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Envoy's number: 0 is an answer, 1 a reset, 2 a body that is too large.
    pub result: u32,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body, piece by piece.
    pub body: Vec<Vec<u8>>,
}

impl Answer {
    pub fn ok(body: &str) -> Self {
        let headers = [(":status", "200"), ("content-type", "application/json")];
        Self {
            result: 0,
            headers: headers.map(|(name, value)| (name.into(), value.into())).to_vec(),
            body: vec![body.into()],
        }
    }

    pub fn reset() -> Self {
        Self { result: 1, headers: Vec::new(), body: Vec::new() }
    }
}

/// A metric: its kind, its name, its labels, and its value for each of their values.
#[derive(Debug)]
pub struct Metric {
    pub kind: &'static str,
    pub name: String,
    pub labels: usize,
    pub values: BTreeMap<Vec<String>, u64>,
}

/// What Envoy has of a filter configuration. The module holds a pointer to it.
pub struct Config {
    pub faults: Faults,
    pub main: ThreadId,
    /// Metrics may be defined.
    pub is_new: AtomicBool,
    pub metrics: Mutex<Vec<Metric>>,
    pub events: Mutex<VecDeque<u64>>,
    pub calls: Mutex<Vec<Call>>,
    pub next_call: Mutex<u64>,
    pub plugin: Mutex<usize>,
    /// Ways to streams and configurations that the module has not given back.
    pub schedulers: AtomicUsize,
    /// What the module did that it must not do.
    pub violations: Mutex<Vec<String>>,
}

impl Config {
    pub(super) fn raw(self: &Arc<Self>) -> *mut c_void {
        Arc::as_ptr(self).cast_mut().cast()
    }

    pub(super) fn plugin(&self) -> *const c_void {
        *self.plugin.lock().expect("no panic") as *const c_void
    }

    pub(super) fn violation(&self, what: impl Into<String>) {
        self.violations.lock().expect("no panic").push(what.into());
    }

    /// Callbacks of a configuration are for the main thread alone.
    pub(super) fn on_main(&self, callback: &str) {
        if thread::current().id() != self.main {
            self.violation(format!("{callback} outside of the main thread"));
        }
    }

    /// Calls a hook of a call that ended.
    pub(super) fn done(&self, call: u64, answer: &Answer) {
        // Each piece by itself, of exactly its length, and gone after the hook.
        let fields: Vec<Field> = answer
            .headers
            .iter()
            .map(|(name, value)| Field { name: name.as_slice().into(), value: value.as_slice().into() })
            .collect();
        let body: Vec<Bytes> = answer
            .body
            .iter()
            .map(|piece| if piece.is_empty() { Bytes::NONE } else { piece.as_slice().into() })
            .collect();
        let start = |length: usize, start: *const c_void| if length == 0 { std::ptr::null() } else { start };
        // SAFETY: the plugin lives, and everything else until the call returns.
        unsafe {
            hooks::envoy_dynamic_module_on_http_filter_config_http_callout_done(
                std::ptr::from_ref(self).cast_mut().cast(),
                self.plugin(),
                call,
                answer.result,
                start(fields.len(), fields.as_ptr().cast()).cast(),
                fields.len(),
                start(body.len(), body.as_ptr().cast()).cast(),
                body.len(),
            );
        }
    }
}

/// An Envoy with one filter configuration and one worker, both on the thread that made it.
pub struct Envoy {
    pub(super) config: Arc<Config>,
    pub worker: Worker,
}

impl Envoy {
    /// Starts one whose module takes this configuration.
    #[track_caller]
    pub fn start(text: &str) -> Self {
        let started = Self::start_with(text.as_bytes(), |_| ());
        started.unwrap_or_else(|| panic!("the configuration is refused:\n{}", super::last_lines()))
    }

    /// Starts one after `prepare` was told which callbacks fail; none where the module refuses the configuration.
    pub fn start_with(text: &[u8], prepare: impl FnOnce(&Envoy)) -> Option<Self> {
        let config = Arc::new(Config {
            faults: Faults::default(),
            main: thread::current().id(),
            is_new: AtomicBool::new(true),
            metrics: Mutex::default(),
            events: Mutex::default(),
            calls: Mutex::default(),
            next_call: Mutex::new(1),
            plugin: Mutex::new(0),
            schedulers: AtomicUsize::new(0),
            violations: Mutex::default(),
        });
        let envoy = Self { worker: Worker::new(&config), config };
        prepare(&envoy);
        // SAFETY: the configuration lives as long as the plugin, and the texts as long as the call.
        let plugin = unsafe {
            let version = hooks::envoy_dynamic_module_on_program_init();
            assert!(!version.is_null(), "the module says which interface it was made for");
            let (name, text) = (Box::<[u8]>::from(&b"portcullis"[..]), Box::<[u8]>::from(text));
            hooks::envoy_dynamic_module_on_http_filter_config_new(
                envoy.config.raw(),
                (&*name).into(),
                (&*text).into(),
            )
        };
        envoy.config.is_new.store(false, Ordering::Release);
        *envoy.config.plugin.lock().expect("no panic") = plugin as usize;
        (!plugin.is_null()).then_some(envoy)
    }

    /// From now on a callback fails, after so many calls, so often.
    pub fn fail(&self, callback: &'static str, fault: Fault, after: usize, times: usize) {
        self.config.faults.plan(callback, fault, after, times);
    }

    pub fn heal(&self) {
        self.config.faults.heal();
    }

    /// How often each callback was called since this was asked the last time.
    pub fn take_counts(&self) -> BTreeMap<&'static str, usize> {
        self.config.faults.take_counts()
    }

    /// Hands over the events that came meanwhile: those of the main thread, then those of its worker.
    pub fn pump(&self) {
        let events = std::mem::take(&mut *self.config.events.lock().expect("no panic"));
        for event in events {
            // SAFETY: both live.
            unsafe {
                hooks::envoy_dynamic_module_on_http_filter_config_scheduled(
                    self.config.raw(),
                    self.config.plugin(),
                    event,
                );
            }
        }
        self.worker.pump();
    }

    /// Calls that are under way.
    pub fn calls(&self) -> Vec<Call> {
        self.config.calls.lock().expect("no panic").clone()
    }

    /// The call that is made sooner or later.
    #[track_caller]
    pub fn next_call(&self) -> Call {
        eventually("a call", || {
            self.pump();
            self.calls().into_iter().next()
        })
    }

    /// Ends a call, and hands over what follows from it.
    pub fn answer(&self, call: u64, answer: &Answer) {
        self.config.calls.lock().expect("no panic").retain(|known| known.id != call);
        self.config.done(call, answer);
        self.pump();
    }

    /// An answer to a call that Envoy never sent.
    pub fn stray_answer(&self, call: u64, answer: &Answer) {
        self.config.done(call, answer);
    }

    /// An event for the main thread that nobody asked for.
    pub fn stray_event(&self, event: u64) {
        self.config.events.lock().expect("no panic").push_back(event);
        self.pump();
    }

    /// The sum of a metric's values.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.config.metrics.lock().expect("no panic");
        metrics.iter().filter(|metric| metric.name == name).flat_map(|metric| metric.values.values()).sum()
    }

    /// Another worker, for the thread that it is made in.
    pub fn other_worker(&self) -> impl FnOnce() -> Worker + Send + use<> {
        let config = Arc::clone(&self.config);
        move || Worker::new(&config)
    }

    /// What the module did that it must not do.
    pub fn violations(&self) -> Vec<String> {
        self.config.violations.lock().expect("no panic").clone()
    }

    /// Ends the streams of its worker and then the configuration, in another thread where asked: Envoy does so where a
    /// worker held the last stream of it.
    pub fn end_in(self, elsewhere: bool) {
        self.worker.end_all();
        let plugin = self.config.plugin.lock().map(|mut own| std::mem::take(&mut *own)).expect("no panic");
        // SAFETY: once, and nothing is asked of it afterwards.
        let destroy = move || unsafe {
            hooks::envoy_dynamic_module_on_http_filter_config_destroy(plugin as *const c_void);
        };
        match elsewhere {
            true => thread::spawn(destroy).join().expect("no panic"),
            false => destroy(),
        }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.worker.end_all();
        let plugin = self.config.plugin.lock().map(|mut own| std::mem::take(&mut *own)).unwrap_or_default();
        if plugin != 0 {
            // SAFETY: once, and nothing is asked of it afterwards.
            unsafe {
                hooks::envoy_dynamic_module_on_http_filter_config_destroy(plugin as *const c_void);
            }
        }
        if thread::panicking() {
            return;
        }
        // The ticker may hold it for an instant longer.
        eventually("every way to a stream or a configuration is given back", || {
            (self.config.schedulers.load(Ordering::Acquire) == 0).then_some(())
        });
        let violations = self.violations();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}
