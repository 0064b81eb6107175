//! A device that its owner marks as lost locks itself when it is next met, and only its family opens it
//! again: the real programs, each device in a network namespace of its own, with the shell's own screen in
//! memory.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use system_tests::house::{Device, House};
use system_tests::screens::{Shell, block_on};

#[test]
fn a_lost_device_locks_itself_until_its_family_takes_it_in_again() {
    let Some(house) = House::new(&["mesh"]).unwrap() else {
        return;
    };
    check(&house).unwrap();
}

fn check(house: &Arc<House>) -> Result<()> {
    let (phone, mut tablet) = (Device::new(house)?, Device::new(house)?);
    let (tv, thief) = (Device::new(house)?, Device::new(house)?);
    phone.takes_in(&tablet, "tablet", "owner")?;
    phone.takes_in(&tv, "tv", "shared")?;
    tablet.sees("tv")?;
    let screen = in_use(&tablet)?;

    // While it is connected.
    is_marked(&phone)?;
    is_locked(&tablet, &screen)?;
    let called = tablet.try_hyper(&["call", "tv", "device.about"])?;
    ensure!(!called.status.success(), "it calls the family still");
    let marked = tablet.try_hyper(&["family", "remove", "tv"])?;
    ensure!(!marked.status.success(), "it still takes devices out");

    // Also when it is started again.
    drop(screen);
    tablet.stop();
    tablet.start()?;
    let screen = Shell::start(tablet.bus(), (540, 1200))?;
    is_locked(&tablet, &screen)?;

    nobody_else_takes_it_in(&thief, &tablet)?;
    is_locked(&tablet, &screen)?;

    phone.takes_in(&tablet, "tablet", "owner")?;
    block_on(screen.stands_on("lock"))?;
    let table = tablet.hyper(&["family"])?;
    ensure!(!table.contains("lost"), "{table}");
    tablet.sees("tv")?;
    drop(screen);

    // While it is away; and when it comes back it meets the television alone.
    let screen = in_use(&tablet)?;
    tablet.plug(false)?;
    is_marked(&phone)?;
    tv.hyper_until(&["family"], |table| !table.contains("tablet"))?;
    let mut phone = phone;
    phone.stop();
    block_on(async {
        let page = screen.at(|_, scene| scene.status().page).await?;
        ensure!(page == "home", "it is on {page} before anybody has told it");
        anyhow::Ok(())
    })?;
    tablet.plug(true)?;
    is_locked(&tablet, &screen)
}

/// Somebody uses it.
fn in_use(tablet: &Device) -> Result<Shell> {
    let screen = Shell::start(tablet.bus(), (540, 1200))?;
    block_on(async {
        screen.at(|screen, _| screen.key(' ')).await?;
        screen.stands_on("home").await
    })?;
    Ok(screen)
}

fn is_marked(phone: &Device) -> Result<()> {
    phone.hyper(&["family", "remove", "tablet", "--lost"])?;
    let table = phone.hyper(&["family"])?;
    ensure!(!table.contains("tablet"), "it is still there: {table}");
    Ok(())
}

/// It says that it is lost, and no key opens it.
fn is_locked(tablet: &Device, screen: &Shell) -> Result<()> {
    block_on(async {
        screen.stands_on("lost").await?;
        screen
            .at(|screen, scene| {
                screen.key(' ');
                scene.home_key();
            })
            .await?;
        screen.stands_on("lost").await
    })?;
    tablet.hyper_until(&["family"], |table| table.contains("This device is lost"))?;
    Ok(())
}

/// Whoever has it in hand opens it for pairing, and has another family take it in.
fn nobody_else_takes_it_in(thief: &Device, tablet: &Device) -> Result<()> {
    let id = tablet.id()?;
    let stages = tablet.follow(&["family", "pairing"])?;
    let opened = tablet.hyper(&["family", "open"])?;
    let pin = opened.split_whitespace().nth(1).context("it shows a PIN")?;
    thief.hyper_until(&["family", "nearby"], |ids| ids.contains(&id))?;
    thief.hyper(&["family", "pair", &id, "--pin", pin, "--name", "mine"])?;
    let (_, stage) =
        stages.next(|stage| stage.starts_with("failed") || stage.starts_with("paired"))?;
    ensure!(
        stage.contains("is lost"),
        "it went over to another family: {stage}"
    );
    Ok(())
}
