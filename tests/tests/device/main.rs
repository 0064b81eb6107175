//! Checks of a whole device that share one start of it.
//!
//! Starting a machine is what takes long, so the checks of a file here run one after the other on
//! the same one, in the order in which they are listed; those that need a machine of their own
//! start it. To add a check, write `fn name(phone: &mut Shared) -> Result<()>` in the module that
//! it belongs to, or in a new one, and list it below. A check says in its name what must hold and
//! leaves the device as it found it: awake, unlocked or not, with every service running.
//!
//! What fails leaves the console log and a picture of the screen, and says where.

mod data;
mod faults;
mod lifecycle;
mod pc;
mod root;
mod sandbox;
mod secure_boot;
mod shared;
mod story;
mod update;
mod walk;
mod wire;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::{Arguments, Failed, Trial};

use self::shared::Shared;

/// A check of the shared device.
type Check = fn(&mut Shared) -> anyhow::Result<()>;

/// In this order. What ends the device stands last.
const CHECKS: &[(&str, Check)] = &[
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
        "a_clock_before_the_release_is_not_believed",
        faults::a_clock_before_the_release_is_not_believed,
    ),
    (
        "a_clock_far_ahead_breaks_nothing",
        faults::a_clock_far_ahead_breaks_nothing,
    ),
    (
        "releases_are_tried_and_kept_or_given_up",
        update::releases_are_tried_and_kept_or_given_up,
    ),
    (
        "firmware_with_a_key_starts_only_what_it_signed",
        secure_boot::only_what_was_signed_starts,
    ),
    (
        "pc_shows_itself_on_the_framebuffer_of_the_firmware_when_no_driver_binds",
        pc::shows_itself_without_a_driver,
    ),
    (
        "the_device_shuts_down_within_its_deadline_and_leaves_its_data_clean",
        lifecycle::shuts_down_clean,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One device, one check at a time.
    arguments.test_threads = Some(1);
    let device = Arc::new(Mutex::new(Shared::new()));
    let trials = CHECKS
        .iter()
        .map(|&(name, check)| {
            let device = Arc::clone(&device);
            Trial::test(name, move || {
                // A check that panicked has failed; the next finds out for itself how the device is.
                let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
                check(&mut device).map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
