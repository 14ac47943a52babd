//! A short run of what `make hostile` does with ten million requests.

use harness::hostile::{Plan, run};

#[test]
fn twenty_thousand_hostile_requests_let_nobody_in_and_stay_in_no_memory() {
    const REQUESTS: usize = 20_000;
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    println!("seed {seed}");
    let report = run(Plan::of(REQUESTS, seed), &mut |_, _| ());
    let report = report.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(report.sent, REQUESTS);
    let answered: usize = report.answers.values().sum();
    assert!(answered + report.cut_off + report.closed >= REQUESTS, "seed {seed}: {report:?}");
    assert!(answered > REQUESTS / 2 && report.cut_off > REQUESTS / 100, "seed {seed}: {report:?}");
    for status in [400, 401] {
        assert!(
            report.answers.get(&status).is_some_and(|count| *count > REQUESTS / 100),
            "seed {seed}: {report:?}"
        );
    }
}
