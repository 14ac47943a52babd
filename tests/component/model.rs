//! Does the fake host behave like Envoy? Each test pins one fact of Envoy that the other tests lean on, seen
//! through the SDK's own host calls.

use std::cell::RefCell;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, MapType, MetricType, Status as Sdk};

use crate::fake_host::{
    Cluster, Guest, Level, Outcome, Plugin, Request, Response, Status, Vm, World, encode_pairs,
};

/// What the scripted guest does when a callout comes back, in place of a filter.
type OnAnswer = Box<dyn Fn(usize, usize)>;

thread_local! {
    static ON_ANSWER: RefCell<Option<OnAnswer>> = const { RefCell::new(None) };
    static TICKS: RefCell<u32> = const { RefCell::new(0) };
}

/// A guest that holds every request.
struct Holding;

impl Context for Holding {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, _: usize) {
        if let Some(script) = ON_ANSWER.take() {
            script(headers, body);
        }
    }
}

impl RootContext for Holding {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Holding))
    }

    fn on_tick(&mut self) {
        TICKS.with_borrow_mut(|ticks| *ticks += 1);
    }
}

impl HttpContext for Holding {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        Action::Pause
    }
}

fn guest() -> Guest {
    Guest::of_sdk(|| proxy_wasm::set_root_context(|_| Box::new(Holding)))
}

fn holding() -> Vm {
    Vm::with_guest(Plugin::unconfigured(), guest())
}

fn dispatch(vm: &Vm, cluster: &'static str, timeout: Duration) -> Result<u32, Sdk> {
    vm.as_guest(vm.root(), move || {
        let headers = vec![(":method", "GET"), (":path", "/keys"), (":authority", "idp.example")];
        hostcalls::dispatch_http_call(cluster, headers, None, vec![], timeout)
    })
}

/// Runs a script while a callout's answer is being delivered.
fn during_answer(vm: &Vm, response: Response, script: impl Fn(usize, usize) + Send + 'static) {
    dispatch(vm, "idp", Duration::ZERO).expect("the cluster is there");
    vm.as_guest(vm.root(), move || ON_ANSWER.set(Some(Box::new(script))));
    let call = vm.pending_calls().pop().expect("a call under way");
    vm.respond(&call, response);
}

#[test]
fn request_headers_are_gone_once_the_request_was_resumed() {
    let vm = holding();
    let stream = vm.request(Request::get("/x").header("X-Odd", b"\xff\x00"));
    assert!(stream.outcome().is_waiting());
    vm.as_guest(stream.id(), || {
        let pairs = hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap();
        assert!(pairs.contains(&("x-odd".to_owned(), b"\xff\x00".to_vec())));
        assert_eq!(hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, "X-Absent"), Ok(None));
        hostcalls::set_map_value(MapType::HttpRequestHeaders, "X-Set", Some("1")).unwrap();
        hostcalls::resume_http_request().unwrap();
        // The list is empty now, and anything else would be BadArgument.
        assert_eq!(hostcalls::get_map_bytes(MapType::HttpRequestHeaders), Ok(vec![]));
    });
    assert_eq!(stream.outcome().continued().values("x-set"), ["1"]);
    assert!(stream.route_cache_cleared());
}

#[test]
fn a_local_reply_wins_over_a_resume_after_it() {
    let vm = holding();
    let stream = vm.request(Request::get("/x"));
    vm.as_guest(stream.id(), || {
        hostcalls::send_http_response(403, vec![("X-Why", "because")], Some(b"no")).unwrap();
        hostcalls::resume_http_request().unwrap();
    });
    let reply = stream.outcome().replied();
    assert_eq!((reply.status, reply.text().as_str()), (403, "no"));
    assert_eq!(reply.header("x-why").as_deref(), Some("because"));
    assert_eq!(reply.effective_grpc_status(), 7);
    // The stream is over: its context is no longer to be had.
    let id = stream.id();
    let gone = vm.as_guest(vm.root(), move || hostcalls::set_effective_context(id));
    assert_eq!(gone, Err(Sdk::BadArgument));
}

