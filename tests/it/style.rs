//! Plain English in what people read: phrases that outsiders stumbled over stay away.

use std::path::Path;

use crate::common::pages;

use harness::workspace;

/// What was written once, and is not to come back. Compared in lower case, with any white space as one space.
const PHRASES: &[&str] = &[
    "own affair",
    "'s affair",
    "nobody else speaks for it",
    "it tells each side",
    "not a word of",
    "the way of a request",
    "no step calls anybody",
    "two commands",
    "## beside the others",
    "what others get",
    "an eighth to two fifths",
    "whatever you write",
    "filled up with",
    "separated by blanks",
    "each of which is met",
    "meets it where it is",
    "what is yours",
    "is believed in",
    "hangs on the whole",
    "which it undercuts",
    " to mend",
    "say it plainer",
    "which is understood",
    "is one too many",
    "withdrawn",
];

/// Names that the code had, as whole words.
const NAMES: &[&str] = &["bear_with_the_clock", "NOBODY"];

fn folded(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Each page, and each file of the sources that has comments and messages for people.
fn files() -> Vec<std::path::PathBuf> {
    let root = workspace();
    let mut found: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md"].iter().map(|name| root.join(name)).collect();
    for (folder, extension) in [
        ("docs", "md"),
        ("envoy", "md"),
        ("envoy", "yaml"),
        ("src", "rs"),
        ("cli/src", "rs"),
        ("explain/src", "rs"),
        ("receive/src", "rs"),
        ("native/src", "rs"),
    ] {
        found.extend(pages::files(&root.join(folder), extension));
    }
    found
}

fn shown(file: &Path) -> String {
    file.strip_prefix(workspace()).unwrap_or(file).display().to_string()
}

#[test]
fn what_people_read_has_none_of_the_phrases_that_outsiders_stumbled_over() {
    let mut wrong = Vec::new();
    let files = files();
    assert!(files.len() > 200, "{} files", files.len());
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a text");
        // The markers of comments at the beginning of lines are no words.
        let prose: String = text
            .lines()
            .map(|line| line.trim_start().trim_start_matches(['/', '!', '#']).to_owned() + " ")
            .collect();
        let prose = folded(&prose);
        wrong.extend(
            PHRASES
                .iter()
                .filter(|phrase| prose.contains(*phrase))
                .map(|phrase| format!("{}: {phrase:?}", shown(file))),
        );
        let mut words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        wrong.extend(words.find(|word| NAMES.contains(word)).map(|name| format!("{}: {name}", shown(file))));
    }
    assert!(
        wrong.is_empty(),
        "write it in the words of the field (CONTRIBUTING.md, Style):\n{}",
        wrong.join("\n")
    );
}
