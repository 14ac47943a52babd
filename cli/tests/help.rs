//! The help of every command is read in a minute, and shows how the command is typed.

mod common;

use common::{run, stdout};

/// What a person reads in a minute, silently.
const WORDS: usize = 260;

/// The words of a help that are read, and not looked up: no options, values and examples.
fn words(help: &str) -> usize {
    let lines = help.split("\nExample").next().unwrap_or_default().lines().map(|line| {
        let is_usual = ["--color", "--help", "--version", "auto, always, never"];
        if is_usual.iter().any(|word| line.contains(word)) { "" } else { line }
    });
    let words = lines.flat_map(str::split_whitespace);
    words.filter(|word| !word.starts_with(['-', '<', '[', '{'])).count()
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let list =
        help.split("\nCommands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_help_is_read_in_a_minute_and_has_an_example() {
    let mut wrong = Vec::new();
    let mut left: Vec<Vec<String>> = vec![Vec::new()];
    let mut count = 0;
    while let Some(command) = left.pop() {
        let help = |option: &str| {
            let arguments: Vec<&str> = command.iter().map(String::as_str).chain([option]).collect();
            let output = run(&arguments);
            assert_eq!(output.status.code(), Some(0), "{command:?}");
            stdout(&output)
        };
        let (short, long) = (help("-h"), help("--help"));
        let inner = commands(&short);
        let first = short.lines().next().unwrap_or_default();
        let words = words(&long);
        if first.len() > 130 || words > WORDS {
            wrong.push(format!("{command:?}: {words} words, first {first:?}"));
        }
        let shows = long.contains("\nExample") || long.contains("\n  portcullis ") || command == ["revlist"];
        if !shows {
            wrong.push(format!("{command:?}: no example"));
        }
        left.extend(inner.into_iter().map(|name| [&command[..], &[name]].concat()));
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 12, "only {count}");
}
