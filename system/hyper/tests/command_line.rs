//! The program itself, run as a person or the host's tool runs it, against a service that it carries.

mod serving;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bus::Caller;
use bus::names::Handler;

/// Names that are known without a network.
struct Names;

impl Handler for Names {
    async fn resolve(&self, _: Caller, name: String) -> Result<Vec<String>, String> {
        match name.as_str() {
            "here" => Ok(vec!["::1".into(), "127.0.0.1".into()]),
            _ => Err(format!("no server knows {name}")),
        }
    }
}

fn serve(folder: &Path) {
    serving::serve(folder, bus::names::ID, |server| {
        server.serve(bus::names::interface(Names));
    });
}

fn hyper(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyper"));
    command.env("HYPER_BUS", folder);
    command
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_function_is_called_with_values_as_text() {
    let folder = tempfile::tempdir().unwrap();
    serve(folder.path());
    let call = |arguments: &[&str]| {
        said(
            &hyper(folder.path())
                .arg("call")
                .args(arguments)
                .output()
                .unwrap(),
        )
    };
    let here = (
        0,
        "ok([\"::1\", \"127.0.0.1\"])\n".to_owned(),
        String::new(),
    );
    assert_eq!(call(&["names.resolve", "\"here\""]), here);
    assert_eq!(call(&["hyper:network/names@1.0.0.resolve", "here"]), here);
    assert_eq!(
        call(&["names.resolve", "there"]).1,
        "err(\"no server knows there\")\n"
    );

    let health = said(
        &hyper(folder.path())
            .args(["health", "names"])
            .output()
            .unwrap(),
    );
    assert_eq!(health, (0, "well\n".to_owned(), String::new()));

    let (status, _, error) = call(&["name.resolve", "here"]);
    assert_eq!(status, 1);
    // The nearest first; how many more there are is a matter of what the house has by then.
    assert!(
        error.starts_with("hyper: there is no interface name; did you mean names"),
        "{error}"
    );
    let (_, _, error) = call(&["names.resolve"]);
    assert!(error.contains("takes 1 argument, 0 given"), "{error}");
    let (status, _, error) = call(&["settings.get", "x"]);
    assert!(
        status == 1 && error.contains("hyper:settings/settings@1.0.0.get: connecting to "),
        "{error}"
    );
}

#[test]
fn the_console_answers_each_line_with_its_status() {
    let folder = tempfile::tempdir().unwrap();
    serve(folder.path());
    let mut console = hyper(folder.path())
        .arg("console")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = console.stdin.take().unwrap();
    let mut answers = BufReader::new(console.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    writeln!(lines, "call names.resolve '\"here\"'").unwrap();
    assert_eq!(answers.next().unwrap(), "ok([\"::1\", \"127.0.0.1\"])");
    assert_eq!(answers.next().unwrap(), "[exit 0]");
    writeln!(lines, "call names.nothing").unwrap();
    assert!(answers.next().unwrap().contains("did you mean resolve?"));
    assert_eq!(answers.next().unwrap(), "[exit 1]");
    drop(lines);
    assert!(console.wait().unwrap().success());
}
