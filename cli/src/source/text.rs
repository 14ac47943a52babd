//! Where the characters of a text are in its file, whatever it was written in.

use std::rc::Rc;

use super::{Mark, START};

/// The place of each character of a text, and behind them that of its end.
#[derive(Clone, Debug)]
pub(crate) struct Places(Rc<[Mark]>);

/// How a text of YAML is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    Single,
    Double,
    Block,
}

impl Places {
    /// Those of a text that is a file as a whole.
    pub(crate) fn whole(text: &str) -> Self {
        let mut marks = Vec::with_capacity(text.len() + 1);
        let mut mark = START;
        for c in text.chars() {
            marks.push(mark);
            mark = next(mark, c);
        }
        marks.push(mark);
        Self(marks.into())
    }

    /// That of the character at this index.
    pub(crate) fn mark(&self, index: usize) -> Mark {
        self.0.get(index).or_else(|| self.0.last()).copied().unwrap_or(START)
    }

    /// That of a line and column within the text, both from 1.
    pub(crate) fn within(&self, text: &str, line: usize, column: usize) -> Mark {
        let mut at = START;
        for (index, c) in text.chars().enumerate() {
            if (at.line, at.column) >= (line, column) {
                return self.mark(index);
            }
            at = next(at, c);
        }
        self.mark(usize::MAX)
    }

    /// Those of a scalar: `source` are the characters from where it begins in a text with these places.
    ///
    /// White space is folded and indented in so many ways that only the other characters are looked for, each behind
    /// the one before; a character of white space is taken to be where the next of them can begin.
    pub(super) fn of_scalar(&self, source: &[char], start: usize, style: Style, content: &str) -> Self {
        let mut at = start;
        match style {
            Style::Single | Style::Double => at += 1,
            // Behind the line with the indicators.
            Style::Block if matches!(source.get(at), Some('|' | '>')) => {
                while source.get(at).is_some_and(|c| *c != '\n') {
                    at += 1;
                }
            }
            Style::Block => {}
        }
        let mut marks = Vec::with_capacity(content.len() + 1);
        for c in content.chars() {
            if c.is_whitespace() && (style != Style::Double || escape(source, at).is_none_or(|(e, _)| e != c))
            {
                marks.push(self.mark(at));
                continue;
            }
            let begin = skip_white(source, at, style);
            let length = length_of(source, begin, style, c);
            marks.push(self.mark(begin));
            at = begin + length;
        }
        marks.push(self.mark(at));
        Self(marks.into())
    }
}

fn next(mark: Mark, c: char) -> Mark {
    match c {
        '\n' => Mark { line: mark.line + 1, column: 1 },
        _ => Mark { line: mark.line, column: mark.column + 1 },
    }
}

/// Behind white space, and behind line ends that are escaped away.
fn skip_white(source: &[char], mut at: usize, style: Style) -> usize {
    loop {
        match source.get(at) {
            Some(c) if c.is_whitespace() => at += 1,
            Some('\\') if style == Style::Double && matches!(source.get(at + 1), Some('\n' | '\r')) => {
                at += 2
            }
            // White space that was written as an escape.
            Some('\\') if style == Style::Double => match escape(source, at) {
                Some((c, length)) if c.is_whitespace() => at += length,
                _ => return at,
            },
            _ => return at,
        }
    }
}

/// How many characters of the source one character of the text takes.
fn length_of(source: &[char], at: usize, style: Style, c: char) -> usize {
    match style {
        Style::Single if c == '\'' => 2,
        Style::Double => escape(source, at).map_or(1, |(_, length)| length),
        _ => 1,
    }
}

/// The character that an escape of YAML stands for, and how long it is.
fn escape(source: &[char], at: usize) -> Option<(char, usize)> {
    if source.get(at) != Some(&'\\') {
        return None;
    }
    let hex = |digits: usize| {
        let text: String = source.get(at + 2..at + 2 + digits)?.iter().collect();
        match u32::from_str_radix(&text, 16).ok()? {
            // JSON writes a character beyond the first plane as two.
            0xd800..=0xdbff => Some((char::REPLACEMENT_CHARACTER, 12)),
            code => Some((char::from_u32(code)?, 2 + digits)),
        }
    };
    match source.get(at + 1)? {
        'x' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        'n' => Some(('\n', 2)),
        't' | '\t' => Some(('\t', 2)),
        'r' => Some(('\r', 2)),
        other => Some((*other, 2)),
    }
}
