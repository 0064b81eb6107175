//! The screen: the scene's window, the display that shows it and the input that reaches it, without
//! any waiting. The loop and the test harness both drive this.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slint::PhysicalSize;
use slint::platform::WindowEvent;

use super::clock::{Clock, processor_time};
use super::control::Hardware;
use super::cursor::Cursor;
use super::injecting::Injecting;
use super::pointing::Pointer;
use super::power_key::PowerKey;
use super::redraw::{Next, Redraw};
use super::surface::Surface;
use super::tap::Taps;
use crate::display::{self, Canvas, Display, Presented, Rectangle, Region};
use crate::input::keyboard::{Keyboard, Meaning};
use crate::input::{Input, KeyAction, Stamped};
use crate::statistics::{DrawnFrame, Statistics};

/// Who is told what keys ask for.
type Listener = Rc<dyn Fn(Hardware)>;

pub(crate) struct Screen {
    pub(super) surface: Rc<Surface>,
    pub(super) clock: Rc<Clock>,
    pub(super) output: RefCell<Output>,
    pub(super) pointer: RefCell<Pointer>,
    pub(super) injecting: RefCell<Injecting>,
    pub(super) taps: RefCell<Taps>,
    keyboard: RefCell<Keyboard>,
    power_key: RefCell<PowerKey>,
    statistics: RefCell<Statistics>,
    listener: RefCell<Option<Listener>>,
    pub(super) lit: Cell<bool>,
    pub(super) scale: Cell<f32>,
    /// Of the display, in pixels.
    pub(super) size: Cell<(u32, u32)>,
}

/// What drawing works on.
pub(super) struct Output {
    display: Box<dyn Display>,
    pub(super) canvas: Canvas,
    pub(super) redraw: Redraw,
    pub(super) cursor: Cursor,
    /// The display has none of the canvas yet.
    whole: bool,
    /// The last frame could not be shown; said once until one can.
    failing: bool,
}

impl Output {
    /// Whether what is in the canvas has not been drawn for this display.
    pub(super) fn is_to_be_drawn(&self) -> bool {
        self.whole
    }
}

impl Screen {
    pub(super) fn new(display: Box<dyn Display>, scale: f32, clock: Clock) -> Rc<Self> {
        let (width, height) = display.size();
        let redraw = Redraw::new(display.frame_time());
        let screen = Rc::new(Self {
            surface: Surface::new(),
            clock: Rc::new(clock),
            output: RefCell::new(Output {
                display,
                canvas: Canvas::new(width, height),
                redraw,
                cursor: Cursor::default(),
                whole: true,
                failing: false,
            }),
            pointer: RefCell::default(),
            injecting: RefCell::default(),
            taps: RefCell::default(),
            keyboard: RefCell::default(),
            power_key: RefCell::default(),
            statistics: RefCell::default(),
            listener: RefCell::default(),
            lit: Cell::new(true),
            scale: Cell::new(scale),
            size: Cell::new((width, height)),
        });
        screen
            .surface
            .resize(PhysicalSize::new(width, height), scale);
        screen
    }

    /// Goes on with another display.
    pub(super) fn attach(&self, display: Box<dyn Display>) {
        self.output.borrow_mut().display = display;
        if !self.lit.get()
            && let Err(error) = self.output.borrow_mut().display.set_lit(false)
        {
            tracing::warn!("turning the new display off failed: {error}");
        }
        self.resized();
    }

    fn resized(&self) {
        let size = {
            let mut output = self.output.borrow_mut();
            let (width, height) = output.display.size();
            self.size.set((width, height));
            output.canvas = Canvas::new(width, height);
            output.cursor.forget();
            output.whole = true;
            if self.lit.get() {
                let frame_time = output.display.frame_time();
                output.redraw.lit(frame_time);
            }
            PhysicalSize::new(width, height)
        };
        self.surface.resize(size, self.scale.get());
    }

    pub(super) fn listen(&self, listener: impl Fn(Hardware) + 'static) {
        *self.listener.borrow_mut() = Some(Rc::new(listener));
    }

    pub(super) fn tell(&self, event: Hardware) {
        let listener = self.listener.borrow().clone();
        if let Some(listener) = listener {
            listener(event);
        }
    }

