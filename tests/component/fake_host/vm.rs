//! One VM on a thread of its own, and the host that drives it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::guest::{self, Guest};
use super::state::{
    Answer, Call, Deferred, Fault, Level, Map, Progress, Property, Root, StreamState, VmState,
};
use super::wire::{Header, Status};
use super::world::World;
use super::{Outcome, Plugin, Refused, Request, Response, Stream};

type Job = Box<dyn FnOnce() + Send>;

/// What the VM's thread, the test and the world all hold.
pub(crate) struct VmCore {
    state: Mutex<VmState>,
    jobs: Mutex<Option<Sender<Job>>>,
    world: World,
    pub(super) guest: Guest,
}

impl VmCore {
    pub(crate) fn lock(&self) -> MutexGuard<'_, VmState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something on the VM's thread and waits for it.
    pub(crate) fn run<R: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&VmCore) -> R + Send + 'static,
    ) -> R {
        let (answer, result) = channel();
        let core = Arc::clone(self);
        let boxed: Job = Box::new(move || drop(answer.send(job(&core))));
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = jobs.clone().expect("the VM was killed");
        drop(jobs);
        sender.send(boxed).expect("the VM's thread is there");
        result.recv().expect("the VM's thread answers")
    }

    /// The next moment at which a timer or a callout's timeout is due.
    pub(super) fn next_event(&self) -> Option<Duration> {
        let state = self.lock();
        let ticks = state.roots.values();
        let ticks = ticks.filter_map(|root| root.tick_period.map(|_| root.next_tick));
        let timeouts = state.pending.iter().filter_map(Call::deadline);
        ticks.chain(timeouts).min()
    }

    /// Runs what is due by the world's clock.
    pub(super) fn run_due(self: &Arc<Self>) {
        self.run(|core| {
            let now = core.world.lock().uptime;
            let state = core.lock();
            let late = state.pending.iter();
            let late = late.filter(|call| call.deadline().is_some_and(|due| due <= now));
            let late: Vec<u32> = late.map(|call| call.token).collect();
            let due = state.roots.iter();
            let due = due.filter(|(_, root)| root.tick_period.is_some() && root.next_tick <= now);
            let due: Vec<u32> = due.map(|(id, _)| *id).collect();
            drop(state);
            for token in late {
                core.answer(token, Response::timeout());
            }
            for root in due {
                core.tick(root);
            }
        });
    }

    /// For the report of a panic, which may come while the state is locked.
    pub(super) fn try_describe(&self) -> Option<String> {
        let state = self.state.try_lock().ok()?;
        let last = state.trace.iter().rev().take(12).rev();
        let last: Vec<&str> = last.copied().collect();
        Some(format!(
            "context {} (effective {}), last host calls: {}\nfaults: {:?}",
            state.current,
            state.effective,
            last.join(" > "),
            state.faults
        ))
    }

    // ---- everything below runs on the VM's thread

    /// Calls into the guest as Envoy does: with one current context, and what was put off done afterwards.
    fn enter<R>(&self, context: u32, callback: impl FnOnce() -> R) -> (R, Vec<Deferred>) {
        self.in_context(context, || guest::inside(callback))
    }

    fn in_context<R>(&self, context: u32, code: impl FnOnce() -> R) -> (R, Vec<Deferred>) {
        {
            let mut state = self.lock();
            state.current = context;
            state.effective = 0;
        }
        let result = code();
        let mut state = self.lock();
        state.current = 0;
        state.effective = 0;
        (result, std::mem::take(&mut state.deferred))
    }

    fn carry_out(&self, deferred: Vec<Deferred>) {
        for action in deferred {
            match action {
                Deferred::Reply(id) => self.deliver_reply(id),
                Deferred::Continue(id) => self.resume(id),
                Deferred::Close(id) => self.reset(id),
                Deferred::Done(id) => self.delete(id),
            }
        }
    }

    fn deliver_reply(&self, id: u32) {
        {
            let mut state = self.lock();
            let Some(stream) = state.streams.get_mut(&id) else {
                return;
            };
            let Some(reply) = stream.reply.clone() else {
                return;
            };
            let late = stream.progress == Progress::Forwarded && !stream.responding;
            stream.progress = Progress::Replied;
            // The access log shows it.
            let status = (b":status".to_vec(), reply.status.to_string().into_bytes());
            let headers = std::iter::once(status).chain(reply.headers);
            stream.response = Map::new(headers.collect());
            if late {
                let note = format!("stream {id}: answered after the upstream had the request");
                state.violations.push(note);
            }
        }
        self.show_answer(id);
        self.end(id);
    }

    /// The headers of an answer are shown to the guest once, whoever gave it; what it puts in their place is not.
    fn show_answer(&self, id: u32) {
        let Some(callback) = self.guest.response_headers else { return };
        let count = {
            let mut state = self.lock();
            let Some(stream) = state.streams.get_mut(&id).filter(|stream| !stream.responding) else { return };
            stream.responding = true;
            stream.response.readable = true;
            stream.request.readable = false;
            stream.response.pairs.len()
        };
        let (action, deferred) = self.enter(id, || callback(id, count, true));
        let replied = deferred.contains(&Deferred::Reply(id));
        if (action != 0) != replied {
            let note = format!("stream {id}: action {action} at the answer, replaced: {replied}");
            self.lock().violations.push(note);
        }
        self.carry_out(deferred);
    }

    fn reset(&self, id: u32) {
        if let Some(stream) = self.lock().streams.get_mut(&id) {
            stream.progress = Progress::Reset;
        }
        self.end(id);
    }

    fn resume(&self, id: u32) {
        let mut state = self.lock();
        let Some(stream) = state.streams.get_mut(&id) else {
            return;
        };
        match stream.progress {
            Progress::Held => {
                stream.progress = Progress::Forwarded;
                drop(state);
                self.send_rest(id);
            }
            // The reply won.
            Progress::Replied | Progress::Reset => {}
            other => {
                let note = format!("stream {id}: continue_stream while {other:?}");
                state.violations.push(note);
            }
        }
    }

    /// Body and trailers follow headers that went on.
    fn send_rest(&self, id: u32) {
        let (body, trailers) = {
            let mut state = self.lock();
            let Some(stream) = state.streams.get_mut(&id) else {
                return;
            };
            stream.request.readable = false;
            (stream.body.len(), stream.request_trailers.pairs.len())
        };
        if body > 0 && !self.body_goes_on(id, body, trailers == 0) {
            if let Some(stream) = self.lock().streams.get_mut(&id) {
                stream.progress = Progress::Held;
            }
            return;
        }
        if trailers > 0 {
            if let Some(stream) = self.lock().streams.get_mut(&id) {
                stream.request_trailers.readable = true;
            }
            let (action, deferred) = self.enter(id, || (self.guest.request_trailers)(id, trailers));
            let mut state = self.lock();
            if let Some(stream) = state.streams.get_mut(&id) {
                stream.request_trailers.readable = false;
                if action != 0 {
                    stream.progress = Progress::Held;
                }
            }
            drop(state);
            self.carry_out(deferred);
        }
    }

    /// Whether the guest lets a part of a body go on.
    fn body_goes_on(&self, id: u32, size: usize, end: bool) -> bool {
        let Some(callback) = self.guest.request_body else { return true };
        let (action, deferred) = self.enter(id, || callback(id, size, end));
        self.carry_out(deferred);
        action == 0
    }

    /// What follows headers that were stopped by themselves: the first part of it that may go on releases them.
    fn follow_stopped_headers(&self, id: u32) {
        let (body, trailers) = {
            let state = self.lock();
            let stream = state.any_stream(id);
            (stream.body.len(), stream.request_trailers.pairs.len())
        };
        let mut released = body > 0 && self.body_goes_on(id, body, trailers == 0);
        if trailers > 0 && !released {
            if let Some(stream) = self.lock().streams.get_mut(&id) {
                stream.request_trailers.readable = true;
            }
            let (action, deferred) = self.enter(id, || (self.guest.request_trailers)(id, trailers));
            self.carry_out(deferred);
            released = action == 0;
        }
        if let Some(stream) = self.lock().streams.get_mut(&id)
            && released
        {
            stream.progress = Progress::Forwarded;
        }
    }

    fn open(&self, root: u32, request: Request) -> u32 {
        let id = {
            let mut state = self.lock();
            let id = state.context_id();
            let mut stream = StreamState::new(root, request.headers);
            stream.body = request.body;
            stream.request_trailers.pairs = request.trailers;
            stream.properties = request.properties;
            state.streams.insert(id, stream);
            id
        };
        let (_, deferred) = self.enter(id, || (self.guest.context_create)(id, root));
        self.carry_out(deferred);
        let (count, end) = {
            let state = self.lock();
            let stream = state.any_stream(id);
            let end = stream.body.is_empty() && stream.request_trailers.pairs.is_empty();
            (stream.request.pairs.len(), end)
        };
        let (action, deferred) = self.enter(id, || (self.guest.request_headers)(id, count, end));
        let replied = deferred.contains(&Deferred::Reply(id));
        // An answer stops whatever is under way, and it does not matter whose it is: Envoy goes by what was called, not
        // by the effective context.
        let stopped = deferred.iter().any(|deferred| matches!(deferred, Deferred::Reply(_)));
        if let Some(stream) = self.lock().streams.get_mut(&id)
            && (action != 0 || stopped)
            && !replied
        {
            stream.progress = Progress::Held;
        }
        if deferred.contains(&Deferred::Continue(id)) && !replied {
            let note = format!("stream {id}: continue_stream inside on_request_headers");
            self.lock().violations.push(note);
        }
        self.carry_out(deferred);
        // In place of `StopIteration` Envoy takes what stops everything, unless the plugin says otherwise.
        if action == 1 && !replied && self.lock().stops_headers_alone {
            self.follow_stopped_headers(id);
        }
        let mut state = self.lock();
        if let Some(stream) = state.streams.get_mut(&id)
            && stream.progress == Progress::Deciding
        {
            stream.progress = Progress::Forwarded;
            drop(state);
            self.send_rest(id);
        }
        id
    }

    /// The stream is over for the client: access log, then destruction.
    fn end(&self, id: u32) {
        {
            let mut state = self.lock();
            let Some(stream) = state.streams.get_mut(&id) else {
                return;
            };
            stream.logging = true;
            stream.request.readable = true;
            stream.response.readable = true;
        }
        if let Some(stream) = self.lock().streams.get_mut(&id) {
            stream.logging = false;
            stream.request.readable = false;
            stream.response.readable = false;
        }
        let done = self.guest.done.map(|done| self.enter(id, || done(id)));
        let (done, deferred) = done.unwrap_or((true, Vec::new()));
        if done {
            self.carry_out(deferred);
            self.delete(id);
        } else {
            if let Some(stream) = self.lock().streams.get_mut(&id) {
                stream.done_pending = true;
            }
            self.carry_out(deferred);
        }
    }

    fn delete(&self, id: u32) {
        let root = match self.lock().streams.get(&id) {
            Some(stream) => stream.root,
            None => return,
        };
        let (_, deferred) = self.enter(id, || (self.guest.delete)(id));
        {
            let mut state = self.lock();
            if let Some(stream) = state.streams.remove(&id) {
                state.ended.insert(id, stream);
            }
        }
        self.carry_out(deferred);
        self.retire_if_idle(root);
    }

    /// A root that a newer configuration replaced goes with its last stream; so do its callouts.
    fn retire_if_idle(&self, root: u32) {
        {
            let state = self.lock();
            let retired = state.roots.get(&root).is_some_and(|r| r.retired);
            if !retired || state.streams.values().any(|s| s.root == root) {
                return;
            }
        }
        if let Some(done) = self.guest.done {
            self.enter(root, || done(root));
        }
        self.delete_root(root);
        let mut state = self.lock();
        state.roots.remove(&root);
        state.pending.retain(|call| call.root != root);
    }

    fn delete_root(&self, root: u32) {
        self.enter(root, || (self.guest.delete)(root));
    }

    fn tick(&self, root: u32) {
        if !self.lock().roots.contains_key(&root) {
            return;
        }
        let (_, deferred) = self.enter(root, || (self.guest.tick)(root));
        {
            let now = self.world.lock().uptime;
            let mut state = self.lock();
            if let Some(root) = state.roots.get_mut(&root)
                && let Some(period) = root.tick_period
            {
                root.next_tick = now + period;
            }
        }
        self.carry_out(deferred);
    }

    fn answer(&self, token: u32, response: Response) {
        let (root, headers, body, trailers) = {
            let mut state = self.lock();
            let Some(at) = state.pending.iter().position(|c| c.token == token) else {
                panic!("no call {token} is under way");
            };
            let root = state.pending.remove(at).root;
            let Response(answer) = response;
            let sizes = (root, answer.headers.len(), answer.body.len(), answer.trailers.len());
            let Some(owner) = state.roots.get_mut(&root) else {
                return;
            };
            owner.answer = Some(answer);
            sizes
        };
        let (_, deferred) = self.enter(root, || {
            (self.guest.http_call_response)(root, token, headers, body, trailers);
        });
        {
            let mut state = self.lock();
            if let Some(owner) = state.roots.get_mut(&root) {
                owner.answer = None;
            }
        }
        self.carry_out(deferred);
    }

    /// Creates and starts a plugin; false is the filter's refusal.
    fn start_plugin(&self, plugin: Plugin) -> (u32, bool) {
        let root = Root {
            plugin_name: plugin.name,
            root_id: plugin.root_id,
            configuration: plugin.configuration,
            vm_configuration: Vec::new(),
            starting: true,
            tick_period: None,
            next_tick: Duration::ZERO,
            answer: None,
            retired: false,
        };
        let id = {
            let mut state = self.lock();
            let id = state.context_id();
            state.roots.insert(id, root);
            id
        };
        self.enter(id, || (self.guest.context_create)(id, 0));
        let started = self.guest.vm_start.is_none_or(|start| {
            let (started, deferred) = self.enter(id, || start(id, 0));
            self.carry_out(deferred);
            started
        });
        (id, started && self.configure(id))
    }

    fn configure(&self, id: u32) -> bool {
        let size = match self.lock().roots.get_mut(&id) {
            Some(root) => {
                root.starting = true;
                root.configuration.len()
            }
            None => return false,
        };
        let (accepted, deferred) = self.enter(id, || (self.guest.configure)(id, size));
        if let Some(root) = self.lock().roots.get_mut(&id) {
            root.starting = false;
        }
        self.carry_out(deferred);
        accepted
    }
}