#[test]
fn two_replies_and_replies_without_a_stream_are_violations() {
    let vm = holding();
    let stream = vm.request(Request::get("/x"));
    vm.as_guest(stream.id(), || {
        hostcalls::send_http_response(403, vec![], None).unwrap();
        hostcalls::send_http_response(200, vec![], None).unwrap();
    });
    assert_eq!(stream.outcome().replied().status, 403);
    vm.as_guest(vm.root(), || {
        hostcalls::send_http_response(403, vec![], None).unwrap();
        hostcalls::resume_http_request().unwrap();
    });
    assert_eq!(vm.take_violations().len(), 3);
}

#[test]
fn a_header_list_beyond_envoys_limits_is_dropped_in_silence() {
    let vm = holding();
    let stream = vm.request(Request::get("/x"));
    vm.as_guest(stream.id(), || {
        let headers = vec![("x-many", "1"); 1025];
        hostcalls::send_http_response(401, headers, None).unwrap();
    });
    assert_eq!(stream.outcome().replied().headers, []);
}

#[test]
fn a_callout_answer_is_readable_in_its_callback_alone() {
    let vm = holding();
    let stream = vm.request(Request::get("/x")).id();
    during_answer(&vm, Response::ok("{}"), move |headers, body| {
        assert_eq!((headers, body), (2, 2));
        let read = || {
            let status = hostcalls::get_map_value(MapType::HttpCallResponseHeaders, ":status");
            (status.unwrap(), hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, 64).unwrap())
        };
        let expected = (Some("200".to_owned()), Some(b"{}".to_vec()));
        assert_eq!(read(), expected);
        // It stays readable on behalf of a stream, whose request headers are then at hand too.
        hostcalls::set_effective_context(stream).unwrap();
        assert_eq!(read(), expected);
        assert!(!hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap().is_empty());
    });
    vm.as_guest(vm.root(), || {
        assert_eq!(hostcalls::get_map_bytes(MapType::HttpCallResponseHeaders), Ok(vec![]));
        assert_eq!(hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, 64), Ok(None));
    });
}

#[test]
fn a_reset_callout_has_neither_headers_nor_body() {
    let vm = holding();
    during_answer(&vm, Response::reset(), |headers, body| {
        assert_eq!((headers, body), (0, 0));
        assert_eq!(hostcalls::get_map_bytes(MapType::HttpCallResponseHeaders), Ok(vec![]));
        assert_eq!(hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, 64), Ok(None));
    });
    during_answer(&vm, Response::timeout(), |headers, _| assert_eq!(headers, 3));
}

#[test]
fn callouts_are_refused_as_envoy_refuses_them() {
    let vm = holding();
    assert_eq!(dispatch(&vm, "idp", Duration::ZERO), Ok(4));
    assert_eq!(dispatch(&vm, "idp", Duration::ZERO), Ok(8));
    assert_eq!(dispatch(&vm, "nowhere", Duration::ZERO), Err(Sdk::BadArgument));
    vm.world().set_cluster("idp", Cluster::Unhealthy);
    assert_eq!(dispatch(&vm, "idp", Duration::ZERO), Err(Sdk::InternalFailure));
    vm.world().remove_cluster("idp");
    assert_eq!(dispatch(&vm, "idp", Duration::ZERO), Err(Sdk::BadArgument));
    vm.world().set_cluster("idp", Cluster::Healthy);
    let incomplete = vm.as_guest(vm.root(), || {
        let headers = vec![(":method", "GET"), (":path", "/keys")];
        hostcalls::dispatch_http_call("idp", headers, None, vec![], Duration::ZERO)
    });
    assert_eq!(incomplete, Err(Sdk::BadArgument));
    for _ in 2..1024 {
        dispatch(&vm, "idp", Duration::ZERO).expect("below the circuit breaker");
    }
    assert_eq!(dispatch(&vm, "idp", Duration::ZERO), Err(Sdk::InternalFailure));
}

