//! The screen without a screen: the same code on a display in memory, with a clock that moves only
//! when told. For tests and for pictures.
//!
//! ```no_run
//! # use std::time::Duration;
//! use shell::platform::Headless;
//! let screen = Headless::new(540, 1200, 1.5);
//! // … create the scene …
//! screen.tap(180.0, 400.0);
//! screen.settle();
//! screen.picture().save_png("after-the-tap.png").unwrap();
//! ```

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slint::SharedString;
use slint::platform::WindowEvent;

use super::clock::Clock;
use super::control::{Hardware, ScreenControl};
use super::screen::Screen;
use super::wake::UiLoop;
use super::{Picture, slint_platform};
use crate::clipboard::Clipboard;
use crate::display::{self, Canvas, Display, Presented, Region, memory::Memory};
use crate::input::{Input, KeyAction, Stamped, Touch, TouchPhase};

/// A step of the clock: a frame at 60 Hz.
const STEP: Duration = Duration::from_micros(16_667);

/// A screen in memory. One a thread: its platform is the thread's.
pub struct Headless {
    screen: Rc<Screen>,
    memory: Rc<RefCell<Memory>>,
    ui: UiLoop,
    clipboard: Clipboard,
}

impl Headless {
    /// Makes a screen of so many pixels, of which `scale` make a logical one, the platform of this
    /// thread. Register fonts next; then create the scene.
    ///
    /// # Panics
    /// When the thread has a platform already.
    pub fn new(width: u32, height: u32, scale: f32) -> Self {
        let memory = Rc::new(RefCell::new(Memory::new(width, height)));
        let clock = Clock::Manual(std::cell::Cell::new(Duration::from_secs(1)));
        let screen = Screen::new(Box::new(Shared(memory.clone())), scale, clock);
        let ui = UiLoop::new().expect("an eventfd can be made");
        let clipboard = Clipboard::default();
        slint_platform::install(screen.clone(), ui.clone(), clipboard.clone())
            .expect("one screen a thread");
        Self {
            screen,
            memory,
            ui,
            clipboard,
        }
    }

    /// What the scene controls the screen with.
    pub fn screen(&self) -> ScreenControl {
        ScreenControl::new(self.screen.clone(), || None)
    }

    /// What other threads reach the scene with; what they post runs in [`Headless::step`].
    pub fn ui(&self) -> UiLoop {
        self.ui.clone()
    }

    /// What text fields copy to and paste from.
    pub fn clipboard(&self) -> Clipboard {
        self.clipboard.clone()
    }

    /// Passes on what is not text.
    pub fn on_hardware(&self, listener: impl Fn(Hardware) + 'static) {
        self.screen.listen(listener);
    }

    /// One round of the loop without moving the clock: tasks of other threads, timers, drawing.
    /// Answers when the loop would wake by itself.
    pub fn step(&self) -> Option<Duration> {
        self.ui.run_tasks();
        self.screen.step()
    }

    /// Lets so much time pass, a frame at a time.
    pub fn advance(&self, by: Duration) {
        let end = self.now() + by;
        self.step();
        while self.now() < end {
            self.set_now((self.now() + STEP).min(end));
            self.step();
        }
    }

    /// Lets time pass until nothing moves, at most ten seconds. A timer further away than a
    /// quarter of a second, such as a clock's, is not waited for.
    pub fn settle(&self) {
        let end = self.now() + Duration::from_secs(10);
        while self.now() < end {
            match self.step() {
                Some(next) if next <= self.now() + Duration::from_millis(250) => {
                    self.set_now(next.max(self.now() + STEP))
                }
                _ => return,
            }
        }
    }

    /// A finger comes down, at logical pixels.
    pub fn touch(&self, x: f32, y: f32) {
        self.finger(TouchPhase::Down, x, y);
    }

    /// The finger moves there.
    pub fn touch_move(&self, x: f32, y: f32) {
        self.finger(TouchPhase::Moved, x, y);
    }

    /// The finger is lifted there.
    pub fn release(&self, x: f32, y: f32) {
        self.finger(TouchPhase::Up, x, y);
    }

    /// A short touch.
    pub fn tap(&self, x: f32, y: f32) {
        self.touch(x, y);
        self.advance(Duration::from_millis(80));
        self.release(x, y);
        self.advance(STEP);
    }

    /// A finger comes down, moves steadily for so long and is lifted.
    pub fn drag(&self, from: (f32, f32), to: (f32, f32), over: Duration) {
        self.touch(from.0, from.1);
        let steps = (over.as_micros() / STEP.as_micros()).max(1) as u32;
        for i in 1..=steps {
            self.advance(STEP);
            let share = i as f32 / steps as f32;
            self.touch_move(
                from.0 + (to.0 - from.0) * share,
                from.1 + (to.1 - from.1) * share,
            );
        }
        self.release(to.0, to.1);
        self.advance(STEP);
    }

    /// A key of the kernel's code, pressed and released: goes through the layout.
    pub fn key_code(&self, code: u16) {
        for action in [KeyAction::Pressed, KeyAction::Released] {
            self.input(Input::Key { code, action });
        }
        self.step();
    }

    /// A key that means this text, or a [`slint::platform::Key`], pressed and released.
    pub fn key(&self, key: impl Into<SharedString>) {
        let text = key.into();
        self.screen
            .surface
            .dispatch(WindowEvent::KeyPressed { text: text.clone() });
        self.screen
            .surface
            .dispatch(WindowEvent::KeyReleased { text });
        self.step();
    }

    /// Text, key by key.
    pub fn type_text(&self, text: &str) {
        for character in text.chars() {
            self.key(character);
        }
    }

    /// What a hardware key asks for.
    pub fn hardware(&self, event: Hardware) {
        self.screen.tell(event);
        self.step();
    }

    /// Any input, now.
    pub fn input(&self, input: Input) {
        self.screen.input(Stamped {
            at: self.now(),
            input,
        });
    }

    /// Draws what is due; then what is on the display.
    pub fn picture(&self) -> Picture {
        self.step();
        self.advance(STEP);
        self.memory.borrow().picture()
    }

    /// The time of this screen.
    pub fn now(&self) -> Duration {
        self.screen.clock.now()
    }

    fn set_now(&self, now: Duration) {
        if let Clock::Manual(clock) = &*self.screen.clock {
            clock.set(now);
        }
    }

    fn finger(&self, phase: TouchPhase, x: f32, y: f32) {
        let (width, height) = self.screen.size();
        let scale = self.screen.scale();
        let share = |at: f32, size: u32| at * scale / size.saturating_sub(1).max(1) as f32;
        self.input(Input::Touch(Touch {
            contact: 0,
            phase,
            position: (share(x, width), share(y, height)),
        }));
        self.step();
    }
}

/// The display, also seen by the harness.
struct Shared(Rc<RefCell<Memory>>);

impl Display for Shared {
    fn name(&self) -> String {
        self.0.borrow().name()
    }

    fn size(&self) -> (u32, u32) {
        self.0.borrow().size()
    }

    fn frame_time(&self) -> Duration {
        self.0.borrow().frame_time()
    }

    fn present(&mut self, canvas: &Canvas, damage: &Region) -> io::Result<Presented> {
        self.0.borrow_mut().present(canvas, damage)
    }

    fn receive(&mut self) -> io::Result<Vec<display::Event>> {
        self.0.borrow_mut().receive()
    }

    fn set_lit(&mut self, lit: bool) -> io::Result<()> {
        self.0.borrow_mut().set_lit(lit)
    }
}
