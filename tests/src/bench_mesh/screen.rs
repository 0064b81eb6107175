//! Another device's screen: how many pictures of it come while it moves, and how soon a typed character
//! is seen.
//!
//! Both devices are namespaces of this computer, and their screens are in memory: what an emulated
//! processor would cost is not in it.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bus::input::{Event, Key, Phase};
use picture::Canvas;
use slint::ComponentHandle as _;
use xtask::bench::table::Figure;
use xtask::machine::LIMIT;

use super::{Run, house, middle, milliseconds, worst};
use crate::house::Device;
use crate::screens::{Seeing, Session, Shell, finger, way};

/// Pixels of the screen that is seen, as of the product `qemu-phone`.
const SIZE: (u32, u32) = (540, 1200);
/// How long it scrolls.
const SCROLLING: Duration = Duration::from_secs(5);
/// How often a finger moves.
const MOVES: Duration = Duration::from_millis(16);
/// How often a character is typed, and taken away again.
const CHARACTERS: usize = 25;
/// A character changes more rows of the screen than this, for the pages that are found are listed; a caret
/// that blinks does not.
const ROWS: usize = 150;
/// Longer than anything is told at the top of the screen.
const TOLD: Duration = Duration::from_secs(6);
/// How long nothing happens.
const STILL: Duration = Duration::from_secs(10);

/// All that is asked of it.
///
/// # Errors
///
/// Fails when the devices do not come together, or nothing is seen.
pub fn figures(run: &Run) -> Result<Vec<Figure>> {
    let house = house(&["mesh"])?;
    let (phone, other) = (Device::new(&house)?, Device::new(&house)?);
    let shell = Shell::start(other.bus(), SIZE)?;
    // A shared device, which shows itself to the owner's without a question.
    phone.takes_in(&other, "other", "shared")?;
    let there = way(&phone, &other.id()?);
    run.runtime.block_on(async {
        shell
            .at(|screen, scene| {
                screen.key(' ');
                let navigation = scene.window().global::<ui::Navigation<'_>>();
                navigation.invoke_go("settings".into());
            })
            .await?;
        shell.stands_on("settings").await?;
        let mut seeing = Seeing::begin(&there).await?;
        let session = Session::begin(there).await?;
        seeing.until_it_is(&shell).await?;

        // What is told at the top of the screen goes away by itself, after five seconds.
        let begin = Instant::now();
        while count_for(&mut seeing, TOLD).await? > 0 {
            ensure!(begin.elapsed() < LIMIT, "the screen does not come to rest");
        }
        let still = count_for(&mut seeing, STILL).await?;
        // The page keeps where it was scrolled to, and the search stands at its top: so this comes first.
        let typed = type_characters(&session, &mut seeing, &shell).await?;
        shell
            .at(|_, scene| {
                let navigation = scene.window().global::<ui::Navigation<'_>>();
                navigation.invoke_back();
                navigation.invoke_go("settings".into());
            })
            .await?;
        shell.stands_on("settings").await?;
        seeing.until_it_is(&shell).await?;
        let before = seeing.pictures;
        let took = {
            let mut scrolling = pin!(scroll(&session));
            loop {
                tokio::select! {
                    biased;
                    took = &mut scrolling => break took?,
                    next = seeing.next() => ensure!(next?.is_none(), "it is hidden"),
                }
            }
        };
        let rate = (seeing.pictures - before) as f64 / took.as_secs_f64();
        anyhow::Ok(vec![
            Figure::measured(
                "Settings scrolls, seen elsewhere",
                rate,
                "pictures a second",
            )
            .at_least(6.0)
            .note(format!("{} × {} pixels, screens in memory", SIZE.0, SIZE.1)),
            Figure::measured("typed to seen elsewhere", middle(&typed)?, "ms")
                .at_most(250.0)
                .part(
                    format!("worst of {}", typed.len()),
                    format!("{:.0} ms", worst(&typed)),
                ),
            Figure::measured(
                "pictures while nothing changes, in 10 s",
                still as f64,
                "pictures",
            )
            .at_most(0.0),
        ])
    })
}

/// How many pictures come in so long.
async fn count_for(seeing: &mut Seeing, time: Duration) -> Result<u64> {
    let (before, end) = (seeing.pictures, tokio::time::Instant::now() + time);
    while let Ok(next) = tokio::time::timeout_at(end, seeing.next()).await {
        next?;
    }
    Ok(seeing.pictures - before)
}

/// A finger goes up and down the page. How long it did.
async fn scroll(session: &Session) -> Result<Duration> {
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(MOVES);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    session.does(&[finger(Phase::Down, 0.5, 0.8)]).await?;
    while begin.elapsed() < SCROLLING {
        ticks.tick().await;
        // Down in a second, and back in the next.
        let way = begin.elapsed().as_secs_f32() % 2.0;
        let way = if way < 1.0 { way } else { 2.0 - way };
        let moved = finger(Phase::Moved, 0.5, 0.8 - 0.6 * way);
        session.does(&[moved]).await?;
    }
    let took = begin.elapsed();
    session.does(&[finger(Phase::Cancelled, 0.5, 0.8)]).await?;
    Ok(took)
}

/// Types into the search of Settings, and takes away again; milliseconds until each is seen.
async fn type_characters(
    session: &Session,
    seeing: &mut Seeing,
    shell: &Shell,
) -> Result<Vec<f64>> {
    let (x, y) = (0.5, 180.0 / 800.0);
    session
        .does(&[finger(Phase::Down, x, y), finger(Phase::Up, x, y)])
        .await?;
    shell
        .until("the keyboard", |scene| {
            scene.window().global::<ui::Keyboard<'_>>().get_shown()
        })
        .await?;
    let mut times = Vec::new();
    for _ in 0..CHARACTERS {
        for event in [Event::Text("w".into()), Event::Key(Key::Backspace)] {
            // As a person types: not while the last is still on its way.
            count_for(seeing, Duration::from_millis(300)).await?;
            let before = seeing.canvas.clone();
            let begin = Instant::now();
            session.does(&[event]).await?;
            while rows_that_differ(&before, &seeing.canvas) < ROWS {
                ensure!(begin.elapsed() < LIMIT, "what was typed is not seen");
                seeing.next().await.context("waiting for a picture")?;
            }
            times.push(milliseconds(begin.elapsed()));
        }
    }
    Ok(times)
}

fn rows_that_differ(one: &Canvas, other: &Canvas) -> usize {
    let row = SIZE.0 as usize * 3;
    let rows = one.pixels().chunks(row).zip(other.pixels().chunks(row));
    rows.filter(|(one, other)| one != other).count()
}
