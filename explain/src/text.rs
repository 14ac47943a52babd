//! An explanation as a person reads it.

use std::fmt::Write as _;

use crate::explanation::{Explanation, Fields, StepReport};

/// How a piece of text is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// It does.
    Good,
    /// It does not.
    Bad,
    /// It is beside the point.
    Faint,
    /// It is what counts.
    Strong,
}

/// An explanation as text. `paint` gives a piece of it a colour, or leaves it as it is.
pub fn as_text(explanation: &Explanation, paint: &dyn Fn(Tone, &str) -> String) -> String {
    let mut text = String::new();
    let Explanation { decision, status, reason, detail, rule, provider, readings, .. } = explanation;
    let tone = if *decision == "deny" { Tone::Bad } else { Tone::Good };
    let verdict = match reason {
        Some(reason) => format!("{decision}, {status}, {reason}"),
        None => format!("{decision}, {status}"),
    };
    line(&mut text, "decision", &paint(tone, &verdict));
    detail.iter().for_each(|detail| line(&mut text, "because", detail));
    line(&mut text, "rule", &paint(Tone::Strong, rule.as_deref().unwrap_or("none")));
    provider.iter().for_each(|provider| line(&mut text, "provider", provider));
    for (at, reading) in readings.iter().enumerate() {
        let words = if at == 0 { "the path as it was sent" } else { "could be read as" };
        line(&mut text, "path", &format!("{reading}  {}", paint(Tone::Faint, words)));
    }
    text.push('\n');
    explanation.steps.iter().for_each(|step| step_lines(&mut text, step, paint));
    if let Some(answer) = &explanation.answer {
        let _ = writeln!(text, "\n{}", paint(Tone::Strong, &format!("answer {}", answer.status)));
        field_lines(&mut text, &answer.headers);
        answer.body.lines().for_each(|body| {
            let _ = writeln!(text, "  {body}");
        });
    }
    if let Some(upstream) = &explanation.upstream {
        let _ = writeln!(text, "\n{}", paint(Tone::Strong, "to the upstream"));
        field_lines(&mut text, &upstream.headers);
        for name in &upstream.removed {
            let _ = writeln!(text, "  {}", paint(Tone::Faint, &format!("{name} is taken away")));
        }
    }
    if !explanation.notes.is_empty() {
        text.push('\n');
    }
    for note in &explanation.notes {
        let _ = writeln!(text, "{}", paint(Tone::Faint, &format!("note: {note}")));
    }
    let _ =
        writeln!(text, "\n{}", paint(Tone::Faint, &format!("decided by Portcullis {}", explanation.version)));
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<10}{value}");
}

fn step_lines(text: &mut String, step: &StepReport, paint: &dyn Fn(Tone, &str) -> String) {
    let (mark, tone) = match step.outcome {
        "passed" => ("✔", Tone::Good),
        "failed" => ("✘", Tone::Bad),
        _ => ("…", Tone::Faint),
    };
    let provider = step.provider.iter().map(|provider| format!(" ({provider})")).collect::<String>();
    let _ = writeln!(text, "{} {}{}", paint(tone, mark), step.step, paint(Tone::Faint, &provider));
    for check in &step.checks {
        let (mark, tone) = if check.ok { ("·", Tone::Faint) } else { ("✘", Tone::Bad) };
        let _ = writeln!(text, "  {} {}: {}", paint(tone, mark), check.what, check.text);
    }
    if let Some(reason) = step.reason {
        let more = step.text.iter().map(|more| format!(": {more}")).collect::<String>();
        let _ = writeln!(text, "  {}", paint(Tone::Bad, &format!("{reason}{more}")));
    }
}

fn field_lines(text: &mut String, fields: &Fields) {
    for (name, values) in &fields.0 {
        for value in values {
            let _ = writeln!(text, "  {name}: {value}");
        }
    }
}
