//! What a person does with the device, by touch: every screen is walked.
//!
//! After each step the shell has to say that it shows the expected page, and a picture is kept for
//! people to look at.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    shared::Shared,
    walk::{BACK, Place, Walk, is_dark, is_light},
};

/// The middle of the screen's lower half, and a place far above it: a swipe up.
pub const LOW: Place = (180.0, 700.0);
pub const HIGH: Place = (180.0, 200.0);

/// The apps of the home screen.
const APPS: [(&str, Place); 5] = [
    ("settings/display", (60.0, 462.0)),
    ("settings/language", (140.0, 462.0)),
    ("settings/time", (220.0, 462.0)),
    ("settings/about", (300.0, 462.0)),
    ("settings/files", (60.0, 567.0)),
];

/// Those in its dock.
const DOCK: [(&str, Place); 4] = [
    ("settings", (66.0, 734.0)),
    ("settings/network", (142.0, 734.0)),
    ("settings/storage", (218.0, 734.0)),
    ("settings/services", (294.0, 734.0)),
];

/// The rows of Settings that are seen without scrolling.
const ROWS: [(&str, Place); 6] = [
    ("settings/network", (150.0, 368.0)),
    ("settings/devices", (150.0, 433.0)),
    ("settings/files", (150.0, 498.0)),
    ("settings/display", (150.0, 592.0)),
    ("settings/language", (150.0, 657.0)),
    ("settings/time", (150.0, 722.0)),
];

pub const SETTINGS: Place = DOCK[0].1;
const DISPLAY: Place = APPS[0].1;
const LANGUAGE: Place = APPS[1].1;

/// The time zone on the page Time, and a service on the page Services.
const ZONE: Place = (150.0, 322.0);
const SERVICE: Place = (150.0, 460.0);

/// Dark, and the accent Ember below it, on the page Display.
const DARK: Place = (170.0, 204.0);
const EMBER: Place = (105.0, 360.0);

/// The languages.
const ENGLISH: Place = (100.0, 188.0);
const CHINESE: Place = (100.0, 252.0);

/// The power button of the control centre, and "Cancel" in the power menu.
const POWER: Place = (316.0, 68.0);
const CANCEL: Place = (180.0, 748.0);

/// The field at the top of Settings, what it finds first, and the cross that empties it.
pub const SEARCH: Place = (180.0, 176.0);
const FOUND: Place = (150.0, 256.0);
pub const EMPTY: Place = (316.0, 176.0);

/// "Clear" in the notification shade.
pub const CLEAR: Place = (300.0, 68.0);

/// What is pulled from the top.
const CENTRE: (Place, Place) = ((300.0, 8.0), (300.0, 560.0));
pub const SHADE: (Place, Place) = ((60.0, 8.0), (60.0, 560.0));

/// How long the device is left alone.
const ALONE: Duration = Duration::from_secs(10);

/// Awake until told otherwise, on the home screen.
pub fn begin(walk: &mut Walk<'_>) -> Result<()> {
    let machine = walk.machine();
    machine.hyper("settings set display.screen-off-after 0")?;
    machine.hyper("call screen.power true")?;
    machine.hyper("call screen.lock")?;
    walk.arrive("lock")?;
    walk.drag(LOW, HIGH)?;
    walk.machine()
        .wait_for_answer("call screen.status", |status| !status.contains("\"lock\""))?;
    walk.rest()?;
    walk.go_home().map(drop)
}

/// As a device is whose owner has changed nothing.
fn end(walk: &mut Walk<'_>) -> Result<()> {
    for key in [
        "appearance.theme",
        "appearance.accent",
        "language",
        "display.screen-off-after",
    ] {
        walk.machine().hyper(&format!("settings reset {key}"))?;
    }
    Ok(())
}

/// Pulls down the control centre, with its power menu, and the shade, and pushes each away again.
fn pull_both_panels(walk: &mut Walk<'_>) -> Result<()> {
    walk.drag(CENTRE.0, CENTRE.1)?;
    walk.arrive("control-centre")?;
    walk.tap(POWER, "power")?;
    walk.tap(CANCEL, "control-centre")?;
    walk.drag(LOW, HIGH)?;
    walk.arrive("home")?;
    walk.drag(SHADE.0, SHADE.1)?;
    walk.arrive("notifications")?;
    walk.drag(LOW, HIGH)?;
    walk.arrive("home")?;
    Ok(())
}

