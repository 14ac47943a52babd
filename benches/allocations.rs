//! What it costs in memory to judge a token, by size: an unsigned, confused or malformed token must cost less than a
//! valid one. Fails where one does not; memory, unlike time, is the same in every run.
//!
//! `cargo bench --bench allocations`; `benches/parse.rs` does the same for time.

mod tokens;

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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

/// What judging one token took: bytes in all, the most at once, and the number of allocations.
#[derive(Clone, Copy)]
struct Memory {
    total: usize,
    peak: usize,
    times: usize,
}

fn during(work: impl FnOnce()) -> Memory {
    let counts = |counter: &AtomicUsize| counter.load(Relaxed);
    let before = (counts(&ALLOCATOR.total), counts(&ALLOCATOR.held), counts(&ALLOCATOR.times));
    ALLOCATOR.peak.store(before.1, Relaxed);
    work();
    Memory {
        total: counts(&ALLOCATOR.total) - before.0,
        peak: counts(&ALLOCATOR.peak) - before.1,
        times: counts(&ALLOCATOR.times) - before.2,
    }
}

fn main() -> ExitCode {
    let mut gate = tokens::gate();
    let mut valid = None;
    let mut dear = 0;
    println!("{:<32}{:>10}{:>12}{:>12}{:>14}", "token", "its bytes", "allocated", "at once", "allocations");
    for case in tokens::cases() {
        let authorization = format!("Bearer {}", case.token);
        let mut refused = None;
        let memory = during(|| refused = tokens::judge(&mut gate, &authorization));
        assert_eq!(refused, case.refused, "{} {}", case.kind, case.size);
        if refused.is_none() {
            println!();
            valid = Some(memory);
        }
        let least = valid.unwrap_or(memory);
        let too_dear = refused.is_some() && (memory.total >= least.total || memory.peak >= least.peak);
        dear += usize::from(too_dear);
        println!(
            "{:<32}{:>10}{:>12}{:>12}{:>14}{}",
            format!("{}, {}", case.size, case.kind),
            case.token.len(),
            memory.total,
            memory.peak,
            memory.times,
            if too_dear { "  <- not less than the valid one" } else { "" }
        );
    }
    if dear > 0 {
        eprintln!("\n{dear} refused tokens cost no less memory than the valid one of their size");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
