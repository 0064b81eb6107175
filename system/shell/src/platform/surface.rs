//! The one window of the shell, as Slint sees it: it is as large as the screen.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use slint::platform::software_renderer::{RepaintBufferType, SoftwareRenderer};
use slint::platform::{Key, Renderer, WindowAdapter, WindowEvent, WindowEventDispatchResult};
use slint::{PhysicalSize, PlatformError, SharedString, Window, WindowSize};

use crate::display::{Canvas, Rectangle, Region};

pub(super) struct Surface {
    window: Window,
    renderer: SoftwareRenderer,
    size: Cell<PhysicalSize>,
    requested: Cell<bool>,
}

impl Surface {
    pub(super) fn new() -> Rc<Self> {
        Rc::new_cyclic(|this: &Weak<Self>| Self {
            window: Window::new(this.clone()),
            renderer: SoftwareRenderer::new_with_repaint_buffer_type(
                RepaintBufferType::ReusedBuffer,
            ),
            size: Cell::default(),
            requested: Cell::new(true),
        })
    }

    /// Whether something asked to be drawn since the last call.
    pub(super) fn take_request(&self) -> bool {
        self.requested.take()
    }

    /// Tells the scene how large the screen is and how many pixels make a logical one.
    pub(super) fn resize(&self, size: PhysicalSize, scale: f32) {
        self.size.set(size);
        self.dispatch(WindowEvent::ScaleFactorChanged {
            scale_factor: scale,
        });
        self.dispatch(WindowEvent::Resized {
            size: size.to_logical(scale),
        });
        self.forget();
    }

    /// Makes the next drawing draw everything.
    pub(super) fn forget(&self) {
        // What the renderer knows to be in the canvas is dropped when the kind of buffer changes.
        self.renderer
            .set_repaint_buffer_type(RepaintBufferType::SwappedBuffers);
        self.renderer
            .set_repaint_buffer_type(RepaintBufferType::ReusedBuffer);
        self.requested.set(true);
    }

    /// Draws what changed, and says where that was.
    pub(super) fn draw(&self, canvas: &mut Canvas) -> Region {
        let width = canvas.width() as usize;
        if width == 0 || canvas.height() == 0 {
            return Region::new();
        }
        let drawn = self.renderer.render(canvas.pixels_mut(), width);
        let parts = || {
            drawn.iter().map(|(origin, size)| Rectangle {
                x: origin.x.max(0).unsigned_abs(),
                y: origin.y.max(0).unsigned_abs(),
                width: size.width,
                height: size.height,
            })
        };
        // Slint 1.18.1 draws a `Path` that touches what changed as a whole, over whatever lies above
        // it outside of that: an icon's ground covered its glyph.
        canvas.keep_only(parts());
        let mut region = Region::new();
        for part in parts() {
            region.add(part);
        }
        region
    }

    /// Passes an event to the scene.
    ///
    /// When what had the keys goes away, as a button does whose page changes, nothing has them, and no
    /// key would ever do anything again but Tab. So a key that leads somewhere leads back in.
    pub(super) fn dispatch(&self, event: WindowEvent) {
        let way_in = match &event {
            WindowEvent::KeyPressed { text } | WindowEvent::KeyPressRepeated { text } => {
                way_in(text)
            }
            _ => None,
        };
        let rejected = self.pass(event) == Some(WindowEventDispatchResult::Rejected);
        if let Some(way_in) = way_in
            && rejected
        {
            let text = SharedString::from(way_in);
            self.pass(WindowEvent::KeyPressed { text: text.clone() });
            self.pass(WindowEvent::KeyReleased { text });
        }
    }

    fn pass(&self, event: WindowEvent) -> Option<WindowEventDispatchResult> {
        self.window
            .dispatch_event_with_result(event)
            .inspect_err(|error| tracing::error!("passing an event to the scene failed: {error}"))
            .ok()
    }
}

/// What gives the keys to something again where nothing has them, for a key that the scene takes wherever
/// they are.
fn way_in(text: &str) -> Option<Key> {
    let is = |key: Key| text.chars().eq([char::from(key)]);
    if [Key::DownArrow, Key::RightArrow, Key::Escape, Key::Back]
        .into_iter()
        .any(is)
    {
        Some(Key::Tab)
    } else if is(Key::UpArrow) || is(Key::LeftArrow) {
        Some(Key::Backtab)
    } else {
        None
    }
}

impl WindowAdapter for Surface {
    fn window(&self) -> &Window {
        &self.window
    }

    fn size(&self) -> PhysicalSize {
        self.size.get()
    }

    // The screen is as large as it is.
    fn set_size(&self, _: WindowSize) {}

    fn set_visible(&self, visible: bool) -> Result<(), PlatformError> {
        if visible {
            self.window
                .dispatch_event_with_result(WindowEvent::WindowActiveChanged(true))?;
            self.requested.set(true);
        }
        Ok(())
    }

    fn request_redraw(&self) {
        self.requested.set(true);
    }

    fn renderer(&self) -> &dyn Renderer {
        &self.renderer
    }
}
