//! The clock, with servers of time that tests make themselves and a clock that is not the
//! machine's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bus::time::Source;
use network::time::{
    clock::{self, Clock},
    keeper::{Keeper, Known, Resolve, Servers, Wish},
    ntp::{self, Moment},
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot, watch},
};

const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Moment = 1_000_000_000;

/// A clock that is off by so much, and what was done to it.
#[derive(Clone, Default)]
struct TestClock(Arc<Mutex<(Moment, Vec<Done>)>>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Done {
    Step,
    Slew(i64),
    Keep,
}

impl TestClock {
    fn off_by(offset: Moment) -> TestClock {
        TestClock(Arc::new(Mutex::new((offset, Vec::new()))))
    }

    fn error(&self) -> Moment {
        self.0.lock().unwrap().0
    }

    fn done(&self) -> Vec<Done> {
        self.0.lock().unwrap().1.clone()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Moment {
        clock::now() + self.error()
    }

    fn step(&mut self, to: Moment) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.0 = to - clock::now();
        inner.1.push(Done::Step);
        Ok(())
    }

    fn slew(&mut self, offset: i64) -> io::Result<()> {
        self.0.lock().unwrap().1.push(Done::Slew(offset));
        Ok(())
    }

    fn keep(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().1.push(Done::Keep);
        Ok(())
    }
}

/// Knows one name.
struct Names(SocketAddr);

impl Resolve for Names {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        match name {
            "here.test" => Ok(vec![self.0.ip()]),
            _ => Err(format!("{name} is not known")),
        }
    }
}

/// A server of time that is right; `change` is what it does to its answers, none to be silent.
async fn server(
    change: impl Fn(&mut [u8; ntp::LENGTH]) -> bool + Send + 'static,
) -> (String, Arc<AtomicU32>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            let received = clock::now();
            count.fetch_add(1, Ordering::SeqCst);
            assert_eq!(length, ntp::LENGTH);
            assert!(
                question[1..40].iter().all(|&byte| byte == 0),
                "it tells of itself"
            );
            let mut answer = [0; ntp::LENGTH];
            (answer[0], answer[1]) = (4 << 3 | 4, 2);
            answer[24..32].copy_from_slice(&question[40..48]);
            answer[32..40].copy_from_slice(&ntp::stamp(received));
            answer[40..48].copy_from_slice(&ntp::stamp(clock::now()));
            if change(&mut answer) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    (address.to_string(), asked)
}

struct Bench {
    clock: TestClock,
    known: watch::Receiver<Known>,
    servers: watch::Sender<Servers>,
    wishes: mpsc::Sender<Wish>,
    folder: tempfile::TempDir,
}

fn servers(owner: &[&str], network: &[&str]) -> Servers {
    let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Servers {
        owner: list(owner),
        network: list(network),
        online: true,
        name_servers: vec![],
    }
}

impl Bench {
    fn start(clock: TestClock, from: Servers) -> Bench {
        Bench::start_in(tempfile::tempdir().unwrap(), clock, from, 0)
    }

    fn start_in(
        folder: tempfile::TempDir,
        clock: TestClock,
        from: Servers,
        floor: Moment,
    ) -> Bench {
        let (sender, receiver) = watch::channel(from);
        let (wishes, wished) = mpsc::channel(1);
        let names = Names("127.0.0.1:123".parse().unwrap());
        let keeper = Keeper::new(clock.clone(), names, folder.path(), floor);
        let known = keeper.known();
        tokio::spawn(keeper.run(receiver, wished));
        Bench {
            clock,
            known,
            servers: sender,
            wishes,
            folder,
        }
    }

    async fn until(&mut self, what: &str, such: impl FnMut(&Known) -> bool) -> Known {
        let mut known = self.known.clone();
        let waiting = known.wait_for(such);
        if let Ok(known) = tokio::time::timeout(PATIENCE, waiting).await {
            return known.unwrap().clone();
        }
        panic!("never {what}: {:?}", *self.known.borrow())
    }
}

#[tokio::test]
async fn the_first_answer_sets_a_wrong_clock_and_the_hardware_clock() {
    let (address, _) = server(|_| true).await;
    let clock = TestClock::off_by(-3600 * SECOND);
    let mut bench = Bench::start(clock, servers(&[], &[&address]));
    let known = bench
        .until("synchronised", |known| known.synchronised.is_some())
        .await;
    assert_eq!(known.source, Source::Server(address));
    assert_eq!(known.problem, None);
    assert!(
        bench.clock.error().abs() < SECOND,
        "{}",
        bench.clock.error()
    );
    assert_eq!(bench.clock.done(), [Done::Step, Done::Keep]);
}

