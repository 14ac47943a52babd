//! What decides on the page: the filter's gate, put to one request.
//!
//! The page writes a question as JSON into the bytes that [`playground_input`] gives, calls [`playground_decide`], and
//! reads as many bytes of JSON as [`playground_length`] says. Nothing else goes in or out: the module imports nothing, so
//! it has no clock, no network and no store.

mod check;
mod configuration;
mod question;
mod token;

// The files of the tool that read configurations: one reader, so that the page and the tool cannot differ.
#[allow(dead_code, reason = "the page does not read files")]
#[path = "../../cli/src/source/mod.rs"]
mod source;
mod output {
    //! What the tool's reader of files fails with.

    /// Why a file cannot be read; the page reads none.
    #[derive(Debug)]
    pub(crate) struct Failure;

    impl Failure {
        pub(crate) fn of(_: impl std::fmt::Display, _: impl std::fmt::Display) -> Self {
            Self
        }
    }
}

use std::cell::RefCell;

pub use configuration::{Problem, Severity};
pub use question::{Answer, Question, Seat};
pub use token::ShownToken;

thread_local! {
    static SEAT: RefCell<Seat> = RefCell::new(Seat::default());
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where the page writes a question of so many bytes.
#[unsafe(no_mangle)]
pub extern "C" fn playground_input(length: usize) -> *mut u8 {
    BYTES.with_borrow_mut(|bytes| {
        bytes.clear();
        bytes.resize(length, 0);
        bytes.as_mut_ptr()
    })
}

/// Answers the question that was written, and gives where the answer is. It is there until the next question.
#[unsafe(no_mangle)]
pub extern "C" fn playground_decide() -> *const u8 {
    BYTES.with_borrow_mut(|bytes| {
        *bytes = SEAT.with_borrow_mut(|seat| seat.answer_json(bytes));
        bytes.as_ptr()
    })
}

/// The length of the answer in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn playground_length() -> usize {
    BYTES.with_borrow(Vec::len)
}