/// A running VM with one plugin or more.
pub(crate) struct Vm {
    core: Arc<VmCore>,
    thread: Option<JoinHandle<()>>,
    /// The plugin that new requests meet.
    root: u32,
}

impl Vm {
    /// A VM in a world of its own. Panics, with the log, where the filter refuses the configuration.
    pub(crate) fn start(plugin: impl Into<Plugin>) -> Vm {
        Vm::start_in(&World::new(), plugin)
    }

    pub(crate) fn try_start(plugin: impl Into<Plugin>) -> Result<Vm, Refused> {
        Vm::try_start_in(&World::new(), plugin)
    }

    pub(crate) fn start_in(world: &World, plugin: impl Into<Plugin>) -> Vm {
        Vm::try_start_in(world, plugin).unwrap_or_else(|refused| panic!("{refused:#?}"))
    }

    pub(crate) fn try_start_in(world: &World, plugin: impl Into<Plugin>) -> Result<Vm, Refused> {
        Vm::launch(world, plugin.into(), Guest::PORTCULLIS)
    }

    /// A VM around another guest than the filter: the tests of the fake host itself.
    pub(crate) fn with_guest(plugin: impl Into<Plugin>, guest: Guest) -> Vm {
        Vm::with_guest_in(&World::new(), plugin, guest)
    }

