//! What the screen serves, called over real sockets while the loop runs, and while it hangs.

use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use shell::platform::Headless;
use shell::scene::{Scene, Surroundings};
use shell::serve;

/// Serves a scene from `folder`, lets `call` call it on another thread, and runs the loop until
/// that ends, except while `hang` says so.
fn with_screen<T: Send + 'static>(
    folder: &Path,
    call: impl FnOnce(bus::Client) -> T + Send + 'static,
    hang: impl Fn() -> bool,
) -> T {
    let screen = Headless::new(540, 1200, 1.5);
    ui::fonts::register(&["/usr/share/fonts/opentype".into()], ui::fonts::Faces::All);
    let clock = screen.screen();
    let surroundings = Surroundings {
        ui: screen.ui(),
        now: Rc::new(move || clock.now()),
        wall: Rc::new(jiff::Timestamp::now),
        data: None,
        system: "/nonexistent".into(),
    };
    let scene = Scene::new(Rc::new(screen.screen()), surroundings).unwrap();
    serve::offer(&scene, Rc::new(screen.screen()));

    let (notifications, ui, bus) = (scene.notifications(), screen.ui(), folder.to_owned());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let serving = async {
            let ids = [
                bus::screen::ID,
                bus::notify::ID,
                bus::input::ID,
                bus::view::ID,
            ];
            let mut server = bus::Server::bind(&bus, &ids).unwrap();
            let _alone = serve::fill(&mut server, &ui, notifications);
            let client = bus::Client::new(bus::Address::Here(bus.clone()));
            let calls = tokio::task::spawn_blocking(move || call(client));
            tokio::select! {
                served = server.run() => panic!("serving ended: {served:?}"),
                answer = calls => sender.send(answer.unwrap()).unwrap(),
            }
        };
        runtime.block_on(serving);
    });
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if !hang() {
            screen.advance(Duration::from_millis(2));
        }
        match receiver.recv_timeout(Duration::from_millis(2)) {
            Ok(answer) => return answer,
            Err(mpsc::RecvTimeoutError::Timeout) => assert!(Instant::now() < end, "no answer"),
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the calls failed"),
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn the_screen_tells_its_state_and_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let call = |client: bus::Client| {
        block_on(async move {
            let state = bus::screen::status(&client).await.unwrap();
            assert_eq!((state.width, state.height, state.scale), (540, 1200, 1.5));
            assert_eq!(
                (state.on, state.locked, state.page.as_str()),
                (true, true, "lock")
            );
            bus::screen::reset_statistics(&client).await.unwrap();
            bus::screen::redraw(&client).await.unwrap();
            let measured = loop {
                let measured = bus::screen::statistics(&client).await.unwrap();
                if measured.frames > 0 {
                    break measured;
                }
            };
            assert_eq!(measured.redraws[0].1, 1000);
            assert!(measured.first_frame.is_some());
            bus::screen::power(&client, false).await.unwrap();
            assert!(!bus::screen::status(&client).await.unwrap().on);
        });
    };
    with_screen(folder.path(), call, || false);
}

#[test]
fn a_session_and_a_view_last_as_long_as_their_streams() {
    use bus::input::{Error, Event, Key, State};
    use bus::view::Update;
    use futures::StreamExt as _;

    let folder = tempfile::tempdir().unwrap();
    let call = |client: bus::Client| {
        block_on(async move {
            let begin = async || {
                let mut states = bus::input::begin(&client).await.unwrap();
                match states.next().await {
                    Some(Ok(State::Taken(session))) => (states, session),
                    other => panic!("{other:?}"),
                }
            };
            let home = [Event::Key(Key::Ok)];
            let (mut first, old) = begin().await;
            assert_eq!(
                bus::input::send(&client, old, &home).await.unwrap().ok(),
                Some(())
            );
            while bus::screen::status(&client).await.unwrap().page != "home" {}
            // One that begins another ends the one before, and says so.
            let (second, new) = begin().await;
            let ended = first.next().await.unwrap().unwrap();
            assert!(matches!(ended, State::Over(bus::input::Ending::Replaced)));
            assert!(first.next().await.is_none());
            let refused = bus::input::send(&client, old, &home).await.unwrap();
            assert!(matches!(refused, Err(Error::Over)), "{refused:?}");
            assert_eq!(
                bus::input::send(&client, new, &home).await.unwrap().ok(),
                Some(())
            );
            drop(second);
            while bus::input::send(&client, new, &home).await.unwrap().is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }

            let mut updates = bus::view::watch(&client).await.unwrap();
            let mut canvas = picture::Canvas::default();
            loop {
                let Some(Ok(Update::Picture(sent))) = updates.next().await else {
                    panic!("no picture");
                };
                shell::scene::reach::put(&mut canvas, &sent).unwrap();
                if sent.whole {
                    break;
                }
            }
            assert_eq!(canvas.size(), (540, 1200));
            bus::screen::power(&client, false).await.unwrap();
            while !matches!(updates.next().await, Some(Ok(Update::Dark))) {}
        });
    };
    with_screen(folder.path(), call, || false);
}

#[test]
fn a_loop_that_hangs_is_unhealthy_and_one_that_runs_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let socket = bus::socket_path(folder.path(), bus::screen::ID);
    let hanging = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hang = hanging.clone();
    let call = move |_| {
        block_on(async move {
            let ask = async || {
                bus::check_health(&socket, Duration::from_secs(10))
                    .await
                    .unwrap()
            };
            assert_eq!(ask().await, Ok(()));
            hanging.store(true, std::sync::atomic::Ordering::Release);
            while ask().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            hanging.store(false, std::sync::atomic::Ordering::Release);
            while ask().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    };
    with_screen(folder.path(), call, move || {
        hang.load(std::sync::atomic::Ordering::Acquire)
    });
}
