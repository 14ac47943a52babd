//! Asks `ADDRESS PATH` and succeeds on 200: the health check of containers in which there is nothing else to ask with.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use harness::Request;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(addr), Some(path)) = (arguments.next(), arguments.next()) else {
        eprintln!("probe ADDRESS PATH, e.g. probe 127.0.0.1:8081 /healthz");
        return ExitCode::FAILURE;
    };
    let addr = match addr.parse() {
        Ok(addr) => addr,
        Err(error) => {
            eprintln!("probe: {addr:?} is no address: {error}");
            return ExitCode::FAILURE;
        }
    };
    match Request::get(path).timeout(Duration::from_secs(3)).try_send(addr) {
        Ok(answer) if answer.status == 200 => ExitCode::SUCCESS,
        Ok(answer) => {
            eprintln!("probe: status {}", answer.status);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}
