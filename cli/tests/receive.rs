//! `portcullis receive`: what stands in its way is said, and it does not start. What it does once it runs is tested in `receive/`.

use std::fs;
use std::process::Command;

#[test]
fn what_is_wrong_with_its_configuration_is_said_by_path_and_it_cannot_run() {
    let folder = std::env::temp_dir().join(format!("portcullis-cli-receive-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("receive.yaml");
    let run = |text: &str| {
        fs::write(&file, text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let done = command.args(["receive", "--now", "1800000000", "--config"]).arg(&file).output();
        let done = done.expect("the tool runs");
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, text) = run("listen: 127.0.0.1:0\ndatabse: x\n");
    assert_eq!(code, Some(2), "{text}");
    for part in ["database: is missing", "databse: unknown field", "issuers: is empty"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let (code, text) = run("{");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("neither YAML nor JSON"), "{text}");
    let nowhere = folder.join("nowhere").join("receive.redb");
    let (code, text) = run(&format!(
        "{{\"listen\":\"127.0.0.1:0\",\"database\":{nowhere:?},\"admin\":{{\"token\":{{\"environment_variable\":\"PATH\"}}}}}}"
    ));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("receive.redb"), "{text}");
    fs::remove_dir_all(&folder).expect("it is removed");
}
