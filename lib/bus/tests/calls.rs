//! Real servers and real clients, over real sockets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bus::settings::{Change, Error, Setting, Value};
use bus::{Address, Caller, Client, Outgoing, Reason, Server};
use futures::{StreamExt as _, stream};
use rustix::net::RecvFlags;
use tokio::task::JoinHandle;

/// Answers by what is asked: each key is a behaviour.
#[derive(Clone, Default)]
struct Behaviours {
    dropped: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

struct OnDrop(Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl bus::settings::Handler for Behaviours {
    async fn get(&self, caller: Caller, key: String) -> Result<Value, Error> {
        match key.as_str() {
            "who" => Ok(Value::Integer(caller.user().unwrap_or_default().into())),
            "slow" => {
                let _dropped = OnDrop(Arc::clone(&self.dropped));
                std::future::pending::<()>().await;
                Ok(Value::Boolean(true))
            }
            "large" => Ok(Value::Text("x".repeat(3 << 20))),
            "too large" => Ok(Value::Text("x".repeat(17 << 20))),
            "later" => {
                tokio::task::yield_now().await;
                Ok(Value::Text("later".into()))
            }
            _ => Err(Error::UnknownKey(key)),
        }
    }
    async fn set(&self, _: Caller, _: String, value: Value) -> Result<(), Error> {
        match value {
            Value::Text(text) => Err(Error::Unfit(format!("{} bytes", text.len()))),
            _ => Ok(()),
        }
    }
    async fn reset(&self, _: Caller, _: String) -> Result<(), Error> {
        Ok(())
    }
    async fn all(&self, _: Caller) -> Vec<Setting> {
        Vec::new()
    }
    async fn watch(&self, _: Caller) -> Outgoing<Change> {
        let (sent, dropped) = (Arc::clone(&self.sent), OnDrop(Arc::clone(&self.dropped)));
        let items = stream::unfold((0i64, dropped), move |(n, dropped)| {
            let sent = Arc::clone(&sent);
            async move {
                tokio::task::yield_now().await;
                sent.fetch_add(1, Ordering::SeqCst);
                let change = Change {
                    key: "k".repeat(1000),
                    value: Value::Integer(n),
                };
                (n < 5000).then_some((change, (n + 1, dropped)))
            }
        });
        Box::pin(items)
    }
    async fn notices(&self, _: Caller) -> Vec<String> {
        vec!["note".into()]
    }
}

fn serve(folder: &Path, behaviours: Behaviours) -> JoinHandle<()> {
    let mut server = Server::bind(folder, &[bus::settings::ID]).unwrap();
    server.serve(bus::settings::interface(behaviours));
    server.health(|| Err("not well".into()));
    tokio::spawn(async move { server.run().await.unwrap() })
}

fn client(folder: &Path) -> Client {
    Client::new(Address::Here(folder.into()))
}

/// Waits for what must come.
async fn until(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it never came");
}

#[tokio::test]
async fn values_and_errors_come_back_and_the_caller_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let _server = serve(folder.path(), Behaviours::default());
    let bus = client(folder.path());
    let user = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder.path()).unwrap());
    assert_eq!(
        bus::settings::get(&bus, "who").await.unwrap(),
        Ok(Value::Integer(user.into()))
    );
    assert_eq!(
        bus::settings::get(&bus, "later").await.unwrap(),
        Ok(Value::Text("later".into()))
    );
    assert_eq!(
        bus::settings::get(&bus, "x").await.unwrap(),
        Err(Error::UnknownKey("x".into()))
    );
    assert_eq!(bus::settings::notices(&bus).await.unwrap(), ["note"]);
}

