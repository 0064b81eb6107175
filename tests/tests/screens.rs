//! One device's screen from another: controlled, seen, and asked about. Real `mesh`es, each device in a
//! network namespace of its own, with the shell's own screen in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bus::input::{Error, Event, Key, Phase, State};
use bus::view::Update as Seen;
use bus::{Address, Client};
use shell::scene::Scene;
use slint::ComponentHandle as _;
use system_tests::house::{Device, House};
use system_tests::screens::{Seeing, Session, Shell, block_on, finger, way};
use xtask::machine::LIMIT;

struct Home {
    phone: Device,
    tablet: Device,
    tv: Device,
    phone_shell: Shell,
    tv_shell: Shell,
}

#[test]
fn a_screen_is_controlled_and_seen_from_another_device_as_far_as_its_owner_says() {
    let Some(house) = House::new(&["mesh"]).unwrap() else {
        return;
    };
    check(&house).unwrap();
}

fn check(house: &Arc<House>) -> Result<()> {
    let (phone, tablet, tv) = (
        Device::new(house)?,
        Device::new(house)?,
        Device::new(house)?,
    );
    let home = Home {
        phone_shell: Shell::start(phone.bus(), (540, 1200))?,
        tv_shell: Shell::start(tv.bus(), (1280, 720))?,
        phone,
        tablet,
        tv,
    };
    home.phone.takes_in(&home.tablet, "tablet", "owner")?;
    home.phone.takes_in(&home.tv, "tv", "shared")?;
    home.tablet.sees("tv")?;
    home.tv.sees("tablet")?;
    block_on(async {
        a_television_by_the_owner_s_phone(&home).await?;
        a_finger_scrolls_and_stillness_is_silent(&home).await?;
        an_owner_s_device_asks(&home).await?;
        a_question_is_reached_by_nobody(&home).await?;
        ended_by_its_owner(&home).await
    })
}

/// The phone is the television's remote control, without a question, and sees what it does.
async fn a_television_by_the_owner_s_phone(home: &Home) -> Result<()> {
    let there = way(&home.phone, &home.tv.id()?);
    let mut seeing = Seeing::begin(&there).await?;
    seeing.until_it_is(&home.tv_shell).await?;
    let session = Session::begin(there).await?;
    home.tv_shell.shows_marks(1).await?;
    session.key(Key::Ok).await?;
    home.tv_shell.stands_on("home").await?;
    // As a person does: what has the focus is seen before it is chosen, and moves on where it leads nowhere.
    let begin = Instant::now();
    while home.tv_shell.at(|_, scene| scene.status().page).await? == "home" {
        ensure!(begin.elapsed() < LIMIT, "no room opens");
        session.key(Key::Down).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        session.key(Key::Ok).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    seeing.until_it_is(&home.tv_shell).await?;
    session.key(Key::Home).await?;
    home.tv_shell.stands_on("home").await?;
    seeing.until_it_is(&home.tv_shell).await?;
    // Both end with their streams.
    drop(session);
    drop(seeing);
    home.tv_shell.shows_marks(0).await
}

/// What a finger that is elsewhere does is seen, and what does not change is not sent.
async fn a_finger_scrolls_and_stillness_is_silent(home: &Home) -> Result<()> {
    let there = way(&home.phone, &home.tv.id()?);
    let open = |room: &'static str| {
        home.tv_shell.at(move |_, scene: &Scene| {
            let navigation = scene.window().global::<ui::Navigation<'_>>();
            navigation.invoke_go(room.into());
        })
    };
    open("settings").await?;
    let mut seeing = Seeing::begin(&there).await?;
    seeing.until_it_is(&home.tv_shell).await?;
    let before = seeing.canvas.pixels().to_vec();
    let session = Session::begin(there).await?;
    session.does(&[finger(Phase::Down, 0.5, 0.9)]).await?;
    for step in 0..20 {
        let moved = finger(Phase::Moved, 0.5, 0.9 - 0.02 * step as f32);
        session.does(&[moved]).await?;
    }
    session.does(&[finger(Phase::Up, 0.5, 0.5)]).await?;
    seeing.until_it_is(&home.tv_shell).await?;
    ensure!(seeing.canvas.pixels() != before, "nothing scrolled");

    let here = Client::new(Address::Here(home.tv.bus()));
    let begin = Instant::now();
    // Until it has come to rest.
    while !is_still(home, &here).await? {
        ensure!(begin.elapsed() < LIMIT, "the screen does not come to rest");
    }
    seeing.until_it_is(&home.tv_shell).await?;
    ensure!(is_still(home, &here).await?, "the screen moves by itself");
    let still = seeing.canvas.pixels().to_vec();
    open("display").await?;
    // What comes first is what was opened: all that was drawn before looked as it had.
    ensure!(seeing.next().await?.is_none(), "it is hidden");
    ensure!(
        seeing.canvas.pixels() != still,
        "a picture came although nothing had changed"
    );
    session.key(Key::Home).await?;
    home.tv_shell.stands_on("home").await
}

