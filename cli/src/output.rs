//! What every command writes: to a terminal or a program, and with which exit status.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anstyle::Style;
use clap::ColorChoice;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Nothing is wrong.
    Good,
    /// Something was found.
    Findings,
    /// The command cannot be run: a file that cannot be read, or wrong usage.
    CannotRun,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::Findings => 1,
            Exit::CannotRun => 2,
        })
    }
}

/// Why a command cannot be run, in words for the operator. Holds no token and no secret.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// What went wrong with a file.
    pub(crate) fn of(name: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self(format!("{name}: {error}"))
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Standard output.
pub(crate) struct Terminal {
    colour: bool,
}

impl Terminal {
    pub(crate) fn new(choice: ColorChoice) -> Self {
        let colour = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !unwanted && io::stdout().is_terminal()
            }
        };
        Self { colour }
    }

    /// A text in a style, where there is colour.
    pub(crate) fn styled(&self, style: Style, text: impl fmt::Display) -> String {
        match self.colour {
            true => format!("{style}{text}{style:#}"),
            false => text.to_string(),
        }
    }

    /// Writes a text as it is. A reader that has gone away is no failure.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::of("standard output", error))
            }
            _ => Ok(()),
        }
    }

    /// Writes one line, and all is well.
    pub(crate) fn line(&self, text: &str) -> Result<Exit, Failure> {
        self.write(&format!("{text}\n"))?;
        Ok(Exit::Good)
    }
}

/// A text without what could steer a terminal: names in files are written by others.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