#[tokio::test]
async fn messages_of_many_frames_arrive_whole_and_those_over_the_limit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _server = serve(folder.path(), Behaviours::default());
    let bus = client(folder.path());
    let Ok(Value::Text(large)) = bus::settings::get(&bus, "large").await.unwrap() else {
        panic!("not a text")
    };
    assert_eq!(large.len(), 3 << 20);
    let value = Value::Text("y".repeat(500_000));
    assert_eq!(
        bus::settings::set(&bus, "k", &value).await.unwrap(),
        Err(Error::Unfit("500000 bytes".into()))
    );
    let error = bus::settings::get(&bus, "too large").await.unwrap_err();
    assert!(matches!(error.reason, Reason::TooLarge(_)), "{error}");
    let value = Value::Text("y".repeat(2 << 20));
    let error = bus::settings::set(&bus, "k", &value).await.unwrap_err();
    assert!(matches!(error.reason, Reason::TooLarge(_)), "{error}");
    assert_eq!(
        bus::settings::notices(&bus).await.unwrap(),
        ["note"],
        "the connection is still good"
    );
}

#[tokio::test]
async fn a_call_past_its_deadline_is_an_error_and_its_handler_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let behaviours = Behaviours::default();
    let _server = serve(folder.path(), behaviours.clone());
    let bus = client(folder.path()).with_deadline(Duration::from_millis(50));
    let error = bus::settings::get(&bus, "slow").await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("hyper:settings/settings@1.0.0.get: no answer within"),
        "{error}"
    );
    until(|| behaviours.dropped.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn calls_run_beside_each_other_on_one_connection() {
    let folder = tempfile::tempdir().unwrap();
    let _server = serve(folder.path(), Behaviours::default());
    let bus = client(folder.path());
    let slow = tokio::spawn({
        let bus = bus.clone();
        async move { bus::settings::get(&bus, "slow").await }
    });
    let calls = (0..100).map(|n| {
        let bus = bus.clone();
        async move { bus::settings::get(&bus, &n.to_string()).await.unwrap() }
    });
    let answers = futures::future::join_all(calls).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer, Err(Error::UnknownKey(n.to_string())));
    }
    assert!(!slow.is_finished());
    slow.abort();
}

#[tokio::test]
async fn a_stream_waits_for_its_reader_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let behaviours = Behaviours::default();
    let _server = serve(folder.path(), behaviours.clone());
    let bus = client(folder.path());

    let mut changes = bus::settings::watch(&bus).await.unwrap();
    assert_eq!(
        changes.next().await.unwrap().unwrap().value,
        Value::Integer(0)
    );
    until(|| behaviours.sent.load(Ordering::SeqCst) > 10).await;
    // Other calls go on while nobody reads; and far fewer items were made than there are.
    for _ in 0..200 {
        bus::settings::notices(&bus).await.unwrap();
    }
    let sent = behaviours.sent.load(Ordering::SeqCst);
    assert!(
        sent < 1000,
        "{sent} items of 1,000 bytes were made for a reader that does not read"
    );
    drop(changes);
    until(|| behaviours.dropped.load(Ordering::SeqCst) == 1).await;

    let changes = bus::settings::watch(&bus).await.unwrap();
    let values: Vec<_> = changes.map(|change| change.unwrap().value).collect().await;
    assert_eq!(values.len(), 5000);
    assert_eq!(values[4999], Value::Integer(4999));
}

#[tokio::test]
async fn a_client_finds_a_service_that_was_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), Behaviours::default());
    let bus = client(folder.path());
    bus::settings::notices(&bus).await.unwrap();
    let mut changes = bus::settings::watch(&bus).await.unwrap();
    server.abort();
    let _ = server.await;
    // What was under way says so; it is not sent a second time.
    loop {
        match changes.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break assert!(matches!(error.reason, Reason::Lost(_)), "{error}"),
            None => panic!("an end, where the service was lost"),
        }
    }
    let error = bus::settings::notices(&bus).await.unwrap_err();
    assert!(error.nothing_was_done(), "{error}");
    let _server = serve(folder.path(), Behaviours::default());
    assert_eq!(bus::settings::notices(&bus).await.unwrap(), ["note"]);
}

