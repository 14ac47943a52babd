//! What it costs to find a rule among 10, 1,000 and 10,000, and to compile them: time, and memory.
//!
//! A quarter each are exact paths, prefixes, templates, and one prefix with a host or header of its own; the last of
//! each kind is hit. `cargo bench --bench rules`

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis::{Config, Request, RuleMatch};

/// Counts the bytes that are held, and how often memory was asked for.
struct Counting {
    held: AtomicUsize,
    times: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { held: AtomicUsize::new(0), times: AtomicUsize::new(0) };

#[allow(unsafe_code, reason = "an allocator is")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.times.fetch_add(1, Relaxed);
        self.held.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

const COUNTS: [usize; 3] = [10, 1_000, 10_000];
const KINDS: [&str; 5] = ["exact", "prefix", "template", "host", "header"];

/// The configuration of so many rules.
fn configuration(count: usize) -> String {
    let rules = (0..count).map(|at| {
        let conditions = match at % 4 {
            0 => format!(r#""path":"/exact/{at}/health""#),
            1 => format!(r#""prefix":"/prefix/{at}/""#),
            2 => format!(r#""path_template":"/template/{at}/{{id}}/items/**""#),
            _ if at % 8 == 3 => format!(r#""prefix":"/shared/","hosts":["h{at}.example"]"#),
            _ => format!(r#""prefix":"/shared/","headers":[{{"name":"x-tenant","exact_match":"{at}"}}]"#),
        };
        format!(r#"{{"match":{{{conditions}}}}}"#)
    });
    let rules: Vec<String> = rules.collect();
    format!(r#"{{"providers":{{}},"rules":[{}]}}"#, rules.join(","))
}

fn parse(text: &str) -> Config {
    Config::parse(text.as_bytes(), &|_| None).expect("a configuration")
}

/// The last rule of a kind, and the path, the host and the header of a request for it.
fn last(kind: &str, count: usize) -> (usize, String, String, String) {
    let of_kind = |at: &usize| match kind {
        "exact" => at.is_multiple_of(4),
        "prefix" => at % 4 == 1,
        "template" => at % 4 == 2,
        "host" => at % 8 == 3,
        _ => at % 8 == 7,
    };
    let at = (0..count).rev().find(of_kind).expect("a rule of each kind");
    let path = match kind {
        "exact" => format!("/exact/{at}/health"),
        "prefix" => format!("/prefix/{at}/orders/7"),
        "template" => format!("/template/{at}/7/items/8"),
        _ => "/shared/orders/7".to_owned(),
    };
    (at, path, format!("h{at}.example"), at.to_string())
}

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    for count in COUNTS {
        let config = parse(&configuration(count));
        for kind in KINDS {
            let (at, path, host, header) = last(kind, count);
            let fields: [(&[u8], &[u8]); 4] = [
                (b":method", b"GET"),
                (b":authority", host.as_bytes()),
                (b":path", path.as_bytes()),
                (b"x-tenant", header.as_bytes()),
            ];
            let request = Request::new(&fields);
            let before = ALLOCATOR.times.load(Relaxed);
            let RuleMatch::Rule(rule) = config.rules.find(&config.rules.view(&request)) else {
                panic!("{path} meets no rule")
            };
            let allocations = ALLOCATOR.times.load(Relaxed) - before;
            assert_eq!(
                (rule.id.0, allocations),
                (at, 0),
                "{path}: the rule, and the allocations on the way to it"
            );
            group.bench_with_input(BenchmarkId::new(kind, count), &request, |bencher, request| {
                bencher.iter(|| config.rules.find(&config.rules.view(black_box(request))));
            });
        }
    }
}

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    println!("rules    memory held   per rule   compiled in");
    for count in COUNTS {
        let text = configuration(count);
        let (before, start) = (ALLOCATOR.held.load(Relaxed), Instant::now());
        let config = parse(&text);
        let (held, took) = (ALLOCATOR.held.load(Relaxed) - before, start.elapsed());
        println!("{count:>6} {held:>11} B {:>8} B {took:>13.2?}", held / count);
        drop(config);
        group.bench_with_input(BenchmarkId::from_parameter(count), &text, |bencher, text| {
            bencher.iter(|| parse(black_box(text)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = find, compile
}
criterion_main!(benches);
