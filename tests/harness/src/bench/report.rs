//! What came out, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use serde_json::{Value, json};

use super::footprint::Footprint;
use super::growth::Line;
use super::measure::{Estimate, Slice};
use super::plan::{Plan, Tokens, Variant};
use super::portable;
use super::workers::Scaling;
use crate::envoy::{Version, portcullis_module};
use crate::idp::Alg;

/// What one variant took with one kind of token.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The tokens' algorithm.
    pub alg: Alg,
    /// How often tokens came back.
    pub tokens: Tokens,
    /// What stood before the route.
    pub variant: Variant,
    /// What was measured.
    pub samples: Samples,
}

/// What was measured of one listener, round by round.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Microseconds of processor time for each request, round by round.
    pub total: Vec<f64>,
    /// The same, less what the listener without a filter took in that round.
    pub over: Vec<f64>,
    /// Requests in a second of the clock, round by round.
    pub rate: Vec<f64>,
}

impl std::ops::Deref for Cell {
    type Target = Samples;

    fn deref(&self) -> &Samples {
        &self.samples
    }
}

impl Samples {
    /// Of rounds of so many requests.
    pub(super) fn of(slices: &[Slice], requests: usize) -> Self {
        let requests = requests as f64;
        Self {
            total: slices.iter().map(|slice| slice.cpu.as_secs_f64() * 1e6 / requests).collect(),
            over: Vec::new(),
            rate: slices.iter().map(|slice| requests / slice.wall.as_secs_f64()).collect(),
        }
    }

    /// These, with what they took over the first of them, which is the listener without a filter.
    pub(super) fn over_first(mut all: Vec<Self>) -> Vec<Self> {
        let base = all.first().map(|samples| samples.total.clone()).unwrap_or_default();
        for samples in &mut all {
            samples.over = samples.total.iter().zip(&base).map(|(total, base)| total - base).collect();
        }
        all
    }

    /// Round by round, how many times as much as another this one took over no filter.
    fn ratio(&self, other: &Self) -> Estimate {
        let ratios: Vec<f64> = self.over.iter().zip(&other.over).map(|(own, other)| own / other).collect();
        Estimate::of(&ratios)
    }
}

/// A title, and lines that are compared with the first of them.
pub type Table = (String, Vec<(Line, Samples)>);

/// Everything that was measured, and where.
#[derive(Clone, Debug)]
pub struct Report {
    /// The main table.
    pub cells: Vec<Cell>,
    /// Growth and refusals.
    pub groups: Vec<Table>,
    /// Two workers beside one.
    pub workers: Vec<Scaling>,
    /// Verifying in V8, algorithm by algorithm.
    pub portable: Vec<Table>,
    /// Memory and time to start.
    pub footprint: Option<Footprint>,
    plan: Plan,
    envoy: String,
    machine: Value,
    module: Value,
    date: String,
}

impl Report {
    pub(super) fn new(plan: &Plan, envoy: Version) -> Self {
        let module = fs::read(portcullis_module()).unwrap_or_default();
        let hash = digest::digest(&digest::SHA256, &module);
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            cells: Vec::new(),
            groups: Vec::new(),
            workers: Vec::new(),
            portable: Vec::new(),
            footprint: None,
            plan: plan.clone(),
            envoy: envoy.to_string(),
            machine: machine(),
            module: json!({ "bytes": module.len(), "sha256": hash }),
            date: date(),
        }
    }

    /// The ratio of two variants with one kind of token, if both were measured.
    pub fn ratio(&self, alg: Alg, tokens: Tokens, of: &Variant, to: &Variant) -> Option<Estimate> {
        let cell = |variant: &Variant| {
            self.cells
                .iter()
                .find(|cell| (cell.alg, cell.tokens) == (alg, tokens) && cell.variant == *variant)
        };
        Some(cell(of)?.ratio(cell(to)?))
    }

    /// The report as JSON.
    pub fn to_json(&self) -> Value {
        let results: Vec<Value> = self
            .cells
            .iter()
            .map(|cell| {
                let ratio = |to| self.ratio(cell.alg, cell.tokens, &cell.variant, to).map(estimate);
                let mut result = json!({
                    "algorithm": cell.alg.name(),
                    "tokens": cell.tokens.name(),
                    "variant": cell.variant.name(),
                    "cpu_us": estimate(Estimate::of(&cell.total)),
                    "requests_per_second": rounded(Estimate::of(&cell.rate).median, 0),
                });
                if cell.variant != Variant::None {
                    result["cpu_us_over_no_filter"] = estimate(Estimate::of(&cell.over));
                    result["rounds_us"] = cell.over.iter().map(|value| rounded(*value, 3)).collect();
                    result["times_jwt_authn"] = json!(ratio(&Variant::Native));
                    result["times_jwt_authn_cached"] = json!(ratio(&Variant::NativeCached));
                    result["times_ext_authz"] = json!(ratio(&Variant::ExtAuthz));
                }
                result
            })
            .collect();
        let workers: Vec<Value> = self.workers.iter().map(scaling).collect();
        let footprint = self.footprint.map(|footprint| {
            json!({
                "start_ms": estimate(footprint.start_ms),
                "start_cpu_ms": estimate(footprint.start_cpu_ms),
                "first_worker_kb": rounded(footprint.first_kb, 0),
                "further_worker_kb": rounded(footprint.worker_kb, 0),
                "further_policy_kb": rounded(footprint.policy_kb, 0),
                "cached_token_bytes": rounded(footprint.token_bytes, 0),
            })
        });
        json!({
            "date": self.date,
            "envoy": self.envoy,
            "machine": self.machine,
            "module": self.module,
            "rounds": self.plan.rounds,
            "requests_per_round": self.plan.requests,
            "connections": self.plan.connections,
            "pinned": self.plan.pin,
            "results": results,
            "growth": groups(&self.groups),
            "workers": workers,
            "portable": groups(&self.portable),
            "footprint": footprint,
        })
    }
}

