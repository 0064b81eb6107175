//! A repository in an object store: what is put there is what devices read.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use common::{World, run};
use hyper_release::mirror::{self, Site};
use hyper_release::verify;
use object_store::aws::AmazonS3Builder;

const BUCKET: &str = "releases";
const WRITER: &str = "the-maker";

/// A store that keeps its objects as files of the folder `objects`, and what caches are told of them in `caches`. It
/// lets only [`WRITER`] put some there.
///
/// It knows of S3 what the copying needs: asking for an object, and putting one.
fn store(folder: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let folder = folder.clone();
            thread::spawn(move || serve(&stream, &folder));
        }
    });
    address
}

/// Answers one request after the other, until the other side ends the connection.
fn serve(stream: &TcpStream, folder: &Path) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let (mut length, mut writer, mut cache) = (0, false, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "authorization" => writer = value.contains(&format!("Credential={WRITER}/")),
                "cache-control" => cache = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut words = request.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let name = path.strip_prefix(&format!("/{BUCKET}/")).unwrap();
        let file = folder.join("objects").join(name);
        let (status, length) = match method {
            _ if !writer => ("403 Forbidden", 0),
            "PUT" => {
                let told = folder.join("caches").join(name);
                for (file, content) in [(&file, body), (&told, cache.into_bytes())] {
                    fs::create_dir_all(file.parent().unwrap()).unwrap();
                    fs::write(file, content).unwrap();
                }
                ("200 OK", 0)
            }
            "HEAD" if file.exists() => ("200 OK", fs::metadata(&file).unwrap().len()),
            _ => ("404 Not Found", 0),
        };
        write!(
            &mut &*stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"1\"\r\nLast-Modified: Mon, 23 Nov 2026 12:00:00 GMT\r\n\r\n"
        )
        .unwrap();
    }
}

fn site(address: SocketAddr, writer: &str) -> Site {
    let store = AmazonS3Builder::new()
        .with_bucket_name(BUCKET)
        .with_endpoint(format!("http://{address}"))
        .with_allow_http(true)
        .with_region("here")
        .with_access_key_id(writer)
        .with_secret_access_key("secret")
        .build()
        .unwrap();
    Site::Store {
        store: Arc::new(store),
        folder: "hyperos".into(),
    }
}

#[test]
fn what_is_put_into_a_store_is_a_whole_repository() {
    run(async {
        let world = World::new().await;
        world.publish("0.2.0", "stable").await;
        let folder = world.path("store");
        let site = site(store(folder.clone()), WRITER);
        mirror::copy(&world.repository(), &site).await.unwrap();
        // What devices read is what a server of static files gives them.
        let served = folder.join("objects/hyperos");
        let told = folder.join("caches/hyperos/metadata");
        let told = |file: &str| fs::read_to_string(told.join(file)).unwrap();
        assert_eq!(told("timestamp.json"), "no-cache");
        assert!(told("1.root.json").contains("immutable"));
        verify::verify(&served, Some(&world.path("root-a.json")), false)
            .await
            .unwrap();

        world.publish("0.3.0", "stable").await;
        let whole = mirror::copy(&world.repository(), &Site::Folder(world.path("whole")))
            .await
            .unwrap();
        let added = mirror::copy(&world.repository(), &site).await.unwrap();
        assert!(
            added < whole,
            "{added} bytes of {whole} were put there again"
        );
        let verified = verify::verify(&served, Some(&world.path("root-a.json")), false)
            .await
            .unwrap();
        assert_eq!(verified.releases.len(), 2);
    });
}

#[test]
fn who_may_not_write_is_told_what_was_refused() {
    run(async {
        let world = World::new().await;
        let site = site(store(world.path("store")), "a-stranger");
        let error = mirror::copy(&world.repository(), &site).await.unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("metadata/"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    });
}
