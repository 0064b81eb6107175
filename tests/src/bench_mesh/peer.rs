//! Bytes there and back without any of our own in between: TCP, UDP, and a plain endpoint of iroh at
//! each end. This program is started again for each end, in the devices' namespaces.
//!
//! [`Pair`] drives them: it writes an order a line to the one that calls, which answers in a line.
//! Each end has a runtime of one thread, as our services have, or one of a thread for each processor.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use iroh::endpoint::{Connection, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, TransportAddr};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

use crate::house::Device;

/// The first argument of a program that is one end.
pub const WORD: &str = "peer";

const ALPN: &[u8] = b"hyperos-bench/1";
/// What is written and read at once of a stream.
const PIECE: usize = 256 * 1024;
/// A packet that takes so long was lost: on a cable without others, that is no figure.
const LOST: Duration = Duration::from_secs(10);

/// How many threads the runtime of each end has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// As our services have.
    One,
    /// As many as there are processors.
    Many,
}

impl Threads {
    fn word(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Many => "many",
        }
    }
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// TCP, nothing encrypted.
    Tcp,
    /// UDP, nothing encrypted.
    Udp,
    /// A stream of iroh.
    Iroh,
}

/// What the end that calls is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Order {
    /// So many bytes there and so many back, again and again. The answer is each one's time.
    RoundTrips {
        way: Way,
        request: usize,
        answer: usize,
        times: usize,
    },
    /// Many bytes there, and one back when they have arrived. The answer is one time.
    Stream {
        way: Way,
        bytes: u64,
        /// A file that is read, instead of the same bytes over and over.
        from: Option<PathBuf>,
        /// Whether it is written there, and made durable before it is answered.
        to_file: bool,
    },
}

/// How the end that answers is reached.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Reached {
    tcp: u16,
    udp: u16,
    iroh: u16,
    id: [u8; 32],
}

/// What a connection begins with: three numbers.
#[derive(Clone, Copy, Debug)]
enum Head {
    /// Answers of so many bytes to requests of so many.
    RoundTrips { request: u64, answer: u64 },
    /// So many bytes come, for a file or for nobody.
    Stream { bytes: u64, to_file: bool },
}

impl Head {
    async fn write(self, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        let numbers = match self {
            Self::RoundTrips { request, answer } => [0, request, answer],
            Self::Stream { bytes, to_file } => [1, bytes, u64::from(to_file)],
        };
        for number in numbers {
            to.write_u64_le(number).await?;
        }
        Ok(())
    }

    async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Self> {
        let kind = from.read_u64_le().await?;
        let (one, two) = (from.read_u64_le().await?, from.read_u64_le().await?);
        Ok(match kind {
            0 => Self::RoundTrips {
                request: one,
                answer: two,
            },
            _ => Self::Stream {
                bytes: one,
                to_file: two != 0,
            },
        })
    }
}

/// One end, as the command line says.
///
/// # Errors
///
/// Fails when it has no network.
pub fn run(arguments: &[String]) -> Result<()> {
    let [threads, end, rest @ ..] = arguments else {
        bail!("it is started by the program that measures");
    };
    let mut builder = match threads.as_str() {
        "one" => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build()?;
    match (end.as_str(), rest) {
        ("answer", [folder]) => runtime.block_on(answer(Path::new(folder))),
        ("call", [address, reached]) => {
            let ends = Ends {
                address: address.parse()?,
                reached: serde_json::from_str(reached)?,
                connection: None,
            };
            obey(ends, &runtime)
        }
        _ => bail!("there is no such end"),
    }
}

async fn endpoint() -> Result<Endpoint> {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await
        .context("opening an endpoint")
}

/// Answers until it is ended.
async fn answer(folder: &Path) -> Result<()> {
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    let tcp = TcpListener::bind(any).await?;
    let udp = UdpSocket::bind(any).await?;
    let endpoint = endpoint().await?;
    let port = endpoint.bound_sockets().into_iter().find(|at| at.is_ipv4());
    let reached = Reached {
        tcp: tcp.local_addr()?.port(),
        udp: udp.local_addr()?.port(),
        iroh: port.context("it has no IPv4")?.port(),
        id: *endpoint.id().as_bytes(),
    };
    println!("{}", serde_json::to_string(&reached)?);
    tokio::spawn(answer_packets(udp));
    let of_iroh = folder.to_owned();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let folder = of_iroh.clone();
            tokio::spawn(async move {
                let connection = incoming.accept()?.await?;
                while let Ok((send, receive)) = connection.accept_bi().await {
                    tokio::spawn(serve(receive, send, folder.clone()));
                }
                anyhow::Ok(())
            });
        }
    });
    loop {
        let (stream, _) = tcp.accept().await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        tokio::spawn(serve(read, write, folder.to_owned()));
    }
}