impl Report {
    /// On what and when it was measured.
    pub(super) fn caption(&self) -> String {
        format!("Envoy {}, one worker; {}; {}", self.envoy, text(&self.machine, "processor"), self.date)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { rounds, requests, connections, .. } = &self.plan;
        writeln!(f, "{}", self.caption())?;
        writeln!(
            f,
            "{rounds} rounds of {requests} requests to each listener over {connections} connections; module of {} bytes",
            self.module["bytes"]
        )?;
        writeln!(
            f,
            "CPU: microseconds of the worker for each request over no filter, median and its 95 % interval"
        )?;
        let mut tables: BTreeMap<(Alg, &str), Vec<&Cell>> = BTreeMap::new();
        for cell in &self.cells {
            tables.entry((cell.alg, cell.tokens.title())).or_default().push(cell);
        }
        for ((alg, tokens), cells) in tables {
            writeln!(f)?;
            writeln!(
                f,
                "{:<70}{:>8}{:>18}{:>12}{:>22}{:>24}{:>22}",
                format!("{alg}, {tokens}"),
                "CPU",
                "",
                "requests/s",
                "x jwt_authn",
                "x jwt_authn cached",
                "x ext_authz"
            )?;
            for cell in cells {
                let rate = Estimate::of(&cell.rate).median;
                if cell.variant == Variant::None {
                    let all = format!("({:.2} in all)", Estimate::of(&cell.total).median);
                    writeln!(f, "  {:<68}{:>8}{all:>18}{rate:>12.0}", cell.variant.title(), "")?;
                    continue;
                }
                let over = Estimate::of(&cell.over);
                let ratio = |to: &Variant| {
                    let ratio = self.ratio(cell.alg, cell.tokens, &cell.variant, to);
                    ratio.filter(|_| cell.variant != *to).map_or(String::new(), times)
                };
                writeln!(
                    f,
                    "  {:<68}{:>8.2}{:>18}{rate:>12.0}{:>22}{:>24}{:>22}",
                    cell.variant.title(),
                    over.median,
                    spread(over),
                    ratio(&Variant::Native),
                    ratio(&Variant::NativeCached),
                    ratio(&Variant::ExtAuthz)
                )?;
            }
        }
        write_groups(f, &self.groups)?;
        if !self.workers.is_empty() {
            writeln!(f)?;
            writeln!(
                f,
                "{:<46}{:>10}{:>10}{:>22}{:>22}{:>18}{:>18}",
                "1 -> 2 workers, one token again and again",
                "CPU of 1",
                "CPU of 2",
                "2 over 1",
                "throughput x",
                "over no filter",
                "requests/s"
            )?;
            for scaling in &self.workers {
                let median = |values: &[f64]| Estimate::of(values).median;
                let Scaling { variant, one, two } = scaling;
                let over = format!("{:.2} -> {:.2}", median(&one.over), median(&two.over));
                let over = if *variant == Variant::None { String::new() } else { over };
                writeln!(
                    f,
                    "  {:<44}{:>10.2}{:>10.2}{:>22}{:>22}{over:>18}{:>18}",
                    variant.title(),
                    median(&one.total),
                    median(&two.total),
                    times(scaling.cost()),
                    times(scaling.throughput()),
                    format!("{:.0} -> {:.0}", median(&one.rate), median(&two.rate))
                )?;
            }
            writeln!(
                f,
                "  CPU: of all workers for each request, in all; throughput: in a processor's time for each worker;"
            )?;
            writeln!(f, "  requests/s: on the clock, where the load generator needs a processor too")?;
        }
        if let Some(samples) = self.portable.first().and_then(|(_, lines)| Some(&lines.first()?.1)) {
            let requests = portable::scaled(&self.plan).requests;
            let rounds = samples.over.len();
            writeln!(f, "\nVerified in V8: {rounds} rounds of {requests} requests to each listener")?;
        }
        write_groups(f, &self.portable)?;
        if let Some(footprint) = self.footprint {
            let Footprint { start_ms, start_cpu_ms, first_kb, worker_kb, policy_kb, token_bytes } = footprint;
            writeln!(f)?;
            writeln!(f, "An Envoy with the filter over one without")?;
            for (what, estimate) in
                [("until it is ready", start_ms), ("of the processor until then", start_cpu_ms)]
            {
                let Estimate { median, low, high } = estimate;
                writeln!(f, "  {what:<44}{median:>8.0} ms ({low:.0} - {high:.0})")?;
            }
            writeln!(f, "  {:<44}{first_kb:>8.0} KB", "memory: V8, the main thread and one worker")?;
            writeln!(f, "  {:<44}{worker_kb:>8.0} KB", "memory of each further worker")?;
            writeln!(f, "  {:<44}{policy_kb:>8.0} KB", "memory of each further policy, two workers")?;
            writeln!(f, "  {:<44}{token_bytes:>8.0} bytes", "memory of each cached token")?;
        }
        Ok(())
    }
}

