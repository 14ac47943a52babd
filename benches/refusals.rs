//! What it costs to judge a token, by size, in time and in memory: an unsigned, confused or malformed token must cost
//! less than a valid one: less time, fewer bytes in all, and no more bytes at once. Prints how many times the valid one's cost each takes. Fails where one does not cost less
//! memory, which is the same in every run; of time it only says so.
//!
//! Then it searches for the dearest unsigned request of each size, under one provider and under five, and fails where one
//! costs more than twice its twin: the same request with a malformed token of the same length. `tests/it/common/dearest.rs`
//! says what is tried.
//!
//! `make bench-micro`, or `cargo bench --bench refusals`; `benches/parse.rs` has the times in detail.

#[path = "../tests/it/common/dearest.rs"]
mod dearest;
mod tokens;

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use portcullis::Gate;
use tokens::Case;

/// Counts what goes through it. The benchmark has one thread.
struct Counting {
    /// Bytes that were ever asked for.
    total: AtomicUsize,
    /// Bytes that are held.
    held: AtomicUsize,
    /// The most that was held at once.
    peak: AtomicUsize,
    /// How often memory was asked for.
    times: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting {
    total: AtomicUsize::new(0),
    held: AtomicUsize::new(0),
    peak: AtomicUsize::new(0),
    times: AtomicUsize::new(0),
};

impl Counting {
    fn took(&self, size: usize) {
        self.times.fetch_add(1, Relaxed);
        self.total.fetch_add(size, Relaxed);
        let held = self.held.fetch_add(size, Relaxed) + size;
        self.peak.fetch_max(held, Relaxed);
    }
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.held.fetch_sub(layout.size(), Relaxed);
        self.took(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What judging one token took: bytes in all, the most at once, the number of allocations, and the time.
#[derive(Clone, Copy)]
struct Cost {
    total: usize,
    peak: usize,
    times: usize,
    time: Duration,
}

/// What memory `work` takes.
fn memory(work: impl FnOnce()) -> Cost {
    let counts = |counter: &AtomicUsize| counter.load(Relaxed);
    let before = (counts(&ALLOCATOR.total), counts(&ALLOCATOR.held), counts(&ALLOCATOR.times));
    ALLOCATOR.peak.store(before.1, Relaxed);
    work();
    Cost {
        total: counts(&ALLOCATOR.total) - before.0,
        peak: counts(&ALLOCATOR.peak) - before.1,
        times: counts(&ALLOCATOR.times) - before.2,
        time: Duration::ZERO,
    }
}

/// How often each case is timed.
const ROUNDS: usize = 15;
/// How long each time takes at least.
const LONG_ENOUGH: Duration = Duration::from_millis(2);

/// What each case costs. The times are medians over rounds in which the cases take turns, so that whatever else runs
/// on the machine meets them alike.
fn costs(gate: &mut Gate, cases: &[Case]) -> Vec<Cost> {
    let headers: Vec<String> = cases.iter().map(|case| format!("Bearer {}", case.token)).collect();
    // The first refusals write lines to the audit log, as many as one second may have.
    for header in headers.iter().cycle().take(64) {
        tokens::judge(gate, header);
    }
    let mut costs = Vec::new();
    let mut repeats = Vec::new();
    for (case, header) in cases.iter().zip(&headers) {
        let mut refused = None;
        costs.push(memory(|| refused = tokens::judge(gate, header)));
        assert_eq!(refused, case.refused, "{} {}", case.kind, case.size);
        let start = Instant::now();
        let mut count = 0u32;
        while start.elapsed() < LONG_ENOUGH {
            tokens::judge(gate, header);
            count += 1;
        }
        repeats.push(count);
    }
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((header, count), times) in headers.iter().zip(&repeats).zip(&mut times) {
            let start = Instant::now();
            for _ in 0..*count {
                std::hint::black_box(tokens::judge(gate, std::hint::black_box(header)));
            }
            times.push(start.elapsed() / *count);
        }
    }
    for (cost, mut times) in costs.iter_mut().zip(times) {
        times.sort_unstable();
        cost.time = times[times.len() / 2];
    }
    costs
}

fn main() -> ExitCode {
    let mut gate = tokens::gate();
    let cases = tokens::cases();
    let (mut dear, mut slow) = (0, 0);
    println!(
        "Judging a token (ES256 in Rust, no cache): in brackets, times the cost of the valid one of its size\n"
    );
    println!(
        "{:<40}{:>8}{:>22}{:>20}{:>20}{:>8}",
        "token", "bytes", "microseconds", "allocated", "at once", "times"
    );
    for cases in cases.chunk_by(|a, b| a.size == b.size) {
        let costs = costs(&mut gate, cases);
        let valid = costs[0];
        assert_eq!(cases[0].refused, None, "the valid one comes first");
        for (case, cost) in cases.iter().zip(&costs) {
            let refused = case.refused.is_some();
            // A token that is read to its end and refused for want of a key holds as much at its peak, no more.
            let too_dear = refused && (cost.total >= valid.total || cost.peak > valid.peak);
            let too_slow = refused && cost.time >= valid.time;
            dear += usize::from(too_dear);
            slow += usize::from(too_slow);
            let micros = |cost: &Cost| cost.time.as_secs_f64() * 1e6;
            println!(
                "{:<40}{:>8}{:>12.2} ({:>7.4}){:>10} ({:>7.4}){:>10} ({:>7.4}){:>8}{}{}",
                format!("{}, {}", case.size, case.kind),
                case.token.len(),
                micros(cost),
                micros(cost) / micros(&valid),
                cost.total,
                cost.total as f64 / valid.total as f64,
                cost.peak,
                cost.peak as f64 / valid.peak as f64,
                cost.times,
                if too_dear { "  <- memory: not less" } else { "" },
                if too_slow { "  <- time: not less" } else { "" },
            );
        }
        println!();
    }
    let most = |what, count| match count {
        0 => println!("every refused token takes less {what} than the valid one of its size"),
        _ => println!("{count} refused tokens take no less {what} than the valid one of their size"),
    };
    most("time", slow);
    most("memory", dear);
    let dearest = search();
    if dear > 0 || dearest > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// How many requests are tried for each size, besides every filling by itself.
const TRIES: usize = 300;
/// How many times its twin's cost a request may take.
const MAX_RATIO: f64 = 2.0;

/// Searches, prints what was found, and says how many cost too much.
fn search() -> usize {
    let mut dear = 0;
    println!(
        "\nThe dearest unsigned request of {TRIES} and more of each size, beside a malformed token of its length\n"
    );
    println!(
        "{:<24}{:>8}{:>14}{:>14}{:>8}  what it is",
        "rule", "bytes", "microseconds", "malformed", "ratio"
    );
    for door in dearest::doors() {
        let mut gate = door.gate();
        for size in dearest::SIZES {
            let tries = if size > 10_000 { TRIES / 5 } else { TRIES };
            let found = dearest::search(&mut gate, size, tries, 7);
            let too_dear = found.ratio() > MAX_RATIO;
            dear += usize::from(too_dear);
            println!(
                "{:<24}{size:>8}{:>14.2}{:>14.2}{:>8.2}  {}{}",
                door.name,
                found.cost.as_secs_f64() * 1e6,
                found.twin.as_secs_f64() * 1e6,
                found.ratio(),
                found.genes.words(),
                if too_dear { "  <- more than twice" } else { "" },
            );
        }
    }
    match dear {
        0 => println!("\nnone costs more than {MAX_RATIO} times its malformed twin"),
        _ => println!("\n{dear} cost more than {MAX_RATIO} times their malformed twins"),
    }
    dear
}