/// A service that takes one connection and does with it as the test says.
fn first(folder: &Path) -> tokio::net::UnixListener {
    let socket = bus::socket_path(folder, bus::settings::ID);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    tokio::net::UnixListener::bind(socket).unwrap()
}

/// Waits until there is something to read, and leaves it there.
async fn unread(socket: &tokio::net::UnixStream) {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    until(|| rustix::net::recv(socket, &mut [0; 1], flags).is_ok_and(|(read, _)| read > 0)).await;
}

#[tokio::test]
async fn a_call_that_a_dying_service_did_not_read_is_sent_to_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let listener = first(folder.path());
    let bus = client(folder.path());
    let call = tokio::spawn(async move { bus::settings::notices(&bus).await });
    let (dying, _) = listener.accept().await.unwrap();
    unread(&dying).await;
    let _server = serve(folder.path(), Behaviours::default());
    drop(dying);
    assert_eq!(call.await.unwrap().unwrap(), ["note"]);
}

#[tokio::test]
async fn of_two_calls_only_the_one_that_was_not_read_is_sent_again() {
    use tokio::io::AsyncReadExt as _;
    let folder = tempfile::tempdir().unwrap();
    let listener = first(folder.path());
    let bus = client(folder.path());
    let call = |key: &'static str| {
        let bus = bus.clone();
        tokio::spawn(async move { bus::settings::get(&bus, key).await })
    };
    let read = call("read");
    let (mut dying, _) = listener.accept().await.unwrap();
    let mut bytes = [0; 4096];
    assert!(dying.read(&mut bytes).await.unwrap() > 0);
    let second = call("unread");
    unread(&dying).await;
    let _server = serve(folder.path(), Behaviours::default());
    drop(dying);
    assert_eq!(
        second.await.unwrap().unwrap(),
        Err(Error::UnknownKey("unread".into()))
    );
    let error = read.await.unwrap().unwrap_err();
    assert!(matches!(error.reason, Reason::Lost(_)), "{error}");
    assert!(!error.nothing_was_done());
}

#[tokio::test]
async fn a_call_that_nobody_reads_is_given_up_after_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let listener = first(folder.path());
    let bus = client(folder.path());
    let call = tokio::spawn(async move { bus::settings::notices(&bus).await });
    for _ in 0..2 {
        let (dying, _) = listener.accept().await.unwrap();
        unread(&dying).await;
    }
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error.reason, Reason::NotReceived(_)), "{error}");
    assert!(error.nothing_was_done());
}

#[tokio::test]
async fn health_is_answered_on_the_socket_of_the_interface() {
    let folder = tempfile::tempdir().unwrap();
    let _server = serve(folder.path(), Behaviours::default());
    // Process 1 asks on the service's own socket.
    let socket = bus::socket_path(folder.path(), bus::settings::ID);
    assert_eq!(
        bus::check_health(&socket, Duration::from_secs(10))
            .await
            .unwrap(),
        Err("not well".into())
    );
}

#[tokio::test]
async fn strangers_bytes_end_their_connection_and_nothing_else() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let _server = serve(folder.path(), Behaviours::default());
    let bus = client(folder.path());
    bus::settings::notices(&bus).await.unwrap();
    let socket = bus::socket_path(folder.path(), bus::settings::ID);
    for bytes in [
        &[0xff; 64][..],
        &[1, 0, 0, 0x81, 0, 0, 0, 0, 9],
        &[0; 8],
        &[4, 0, 0, 4, 1, 0, 0, 0, 255, 255, 255, 255],
    ] {
        let mut stranger = tokio::net::UnixStream::connect(&socket).await.unwrap();
        stranger.write_all(bytes).await.unwrap();
        stranger.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stranger.read_to_end(&mut rest).await;
    }
    assert_eq!(bus::settings::notices(&bus).await.unwrap(), ["note"]);
}