fn spread(Estimate { low, high, .. }: Estimate) -> String {
    format!("({low:.2} - {high:.2})")
}

fn times(Estimate { median, low, high }: Estimate) -> String {
    format!("{median:.3} ({low:.2} - {high:.2})")
}

fn write_groups(f: &mut fmt::Formatter<'_>, groups: &[Table]) -> fmt::Result {
    for (title, lines) in groups {
        writeln!(f)?;
        writeln!(f, "{title:<70}{:>8}{:>22}{:>22}", "CPU", "", "x the first")?;
        for (line, samples) in lines {
            let over = Estimate::of(&samples.over);
            let ratio = lines.first().map_or(over, |(_, base)| samples.ratio(base));
            writeln!(f, "  {:<68}{:>8.2}{:>22}{:>22}", line.title, over.median, spread(over), times(ratio))?;
        }
    }
    Ok(())
}

/// Groups of lines as JSON.
fn groups(groups: &[Table]) -> Value {
    let group = |(title, lines): &Table| {
        let base = lines.first().map(|(_, samples)| samples);
        let line = |(line, samples): &(Line, Samples)| {
            json!({
                "title": line.title,
                "rounds": samples.over.len(),
                "cpu_us_over_no_filter": estimate(Estimate::of(&samples.over)),
                "times_the_first": base.map(|base| estimate(samples.ratio(base))),
            })
        };
        json!({ "title": title, "lines": lines.iter().map(line).collect::<Vec<_>>() })
    };
    groups.iter().map(group).collect()
}

/// What a second worker brought, as JSON.
fn scaling(scaling: &Scaling) -> Value {
    let samples = |samples: &Samples| {
        json!({
            "cpu_us": estimate(Estimate::of(&samples.total)),
            "cpu_us_over_no_filter": estimate(Estimate::of(&samples.over)),
            "requests_per_second": rounded(Estimate::of(&samples.rate).median, 0),
        })
    };
    json!({
        "variant": scaling.variant.name(),
        "one": samples(&scaling.one),
        "two": samples(&scaling.two),
        "cpu_two_over_one": estimate(scaling.cost()),
        "throughput_two_over_one": estimate(scaling.throughput()),
    })
}

fn estimate(estimate: Estimate) -> Value {
    let value = |value| rounded(value, 3);
    json!({ "median": value(estimate.median), "low": value(estimate.low), "high": value(estimate.high) })
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// What it ran on.
fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    json!({
        "processor": processor,
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "architecture": std::env::consts::ARCH,
    })
}

/// The date in UTC: `2026-01-31T12:00:00Z`.
fn date() -> String {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (secs / 86400, secs % 86400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a number of days after 1970-01-01.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_819), (2027, 1, 1));
    }
}