async fn answer_packets(socket: UdpSocket) -> Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        if length < 8 {
            continue;
        }
        let (head, _) = buffer.split_at(8);
        let answer = u64::from_le_bytes(head.try_into()?) as usize;
        socket
            .send_to(&buffer[..answer.min(buffer.len())], from)
            .await?;
    }
}

async fn serve(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    folder: PathBuf,
) -> Result<()> {
    match Head::read(&mut from).await? {
        Head::RoundTrips { request, answer } => {
            let (mut request, answer) = (vec![0; request as usize], vec![7; answer as usize]);
            while from.read_exact(&mut request).await.is_ok() {
                to.write_all(&answer).await?;
            }
        }
        Head::Stream { bytes, to_file } => {
            let mut file = to_file
                .then(|| File::create(folder.join("received")))
                .transpose()?;
            let (mut buffer, mut left) = (vec![0; PIECE], bytes);
            while left > 0 {
                let count = from.read(&mut buffer).await?;
                ensure!(count > 0, "the stream ended early");
                if let Some(file) = &mut file {
                    file.write_all(&buffer[..count])?;
                }
                left = left.saturating_sub(count as u64);
            }
            if let Some(file) = &file {
                rustix::fs::syncfs(file)?;
            }
            to.write_all(&[1]).await?;
            to.flush().await?;
            // The other end ends it, once it has read that.
            let _ = from.read_u8().await;
        }
    }
    Ok(())
}

/// The end that calls.
struct Ends {
    address: IpAddr,
    reached: Reached,
    connection: Option<(Endpoint, Connection)>,
}

fn obey(mut ends: Ends, runtime: &Runtime) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let answer = runtime.block_on(ends.obey(&order));
        let answer = answer.map_err(|error| format!("{error:#}"));
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}

impl Ends {
    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// The one connection, made when it is needed first.
    async fn connection(&mut self) -> Result<Connection> {
        if let Some((_, connection)) = &self.connection {
            return Ok(connection.clone());
        }
        let endpoint = endpoint().await?;
        let id = EndpointId::from_bytes(&self.reached.id)?;
        let at = TransportAddr::Ip(self.at(self.reached.iroh));
        let connection = endpoint
            .connect(EndpointAddr::from_parts(id, [at]), ALPN)
            .await?;
        self.connection = Some((endpoint, connection.clone()));
        Ok(connection)
    }

    /// Times in microseconds.
    async fn obey(&mut self, order: &Order) -> Result<Vec<f64>> {
        match order.way() {
            Way::Udp => order.by_packets(self.at(self.reached.udp)).await,
            Way::Tcp => {
                let stream = TcpStream::connect(self.at(self.reached.tcp)).await?;
                stream.set_nodelay(true)?;
                let (read, write) = stream.into_split();
                order.by_stream(read, write).await
            }
            Way::Iroh => {
                let (send, receive) = self.connection().await?.open_bi().await?;
                order.by_stream(receive, send).await
            }
        }
    }
}

impl Order {
    fn way(&self) -> Way {
        match self {
            Self::RoundTrips { way, .. } | Self::Stream { way, .. } => *way,
        }
    }

    async fn by_packets(&self, at: SocketAddr) -> Result<Vec<f64>> {
        let Self::RoundTrips {
            request,
            answer,
            times,
            ..
        } = *self
        else {
            bail!("packets are no stream");
        };
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect(at).await?;
        let mut packet = vec![0; request.max(8)];
        packet[..8].copy_from_slice(&(answer as u64).to_le_bytes());
        let mut buffer = vec![0; answer + 1];
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            let begin = Instant::now();
            socket.send(&packet).await?;
            let length = tokio::time::timeout(LOST, socket.recv(&mut buffer))
                .await
                .context("a packet was lost")??;
            taken.push(microseconds(begin));
            ensure!(length == answer, "another answer came");
        }
        Ok(taken)
    }

    async fn by_stream(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<Vec<f64>> {
        match self {
            Self::RoundTrips {
                request,
                answer,
                times,
                ..
            } => {
                let head = Head::RoundTrips {
                    request: *request as u64,
                    answer: *answer as u64,
                };
                head.write(&mut to).await?;
                let (request, mut answer) = (vec![7; *request], vec![0; *answer]);
                let mut taken = Vec::with_capacity(*times);
                for _ in 0..*times {
                    let begin = Instant::now();
                    to.write_all(&request).await?;
                    from.read_exact(&mut answer).await?;
                    taken.push(microseconds(begin));
                }
                Ok(taken)
            }
            Self::Stream {
                bytes,
                from: file,
                to_file,
                ..
            } => {
                let mut file = file.as_ref().map(File::open).transpose()?;
                let begin = Instant::now();
                let head = Head::Stream {
                    bytes: *bytes,
                    to_file: *to_file,
                };
                head.write(&mut to).await?;
                let (mut buffer, mut left) = (vec![7; PIECE], *bytes);
                while left > 0 {
                    let piece = buffer.len().min(usize::try_from(left)?);
                    if let Some(file) = &mut file {
                        file.read_exact(&mut buffer[..piece])?;
                    }
                    to.write_all(&buffer[..piece]).await?;
                    left -= piece as u64;
                }
                to.flush().await?;
                ensure!(from.read_u8().await? == 1, "it was not taken");
                Ok(vec![microseconds(begin)])
            }
        }
    }
}

