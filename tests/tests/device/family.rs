//! The story of two devices that become one family: a phone that is touched, and a television that is
//! worked by the keys of a remote control.
//!
//! The console is asked what a screen cannot say, and makes what another program would: a file, and a
//! notification.

use anyhow::{Context as _, Result, ensure};
use xtask::{
    image,
    machine::{LIMIT, Machine, Network, Picture, SharedNetwork},
};

use crate::{
    shared::Shared,
    story::{self, CLEAR, EMPTY, HIGH, LOW, SEARCH, SETTINGS, SHADE},
    walk::{Again, BACK, Place, Walk},
};

/// Devices, in Settings.
const DEVICES: Place = (150.0, 433.0);

/// A device to be added: where that is begun, the only one nearby, whose it is, and the way of pairing.
const ADD: Place = (180.0, 520.0);
const NEARBY: Place = (150.0, 212.0);
const MINE: Place = (100.0, 218.0);
const COMPARE: Place = (180.0, 436.0);
const SAME: Place = (180.0, 387.0);
const DONE: Place = (180.0, 283.0);

/// The second card of Devices, and what its page leads to.
const TELEVISION: Place = (150.0, 425.0);
const REMOTE: Place = (150.0, 195.0);
const ITS_SCREEN: Place = (150.0, 274.0);
const SEND_FILES: Place = (180.0, 430.0);
const LIVING_ROOM: Place = (150.0, 683.0);

/// The key of the remote control that leads home; and on the other's screen its app Display, and what ends the view.
const HOME_KEY: Place = (180.0, 456.0);
const ITS_DISPLAY: Place = (105.0, 427.0);
const END: Place = (300.0, 764.0);

/// The status row of either, in pixels.
const STATUS: usize = 50;

/// A file to be sent, and what sends it.
const FILE: Place = (150.0, 267.0);
const SEND: Place = (180.0, 349.0);

/// *Copy*, over the keyboard.
const COPY: Place = (312.0, 590.0);

pub fn two_devices_become_one_family_and_act_as_one(phone: &mut Shared) -> Result<()> {
    let network = SharedNetwork::start(2)?;
    let mut ports = network.ports().map(Network::Shared);
    // One processor each: the computer that runs both may have but two.
    let (mut options, _) = phone.own("family-phone")?;
    options.network = ports.next().context("a port for the phone")?;
    options.processors = 1;
    let mut phone = Machine::start(options)?;
    let mut television = television(ports.next().context("a port for the television")?)?;
    phone.wait_for_page("lock")?;
    television.wait_for_page("lock")?;
    let mut phone = Walk::new(&mut phone, "family-phone")?;
    let mut television = Walk::new(&mut television, "family-television")?;
    story::begin(&mut phone)?;
    begin(&mut television)?;

    become_one(&mut phone, &mut television)?;
    is_placed(&mut phone, &mut television)?;
    is_controlled(&mut phone, &mut television)?;
    is_seen(&mut phone, &mut television)?;
    has_what_was_copied(&mut phone, &mut television)?;
    tells_both(&mut phone, &mut television)?;
    sends_and_gets(&mut phone, &mut television)?;
    looks_alike(&mut phone, &mut television)?;
    phone.machine().shut_down(LIMIT)?;
    television.machine().shut_down(LIMIT)
}

/// A television of nobody's yet.
fn television(network: Network) -> Result<Machine> {
    let as_it_is = image::Options::default();
    let (options, mut image) = Shared::other("qemu-tv", "family-television", &as_it_is)?;
    let mut options = options.direct(&image);
    options.network = network;
    options.processors = 1;
    let machine = Machine::start(options)?;
    image.release();
    Ok(machine)
}

/// Awake until told otherwise, on the home screen, with nothing chosen.
fn begin(television: &mut Walk<'_>) -> Result<()> {
    let machine = television.machine();
    machine.hyper("settings set display.screen-off-after 0")?;
    machine.hyper("call screen.lock")?;
    television.arrive("lock")?;
    television.machine().key("ret")?;
    television.arrive("home").map(drop)
}

/// Goes to what is chosen after so many steps, and waits for the page that this must lead to.
fn choose(television: &mut Walk<'_>, steps: usize, page: &str) -> Result<()> {
    press(television, steps)?;
    television.arrive(page).map(drop)
}

/// Goes to what is chosen after so many steps, and presses it.
fn press(television: &mut Walk<'_>, steps: usize) -> Result<()> {
    for _ in 0..steps {
        move_on(television)?;
    }
    television.machine().key("ret")
}

