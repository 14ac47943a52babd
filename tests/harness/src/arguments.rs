//! The arguments of this crate's programs.

use std::env;
use std::fmt::Display;
use std::str::FromStr;

/// The number behind an argument of this name, or `default` where it is not given.
///
/// # Errors
/// There is none behind it, or it is none.
pub fn number<T: FromStr<Err: Display>>(name: &str, default: T) -> Result<T, String> {
    let arguments: Vec<String> = env::args().collect();
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(default) };
    let value = arguments.get(at + 1).ok_or(format!("{name} needs a number"))?;
    value.parse().map_err(|error| format!("{name} {value}: {error}"))
}