/// Lets five seconds of the television's time pass, in which all of its screen is drawn again and again. Whether it
/// looks as before.
async fn is_still(home: &Home, here: &Client) -> Result<bool> {
    let look = || home.tv_shell.at(|screen, _| screen.picture().pixels);
    let before = look().await?;
    for _ in 0..50 {
        bus::screen::redraw(here).await?;
        home.tv_shell
            .at(|screen, _| screen.advance(Duration::from_millis(100)))
            .await?;
    }
    Ok(look().await? == before)
}

/// A tablet of the same owner is let by whoever holds the phone, and by nothing else.
async fn an_owner_s_device_asks(home: &Home) -> Result<()> {
    home.phone_shell.at(|screen, _| screen.key(' ')).await?;
    home.phone_shell.stands_on("home").await?;
    let there = way(&home.tablet, &home.phone.id()?);
    let (refused, answered) = tokio::join!(
        Session::begin(there.clone()),
        home.phone_shell.answers(ui::Reply::Refuse)
    );
    answered?;
    ensure!(refused.is_err(), "the tablet controls the phone, refused");
    let (allowed, answered) = tokio::join!(
        Session::begin(there),
        home.phone_shell.answers(ui::Reply::Hour)
    );
    answered?;
    let session = allowed?;
    home.phone_shell.shows_marks(1).await?;
    let (x, y) = (65.0 / 360.0, 735.0 / 800.0);
    let tap = [finger(Phase::Down, x, y), finger(Phase::Up, x, y)];
    session.does(&tap).await?;
    home.phone_shell.stands_on("settings").await
}

/// What the television asks is answered by nobody but whoever holds the phone: not by the tablet, which may
/// control it, and sees no more of it than that it is there.
async fn a_question_is_reached_by_nobody(home: &Home) -> Result<()> {
    let there = way(&home.tablet, &home.phone.id()?);
    let mut session = Session::begin(there.clone()).await?;
    let (seeing, answered) = tokio::join!(
        Seeing::begin(&there),
        home.phone_shell.answers(ui::Reply::Hour)
    );
    answered?;
    let mut seeing = seeing?;
    seeing.until_it_is(&home.phone_shell).await?;

    let asking = way(&home.tv, &home.phone.id()?);
    let asked = tokio::spawn(async move { bus::view::watch(&asking).await.map(drop) });
    home.phone_shell.asks().await?;
    while !matches!(session.next().await?, State::Reserved(_)) {}
    while !matches!(seeing.next().await?, Some(Seen::Hidden)) {}
    let mut aimed = vec![
        Event::Text(" ".into()),
        Event::Button(true),
        Event::Button(false),
    ];
    aimed.extend([Key::Down, Key::Ok, Key::Back, Key::Home, Key::Power].map(Event::Key));
    for y in 0..40 {
        for x in [0.25, 0.75] {
            let y = y as f32 / 40.0;
            aimed.extend([finger(Phase::Down, x, y), finger(Phase::Up, x, y)]);
        }
    }
    for event in aimed {
        let sent = session.send(std::slice::from_ref(&event)).await?;
        ensure!(
            matches!(sent, Err(Error::Reserved)),
            "{event:?} was taken: {sent:?}"
        );
    }
    home.phone_shell.stands_on("question").await?;
    ensure!(!asked.is_finished(), "it was answered");
    home.phone_shell.answers(ui::Reply::Never).await?;
    ensure!(asked.await?.is_err(), "the television sees the phone");
    while !matches!(session.next().await?, State::Taken(_)) {}
    ensure!(seeing.next().await?.is_none(), "it is still hidden");
    seeing.until_it_is(&home.phone_shell).await
}

/// What the owner takes back ends at once; what somebody at the device ends stays ended.
async fn ended_by_its_owner(home: &Home) -> Result<()> {
    let there = way(&home.tablet, &home.phone.id()?);
    let mut session = Session::begin(there.clone()).await?;
    home.phone_shell.shows_marks(1).await?;
    let here = Client::new(Address::Here(home.phone.bus()));
    let grants = bus::grants::all(&here).await?;
    let of_input = grants
        .iter()
        .find(|grant| grant.interfaces == "hyper:input/input")
        .context("a grant for an hour")?;
    let revoked = bus::grants::revoke(&here, &of_input.id).await?;
    ensure!(revoked.is_ok(), "{revoked:?}");
    while session.next().await.is_ok() {}
    home.phone_shell.shows_marks(0).await?;

    let there = way(&home.phone, &home.tv.id()?);
    let mut session = Session::begin(there.clone()).await?;
    home.tv_shell.at(|_, scene| scene.stop_all_visits()).await?;
    let stopped = |state: &State| matches!(state, State::Over(bus::input::Ending::Stopped));
    while !stopped(&session.next().await?) {}
    ensure!(
        Session::begin(there).await.is_err(),
        "it begins again at once"
    );
    Ok(())
}