pub fn every_screen_is_walked(phone: &mut Shared) -> Result<()> {
    let mut walk = Walk::new(phone.machine()?, "walk")?;
    begin(&mut walk)?;
    for (page, at) in APPS.into_iter().chain(DOCK) {
        walk.tap(at, page)?;
        if page == "settings/services" {
            walk.tap(SERVICE, "settings/service")?;
            walk.tap(BACK, page)?;
        }
        walk.tap(BACK, "home")?;
    }

    pull_both_panels(&mut walk)?;

    walk.tap(SETTINGS, "settings")?;
    for (page, at) in ROWS {
        walk.tap(at, page)?;
        if page == "settings/time" {
            walk.tap(ZONE, "settings/zone")?;
            walk.tap(BACK, page)?;
        }
        walk.tap(BACK, "settings")?;
    }
    walk.tap(BACK, "home")?;
    end(&mut walk)
}

pub fn settings_change_by_touch(phone: &mut Shared) -> Result<()> {
    let mut walk = Walk::new(phone.machine()?, "change")?;
    begin(&mut walk)?;
    walk.machine()
        .hyper("settings set appearance.theme light")?;
    walk.see("the light theme", is_light)?;

    walk.tap(DISPLAY, "settings/display")?;
    walk.touch(DARK)?;
    walk.setting("appearance.theme", "dark")?;
    let tide = walk.see("the dark theme", is_dark)?;
    walk.touch(EMBER)?;
    walk.setting("appearance.accent", "ember")?;
    let ember = walk.see("another accent", |picture| *picture != tide)?;
    walk.keep("dark-ember", &ember)?;

    // The other way round: what is set elsewhere appears here.
    walk.machine()
        .hyper("settings set appearance.theme light")?;
    let light = walk.see("the light theme", is_light)?;
    walk.keep("light-ember", &light)?;
    walk.machine()
        .hyper("settings set appearance.accent tide")?;
    walk.see("the accent that was set", |picture| *picture != light)?;
    walk.tap(BACK, "home")?;
    end(&mut walk)
}

pub fn chinese_is_spoken_everywhere(phone: &mut Shared) -> Result<()> {
    let mut walk = Walk::new(phone.machine()?, "chinese")?;
    begin(&mut walk)?;
    let english = walk.tap(LANGUAGE, "settings/language")?;
    walk.touch(CHINESE)?;
    walk.setting("language", "zh-CN")?;
    walk.see("another language", |picture| *picture != english)?;
    walk.tap(BACK, "home")?;

    pull_both_panels(&mut walk)?;
    walk.tap(SETTINGS, "settings")?;
    for (page, at) in ROWS {
        walk.tap(at, page)?;
        walk.tap(BACK, "settings")?;
    }
    walk.tap(BACK, "home")?;
    let about = APPS[3];
    walk.tap(about.1, about.0)?;
    walk.tap(BACK, "home")?;

    walk.tap(LANGUAGE, "settings/language")?;
    walk.touch(ENGLISH)?;
    walk.setting("language", "en")?;
    walk.tap(BACK, "home")?;
    end(&mut walk)
}

pub fn a_setting_is_found_by_typing(phone: &mut Shared) -> Result<()> {
    let mut walk = Walk::new(phone.machine()?, "search")?;
    begin(&mut walk)?;
    let all = walk.tap(SETTINGS, "settings")?;
    walk.touch(SEARCH)?;
    let keyboard = walk.see("the keyboard on the screen", |picture| *picture != all)?;
    walk.keep("keyboard", &keyboard)?;
    walk.machine().type_text("zone")?;
    let found = walk.see("what was found", |picture| *picture != keyboard)?;
    walk.keep("found", &found)?;
    walk.tap(FOUND, "settings/zone")?;
    let found = walk.tap(BACK, "settings")?;
    walk.touch(EMPTY)?;
    let emptied = walk.see("all of Settings again", |picture| *picture != found)?;
    // The first step back puts the keyboard away.
    walk.touch(BACK)?;
    walk.see("the keyboard gone", |picture| *picture != emptied)?;
    walk.tap(BACK, "home")?;
    end(&mut walk)
}