#[tokio::test]
async fn later_a_little_is_bent_and_not_set() {
    let (address, asked) = server(|_| true).await;
    let mut bench = Bench::start(TestClock::default(), servers(&[], &[&address]));
    bench
        .until("synchronised", |known| known.synchronised.is_some())
        .await;
    bench.clock.0.lock().unwrap().0 = -SECOND / 5;
    // The network changes, so the server is asked again at once.
    bench
        .servers
        .send_modify(|servers| servers.name_servers.push("10.0.0.1".into()));
    bench
        .until("bent", |known| {
            known.offset.is_some_and(|offset| offset > 100_000_000)
        })
        .await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let done = bench.clock.done();
    let bent = done
        .iter()
        .any(|done| matches!(done, Done::Slew(offset) if *offset > 100_000_000));
    assert!(bent, "{done:?}");
}

#[tokio::test]
async fn the_owners_servers_come_first_and_the_networks_only_without_them() {
    let (own, own_asked) = server(|_| true).await;
    let (offered, offered_asked) = server(|_| true).await;
    let mut bench = Bench::start(TestClock::default(), servers(&[&own], &[&offered]));
    bench
        .until("synchronised", |known| {
            known.source == Source::Server(own.clone())
        })
        .await;
    assert_eq!(offered_asked.load(Ordering::SeqCst), 0);
    bench.servers.send_modify(|servers| servers.owner.clear());
    bench
        .until("the other", |known| {
            known.source == Source::Server(offered.clone())
        })
        .await;
    assert_eq!(own_asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_servers_nothing_is_a_problem() {
    let bench = Bench::start(TestClock::default(), servers(&[], &[]));
    tokio::task::yield_now().await;
    let known = bench.known.borrow().clone();
    assert_eq!((known.source, known.problem), (Source::HardwareClock, None));
    assert_eq!(bench.clock.done(), []);
}

#[tokio::test]
async fn a_server_that_gives_no_time_is_named_with_the_reason_and_the_next_is_asked() {
    let (lost, _) = server(|answer| {
        answer[0] |= 3 << 6;
        true
    })
    .await;
    let mut bench = Bench::start(TestClock::default(), servers(&[&lost, "far.test"], &[]));
    let known = bench
        .until("a problem", |known| known.problem.is_some())
        .await;
    let problem = known.problem.unwrap();
    assert!(
        problem.contains(&format!("{lost}: it does not know the time")),
        "{problem}"
    );
    assert!(problem.contains("far.test is not known"), "{problem}");
    assert_eq!(bench.clock.done(), []);
    let (good, _) = server(|_| true).await;
    bench
        .servers
        .send_modify(|servers| servers.owner.push(good.clone()));
    let known = bench
        .until("synchronised", |known| known.synchronised.is_some())
        .await;
    assert_eq!((known.source, known.problem), (Source::Server(good), None));
}

#[tokio::test]
async fn a_silent_server_is_a_problem_and_is_asked_again() {
    let times = AtomicU32::new(0);
    let (address, _) = server(move |_| times.fetch_add(1, Ordering::SeqCst) >= 1).await;
    let mut bench = Bench::start(TestClock::default(), servers(&[], &[&address]));
    let known = bench
        .until("a problem", |known| known.problem.is_some())
        .await;
    assert!(known.problem.unwrap().contains("no answer"));
    bench
        .until("synchronised", |known| known.synchronised.is_some())
        .await;
}

#[tokio::test]
async fn the_owner_sets_the_clock() {
    let mut bench = Bench::start(TestClock::default(), servers(&[], &[]));
    let set = async |milliseconds| {
        let (done, outcome) = oneshot::channel();
        bench
            .wishes
            .send(Wish { milliseconds, done })
            .await
            .ok()
            .unwrap();
        outcome.await.unwrap()
    };
    set(1_900_000_000_000).await.unwrap();
    assert!((bench.clock.now() / SECOND - 1_900_000_000).abs() < 60);
    assert!(set(u64::MAX).await.is_err());
    bench
        .until("the owner's", |known| known.source == Source::Owner)
        .await;
}

#[tokio::test]
async fn the_clock_never_begins_before_the_release_nor_before_what_was_known() {
    let floor = 1_800_000_000 * SECOND;
    let clock = TestClock::off_by(-clock::now());
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start_in(folder, clock, servers(&[], &[]), floor);
    assert!((bench.clock.now() - floor).abs() < 60 * SECOND);
    let (done, outcome) = oneshot::channel();
    let later = Wish {
        milliseconds: 1_900_000_000_000,
        done,
    };
    bench.wishes.send(later).await.ok().unwrap();
    outcome.await.unwrap().unwrap();
    // The device is off, and its hardware clock has no battery.
    let clock = TestClock::off_by(-clock::now());
    let bench = Bench::start_in(bench.folder, clock, servers(&[], &[]), floor);
    assert!((bench.clock.now() / SECOND - 1_900_000_000).abs() < 60);
}
