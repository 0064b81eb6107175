//! What the screen serves on the bus: `hyper:screen`, `hyper:input`, `hyper:notify` and its health.
//!
//! The bus has a thread of its own; every answer about the screen is given by the thread of the
//! user interface, through its loop. So is the health: a user interface that hangs is unhealthy
//! although this thread still answers.

mod shown;
mod visiting;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::notices::Notices;
use crate::platform::{Look, Reserved, UiLoop};
use crate::scene::Scene;
use crate::scene::notifications::Notifications;
use crate::statistics::Statistics;

/// A loop that has not come round for so long hangs.
const LONGEST_ROUND: Duration = Duration::from_secs(3);

/// What can be told of a screen beside what is on it.
pub trait Measured {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);
    /// Pixels for one logical pixel.
    fn scale(&self) -> f32;
    /// What was counted.
    fn statistics(&self) -> Statistics;
    /// Counts anew.
    fn reset_statistics(&self);
    /// Draws everything once.
    fn redraw(&self);
    /// Keeps from those who watch what is reserved for somebody at the device.
    fn reserve(&self, reserved: Reserved);
    /// Gathers from now on what changes for this watcher, and calls `wake` when there is something. Whether it
    /// can.
    fn watch(&self, watcher: u64, wake: Box<dyn Fn()>) -> bool;
    /// Gathers nothing for this watcher any more.
    fn unwatch(&self, watcher: u64);
    /// What changed since this watcher looked last: at first, everything.
    fn look(&self, watcher: u64) -> Look;
}

thread_local! {
    /// What stands on the thread of the user interface, for tasks that come from the bus.
    static RUNNING: RefCell<Option<(Scene, Rc<dyn Measured>)>> = const { RefCell::new(None) };
}

/// Lets calls from the bus reach the scene and the screen of this thread.
pub fn offer(scene: &Scene, screen: Rc<dyn Measured>) {
    let reserving = scene.downgrade();
    screen.reserve(Rc::new(move || reserving.is_reserved()));
    RUNNING.with(|running| *running.borrow_mut() = Some((scene.clone(), screen)));
}

/// Puts everything that the shell serves into a server. The notices are to be kept with the family.
pub fn fill(server: &mut bus::Server, ui: &UiLoop, notifications: Notifications) -> Notices {
    server.serve(bus::screen::interface(Screen { ui: ui.clone() }));
    server.serve(bus::beacon::interface(Screen { ui: ui.clone() }));
    server.serve(bus::view::interface(Screen { ui: ui.clone() }));
    server.serve(bus::input::interface(Screen { ui: ui.clone() }));
    let notices = Notices::new(notifications.clone());
    server.serve(bus::notify::interface(notifications));
    server.serve(bus::notices::interface(notices.clone()));
    let heartbeat = Heartbeat::new();
    let ui = ui.clone();
    server.health(move || heartbeat.check(&ui));
    notices
}

/// Whether the loop still comes round: each question sends a beat through it, and the beat before
/// must have come back.
struct Heartbeat {
    sent: Arc<Mutex<Option<Instant>>>,
}

impl Heartbeat {
    fn new() -> Self {
        Self {
            sent: Arc::default(),
        }
    }

    fn check(&self, ui: &UiLoop) -> Result<(), String> {
        let lock =
            |sent: &Mutex<Option<Instant>>| *sent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = lock(&self.sent) {
            let waited = sent.elapsed();
            return if waited < LONGEST_ROUND {
                Ok(())
            } else {
                Err(format!(
                    "the user interface has not answered for {} s",
                    waited.as_secs()
                ))
            };
        }
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let sent = self.sent.clone();
        ui.post(move || *sent.lock().unwrap_or_else(PoisonError::into_inner) = None)
            .map_err(|gone| gone.to_string())
    }
}

struct Screen {
    ui: UiLoop,
}

impl Screen {
    /// Asks the thread of the user interface.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Scene, &dyn Measured) -> T + Send + 'static,
    ) -> T {
        let answer = self.ui.call(|| {
            RUNNING
                .with(|running| running.borrow().clone())
                .map(|(scene, screen)| question(&scene, &*screen))
        });
        match answer.await {
            Ok(Some(answer)) => answer,
            // The screen is ending, and this program with it: the caller sees the connection close.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl bus::screen::Handler for Screen {
    async fn status(&self, _: bus::Caller) -> bus::screen::State {
        self.ask(|scene, screen| {
            let status = scene.status();
            let (width, height) = screen.size();
            bus::screen::State {
                on: status.on,
                locked: status.locked,
                page: status.page,
                width,
                height,
                scale: screen.scale(),
            }
        })
        .await
    }

    async fn lock(&self, _: bus::Caller) {
        self.ask(|scene, _| scene.lock()).await;
    }

    async fn power(&self, _: bus::Caller, on: bool) {
        self.ask(move |scene, _| scene.set_power(on)).await;
    }

    async fn statistics(&self, _: bus::Caller) -> bus::screen::Measurements {
        self.ask(|_, screen| measurements(&screen.statistics()))
            .await
    }

    async fn reset_statistics(&self, _: bus::Caller) {
        self.ask(|_, screen| screen.reset_statistics()).await;
    }

    async fn redraw(&self, _: bus::Caller) {
        self.ask(|_, screen| screen.redraw()).await;
    }
}

impl bus::beacon::Handler for Screen {
    async fn show(&self, caller: bus::Caller, seconds: u32) {
        let asker = caller.device().map(|device| device.name.to_string());
        let time = Duration::from_secs(u64::from(seconds.min(120)));
        self.ask(move |scene, _| scene.show_beacon(asker.unwrap_or_default(), time))
            .await;
    }

    async fn hide(&self, _: bus::Caller) {
        self.ask(|scene, _| scene.hide_beacon()).await;
    }
}

fn measurements(statistics: &Statistics) -> bus::screen::Measurements {
    let short = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    bus::screen::Measurements {
        frames: statistics.frames(),
        touch_to_flip: statistics.touch_to_flip().map(short).collect(),
        redraws: statistics
            .redraws()
            .map(|frame| (short(frame.processor_time), frame.share))
            .collect(),
        first_frame: statistics
            .first_frame()
            .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_does_not_come_round_is_unhealthy() {
        let ui = UiLoop::detached().unwrap();
        let heartbeat = Heartbeat::new();
        assert_eq!(heartbeat.check(&ui), Ok(()));
        assert_eq!(heartbeat.check(&ui), Ok(()));
        *heartbeat.sent.lock().unwrap() = Some(Instant::now() - LONGEST_ROUND);
        assert!(
            heartbeat
                .check(&ui)
                .unwrap_err()
                .contains("has not answered for 3 s")
        );
        ui.run_tasks();
        assert_eq!(heartbeat.check(&ui), Ok(()));
    }
}