    /// Advances timers and animations, draws if it is time to, and says when to come back if
    /// nothing happens before.
    pub(super) fn step(&self) -> Option<Duration> {
        // Animations count themselves while they are drawn, and are forgotten when time advances.
        let animating = self.is_animating();
        slint::platform::update_timers_and_animations();
        self.hold_power_key();
        let now = self.clock.now();
        let next = {
            let mut output = self.output.borrow_mut();
            if self.surface.take_request() || animating {
                output.redraw.request();
            }
            if output.redraw.is_overdue(now) {
                tracing::warn!(
                    "{} did not report a frame for {:?}; going on",
                    output.display.name(),
                    Redraw::LONGEST_FLIP
                );
                output.redraw.flipped();
                self.statistics.borrow_mut().flipped(now);
            }
            output.redraw.next(now)
        };
        let redraw = match next {
            Next::Draw => {
                self.draw(now);
                match self.output.borrow().redraw.next(self.clock.now()) {
                    // Whatever asked for another frame while this one was drawn comes next round.
                    Next::Draw => Some(now),
                    Next::At(time) => Some(time),
                    Next::Wait => None,
                }
            }
            Next::At(time) => Some(time),
            Next::Wait => None,
        };
        let now = self.clock.now();
        let timer = slint::platform::duration_until_next_timer_update().map(|left| now + left);
        // An animation that is not waiting for a frame, because its effect is invisible, still ends.
        let animation = (self.is_animating() && redraw.is_none() && self.lit.get())
            .then(|| now + self.frame_time());
        [redraw, timer, animation, self.power_key.borrow().deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn draw(&self, begun: Duration) {
        let started = processor_time();
        let mut output = self.output.borrow_mut();
        let Output {
            display: target,
            canvas,
            redraw,
            cursor,
            whole,
            failing,
        } = &mut *output;
        let mut damage = Region::new();
        cursor.lift(canvas, &mut damage);
        let drawn = self.surface.draw(canvas);
        damage.extend(&drawn);
        cursor.put(canvas, self.scale.get(), &mut damage);
        if *whole {
            damage = Rectangle::of_size(canvas.width(), canvas.height()).into();
        }
        self.note_drawn(&damage);
        if damage.is_empty() {
            redraw.drawn(begun);
            return;
        }
        let presented = target.present(canvas, &damage);
        let all = u64::from(canvas.width()) * u64::from(canvas.height());
        let frame = DrawnFrame {
            processor_time: processor_time().saturating_sub(started),
            share: (drawn.area().min(all) * 1000 / all.max(1)) as u32,
        };
        tracing::debug!("drew {}‰ in {:?}", frame.share, frame.processor_time);
        let mut statistics = self.statistics.borrow_mut();
        match presented {
            Ok(Presented::Pending) => {
                redraw.drawn_pending(begun);
                statistics.drawn(frame);
            }
            Ok(Presented::Complete) => {
                redraw.drawn(begun);
                statistics.drawn(frame);
                statistics.flipped(self.clock.now());
            }
            Err(error) => {
                redraw.failed(begun);
                if !std::mem::replace(failing, true) {
                    tracing::error!("showing a frame on {} failed: {error}", target.name());
                }
                *whole = true;
                return;
            }
        }
        *whole = false;
        *failing = false;
    }

    /// Takes what the display reports.
    pub(super) fn receive(&self) {
        let events = self.output.borrow_mut().display.receive();
        self.display_events(events);
    }

    /// Looks again at what is connected.
    pub(super) fn probe(&self) {
        let events = self.output.borrow_mut().display.probe();
        self.display_events(events);
    }

    fn display_events(&self, events: io::Result<Vec<display::Event>>) {
        let events = match events {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(
                    "asking {} what happened failed: {error}",
                    self.output.borrow().display.name()
                );
                return;
            }
        };
        for event in events {
            match event {
                display::Event::Flipped(at) => {
                    let mut output = self.output.borrow_mut();
                    if output.redraw.is_flipping() {
                        output.redraw.flipped();
                        self.statistics.borrow_mut().flipped(at);
                    }
                }
                display::Event::Resized => self.resized(),
            }
        }
    }

    /// Passes on what a person did.
    pub(super) fn input(&self, Stamped { at, input }: Stamped) {
        match input {
            Input::Touch(touch) if self.lit.get() => self.own_touch(touch),
            Input::MouseMoved { x, y } if self.lit.get() => self.mouse_moved(x, y),
            Input::MouseButton { button, pressed } => {
                if pressed {
                    self.let_go();
                }
                self.mouse_button(button, pressed);
            }
            Input::Wheel { x, y } if self.lit.get() => self.wheel(x, y),
            Input::Key { code, action } => self.key(code, action),
            Input::Touch(_) | Input::MouseMoved { .. } | Input::Wheel { .. } => return,
        }
        self.tell(Hardware::Touched);
        if matches!(input, Input::Touch(_) | Input::MouseButton { .. }) {
            // Only what changes something on the screen has a frame to wait for.
            let mut output = self.output.borrow_mut();
            if self.surface.take_request() || self.is_animating() {
                output.redraw.request();
            }
            if output.redraw.is_requested() {
                self.statistics.borrow_mut().touched(at);
            }
        }
    }

    fn key(&self, code: u16, action: KeyAction) {
        let meaning = self.keyboard.borrow_mut().key(code, action);
        match meaning {
            Meaning::Nothing => {}
            Meaning::Power => {
                let mut key = self.power_key.borrow_mut();
                let short = match action {
                    KeyAction::Pressed => {
                        key.pressed(self.clock.now());
                        false
                    }
                    KeyAction::Released => key.released(),
                    KeyAction::Repeated => false,
                };
                drop(key);
                if short {
                    self.tell(Hardware::PowerPressed);
                }
            }
            Meaning::Hardware(event) => {
                if action != KeyAction::Released {
                    self.tell(event);
                }
            }
            Meaning::Text(text) => {
                if !self.lit.get() {
                    if action == KeyAction::Pressed {
                        self.tell(Hardware::PowerPressed);
                    }
                    return;
                }
                self.surface.dispatch(match action {
                    KeyAction::Pressed => WindowEvent::KeyPressed { text },
                    KeyAction::Repeated => WindowEvent::KeyPressRepeated { text },
                    KeyAction::Released => WindowEvent::KeyReleased { text },
                });
            }
        }
    }

    fn hold_power_key(&self) {
        let held = self.power_key.borrow_mut().held(self.clock.now());
        if held {
            self.tell(Hardware::PowerHeld);
        }
    }

    fn is_animating(&self) -> bool {
        slint::platform::WindowAdapter::window(&*self.surface).has_active_animations()
    }

    pub(super) fn is_lit(&self) -> bool {
        self.lit.get()
    }

    pub(super) fn set_lit(&self, lit: bool) {
        if self.lit.replace(lit) == lit {
            return;
        }
        let mut output = self.output.borrow_mut();
        if let Err(error) = output.display.set_lit(lit) {
            let state = if lit { "on" } else { "off" };
            tracing::error!("turning {} {state} failed: {error}", output.display.name());
        }
        if lit {
            let frame_time = output.display.frame_time();
            output.whole = true;
            output.redraw.lit(frame_time);
        } else {
            output.redraw.dark();
            drop(output);
            // A finger that is down while the screen goes dark means nothing any more.
            if self.pointer.borrow_mut().contact.take().is_some() {
                self.surface.dispatch(WindowEvent::PointerExited);
            }
            self.let_go();
        }
        self.wake_watchers();
    }

    pub(super) fn redraw_all(&self) {
        self.surface.forget();
    }

    pub(super) fn size(&self) -> (u32, u32) {
        self.size.get()
    }

    fn frame_time(&self) -> Duration {
        self.output.borrow().display.frame_time()
    }

    pub(super) fn scale(&self) -> f32 {
        self.scale.get()
    }

    pub(super) fn set_scale(&self, scale: f32) {
        if scale.is_finite() && scale > 0.0 && self.scale.replace(scale) != scale {
            let (width, height) = self.size();
            self.surface.resize(PhysicalSize::new(width, height), scale);
        }
    }

    pub(super) fn set_keyboard_layout(&self, name: &str) -> bool {
        self.keyboard.borrow_mut().set_layout(name)
    }

    pub(super) fn with_statistics<T>(&self, f: impl FnOnce(&mut Statistics) -> T) -> T {
        f(&mut self.statistics.borrow_mut())
    }

    pub(super) fn with_display<T>(&self, f: impl FnOnce(&dyn Display) -> T) -> T {
        f(&*self.output.borrow().display)
    }
}