pub fn a_notification_stands_until_it_is_dismissed(phone: &mut Shared) -> Result<()> {
    let mut walk = Walk::new(phone.machine()?, "notification")?;
    begin(&mut walk)?;
    walk.machine().hyper("call screen.lock")?;
    let empty = walk.arrive("lock")?;
    walk.machine()
        .hyper("notify \"Backup finished\" \"Everything of today is on the stick.\"")?;
    let told = walk.see("the notification", |picture| *picture != empty)?;
    walk.keep("told", &told)?;
    walk.drag(LOW, HIGH)?;
    walk.arrive("home")?;
    walk.drag(SHADE.0, SHADE.1)?;
    walk.arrive("notifications")?;
    walk.touch(CLEAR)?;
    walk.machine()
        .wait_for_answer("call notify.all", |answer| !answer.contains("Backup"))?;
    walk.drag(LOW, HIGH)?;
    walk.arrive("home")?;
    end(&mut walk)
}

pub fn the_power_key_turns_the_screen_off_and_held_asks(phone: &mut Shared) -> Result<()> {
    let mut walk = Walk::new(phone.machine()?, "power")?;
    begin(&mut walk)?;
    walk.machine().set_key("power", true)?;
    walk.arrive("power")?;
    walk.machine().set_key("power", false)?;
    walk.tap(CANCEL, "home")?;

    walk.machine().key("power")?;
    walk.machine()
        .wait_for_answer("call screen.status", |answer| answer.contains("on: false"))?;
    walk.machine().key("power")?;
    walk.machine()
        .wait_for_answer("call screen.status", |answer| answer.contains("on: true"))?;
    walk.arrive("lock")?;
    walk.drag(LOW, HIGH)?;
    walk.arrive("home")?;
    end(&mut walk)
}

/// Run before anything is made to fail.
pub fn a_clean_start_logs_no_error(phone: &mut Shared) -> Result<()> {
    let machine = phone.machine()?;
    machine.wait_for_page("lock")?;
    let log = machine.hyper("log")?;
    let wrong: Vec<_> = log
        .lines()
        .filter(|line| {
            let mut words = line.split_whitespace().skip(2);
            let service = words.next();
            let level = words.next();
            // The kernel warns of devices that this machine does not have; its errors count.
            level == Some("error") || (level == Some("warning") && service != Some("kernel"))
        })
        .collect();
    ensure!(
        wrong.is_empty(),
        "a start in which nothing failed was logged with\n{}",
        wrong.join("\n")
    );
    Ok(())
}

pub fn nothing_is_drawn_or_restarted_while_nothing_happens(phone: &mut Shared) -> Result<()> {
    let mut walk = Walk::new(phone.machine()?, "alone")?;
    begin(&mut walk)?;
    let machine = walk.machine();
    let before = processes(&machine.hyper("services")?);
    machine.hyper("call screen.reset-statistics")?;
    thread::sleep(ALONE);
    let statistics = machine.hyper("call screen.statistics")?;
    let frames = number_after(&statistics, "frames:");
    // The minute may have turned meanwhile, and memory in use is shown on the home screen.
    ensure!(
        frames.is_some_and(|frames| frames <= 4),
        "nothing happened, and meanwhile was drawn: {statistics}"
    );
    let after = processes(&machine.hyper("services")?);
    ensure!(
        before == after,
        "services changed while nothing happened: {before:?}, then {after:?}"
    );
    end(&mut walk)
}

/// The names and process ids in the table of services.
fn processes(table: &str) -> Vec<(String, String)> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.nth(1)?.to_owned()))
        })
        .collect()
}

/// The number that stands after a word.
pub fn number_after(text: &str, word: &str) -> Option<u64> {
    let rest = text.split(word).nth(1)?.trim_start();
    let end = rest
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}
