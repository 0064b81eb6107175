//! The page that shows the devices' screens in the browser.
//!
//! A very small HTTP server on the loopback that serves three things and nothing else: our page,
//! and the two folders of Debian's noVNC that it loads. Each screen itself comes from its QEMU's
//! own web socket.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Component, Path},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

const NOVNC: &str = "/usr/share/novnc";
const TEMPLATE: &str = include_str!("page.html");

/// Tried first, so that the address stays the same from run to run.
const PORT: u16 = 6400;

/// A screen to show.
#[derive(Debug, Serialize)]
pub(super) struct Screen {
    /// What device it belongs to, in words.
    pub(super) title: String,
    /// Pixels.
    pub(super) width: u32,
    /// Pixels.
    pub(super) height: u32,
    /// Of the web socket on the loopback.
    pub(super) port: u16,
}

/// A page that is being served, by threads that end with the program.
#[derive(Debug)]
pub(super) struct Page {
    address: SocketAddr,
}

impl Page {
    /// Serves a page with these screens side by side; `opened` is called whenever somebody opens it.
    pub(super) fn serve(
        screens: &[Screen],
        opened: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("opening a port on the loopback for the page")?;
        let address = listener.local_addr()?;
        // In a script, where `<` could only end it.
        let screens = serde_json::to_string(screens)?.replace('<', "\\u003c");
        let page = TEMPLATE.replace("{{screens}}", &screens);
        let opened = Arc::new(opened);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (page, opened) = (page.clone(), Arc::clone(&opened));
                // A browser that goes away in the middle is no error of ours.
                thread::spawn(move || drop(answer(stream, &page, &*opened)));
            }
        });
        Ok(Self { address })
    }

    /// What to open.
    pub(super) fn address(&self) -> String {
        format!("http://{}/", self.address)
    }
}

fn answer(mut stream: TcpStream, page: &str, opened: &dyn Fn()) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    // The rest of the head says nothing that we need, but is read before the answer.
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request
        .strip_prefix("GET ")
        .and_then(|rest| rest.split([' ', '?']).next());
    let (status, kind, body) = match path {
        Some("/") => (
            "200 OK",
            "text/html; charset=utf-8",
            page.as_bytes().to_vec(),
        ),
        Some(path) => match novnc(path) {
            Some((kind, body)) => ("200 OK", kind, body),
            None => (
                "404 Not Found",
                "text/plain",
                b"There is no such file.\n".to_vec(),
            ),
        },
        None => (
            "405 Method Not Allowed",
            "text/plain",
            b"Only GET is answered.\n".to_vec(),
        ),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    let is_page = path == Some("/");
    // The browser has all that it asked for, and need not wait for what this leads to.
    drop((stream, reader));
    if is_page {
        opened();
    }
    Ok(())
}

/// A file of noVNC's programs.
fn novnc(path: &str) -> Option<(&'static str, Vec<u8>)> {
    let path = Path::new(path.strip_prefix('/')?);
    let plain = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    if !plain
        || !(path.starts_with("core") || path.starts_with("vendor"))
        || path.extension()? != "js"
    {
        return None;
    }
    Some((
        "text/javascript; charset=utf-8",
        fs::read(Path::new(NOVNC).join(path)).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, sync::mpsc};

    use super::*;

    fn get(page: &Page, request: &str) -> String {
        let mut stream = TcpStream::connect(page.address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_page_is_served_and_nothing_beside_novnc() {
        let screen = |title: &str, port| Screen {
            title: title.to_owned(),
            width: 540,
            height: 1200,
            port,
        };
        let (open, opened) = mpsc::channel();
        let screens = [screen("One", 5703), screen("</script>", 5704)];
        let page = Page::serve(&screens, move || open.send(()).unwrap()).unwrap();
        let answer = get(&page, "GET /");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK")
                && answer.contains("5703")
                && answer.contains("5704")
                && answer.matches("</script>").count() == 1
                && !answer.contains("{{"),
            "{answer}"
        );
        for path in [
            "/../../../etc/passwd",
            "/core/../../../../etc/passwd",
            "//etc/passwd",
            "/etc/passwd",
            "/core/",
        ] {
            assert!(
                get(&page, &format!("GET {path}")).starts_with("HTTP/1.1 404"),
                "{path}"
            );
        }
        assert!(get(&page, "POST /").starts_with("HTTP/1.1 405"));
        opened.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(opened.try_recv().is_err(), "one visit was told twice");
    }
}