/// Presses a key and waits until what is chosen is seen to be another. A key that comes while a page is still on
/// its way means nothing there, and is pressed again, as a person does.
fn move_on(television: &mut Walk<'_>) -> Result<()> {
    let before = television.rest()?;
    let mut press = Again::new();
    let machine = television.machine();
    machine.wait_for("another thing to be chosen", |machine| {
        press.when_due(|| machine.key("down"))?;
        let moved = below_the_status(&machine.picture()?) != below_the_status(&before);
        Ok(moved.then_some(()))
    })
}

/// The digits that a device shows, to be compared.
fn digits(device: &mut Walk<'_>) -> Result<String> {
    let console = device.machine().console();
    let stage = console.first("family pairing", LIMIT, |stage| {
        stage.starts_with("compare ")
    })?;
    let digits = stage.split_whitespace().nth(1);
    Ok(digits.context("no digits to compare")?.to_owned())
}

/// Waits until a device has paired.
fn has_paired(device: &mut Walk<'_>) -> Result<()> {
    let console = device.machine().console();
    let paired = |stage: &str| stage.starts_with("paired with ");
    console.first("family pairing", LIMIT, paired).map(drop)
}

/// The television lets itself be found; the phone takes it in as its owner's, by six digits that both show.
fn become_one<'a>(phone: &mut Walk<'a>, television: &mut Walk<'a>) -> Result<()> {
    choose(television, 10, "settings")?;
    choose(television, 4, "settings/devices")?;
    choose(television, 3, "settings/pairing")?;
    press(television, 1)?;
    phone.tap(SETTINGS, "settings")?;
    phone.tap(DEVICES, "settings/devices")?;
    phone.tap(ADD, "settings/pairing")?;
    let nearby = |ids: &str| ids.lines().count() == 1;
    phone.machine().wait_for_answer("family nearby", nearby)?;
    phone.rest()?;
    let open = television.rest()?;
    television.keep("can-be-found", &open)?;
    phone.touch(NEARBY)?;
    let found = phone.rest()?;
    phone.keep("found", &found)?;
    phone.touch(MINE)?;
    phone.rest()?;
    phone.touch(COMPARE)?;
    let shown = (digits(phone)?, digits(television)?);
    ensure!(
        shown.0 == shown.1,
        "nobody is between them, and they show {shown:?}"
    );
    for device in [&mut *phone, &mut *television] {
        let compare = device.rest()?;
        device.keep("compare", &compare)?;
    }
    phone.touch(SAME)?;
    press(television, 1)?;
    has_paired(phone)?;
    has_paired(television)?;
    phone.rest()?;
    television.rest()?;
    choose(television, 1, "settings/devices")?;
    phone.tap(DONE, "settings/devices")?;
    for device in [&mut *phone, &mut *television] {
        let both = |table: &str| table.contains("this device") && table.contains("online");
        device.machine().wait_for_answer("family", both)?;
        let devices = device.rest()?;
        device.keep("one-family", &devices)?;
    }
    Ok(())
}

/// Where it stands is said on one device and known on both.
fn is_placed<'a>(phone: &mut Walk<'a>, television: &mut Walk<'a>) -> Result<()> {
    phone.tap(TELEVISION, "settings/family-device")?;
    phone.touch(LIVING_ROOM)?;
    for device in [&mut *phone, &mut *television] {
        let placed = |table: &str| {
            let is_it = |line: &&str| line.starts_with("Television");
            let line = table.lines().find(is_it);
            line.is_some_and(|line| line.contains("Living room"))
        };
        device.machine().wait_for_answer("family", placed)?;
    }
    phone.rest().map(drop)
}

/// The phone is its remote control once whoever is there has allowed that.
fn is_controlled<'a>(phone: &mut Walk<'a>, television: &mut Walk<'a>) -> Result<()> {
    phone.tap(REMOTE, "settings/remote")?;
    is_allowed(television)?;
    phone.rest()?;
    phone.tap_until_there(HOME_KEY, television.machine(), "home")?;
    let controlled = television.rest()?;
    television.keep("controlled", &controlled)?;
    phone.tap(BACK, "settings/family-device").map(drop)
}

/// Waits for the question and says yes to it, for an hour or this time: that is what is chosen first.
fn is_allowed(television: &mut Walk<'_>) -> Result<()> {
    let machine = television.machine();
    let asks = |questions: &str| questions.contains("Phone");
    machine.wait_for_answer("grants questions", asks)?;
    let question = television.rest()?;
    television.keep("question", &question)?;
    press(television, 1)?;
    let machine = television.machine();
    machine.wait_for_answer("grants questions", |questions| !asks(questions))?;
    television.rest().map(drop)
}

