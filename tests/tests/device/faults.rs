//! What goes wrong around a device, and what it makes of it.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use xtask::{
    image,
    machine::{LIMIT, Machine},
    paths,
    programs::SOURCE_DATE_EPOCH,
};

use crate::{
    data::Data,
    lifecycle,
    shared::Shared,
    story::number_after,
    walk::{Walk, is_dark},
};

/// 2060-01-01, in milliseconds since 1970: long after anything here was made.
const YEAR_2060: u64 = 2_840_140_800_000;

pub fn a_hung_service_is_restarted(phone: &mut Shared) -> Result<()> {
    let machine = phone.machine()?;
    // What another check did to it is over once it answers.
    machine.wait_for_answer("settings get appearance.accent", |_| true)?;
    let restarts = |text: &str| {
        text.split(" restarts")
            .next()
            .and_then(|before| before.rsplit(' ').next()?.parse::<u64>().ok())
    };
    let before = restarts(&machine.hyper("services settings")?).context("no count of restarts")?;
    machine.hyper("kill settings --signal 19")?;
    machine.wait_for("the restart of a service that hangs", |machine| {
        let service = machine.hyper("services settings")?;
        Ok(restarts(&service)
            .is_some_and(|now| now > before)
            .then_some(()))
    })?;
    machine.hyper("settings get appearance.accent")?;
    Ok(())
}

pub fn an_unplugged_network_is_noticed_and_comes_back(phone: &mut Shared) -> Result<()> {
    let mut walk = Walk::new(phone.machine()?, "unplugged")?;
    let machine = walk.machine();
    machine.hyper("settings set display.screen-off-after 0")?;
    machine.hyper("call screen.power true")?;
    machine.wait_for_answer("network", |answer| answer.contains("online: yes"))?;
    // On the lock screen nothing comes over the status row for a while, as a banner does elsewhere.
    machine.hyper("call screen.lock")?;
    let plugged = walk.arrive("lock")?;
    let plugged_icons = walk.status_icons(&plugged);

    let cable = |up: bool| json!({ "name": "network", "up": up });
    walk.machine().qmp().execute("set_link", cable(false))?;
    walk.machine()
        .wait_for_answer("network", |answer| answer.contains("online: no"))?;
    // The shell hears of it when everybody does, and shows it in its next frame.
    let picture = walk.see_status("that the cable is out", |icons| icons != plugged_icons)?;
    walk.keep("unplugged", &picture)?;

    walk.machine().qmp().execute("set_link", cable(true))?;
    walk.machine().wait_for_answer("network", |answer| {
        answer.contains("online: yes") && answer.contains("10.0.2.15")
    })?;
    let picture = walk.see_status("that the cable is back", |icons| icons == plugged_icons)?;
    walk.keep("plugged-in", &picture)?;
    walk.machine()
        .hyper("settings reset display.screen-off-after")?;
    Ok(())
}

pub fn a_clock_before_the_release_is_not_believed(phone: &mut Shared) -> Result<()> {
    let (mut options, _) = phone.own("clock-2001")?;
    options
        .arguments
        .extend(["-rtc", "base=2001-01-01"].map(str::to_owned));
    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    let status = machine.hyper("call time.status")?;
    let built = SOURCE_DATE_EPOCH.parse::<u64>()? * 1000;
    ensure!(
        number_after(&status, "now:").is_some_and(|now| now >= built),
        machine.evidence(&format!("the clock stands before the release: {status}"))
    );
    machine.shut_down(LIMIT)
}

pub fn a_clock_far_ahead_breaks_nothing(phone: &mut Shared) -> Result<()> {
    let (mut options, _) = phone.own("clock-2060")?;
    options
        .arguments
        .extend(["-rtc", "base=2060-01-01"].map(str::to_owned));
    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    let status = machine.hyper("call time.status")?;
    ensure!(
        number_after(&status, "now:").is_some_and(|now| now >= YEAR_2060),
        machine.evidence(&format!("the clock of the machine was not taken: {status}"))
    );
    let mut walk = Walk::new(&mut machine, "clock-2060")?;
    walk.arrive("lock")?;
    walk.drag((180.0, 700.0), (180.0, 200.0))?;
    walk.arrive("home")?;
    machine.hyper("settings set appearance.accent moss")?;
    machine.shut_down(LIMIT)
}