#[test]
fn time_brings_ticks_and_timeouts_in_their_order() {
    let vm = holding();
    let ticks = |vm: &Vm| vm.as_guest(vm.root(), || TICKS.with_borrow(|ticks| *ticks));
    vm.as_guest(vm.root(), || hostcalls::set_tick_period(Duration::from_millis(400)).unwrap());
    vm.advance(Duration::from_secs(1));
    assert_eq!(ticks(&vm), 2);
    dispatch(&vm, "idp", Duration::from_secs(5)).unwrap();
    dispatch(&vm, "idp", Duration::ZERO).unwrap();
    vm.advance(Duration::from_secs(4));
    assert_eq!(vm.pending_calls().len(), 2);
    vm.advance(Duration::from_secs(1));
    assert_eq!(vm.pending_calls().len(), 1);
    vm.as_guest(vm.root(), || hostcalls::set_tick_period(Duration::ZERO).unwrap());
    let before = ticks(&vm);
    vm.advance(Duration::from_secs(60));
    assert_eq!(ticks(&vm), before);
}

#[test]
fn shared_data_has_no_atomic_create_and_belongs_to_all_vms_of_one_id() {
    let world = World::new();
    let start = |vm_id: &str| {
        let plugin = Plugin { vm_id: vm_id.to_owned(), ..Plugin::unconfigured() };
        Vm::with_guest_in(&world, plugin, guest())
    };
    let (one, two, other) = (start(""), start(""), start("other"));
    let set = |vm: &Vm, value: &'static [u8], cas| {
        vm.as_guest(vm.root(), move || hostcalls::set_shared_data("k", Some(value), cas))
    };
    let get = |vm: &Vm| vm.as_guest(vm.root(), || hostcalls::get_shared_data("k").unwrap());

    assert_eq!(get(&one), (None, None));
    assert_eq!(set(&one, b"a", Some(77)), Ok(()), "any cas will do for a key that is not there");
    let (value, cas) = get(&two);
    assert_eq!(value.as_deref(), Some(&b"a"[..]));
    assert_eq!(set(&two, b"b", cas), Ok(()));
    assert_eq!(set(&one, b"c", cas), Err(Sdk::CasMismatch));
    assert_eq!(set(&one, b"d", None), Ok(()), "without cas the last one wins");
    assert_eq!(get(&two).0.as_deref(), Some(&b"d"[..]));
    assert_eq!(get(&other), (None, None));
}

#[test]
fn filter_state_needs_a_stream_and_can_be_read_only() {
    let vm = holding();
    vm.declare_read_only("wasm.sub");
    let stream = vm.request(Request::get("/x").property("xds.route_name", "gold"));
    vm.as_guest(stream.id(), || {
        let read = |path| hostcalls::get_property(path).unwrap();
        assert_eq!(read(vec!["xds", "route_name"]).as_deref(), Some(&b"gold"[..]));
        assert_eq!(read(vec!["request", "url_path"]).as_deref(), Some(&b"/x"[..]));
        assert_eq!(read(vec!["nothing"]), None);
        assert_eq!(hostcalls::get_property(vec!["xds"]), Err(Sdk::SerializationFailure));
        hostcalls::set_property(vec!["sub"], Some(b"alice")).unwrap();
        assert_eq!(read(vec!["sub"]).as_deref(), Some(&b"alice"[..]));
    });
    assert_eq!(stream.filter_state()["wasm.sub"], b"alice");
}

