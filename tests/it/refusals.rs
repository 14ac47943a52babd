//! Wrong configurations, and what is said of each: `refusals.txt` beside this file is read by people, and held here.

mod cases;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use cases::{Case, base};
use harness::workspace;
use portcullis::Config;

/// Set, the file is written anew.
const WRITE: &str = "PORTCULLIS_WRITE_REFUSALS";

/// Whether an error tells what to do: it asks for something ("must be from 1 to 9"), or what is wrong is followed by an
/// order, which begins a clause.
pub fn tells_what_to_do(message: &str) -> bool {
    const ASKS: &[&str] = &["must ", "needs ", "unknown field; did you mean ", "unknown field; known here: "];
    const ORDERS: &[&str] = &[
        "add", "ask", "choose", "compare", "correct", "fetch", "give", "keep", "leave", "let", "list",
        "make", "name", "put", "raise", "remove", "rename", "replace", "say", "set", "swap", "take", "try",
        "use", "write",
    ];
    let begins = |clause: &str| {
        let word = clause.split([' ', ',']).next().unwrap_or_default();
        ORDERS.contains(&word)
    };
    ASKS.iter().any(|ask| message.starts_with(ask))
        || message.split([';', ':', ',']).skip(1).map(str::trim_start).any(|clause| {
            begins(clause) || clause.strip_prefix("or ").or(clause.strip_prefix("and ")).is_some_and(begins)
        })
}

#[test]
fn every_wrong_configuration_is_refused_in_words_that_help() {
    let config = base().to_string();
    assert!(
        Config::parse(config.as_bytes(), &|_| None).is_ok(),
        "the configuration that cases change is good"
    );
    let file = workspace().join("tests/it/refusals.txt");
    let before = fs::read_to_string(&file).expect("the file of refusals");
    let (mut after, mut wrong, mut cases, mut texts) = (String::new(), Vec::new(), 0, BTreeSet::new());
    for line in before.lines().filter(|line| !line.starts_with("    ")) {
        writeln!(after, "{line}").expect("a text");
        let Some(case) = Case::of_line(line) else { continue };
        let problems: Vec<String> = case.problems().iter().map(ToString::to_string).collect();
        cases += 1;
        if !problems.iter().any(|problem| problem.starts_with(&format!("{}: ", case.place))) {
            wrong.push(format!("{}\n  nothing is said at {}, but {problems:#?}", case.line, case.place));
        }
        for problem in problems {
            writeln!(after, "    {problem}").expect("a text");
            let (_, message) = problem.split_once(": ").expect("a place");
            if !tells_what_to_do(message) {
                wrong.push(format!("{}\n  does not tell what to do: {problem}", case.line));
            }
            texts.insert(message.to_owned());
        }
    }
    let writes = std::env::var_os(WRITE).is_some();
    if writes {
        fs::write(&file, &after).expect("the file is written");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 200 && texts.len() >= 150, "{cases} cases with {} texts", texts.len());
    let differs = before.lines().zip(after.lines()).find(|(before, after)| before != after);
    assert!(
        writes || before == after,
        "{WRITE}=1 writes the file anew; it says, and now would say: {differs:#?}"
    );
}