    pub(crate) fn with_guest_in(world: &World, plugin: impl Into<Plugin>, guest: Guest) -> Vm {
        let vm = Vm::launch(world, plugin.into(), guest);
        vm.unwrap_or_else(|refused| panic!("{refused:#?}"))
    }

    fn launch(world: &World, plugin: Plugin, guest: Guest) -> Result<Vm, Refused> {
        let (jobs, todo) = channel::<Job>();
        let core = Arc::new(VmCore {
            state: Mutex::new(VmState::new(world.clone(), &plugin.vm_id)),
            jobs: Mutex::new(Some(jobs)),
            world: world.clone(),
            guest,
        });
        world.lock().vms.push(Arc::downgrade(&core));
        let test = std::thread::current();
        let home = Arc::clone(&core);
        let thread = std::thread::Builder::new()
            .name(format!("a VM of {}", test.name().unwrap_or("?")))
            .spawn(move || {
                super::exports::adopt(&home);
                drop(home);
                while let Ok(job) = todo.recv() {
                    job();
                }
            })
            .expect("a thread for the VM");
        core.run(move |_| guest::initialize(guest.initialize));
        let (root, accepted) = core.run(move |core| core.start_plugin(plugin));
        let vm = Vm { core, thread: Some(thread), root };
        if accepted {
            return Ok(vm);
        }
        Err(Refused { errors: vm.errors() })
    }