#[test]
fn a_metric_defined_twice_is_one_stat_under_two_ids() {
    let vm = holding();
    vm.as_guest(vm.root(), || {
        let first = hostcalls::define_metric(MetricType::Counter, "passed").unwrap();
        let second = hostcalls::define_metric(MetricType::Counter, "passed").unwrap();
        assert_ne!(first, second);
        hostcalls::increment_metric(first, 2).unwrap();
        hostcalls::increment_metric(second, 3).unwrap();
        assert_eq!(hostcalls::increment_metric(first, 0), Err(Sdk::BadArgument));
        assert_eq!(hostcalls::increment_metric(4711, 1), Err(Sdk::NotFound));
        assert_eq!(hostcalls::get_metric(first), Ok(5));
    });
    assert_eq!(vm.world().stat("passed"), 5);
}

#[test]
fn foreign_functions_are_absent_until_installed() {
    let vm = holding();
    let call = |vm: &Vm| vm.as_guest(vm.root(), || hostcalls::call_foreign_function("double", Some(b"ab")));
    assert_eq!(call(&vm), Err(Sdk::NotFound));
    vm.world().install_foreign("double", |bytes| Ok([bytes, bytes].concat()));
    assert_eq!(call(&vm), Ok(Some(b"abab".to_vec())));
}

#[test]
fn faults_hit_the_calls_they_were_meant_for() {
    let vm = holding();
    let call = |vm: &Vm| vm.as_guest(vm.root(), || hostcalls::increment_metric(4711, 1));
    vm.fail_once("proxy_increment_metric", 1, Status::BAD_ARGUMENT);
    assert_eq!(call(&vm), Err(Sdk::NotFound));
    assert_eq!(call(&vm), Err(Sdk::BadArgument));
    assert_eq!(call(&vm), Err(Sdk::NotFound));
    vm.fail("proxy_increment_metric", Status::BAD_ARGUMENT);
    assert_eq!([call(&vm), call(&vm)], [Err(Sdk::BadArgument); 2]);
    vm.heal();
    vm.forget_host_calls();
    assert_eq!(call(&vm), Err(Sdk::NotFound));
    assert_eq!(vm.host_call_counts().into_iter().collect::<Vec<_>>(), [("proxy_increment_metric", 1)]);
}

#[test]
fn a_client_that_hangs_up_takes_its_context_along() {
    let vm = holding();
    let stream = vm.request(Request::get("/x"));
    stream.disconnect();
    assert_eq!(stream.outcome(), Outcome::HungUp);
    let id = stream.id();
    during_answer(&vm, Response::ok(""), move |_, _| {
        assert_eq!(hostcalls::set_effective_context(id), Err(Sdk::BadArgument));
    });
}

#[test]
fn an_old_configuration_lives_as_long_as_its_last_stream() {
    let mut vm = holding();
    let stream = vm.request(Request::get("/x"));
    vm.update(Plugin::unconfigured()).expect("the guest takes anything");
    assert_eq!(vm.roots(), 2);
    stream.disconnect();
    assert_eq!(vm.roots(), 1);
}

#[test]
fn repeated_authorization_arrives_joined_and_logs_keep_their_level() {
    let vm = holding();
    let request = Request::get("/x").bearer("a").bearer("b").header("cookie", "a=1").header("cookie", "b=2");
    let stream = vm.request(request);
    vm.as_guest(stream.id(), || {
        let first = |name| hostcalls::get_map_value(MapType::HttpRequestHeaders, name).unwrap();
        assert_eq!(first("authorization").as_deref(), Some("Bearer a,Bearer b"));
        assert_eq!(first("cookie").as_deref(), Some("a=1"), "only the first of several");
        hostcalls::log(proxy_wasm::types::LogLevel::Warn, "careful").unwrap();
    });
    assert_eq!(vm.logs(), [(Level::Warn, "careful".to_owned())]);
}

#[test]
fn header_pairs_can_be_garbled() {
    let vm = holding();
    let stream = vm.request(Request::get("/x"));
    vm.garble_pairs(0, &encode_pairs(&[(b"x-forged".to_vec(), b"1".to_vec())]));
    let pairs = vm.as_guest(stream.id(), || hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap());
    assert_eq!(pairs, [("x-forged".to_owned(), b"1".to_vec())]);
}
