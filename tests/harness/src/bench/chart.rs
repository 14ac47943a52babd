//! The results as a picture.

use std::fmt::Write as _;

use super::measure::Estimate;
use super::plan::Variant;
use super::report::Report;

const WIDTH: f64 = 920.0;
/// Where the bars begin: what is left of it is for their names.
const LEFT: f64 = 390.0;
/// What is right of the longest bar is for its figure.
const RIGHT: f64 = 130.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;

/// Bars for the processor time over no filter, one group for each algorithm and kind of token.
pub(super) fn svg(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 64.0;
    let cells: Vec<_> = report.cells.iter().filter(|cell| cell.variant != Variant::None).collect();
    for group in cells.chunk_by(|a, b| (a.alg, a.tokens) == (b.alg, b.tokens)) {
        let Some(first) = group.first() else { continue };
        let medians: Vec<f64> = group.iter().map(|cell| Estimate::of(&cell.over).median).collect();
        let most = medians.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let _ = writeln!(
            body,
            r#"<text x="16" y="{y}" font-weight="bold">{}, {}</text>"#,
            first.alg,
            first.tokens.title()
        );
        y += 10.0;
        for (cell, median) in group.iter().zip(medians) {
            let length = (WIDTH - LEFT - RIGHT) * median.max(0.0) / most;
            let own = cell.variant.is_ours();
            let colour = if own { "#2563a8" } else { "#9aa5b1" };
            let text = y + BAR - 4.0;
            let _ = writeln!(
                body,
                r#"<text x="{}" y="{text}" text-anchor="end">{}</text><rect x="{LEFT}" y="{y}" width="{length:.1}" height="{BAR}" fill="{colour}"/><text x="{:.1}" y="{text}">{median:.2} µs</text>"#,
                LEFT - 8.0,
                escaped(&cell.variant.title()),
                LEFT + length + 6.0,
            );
            y += STEP;
        }
        y += 26.0;
    }
    let caption = escaped(&report.caption());
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="13" fill="#1f2933">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="24" font-size="16" font-weight="bold">Processor time of Envoy per request, over no filter (less is better)</text>
<text x="16" y="42" font-size="11">{caption}</text>
{body}</svg>
"##
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
