//! What it costs to read a token, and to judge it, by size: an unsigned, confused or malformed token must cost less
//! than a valid one. No host takes part; signatures are checked in Rust.
//!
//! `cargo bench --bench parse`; `benches/refusals.rs` puts times and memory side by side, as ratios.

mod tokens;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis::Unverified;

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let gate = tokens::gate();
    let policy = &gate.config().providers[0].policy;
    for case in tokens::cases() {
        let id = BenchmarkId::new(case.kind, case.size);
        group.bench_with_input(id, case.token.as_bytes(), |bencher, token| {
            bencher.iter(|| Unverified::parse(black_box(token), policy).is_ok());
        });
    }
}

fn judge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("judge");
    let mut gate = tokens::gate();
    for case in tokens::cases() {
        let authorization = format!("Bearer {}", case.token);
        assert_eq!(tokens::judge(&mut gate, &authorization), case.refused, "{} {}", case.kind, case.size);
        let id = BenchmarkId::new(case.kind, case.size);
        group.bench_with_input(id, &authorization, |bencher, authorization| {
            bencher.iter(|| tokens::judge(&mut gate, black_box(authorization)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = parse, judge
}
criterion_main!(benches);
