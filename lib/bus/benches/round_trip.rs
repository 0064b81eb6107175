//! What a small call costs, beside what the socket alone costs.
//!
//! Every peer is a process of its own, for two threads of one process share what two programs do
//! not. Each measurement is the median of many round trips; all run in turns, so that what else the
//! machine does meets them alike. The payload is 64 bytes there and 64 bytes back.
//!
//! Prints, in microseconds: `bare` (blocking sockets), `tokio` (the same through the runtime that
//! services use), `call` (a bus call over a kept connection), and `ratio`, call to bare.

use std::env;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bus::{Address, Caller, Client, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PAYLOAD: usize = 64;
const TURNS: usize = 15;
const CALLS: usize = 2000;

struct Echo;

impl bus::names::Handler for Echo {
    async fn resolve(&self, _: Caller, name: String) -> Result<Vec<String>, String> {
        Err(name)
    }
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, peer, folder] = &arguments[..]
        && peer.starts_with("peer-")
    {
        return serve(peer, Path::new(folder));
    }
    let folder = tempfile::tempdir().expect("a folder for the sockets");
    let mut peers = Vec::new();
    for peer in ["peer-bare", "peer-tokio", "peer-call"] {
        peers.push(Peer(
            Command::new(&arguments[0])
                .arg(peer)
                .arg(folder.path())
                .spawn()
                .expect("starting a peer"),
        ));
    }
    let mut bare = connect(&folder.path().join("bare"));
    let async_stream = connect(&folder.path().join("tokio"));
    drop(connect(&bus::socket_path(folder.path(), bus::names::ID)));

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let client = Client::new(Address::Here(folder.path().into()));
    let name = "x".repeat(PAYLOAD);
    let (mut bares, mut tokios, mut calls) = (Vec::new(), Vec::new(), Vec::new());

    async_stream
        .set_nonblocking(true)
        .expect("a socket for tokio");
    let mut async_stream = runtime.block_on(async {
        tokio::net::UnixStream::from_std(async_stream).expect("a socket for tokio")
    });
    let mut buffer = [0; PAYLOAD];
    for _ in 0..TURNS {
        bares.extend((0..CALLS).map(|_| {
            let start = Instant::now();
            bare.write_all(&[7; PAYLOAD]).expect("sending");
            bare.read_exact(&mut buffer).expect("receiving");
            start.elapsed()
        }));
        runtime.block_on(async {
            for _ in 0..CALLS {
                let start = Instant::now();
                async_stream
                    .write_all(&[7; PAYLOAD])
                    .await
                    .expect("sending");
                async_stream
                    .read_exact(&mut buffer)
                    .await
                    .expect("receiving");
                tokios.push(start.elapsed());
            }
        });
        runtime.block_on(async {
            for _ in 0..CALLS {
                let start = Instant::now();
                let answer = bus::names::resolve(&client, &name).await.expect("calling");
                calls.push(start.elapsed());
                assert_eq!(answer.as_ref().err().map(String::len), Some(PAYLOAD));
            }
        });
    }
    let (bare, tokio, call) = (median(bares), median(tokios), median(calls));
    println!("bare {bare:.2}");
    println!("tokio {tokio:.2}");
    println!("call {call:.2}");
    println!("ratio {:.2}", call / bare);
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn connect(socket: &Path) -> UnixStream {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "{}: {error}", socket.display()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process that ends with the measurement.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(peer: &str, folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut buffer = [0; PAYLOAD];
    match peer {
        "peer-bare" => {
            let (mut stream, _) = UnixListener::bind(folder.join("bare"))
                .and_then(|listener| listener.accept())
                .expect("listening");
            while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
        }
        "peer-tokio" => runtime.block_on(async {
            let listener = tokio::net::UnixListener::bind(folder.join("tokio")).expect("listening");
            let (mut stream, _) = listener.accept().await.expect("listening");
            while stream.read_exact(&mut buffer).await.is_ok()
                && stream.write_all(&buffer).await.is_ok()
            {}
        }),
        _ => runtime.block_on(async {
            let mut server = Server::bind(folder, &[bus::names::ID]).expect("listening");
            server.serve(bus::names::interface(Echo));
            server.run().await.expect("serving");
        }),
    }
}
