//! Checks of a whole device.
//!
//! Starting a machine is what takes long, so most checks run one after the other on the same one, in
//! the order in which they are listed. Beside these run those that start machines of their own, one after the
//! other, and two at a time when the shared machine is done with: an emulated machine keeps one processor
//! busy, and there are two.
//!
//! To add a check, write `fn name(phone: &mut Shared) -> Result<()>` in the module that it belongs
//! to, or in a new one, and list it below. A check says in its name what must hold and leaves the
//! device that it shares as it found it: awake, unlocked or not, with every service running.
//!
//! What fails leaves the console log and a picture of the screen, and says where.

mod data;
mod family;
mod faults;
mod growth;
mod lifecycle;
mod new_machine;
mod pc;
mod recovery;
mod root;
mod sandbox;
mod secure_boot;
mod shared;
mod story;
mod update;
mod walk;
mod wire;

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use anyhow::anyhow;
use libtest_mimic::{Arguments, Failed, Trial};

use self::shared::Shared;

/// A check, by its name.
type Check = (&'static str, fn(&mut Shared) -> anyhow::Result<()>);

/// A check that starts machines of its own, and who waits for its end.
type Begun = (
    fn(&mut Shared) -> anyhow::Result<()>,
    mpsc::Sender<anyhow::Result<()>>,
);

/// Checks of the shared device, in this order. What ends it stands last.
const ON_THE_SHARED_DEVICE: &[Check] = &[
    (
        "firmware_starts_the_device_to_its_lock_screen",
        lifecycle::starts_to_the_lock_screen,
    ),
    (
        "every_service_of_the_product_runs",
        lifecycle::every_service_runs,
    ),
    (
        "a_clean_start_logs_no_error",
        story::a_clean_start_logs_no_error,
    ),
    (
        "every_screen_is_walked_by_touch",
        story::every_screen_is_walked,
    ),
    (
        "settings_change_by_touch_and_show_what_is_set_elsewhere",
        story::settings_change_by_touch,
    ),
    (
        "chinese_is_spoken_on_every_screen",
        story::chinese_is_spoken_everywhere,
    ),
    (
        "a_setting_is_found_by_typing",
        story::a_setting_is_found_by_typing,
    ),
    (
        "a_notification_stands_until_it_is_dismissed",
        story::a_notification_stands_until_it_is_dismissed,
    ),
    (
        "the_power_key_turns_the_screen_off_and_held_asks",
        story::the_power_key_turns_the_screen_off_and_held_asks,
    ),
    (
        "nothing_is_drawn_or_restarted_while_nothing_happens",
        story::nothing_is_drawn_or_restarted_while_nothing_happens,
    ),
    (
        "an_unplugged_network_is_noticed_and_comes_back",
        faults::an_unplugged_network_is_noticed_and_comes_back,
    ),
    (
        "a_killed_service_answers_again",
        lifecycle::a_killed_service_answers_again,
    ),
    (
        "a_hung_service_is_restarted",
        faults::a_hung_service_is_restarted,
    ),
    (
        "every_sandbox_holds_its_service_to_its_manifest",
        sandbox::every_sandbox_holds_its_service_to_its_manifest,
    ),
    (
        "a_memory_hungry_service_costs_only_itself",
        sandbox::a_memory_hungry_service_costs_only_itself,
    ),
    (
        "nothing_is_contacted_but_what_the_network_offered",
        wire::nothing_is_contacted_but_what_the_network_offered,
    ),
    (
        "a_setting_survives_a_restart",
        lifecycle::settings_survive_a_restart,
    ),
    (
        "the_device_shuts_down_within_its_deadline_and_leaves_its_data_clean",
        lifecycle::shuts_down_clean,
    ),
];

/// Checks that start machines of their own, begun in this order: what takes longest comes first.
const ON_THEIR_OWN: &[Check] = &[
    (
        "releases_are_tried_and_kept_or_given_up",
        update::releases_are_tried_and_kept_or_given_up,
    ),
    (
        "firmware_with_a_key_starts_only_what_it_signed",
        secure_boot::only_what_was_signed_starts,
    ),
    (
        "damaged_slots_end_in_recovery_which_installs_from_a_stick",
        recovery::damaged_slots_end_in_recovery_which_installs_from_a_stick,
    ),
    (
        "a_stick_installs_on_a_new_machine_what_its_owner_confirms",
        new_machine::a_stick_installs_on_a_new_machine,
    ),
    (
        "a_flipped_byte_in_the_file_system_is_refused",
        root::flipped_data_is_refused,
    ),
    (
        "a_flipped_byte_in_the_hash_tree_is_refused",
        root::flipped_tree_is_refused,
    ),
    (
        "a_broken_manifest_costs_only_its_service_and_is_told_with_its_line",
        faults::a_broken_manifest_costs_only_its_service,
    ),
    (
        "damaged_settings_are_set_aside_and_told_once",
        faults::damaged_settings_are_kept_and_told_once,
    ),
    (
        "a_full_disk_refuses_changes_and_loses_nothing",
        faults::a_full_disk_refuses_and_loses_nothing,
    ),
    (
        "data_fills_a_disk_that_is_larger_than_its_image",
        growth::data_fills_a_larger_disk,
    ),
    (
        "a_clock_before_the_release_is_not_believed",
        faults::a_clock_before_the_release_is_not_believed,
    ),
    (
        "a_clock_far_ahead_breaks_nothing",
        faults::a_clock_far_ahead_breaks_nothing,
    ),
    (
        "pc_shows_itself_on_the_framebuffer_of_the_firmware_when_no_driver_binds",
        pc::shows_itself_without_a_driver,
    ),
];

/// Checks that only `cargo xtask soak` asks for, and whoever names them: they keep two machines busy.
const AT_LENGTH: &[Check] = &[(
    "two_devices_become_one_family_and_act_as_one",
    family::two_devices_become_one_family_and_act_as_one,
)];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each list in its order.
    arguments.test_threads = Some(1);
    let device = Arc::new(Mutex::new(Shared::new("device")));
    let shared = ON_THE_SHARED_DEVICE.iter().map(|&(name, check)| {
        let device = Arc::clone(&device);
        Trial::test(name, move || {
            // A check that panicked has failed; the next finds out for itself how the device is.
            let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
            failed(check(&mut device))
        })
    });
    let (tell_over, is_over) = mpsc::channel();
    let mut begun = VecDeque::new();
    let own = ON_THEIR_OWN.iter().map(|&(name, check)| {
        let (sender, receiver) = mpsc::channel();
        if !arguments.list && is_selected(&arguments, name) {
            begun.push_back((check, sender));
        }
        let tell_over = tell_over.clone();
        Trial::test(name, move || {
            // Only the first to say so is heard.
            let _ = tell_over.send(());
            let ended = receiver.recv();
            failed(ended.unwrap_or_else(|_| Err(anyhow!("it was not run"))))
        })
    });
    let at_length = AT_LENGTH.iter().map(|&(name, check)| {
        let check = move || failed(check(&mut Shared::new("device-at-length")));
        Trial::test(name, check).with_ignored_flag(true)
    });
    let trials = shared.chain(own).chain(at_length).collect();
    // The trials of these come last, and only tell what came of them.
    let begun = Arc::new(Mutex::new(begun));
    let beside = Arc::clone(&begun);
    thread::spawn(move || run(&beside, "device-for-copies"));
    thread::spawn(move || {
        // Nobody says so where none of these is asked for.
        if is_over.recv().is_ok() {
            run(&begun, "device-for-more-copies");
        }
    });
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs checks until none is left, with machines of a folder of that name.
fn run(left: &Mutex<VecDeque<Begun>>, folder: &'static str) {
    let next = || {
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        left.pop_front()
    };
    let mut machines = Shared::new(folder);
    while let Some((check, sender)) = next() {
        let checked = panic::catch_unwind(AssertUnwindSafe(|| check(&mut machines)));
        let ended = checked.unwrap_or_else(|_| Err(anyhow!("it panicked, as is said above")));
        // Nobody waits any more only when the program is ending.
        let _ = sender.send(ended);
    }
}

fn failed(ended: anyhow::Result<()>) -> Result<(), Failed> {
    ended.map_err(|error| Failed::from(format!("{error:#}")))
}

/// Whether a check is among those that were asked for, as `libtest_mimic` decides it.
fn is_selected(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| match arguments.exact {
        true => name == filter,
        false => name.contains(filter.as_str()),
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}
