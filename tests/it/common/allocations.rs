//! Counts what a thread allocates, so that a test can say that refusing costs nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// How many allocations, and how many bytes in all.
    static ALLOCATED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn count(size: usize) {
    // A thread that ends has no counter any more.
    let _ = ALLOCATED.try_with(|cell| {
        let (number, bytes) = cell.get();
        cell.set((number + 1, bytes + size));
    });
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What `work` gives, how often it allocated and how many bytes in all.
pub fn during<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let (number, bytes) = ALLOCATED.get();
    let value = work();
    let (number_after, bytes_after) = ALLOCATED.get();
    (value, number_after - number, bytes_after - bytes)
}