fn microseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// Two ends on two devices.
#[derive(Debug)]
pub struct Pair {
    answers: Child,
    calls: Child,
    orders: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Pair {
    /// Starts them. What the one that answers writes is in `folder`.
    ///
    /// # Errors
    ///
    /// Fails when they do not start.
    pub fn new(from: &Device, to: &Device, threads: Threads, folder: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("asking for this program")?;
        let mut answers = to
            .inside(&program)
            .args([WORD, threads.word(), "answer"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the end that answers")?;
        let mut reached = String::new();
        let output = answers.stdout.take().context("it has an output")?;
        BufReader::new(output).read_line(&mut reached)?;
        let mut calls = from
            .inside(&program)
            .args([WORD, threads.word(), "call", &to.address(), reached.trim()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the end that calls")?;
        let orders = calls.stdin.take().context("it has an input")?;
        let lines = BufReader::new(calls.stdout.take().context("it has an output")?);
        Ok(Self {
            answers,
            calls,
            orders,
            lines,
        })
    }

    fn order(&mut self, order: &Order) -> Result<Vec<f64>> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        let answer: Result<Vec<f64>, String> =
            serde_json::from_str(&line).context("a peer ended")?;
        answer.map_err(|reason| anyhow!("{order:?}: {reason}"))
    }

    /// The times of round trips in microseconds.
    ///
    /// # Errors
    ///
    /// Fails when the peers do not reach each other.
    pub fn round_trips(
        &mut self,
        way: Way,
        (request, answer): (usize, usize),
        times: usize,
    ) -> Result<Vec<f64>> {
        self.order(&Order::RoundTrips {
            way,
            request,
            answer,
            times,
        })
    }

    /// How many bytes a second a stream carries: out of memory and into it, or from a file into one.
    ///
    /// # Errors
    ///
    /// Fails when the peers do not reach each other.
    pub fn stream(&mut self, way: Way, bytes: u64, file: Option<&Path>) -> Result<f64> {
        let times = self.order(&Order::Stream {
            way,
            bytes,
            from: file.map(Path::to_owned),
            to_file: file.is_some(),
        })?;
        let time = times.first().context("there is one time")?;
        Ok(bytes as f64 / (time / 1e6))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for end in [&mut self.calls, &mut self.answers] {
            let _ = end.kill();
            let _ = end.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends in one process, by TCP: what one says the other understands.
    #[test]
    fn both_ends_understand_each_other() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sent");
        std::fs::write(&file, vec![3; 1_000_000]).unwrap();
        let orders = [
            Order::RoundTrips {
                way: Way::Tcp,
                request: 70,
                answer: 90,
                times: 5,
            },
            Order::Stream {
                way: Way::Tcp,
                bytes: 1_000_000,
                from: Some(file.clone()),
                to_file: true,
            },
        ];
        let times = runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let at = listener.local_addr().unwrap();
            let place = folder.path().to_owned();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (read, write) = stream.into_split();
                    tokio::spawn(serve(read, write, place.clone()));
                }
            });
            let mut times = Vec::new();
            for order in orders {
                let (read, write) = TcpStream::connect(at).await.unwrap().into_split();
                times.push(order.by_stream(read, write).await.unwrap().len());
            }
            times
        });
        assert_eq!(times, [5, 1]);
        let received = std::fs::read(folder.path().join("received")).unwrap();
        assert_eq!(received, std::fs::read(&file).unwrap());
    }
}