/// The manifest of the network has a key that is misspelt.
pub fn a_broken_manifest_costs_only_its_service(phone: &mut Shared) -> Result<()> {
    let root = paths::repository()?;
    let text = fs::read_to_string(image::manifest(&root, "network")?)?;
    let broken = text.replacen("[limits]\nmemory", "[limits]\nmemroy", 1);
    let line = broken
        .lines()
        .position(|line| line.starts_with("memroy"))
        .context("the manifest of the network was expected to limit its memory")?;
    let report = format!(
        "/system/services/network.toml:{}:1: unknown field `memroy`",
        line + 1
    );
    let file = PathBuf::from("/system/services/network.toml");
    let (options, disk) =
        phone.own_with_files("broken-manifest", vec![(file, broken.into_bytes())])?;
    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;

    let table = machine.hyper("services")?;
    ensure!(
        lifecycle::is_in_state(&table, "network", "broken") && table.contains(&report),
        machine.evidence(&format!("the table does not say {report:?}:\n{table}"))
    );
    let log = machine.hyper("log init")?;
    ensure!(
        log.lines()
            .any(|line| line.contains("  error  ") && line.contains(&report)),
        machine.evidence(&format!("the log does not say {report:?}:\n{log}"))
    );
    let answer = machine.console().run("network", LIMIT)?;
    ensure!(
        answer.code != 0 && answer.output.contains("network"),
        "a service that is not there was said to answer: {answer:?}"
    );

    // Nothing else is lost, not even what calls the network.
    lifecycle::wait_until_they_run(&mut machine, &others(phone)?)?;
    machine.hyper("settings set appearance.theme dark")?;
    let mut walk = Walk::new(&mut machine, "broken-manifest")?;
    walk.see("the theme that was set", is_dark)?;
    walk.drag((180.0, 700.0), (180.0, 200.0))?;
    walk.arrive("home")?;

    // What was warned of is soon where no power cut can take it.
    machine.hyper("kill settings")?;
    let data = Data::new(&phone.phone()?.image, disk);
    machine.wait_for(
        "a log on the disk that tells of what was killed",
        |machine| {
            let log = data.as_after_power_cut(machine)?.ask("cat /log/0.log")?;
            Ok(log
                .contains("settings: it was ended by SIGKILL")
                .then_some(()))
        },
    )?;
    machine.cut_power()
}

/// The services of the product that have nothing to do with a broken manifest of the network.
fn others(phone: &mut Shared) -> Result<Vec<String>> {
    let mut services = phone.phone()?.image.product.services.clone();
    services.retain(|service| service != "network");
    Ok(services)
}

pub fn damaged_settings_are_kept_and_told_once(phone: &mut Shared) -> Result<()> {
    let (options, disk) = phone.own("damaged-settings")?;
    let data = Data::new(&phone.phone()?.image, disk);
    let mut machine = Machine::start(options.clone())?;
    machine.wait_for_page("lock")?;
    machine.hyper("settings set appearance.accent ember")?;
    machine.hyper("settings set appearance.theme dark")?;
    machine.shut_down(LIMIT)?;

    let names = data.names("/settings")?;
    let [name] = names.as_slice() else {
        anyhow::bail!("the settings were expected in one file, not in {names:?}");
    };
    let path = format!("/settings/{name}");
    let before = data.ask(&format!("cat {path}"))?;
    data.flip(&path)?;
    let damaged = data.ask(&format!("cat {path}"))?;
    ensure!(before != damaged, "{path} was not damaged");

    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    // Defaults, not half of what was there.
    for (key, default) in [("appearance.accent", "tide"), ("appearance.theme", "auto")] {
        let value = machine.hyper(&format!("settings get {key}"))?;
        ensure!(value.trim() == default, "{key} is {value} after the damage");
    }
    machine.wait_for_answer("call notify.all", |answer| answer.contains("damaged"))?;
    // Whatever looks at the settings again finds nothing more to tell of.
    machine.hyper("kill settings")?;
    machine.wait_for_answer("services settings", |service| {
        service.contains(" 1 restarts")
    })?;
    machine.hyper("settings get appearance.accent")?;
    let told = machine.hyper("call notify.all")?;
    ensure!(
        told.matches("title: \"Settings\"").count() == 1,
        machine.evidence(&format!("the owner was not told exactly once: {told}"))
    );
    let mut walk = Walk::new(&mut machine, "damaged-settings")?;
    walk.arrive("lock")?;
    // And they can be changed again.
    machine.hyper("settings set appearance.accent iris")?;
    machine.shut_down(LIMIT)?;

    let names = data.names("/settings")?;
    let copy = names
        .iter()
        .find(|name| name.contains("damaged"))
        .with_context(|| format!("no copy was kept, there is only {names:?}"))?;
    ensure!(
        data.ask(&format!("cat /settings/{copy}"))? == damaged,
        "the copy of the damaged settings is another file"
    );
    Ok(())
}

pub fn a_full_disk_refuses_and_loses_nothing(phone: &mut Shared) -> Result<()> {
    let (options, disk) = phone.own("full-disk")?;
    let data = Data::new(&phone.phone()?.image, disk);
    let mut machine = Machine::start(options.clone())?;
    machine.wait_for_page("lock")?;
    machine.hyper("settings set appearance.theme dark")?;
    machine.shut_down(LIMIT)?;
    data.fill()?;

    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    let mut walk = Walk::new(&mut machine, "full-disk")?;
    walk.see("the theme that was set before", is_dark)?;
    walk.arrive("lock")?;
    let answer = machine
        .console()
        .run("settings set appearance.theme light", LIMIT)?;
    ensure!(
        answer.code != 0 && answer.output.contains("could not be saved"),
        machine.evidence(&format!("a setting was made on a full disk: {answer:?}"))
    );
    let value = machine.hyper("settings get appearance.theme")?;
    ensure!(
        value.trim() == "dark",
        "the refused change changed the setting to {value}"
    );
    let mut walk = Walk::new(&mut machine, "full-disk")?;
    walk.drag((180.0, 700.0), (180.0, 200.0))?;
    walk.arrive("home")?;
    machine.shut_down(LIMIT)
}
