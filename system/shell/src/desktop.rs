//! The screen as a window of another system's desktop: the same scene on Slint's own window
//! backend, which brings its loop, its input and its drawing. Nothing is measured there. Who closes
//! the window ends the layer, as turning a device off does.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use slint::platform::{PointerEventButton, WindowEvent};
use slint::{ComponentHandle as _, LogicalPosition};

use crate::input::TouchPhase;
use crate::platform::{Injected, Look, Reserved, UiLoop};
use crate::scene::{self, Scene};
use crate::serve::{self, Measured};
use crate::statistics::Statistics;
use crate::surroundings::{ProductDisplay, Surroundings};

/// How long `init` may take to say that it ends the layer.
const END: Duration = Duration::from_secs(5);

/// Whether this runs on a desktop.
pub fn is_there() -> bool {
    ["WAYLAND_DISPLAY", "DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Runs the screen in a window until it is closed.
pub fn run(surroundings: &Surroundings) -> Result<()> {
    slint::BackendSelector::new()
        .backend_name("winit".into())
        .renderer_name("software".into())
        .select()
        .context("opening a window on this desktop")?;
    ui::fonts::register(&surroundings.fonts(), ui::fonts::Faces::All);
    let loop_handle = UiLoop::on_foreign_loop(|ui| {
        // Fails only after the window was closed, and then nothing is left to do.
        let _ = slint::invoke_from_event_loop(move || {
            ui.run_tasks();
            if ui.is_quitting() {
                let _ = slint::quit_event_loop();
            }
        });
    })
    .context("making the loop's wake-up")?;

    let window = Rc::new(Window {
        display: surroundings.display,
        scene: OnceCell::new(),
        pointer: Cell::new(None),
    });
    let begin = Instant::now();
    let scene = Scene::new(
        window.clone(),
        scene::Surroundings {
            ui: loop_handle.clone(),
            now: Rc::new(move || begin.elapsed()),
            wall: Rc::new(jiff::Timestamp::now),
            data: surroundings.data.clone(),
            system: surroundings.system.clone(),
        },
    )
    .context("building the scene")?;
    // Set once, here.
    let _ = window.scene.set(scene.clone());
    let ProductDisplay {
        width,
        height,
        scale,
    } = surroundings.display;
    scene.window().window().set_size(slint::LogicalSize::new(
        width as f32 / scale,
        height as f32 / scale,
    ));
    serve::offer(&scene, window);
    crate::serve_in_background(&scene, loop_handle)?;
    let client = bus::Client::from_environment();
    scene
        // There, text fields copy to the clipboard of the desktop.
        .connect(client.clone(), None)
        .context("starting to talk to the services")?;
    scene.window().run().context("running the window")?;
    end_layer(&client.with_deadline(END))
}

/// Asks `init` to end everything, for otherwise it would open the window again. That it is ending
/// already, and perhaps no longer answers, is no error.
fn end_layer(client: &bus::Client) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("making the loop that ends the layer")?;
    if let Err(error) = runtime.block_on(bus::power::power_off(client)) {
        tracing::debug!("the layer was not asked to end: {error}");
    }
    Ok(())
}

struct Window {
    display: ProductDisplay,
    scene: OnceCell<Scene>,
    /// Where the pointer of another device is, in logical pixels. The desktop's own arrow stays where it is.
    pointer: Cell<Option<LogicalPosition>>,
}

impl Window {
    fn slint(&self) -> Option<&slint::Window> {
        self.scene.get().map(|scene| scene.window().window())
    }
}

impl Window {
    /// Does in the window what another device has the screen do.
    fn dispatch(&self, window: &slint::Window, injected: &Injected) {
        let size = window.size().to_logical(window.scale_factor());
        let within = |x: f32, y: f32| {
            LogicalPosition::new(x.clamp(0.0, size.width), y.clamp(0.0, size.height))
        };
        let at = self.pointer.get();
        let at = at.unwrap_or_else(|| within(size.width / 2.0, size.height / 2.0));
        let button = PointerEventButton::Left;
        let pressed = |down: bool, position| match down {
            true => WindowEvent::PointerPressed { position, button },
            false => WindowEvent::PointerReleased { position, button },
        };
        let moved = |position| {
            self.pointer.set(Some(position));
            window.dispatch_event(WindowEvent::PointerMoved { position });
        };
        match injected {
            Injected::Key(text) => {
                let text = text.clone();
                window.dispatch_event(WindowEvent::KeyPressed { text: text.clone() });
                window.dispatch_event(WindowEvent::KeyReleased { text });
            }
            Injected::Moved { x, y } => moved(within(at.x + x, at.y + y)),
            Injected::Button(down) => window.dispatch_event(pressed(*down, at)),
            Injected::Scrolled { x, y } => window.dispatch_event(WindowEvent::PointerScrolled {
                position: at,
                delta_x: *x,
                delta_y: *y,
            }),
            Injected::Touch { phase, position } => {
                let position = within(position.0 * size.width, position.1 * size.height);
                match phase {
                    TouchPhase::Down => {
                        moved(position);
                        window.dispatch_event(pressed(true, position));
                    }
                    TouchPhase::Moved => moved(position),
                    TouchPhase::Up => window.dispatch_event(pressed(false, position)),
                    TouchPhase::Cancelled => window.dispatch_event(WindowEvent::PointerExited),
                }
            }
            Injected::LetGo => {
                self.pointer.set(None);
                window.dispatch_event(WindowEvent::PointerExited);
            }
        }
    }
}

impl scene::Display for Window {
    // Another system's display is not ours to turn off.
    fn can_turn_off(&self) -> bool {
        false
    }

    fn set_power(&self, _: bool) {}

    fn is_on(&self) -> bool {
        true
    }

    fn brightness(&self) -> Option<f32> {
        None
    }

    fn set_brightness(&self, _: f32) {}

    fn inject(&self, injected: &Injected) {
        if let Some(window) = self.slint() {
            self.dispatch(window, injected);
        }
    }
}

impl Measured for Window {
    fn size(&self) -> (u32, u32) {
        self.slint()
            .map_or((self.display.width, self.display.height), |window| {
                (window.size().width, window.size().height)
            })
    }

    fn scale(&self) -> f32 {
        self.slint()
            .map_or(self.display.scale, slint::Window::scale_factor)
    }

    fn statistics(&self) -> Statistics {
        Statistics::default()
    }

    fn reset_statistics(&self) {}

    fn redraw(&self) {
        if let Some(window) = self.slint() {
            window.request_redraw();
        }
    }

    fn reserve(&self, _: Reserved) {}

    // Slint's own window tells nobody what it has drawn.
    fn watch(&self, _: u64, _: Box<dyn Fn()>) -> bool {
        false
    }

    fn unwatch(&self, _: u64) {}

    fn look(&self, _: u64) -> Look {
        Look::Nothing
    }
}