    pub(crate) fn world(&self) -> &World {
        &self.core.world
    }

    // ---- plugins

    /// A second plugin in the same VM; requests meet it through [`Vm::request_to`].
    pub(crate) fn add_plugin(&self, plugin: impl Into<Plugin>) -> Result<u32, Refused> {
        let plugin = plugin.into();
        let before = self.errors().len();
        let (root, accepted) = self.core.run(move |core| core.start_plugin(plugin));
        if accepted {
            return Ok(root);
        }
        let errors = self.errors().split_off(before);
        self.core.run(move |core| {
            core.delete_root(root);
            core.lock().roots.remove(&root);
        });
        Err(Refused { errors })
    }

    /// A configuration update as Envoy does it: a new root takes new requests, the old one ends with its last
    /// stream. A refused update changes nothing.
    pub(crate) fn update(&mut self, plugin: impl Into<Plugin>) -> Result<(), Refused> {
        let root = self.add_plugin(plugin)?;
        let old = std::mem::replace(&mut self.root, root);
        self.core.run(move |core| {
            if let Some(root) = core.lock().roots.get_mut(&old) {
                root.retired = true;
            }
            core.retire_if_idle(old);
        });
        Ok(())
    }

    /// `on_configure` once more on the same root, with another configuration.
    pub(crate) fn reconfigure(&self, plugin: impl Into<Plugin>) -> Result<(), Refused> {
        let (root, configuration) = (self.root, plugin.into().configuration);
        let before = self.errors().len();
        let accepted = self.core.run(move |core| {
            if let Some(root) = core.lock().roots.get_mut(&root) {
                root.configuration = configuration;
            }
            core.configure(root)
        });
        if accepted {
            return Ok(());
        }
        let errors = self.errors().split_off(before);
        Err(Refused { errors })
    }

