//! The relay's program by itself, on the loopback, without a mesh to ask.

mod program;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use iroh::tls::CaTlsConfig;
use program::{Program, refusal};

/// Generous: what a test waits for comes within seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts it on a port of the loopback that is free, which is answered.
fn start(folder: &Path, arguments: &[&str]) -> (Program, SocketAddr) {
    let mut child = Command::new(Program::path())
        .args(["--listen", "127.0.0.1:0", "--bus"])
        .arg(folder)
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting the relay");
    let mut log = BufReader::new(child.stderr.take().expect("its log")).lines();
    let program = Program(child);
    let address = log
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let (_, rest) = line.split_once("awaited at ")?;
            rest.split_once(' ')?.0.parse().ok()
        })
        .expect("it says where it listens");
    // Somebody has to read what else it says.
    std::thread::spawn(move || log.for_each(drop));
    (program, address)
}

#[test]
fn without_a_mesh_nobody_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let (_program, address) = start(folder.path(), &[]);
    let reason = refusal(
        &format!("http://{address}"),
        CaTlsConfig::default(),
        PATIENCE,
    );
    assert!(reason.contains("mesh does not run"), "{reason}");
}

#[test]
fn with_a_certificate_it_is_reached_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let [certificate, key] = ["certificate", "key"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let [certificate, key] = [&certificate, &key].map(|file| file.to_str().unwrap());
    let arguments = ["--certificate", certificate, "--key", key];
    let (_program, address) = start(folder.path(), &arguments);
    let authorities = CaTlsConfig::custom_roots([made.cert.der().clone()]);
    let reason = refusal(&format!("https://{address}"), authorities, PATIENCE);
    assert!(reason.contains("mesh does not run"), "{reason}");
}

#[test]
fn a_certificate_that_is_none_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none");
    std::fs::write(&file, "not PEM").unwrap();
    let ended = Command::new(Program::path())
        .args(["--listen", "127.0.0.1:0", "--certificate"])
        .arg(&file)
        .arg("--key")
        .arg(&file)
        .output()
        .unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains(file.to_str().unwrap()), "{said}");
}

#[test]
fn who_does_not_say_who_it_is_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let (_program, address) = start(folder.path(), &[]);
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    // One says nothing at all, and one asks for the relay and then does not prove any key.
    let mut silent = connect();
    let mut asking = connect();
    asking
        .write_all(
            b"GET /relay HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
              Sec-WebSocket-Protocol: iroh-relay-v2\r\n\r\n",
        )
        .unwrap();
    let mut answer = Vec::new();
    asking.read_to_end(&mut answer).expect("an end");
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "it is the relay");
    silent.read_to_end(&mut Vec::new()).expect("an end");
}
