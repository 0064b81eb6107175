//! The one screen: what there is to be seen, and what the person does about it.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use shell::platform::Hardware;
use slint::platform::{Key, WindowEvent};
use slint::{ComponentHandle as _, SharedString, VecModel};
use ui::{RecoveryStage, RecoveryWindow};

use crate::work::{Command, Shown};

/// What does not change while it is looked at.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the device is.
    pub model: String,
    /// The version of this recovery.
    pub version: String,
    /// Whether it was built for development.
    pub development: bool,
    /// The language, as a BCP 47 tag.
    pub language: String,
}

/// The screen, for the thread of the user interface.
pub struct Screen {
    window: RecoveryWindow,
}

impl Screen {
    /// Makes it; `act` is told what the person asks for.
    ///
    /// # Errors
    /// When the thread has no platform.
    pub fn new(facts: &Facts, act: impl Fn(Command) + Clone + 'static) -> Result<Self> {
        let window = RecoveryWindow::new().context("making the screen of recovery")?;
        if let Err(error) = slint::select_bundled_translation(&facts.language) {
            tracing::warn!("there are no words in {}: {error}", facts.language);
        }
        window.set_model(facts.model.as_str().into());
        window.set_own_version(facts.version.as_str().into());
        window.set_development(facts.development);
        let on = |command: Command| {
            let act = act.clone();
            move || act(command)
        };
        window.on_look(on(Command::Look));
        window.on_install(on(Command::Install));
        let choose = act.clone();
        window.on_choose(move |number| {
            if let Ok(number) = usize::try_from(number) {
                choose(Command::Choose(number));
            }
        });
        window.on_erase(on(Command::Erase));
        window.on_start_again(on(Command::StartAgain));
        window.on_power_off(on(Command::PowerOff));
        let weak = window.as_weak();
        window.on_move_focus(move |by| {
            let key = if by > 0 { Key::Tab } else { Key::Backtab };
            press_soon(&weak, key);
        });
        window.show().context("showing the screen of recovery")?;
        Ok(Self { window })
    }

    /// The same screen for other threads.
    #[must_use]
    pub fn handle(&self) -> slint::Weak<RecoveryWindow> {
        self.window.as_weak()
    }

    /// A device without a keyboard and with a screen that takes no touches has these keys.
    pub fn hardware(&self, event: Hardware) {
        let key = match event {
            Hardware::VolumeUp => Key::Backtab,
            Hardware::VolumeDown => Key::Tab,
            Hardware::PowerPressed => Key::Return,
            Hardware::PowerHeld => return self.window.invoke_power_off(),
            _ => return,
        };
        press_soon(&self.window.as_weak(), key);
    }
}

/// Presses a key when what is being done is over.
fn press_soon(window: &slint::Weak<RecoveryWindow>, key: Key) {
    let window = window.clone();
    slint::Timer::single_shot(Duration::ZERO, move || {
        let Some(window) = window.upgrade() else {
            return;
        };
        let text = SharedString::from(key);
        for event in [
            WindowEvent::KeyPressed { text: text.clone() },
            WindowEvent::KeyReleased { text },
        ] {
            window.window().dispatch_event(event);
        }
    });
}

/// Shows it.
pub fn show(window: &RecoveryWindow, shown: &Shown) {
    let mut reasons: &[String] = &[];
    let stage = match shown {
        Shown::Looking => RecoveryStage::Looking,
        Shown::Nothing(problems) => {
            reasons = problems;
            RecoveryStage::Nothing
        }
        Shown::Found {
            version,
            source,
            older,
            problems,
        } => {
            window.set_version(version.as_str().into());
            let name = source.strip_prefix("stick ").unwrap_or(source);
            window.set_source(name.into());
            window.set_older(*older);
            reasons = problems;
            RecoveryStage::Found
        }
        Shown::Disks {
            version,
            disks,
            problems,
        } => {
            window.set_version(version.as_str().into());
            let disks: Vec<SharedString> = disks.iter().map(Into::into).collect();
            window.set_disks(Rc::new(VecModel::from(disks)).into());
            reasons = problems;
            RecoveryStage::Disks
        }
        Shown::Chosen {
            version,
            disk,
            partitions,
        } => {
            window.set_version(version.as_str().into());
            window.set_disk(disk.as_str().into());
            window.set_partitions(partitions.join(", ").into());
            RecoveryStage::Chosen
        }
        Shown::Installing {
            version,
            checking,
            percent,
        } => {
            window.set_version(version.as_str().into());
            window.set_share(f32::from(*percent) / 100.0);
            match checking {
                true => RecoveryStage::Checking,
                false => RecoveryStage::Writing,
            }
        }
        Shown::Failed { version, reason } => {
            window.set_version(version.as_str().into());
            reasons = std::slice::from_ref(reason);
            RecoveryStage::Failed
        }
        Shown::Done { version } => {
            window.set_version(version.as_str().into());
            RecoveryStage::Done
        }
    };
    // What follows on a choice of disks is of the same machine.
    match shown {
        Shown::Disks { .. } | Shown::Chosen { .. } => window.set_new_machine(true),
        Shown::Found { .. } | Shown::Nothing(_) => window.set_new_machine(false),
        _ => {}
    }
    window.set_reasons(reasons.join("\n").into());
    window.set_stage(stage);
}

/// The same as a line for the console.
#[must_use]
pub fn line(shown: &Shown) -> String {
    let mut line = "recovery: ".to_owned();
    let problems = |line: &mut String, problems: &[String]| {
        for problem in problems {
            // A text takes every write.
            let _ = write!(line, "; {problem}");
        }
    };
    match shown {
        Shown::Looking => line += "looking for a release",
        Shown::Nothing(reasons) => {
            line += "nothing to install was found";
            problems(&mut line, reasons);
        }
        Shown::Found {
            version,
            source,
            problems: others,
            ..
        } => {
            line += &format!("{version} on {source} can be installed");
            problems(&mut line, others);
        }
        Shown::Disks {
            version,
            disks,
            problems: others,
        } => {
            line += &format!("{version} can be installed on {}", disks.join(" or on "));
            problems(&mut line, others);
        }
        Shown::Chosen {
            version,
            disk,
            partitions,
        } => {
            line += &format!("is {disk} to be erased for {version}? It has the partitions ");
            line += &format!("[{}]", partitions.join(", "));
        }
        Shown::Installing {
            version,
            checking,
            percent,
        } => {
            let doing = if *checking { "checking" } else { "writing" };
            line += &format!("{doing} {version}, {percent} %");
        }
        Shown::Failed { version, reason } => {
            line += &format!("{version} was not installed: {reason}")
        }
        Shown::Done { version } => line += &format!("{version} is installed"),
    }
    line
}