    /// The root that new requests meet.
    pub(crate) fn root(&self) -> u32 {
        self.root
    }

    /// How many roots the VM has, retired ones that still hold streams among them.
    pub(crate) fn roots(&self) -> usize {
        self.core.lock().roots.len()
    }

    // ---- time

    /// One tick of every plugin, now.
    pub(crate) fn tick(&self) {
        self.core.run(|core| {
            let roots: Vec<u32> = core.lock().roots.keys().copied().collect();
            for root in roots {
                core.tick(root);
            }
        });
    }

    /// Lets time pass: ticks and timeouts happen when they are due.
    pub(crate) fn advance(&self, by: Duration) {
        self.core.world.advance(by);
    }

    // ---- callouts

    /// Callouts that have no answer yet.
    pub(crate) fn pending_calls(&self) -> Vec<Call> {
        self.core.lock().pending.clone()
    }

    /// Every callout ever sent.
    pub(crate) fn sent_calls(&self) -> Vec<Call> {
        self.core.lock().sent.clone()
    }

    pub(crate) fn respond(&self, call: &Call, response: Response) {
        let token = call.token;
        self.core.run(move |core| core.answer(token, response));
    }

    /// A host that forgets a callout: no answer ever comes, not even a timeout.
    pub(crate) fn lose(&self, call: &Call) {
        self.core.lock().pending.retain(|pending| pending.token != call.token);
    }

    // ---- requests