/// Its screen is seen on the phone, and touched there.
fn is_seen<'a>(phone: &mut Walk<'a>, television: &mut Walk<'a>) -> Result<()> {
    let empty = phone.tap(ITS_SCREEN, "settings/view")?;
    is_allowed(television)?;
    let seen = phone.see("the screen of the television", |picture| {
        picture.colours(4_000) > 2 * empty.colours(4_000)
    })?;
    phone.keep("its-screen", &seen)?;
    phone.tap_until_there(ITS_DISPLAY, television.machine(), "settings/display")?;
    television.rest()?;
    phone.tap(END, "settings/family-device")?;
    phone.go_home().map(drop)
}

/// What is copied on the phone is pasted on the television, where it finds a page.
fn has_what_was_copied<'a>(phone: &mut Walk<'a>, television: &mut Walk<'a>) -> Result<()> {
    let all = phone.tap(SETTINGS, "settings")?;
    phone.touch(SEARCH)?;
    let keyboard = phone.see("the keyboard on the screen", |picture| *picture != all)?;
    phone.machine().type_text("zone")?;
    let typed = phone.see("what was typed", |picture| *picture != keyboard)?;
    phone.keep("to-be-copied", &typed)?;
    phone.touch(COPY)?;
    let machine = television.machine();
    machine.wait_for_answer("clipboard", |text| text.trim() == "zone")?;
    television.machine().key("esc")?;
    television.arrive("home")?;
    begin(television)?;
    choose(television, 10, "settings")?;
    move_on(television)?;
    let machine = television.machine();
    machine.set_key("ctrl", true)?;
    machine.key("v")?;
    machine.set_key("ctrl", false)?;
    let pasted = television.rest()?;
    television.keep("pasted", &pasted)?;
    choose(television, 2, "settings/zone")?;

    let found = phone.rest()?;
    phone.touch(EMPTY)?;
    let emptied = phone.see("all of Settings again", |picture| *picture != found)?;
    // The first step back puts the keyboard away.
    phone.touch(BACK)?;
    phone.see("the keyboard gone", |picture| *picture != emptied)?;
    phone.go_home().map(drop)
}

/// A notification of one stands on both, and is dismissed once for both.
fn tells_both<'a>(phone: &mut Walk<'a>, television: &mut Walk<'a>) -> Result<()> {
    phone.drag(SHADE.0, SHADE.1)?;
    let empty = phone.arrive("notifications")?;
    let machine = television.machine();
    machine.hyper("notify Film 'It begins at eight.'")?;
    let told = phone.see("the notification", |picture| {
        below_the_status(picture) != below_the_status(&empty)
    })?;
    phone.keep("told", &told)?;
    phone.touch(CLEAR)?;
    let machine = television.machine();
    machine.wait_for_answer("call notify.all", |all| !all.contains("Film"))?;
    phone.drag(LOW, HIGH)?;
    phone.arrive("home").map(drop)
}

/// The screen without the row in which the time stands.
fn below_the_status(picture: &Picture) -> &[u8] {
    let row = picture.width as usize * 3;
    &picture.pixels[STATUS * row..]
}

/// A file comes from the television, and is sent back by touch.
fn sends_and_gets<'a>(phone: &mut Walk<'a>, television: &mut Walk<'a>) -> Result<()> {
    let has_it = |files: &str| files.contains("product.toml");
    let table = phone.machine().hyper("family")?;
    let is_it = |line: &&str| line.starts_with("Phone");
    let line = table.lines().find(is_it).context("the phone's line")?;
    let id = line.split_whitespace().last().context("the phone's id")?;
    let machine = television.machine();
    machine.hyper(&format!("send {id} /system/product.toml"))?;
    phone.machine().wait_for_answer("transfer files", has_it)?;
    phone.tap(SETTINGS, "settings")?;
    phone.tap(DEVICES, "settings/devices")?;
    phone.tap(TELEVISION, "settings/family-device")?;
    phone.tap(SEND_FILES, "settings/send-files")?;
    phone.touch(FILE)?;
    phone.rest()?;
    phone.touch(SEND)?;
    let machine = television.machine();
    machine.wait_for_answer("transfer files", has_it)?;
    let sent = phone.rest()?;
    phone.keep("sent", &sent)?;
    phone.go_home().map(drop)
}

/// What belongs to the person follows to the other device.
fn looks_alike<'a>(phone: &mut Walk<'a>, television: &mut Walk<'a>) -> Result<()> {
    phone
        .machine()
        .hyper("settings set appearance.theme dark")?;
    television.setting("appearance.theme", "dark")?;
    for device in [phone, television] {
        let dark = device.see("the dark theme", crate::walk::is_dark)?;
        device.keep("dark", &dark)?;
    }
    Ok(())
}
