//! The walk notices when nobody guards the gate.

use harness::walk::{Paint, Target, run};
use harness::{Envoy, Idp, Upstream, workspace};

#[test]
fn an_open_gateway_does_not_pass() {
    let (idp, upstream) = (Idp::start(), Upstream::start());
    let envoy = Envoy::builder().upstream(&upstream).start().expect("Envoy starts");
    let target = Target { gateway: envoy.addr(), idp: idp.addr(), mcp: Some(envoy.addr()), access_log: None };
    let tally = run(&target, Paint::plain()).expect("gateway and provider answer");
    assert!(tally.steps >= 20);
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("the README");
    let promised = format!("sends {} requests", tally.steps);
    assert!(readme.contains(&promised), "the README does not say that make run {promised}");
    // All but those that pass with the filter as well and ask nothing of the upstream.
    assert!(tally.different >= tally.steps - 8, "{tally:?}");
}