    pub(crate) fn request(&self, request: Request) -> Stream {
        self.request_to(self.root, request)
    }

    /// A request to a plugin that [`Vm::add_plugin`] started.
    pub(crate) fn request_to(&self, root: u32, request: Request) -> Stream {
        let id = self.core.run(move |core| core.open(root, request));
        Stream { core: Arc::clone(&self.core), id }
    }

    // ---- what happened

    pub(crate) fn logs(&self) -> Vec<(Level, String)> {
        self.core.lock().logs.clone()
    }

    /// What was logged as an error, or worse.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.logged(Level::Error)
    }

    /// What was logged at a level or above.
    pub(crate) fn logged(&self, least: Level) -> Vec<String> {
        let logs = self.logs().into_iter();
        let loud = logs.filter(|(level, _)| *level >= least);
        loud.map(|(_, message)| message).collect()
    }

    /// The names of the host calls since the last [`Vm::forget_host_calls`], in order.
    pub(crate) fn host_calls(&self) -> Vec<&'static str> {
        self.core.lock().trace.clone()
    }

    /// The same, counted by name.
    pub(crate) fn host_call_counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for name in self.host_calls() {
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    pub(crate) fn forget_host_calls(&self) {
        self.core.lock().trace.clear();
    }

    /// What a real host would have punished. Checked when the VM goes; taking it forgives it.
    pub(crate) fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.core.lock().violations)
    }

    // ---- faults

    /// Every call of a host function fails from now on.
    pub(crate) fn fail(&self, function: &'static str, status: Status) {
        self.inject(Fault { function, status, after: 0, times: None });
    }

    /// The call after the next `after` ones fails, and only that one.
    pub(crate) fn fail_once(&self, function: &'static str, after: usize, status: Status) {
        self.inject(Fault { function, status, after, times: Some(1) });
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.core.lock().faults.push(fault);
    }

    pub(crate) fn heal(&self) {
        self.core.lock().faults.clear();
    }

    /// The list of header pairs that the guest asks for after the next `after` ones is these bytes.
    pub(crate) fn garble_pairs(&self, after: usize, bytes: &[u8]) {
        self.core.lock().bad_pairs = Some((after, bytes.to_vec()));
    }

    /// As where the plugin says `allow_on_headers_stop_iteration`.
    pub(crate) fn stop_headers_alone(&self) {
        self.core.lock().stops_headers_alone = true;
    }

    /// As after `declare_property` with `readonly`: the first write of this filter state object is the last.
    pub(crate) fn declare_read_only(&self, key: &str) {
        let key = key.to_owned();
        self.core.lock().read_only_properties.push(key);
    }

    /// Runs code on the VM's thread as if it were a callback in a context: for tests of the host functions.
    pub(crate) fn as_guest<R: Send + 'static>(
        &self,
        context: u32,
        code: impl FnOnce() -> R + Send + 'static,
    ) -> R {
        self.core.run(move |core| {
            let (result, deferred) = core.in_context(context, code);
            core.carry_out(deferred);
            result
        })
    }

    /// The VM is gone at once, as after a trap: its callouts are cancelled, its streams hang.
    pub(crate) fn kill(&mut self) {
        {
            let mut state = self.core.lock();
            state.pending.clear();
            state.roots.clear();
        }
        let jobs = self.core.jobs.lock();
        drop(jobs.unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
        let violations = self.take_violations();
        if !std::thread::panicking() {
            assert!(violations.is_empty(), "against the host: {violations:#?}");
        }
    }
}

impl Stream {
    /// How the request stands.
    pub(crate) fn outcome(&self) -> Outcome {
        let state = self.core.lock();
        let stream = state.any_stream(self.id);
        match stream.progress {
            Progress::Deciding | Progress::Held => Outcome::Waiting,
            Progress::HungUp => Outcome::HungUp,
            Progress::Reset => Outcome::Reset,
            Progress::Forwarded => Outcome::Continued(super::Forwarded {
                headers: stream.request.pairs.clone(),
                trailers: stream.request_trailers.pairs.clone(),
                filter_state: filter_state(stream),
            }),
            Progress::Replied => match stream.reply.clone() {
                Some(reply) => Outcome::Replied(reply),
                None => Outcome::Waiting,
            },
        }
    }

