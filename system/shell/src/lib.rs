//! The screen of a device: what is on it, and how it reaches glass and fingers.
//!
//! ```text
//!   scene/      what is there to see: lock, home, control centre, settings … (Slint, from `ui`)
//!     │ ▲
//!     ▼ │
//!   platform/   when to draw and what to do with input: one loop, one thread
//!     │ ▲
//!     ▼ │
//!   display/    kernel mode setting, /dev/fb0, memory        input/   fingers, keys, mice
//! ```
//!
//! What it promises:
//! - The first frame is drawn as soon as there is a display; nothing else is waited for.
//! - A touch is on the display at the next page flip after it was drawn, and the time from the
//!   kernel's stamp on the touch to the kernel's stamp on the flip is known, always.
//! - Only what changed is drawn, copied and sent. A screen on which nothing moves wakes nobody.
//! - A user interface that hangs is noticed: the health check goes through its loop.
//! - Tests drive the very same code without a screen: [`platform::Headless`].

pub mod clipboard;
#[cfg(feature = "desktop")]
pub mod desktop;
pub mod display;
pub mod input;
pub mod notices;
pub mod platform;
pub mod scene;
pub mod serve;
pub mod statistics;
pub mod surroundings;

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use platform::{Hardware, Injected, Look, Platform, Reserved, ScreenControl, UiLoop};
use scene::preferences::Preferences;
use scene::words::Language;
use scene::{PowerKey, Scene};
use surroundings::Surroundings;
use ui::fonts::Faces;

/// How long a display is waited for. Its driver may be loaded while this starts.
const DISPLAY_PATIENCE: Duration = Duration::from_secs(15);

/// Runs the screen of this device until it is asked to end.
pub fn run() -> Result<()> {
    service::log::install();
    let surroundings = Surroundings::from_environment();
    #[cfg(feature = "desktop")]
    if desktop::is_there() {
        return desktop::run(&surroundings);
    }
    let found = display::find::open(DISPLAY_PATIENCE).context("opening the display")?;
    tracing::info!("drawing on {}", found.display.name());
    let mut platform =
        Platform::new(found, surroundings.display.scale).context("making the screen")?;
    let language = surroundings
        .data
        .as_deref()
        .map_or_else(Preferences::default, Preferences::load)
        .language;
    let faces = match language {
        Language::Chinese => Faces::All,
        Language::English | Language::Spanish => Faces::Design,
    };
    let fonts = ui::fonts::register(&surroundings.fonts(), faces);
    if !fonts.design_family {
        tracing::error!(
            "there are {} typefaces in {:?}, and {} is not among them",
            fonts.files,
            surroundings.fonts(),
            ui::fonts::FAMILY
        );
    }
    let screen = platform.screen();
    let scene = build_scene(&screen, platform.ui(), &surroundings)?;
    platform.draw();
    platform.listen_to_devices();
    if faces == Faces::Design {
        // What services and people name may be Chinese in any language.
        ui::fonts::register(&surroundings.fonts(), Faces::Chinese);
    }

    let listener = scene.clone();
    platform.on_hardware(move |event| take(&listener, event));
    serve::offer(&scene, Rc::new(screen));
    serve_in_background(&scene, platform.ui())?;
    scene
        .connect(bus::Client::from_environment(), Some(platform.clipboard()))
        .context("starting to talk to the services")?;
    platform.run().context("waiting for input and the display")
}

fn build_scene(screen: &ScreenControl, ui: UiLoop, surroundings: &Surroundings) -> Result<Scene> {
    let clock = screen.clone();
    let surroundings = scene::Surroundings {
        ui,
        now: Rc::new(move || clock.now()),
        wall: Rc::new(jiff::Timestamp::now),
        data: surroundings.data.clone(),
        system: surroundings.system.clone(),
    };
    Scene::new(Rc::new(screen.clone()), surroundings).context("building the scene")
}

fn take(scene: &Scene, event: Hardware) {
    match event {
        Hardware::PowerPressed => scene.power_key(PowerKey::Short),
        Hardware::PowerHeld => scene.power_key(PowerKey::Long),
        Hardware::Home => scene.home_key(),
        Hardware::Back => scene.back_key(),
        // There is no sound yet that these could turn.
        Hardware::VolumeUp | Hardware::VolumeDown | Hardware::VolumeMute => scene.touched(),
        Hardware::Touched => scene.touched(),
    }
}

/// Serves the bus on a thread of its own, which also takes the signals that end this program.
fn serve_in_background(scene: &Scene, ui: UiLoop) -> Result<()> {
    let notifications = scene.notifications();
    let serve = move || {
        let result = service::run_until_ended(async || {
            let server = match bus::Server::from_environment() {
                Ok(mut server) => {
                    let notices = serve::fill(&mut server, &ui, notifications);
                    tokio::spawn(notices.with_family(bus::folder()));
                    Some(server)
                }
                // Started by hand: the screen shows, and nobody can call it.
                Err(error) => {
                    tracing::warn!("nothing is served: {error}");
                    None
                }
            };
            Ok(async {
                match server {
                    Some(server) => server.run().await,
                    None => std::future::pending().await,
                }
            })
        });
        if let Err(error) = result {
            tracing::error!("{error:#}");
        }
        ui.quit();
    };
    std::thread::Builder::new()
        .name("bus".into())
        .spawn(serve)
        .context("starting the thread that serves the bus")?;
    Ok(())
}

impl scene::Display for ScreenControl {
    fn set_power(&self, on: bool) {
        self.set_on(on);
    }

    fn is_on(&self) -> bool {
        ScreenControl::is_on(self)
    }

    fn brightness(&self) -> Option<f32> {
        ScreenControl::brightness(self)
    }

    fn set_brightness(&self, brightness: f32) {
        ScreenControl::set_brightness(self, brightness);
    }

    fn inject(&self, injected: &Injected) {
        ScreenControl::inject(self, injected);
    }
}

impl serve::Measured for ScreenControl {
    fn size(&self) -> (u32, u32) {
        ScreenControl::size(self)
    }

    fn scale(&self) -> f32 {
        ScreenControl::scale(self)
    }

    fn statistics(&self) -> statistics::Statistics {
        ScreenControl::statistics(self, |statistics| statistics.clone())
    }

    fn reset_statistics(&self) {
        ScreenControl::statistics(self, statistics::Statistics::reset);
    }

    fn redraw(&self) {
        ScreenControl::redraw(self);
    }

    fn reserve(&self, reserved: Reserved) {
        ScreenControl::reserve(self, reserved);
    }

    fn watch(&self, watcher: u64, wake: Box<dyn Fn()>) -> bool {
        ScreenControl::watch(self, watcher, wake);
        true
    }

    fn unwatch(&self, watcher: u64) {
        ScreenControl::unwatch(self, watcher);
    }

    fn look(&self, watcher: u64) -> Look {
        ScreenControl::look(self, watcher)
    }
}