    /// The context id, for `as_guest`.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// What the guest wrote for access logs and other filters, with Envoy's `wasm.` in front.
    pub(crate) fn filter_state(&self) -> BTreeMap<String, Vec<u8>> {
        filter_state(self.core.lock().any_stream(self.id))
    }

    /// Whether Envoy will choose the route anew.
    pub(crate) fn route_cache_cleared(&self) -> bool {
        self.core.lock().any_stream(self.id).route_cache_cleared
    }

    /// The client goes away.
    pub(crate) fn disconnect(&self) {
        let id = self.id;
        self.core.run(move |core| {
            if let Some(stream) = core.lock().streams.get_mut(&id) {
                stream.progress = Progress::HungUp;
            }
            core.end(id);
        });
    }

    /// The upstream answers, and the stream ends.
    pub(crate) fn finish(&self) {
        self.answer("text/plain", &[]);
    }

    /// The same with an answer of this content type by a route that has these properties.
    pub(crate) fn answer(&self, content_type: &str, properties: &[(&str, Option<Vec<u8>>)]) {
        let id = self.id;
        let response = vec![
            (b":status".to_vec(), b"200".to_vec()),
            (b"content-type".to_vec(), content_type.as_bytes().to_vec()),
        ];
        let properties: Vec<(String, Option<Vec<u8>>)> =
            properties.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect();
        self.core.run(move |core| {
            match core.lock().streams.get_mut(&id) {
                Some(stream) => {
                    stream.response = Map::new(response);
                    for (path, value) in properties {
                        match value {
                            Some(value) => drop(stream.properties.insert(path, Property::Value(value))),
                            None => drop(stream.properties.remove(&path)),
                        }
                    }
                }
                None => return,
            }
            core.show_answer(id);
            core.end(id);
        });
    }
}

fn filter_state(stream: &StreamState) -> BTreeMap<String, Vec<u8>> {
    let all = stream.filter_state.iter();
    all.map(|(key, object)| (key.clone(), object.value.clone())).collect()
}

impl Response {
    /// A status, headers, a body.
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Response {
        let status = (b":status".to_vec(), status.to_string().into_bytes());
        let headers = headers.iter().map(|(name, value)| {
            let name = name.to_ascii_lowercase().into_bytes();
            (name, value.as_bytes().to_vec())
        });
        Response(Answer {
            headers: std::iter::once(status).chain(headers).collect(),
            body: body.into(),
            trailers: Vec::new(),
        })
    }

    /// 200 with a body of JSON.
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Response {
        Response::new(200, &[("content-type", "application/json")], body)
    }

    /// What Envoy makes up when the time is over.
    pub(crate) fn timeout() -> Response {
        Response::made_up(504, "upstream request timeout")
    }

    /// What Envoy makes up when nobody listens.
    pub(crate) fn refused() -> Response {
        Response::made_up(503, "upstream connect error or disconnect/reset before headers")
    }

    fn made_up(status: u16, body: &str) -> Response {
        let length = body.len().to_string();
        let headers = [("content-length", length.as_str()), ("content-type", "text/plain")];
        Response::new(status, &headers, body)
    }

    /// A reset in the middle, or an answer beyond Envoy's buffer: no headers, no body.
    pub(crate) fn reset() -> Response {
        Response(Answer::default())
    }

    /// With these raw headers and nothing else; `:status` may be missing or odd.
    pub(crate) fn raw(headers: Vec<Header>, body: impl Into<Vec<u8>>) -> Response {
        Response(Answer { headers, body: body.into(), trailers: Vec::new() })
    }
}

impl Request {
    /// A property that the guest can read on this stream, as `xds.route_name`.
    pub(crate) fn property(mut self, path: &str, value: impl Into<Vec<u8>>) -> Request {
        let value = Property::Value(value.into());
        self.properties.insert(path.to_owned(), value);
        self
    }

    /// A property that Envoy cannot hand out.
    pub(crate) fn failing_property(mut self, path: &str, status: Status) -> Request {
        let failing = Property::Fails(status);
        self.properties.insert(path.to_owned(), failing);
        self
    }
}
