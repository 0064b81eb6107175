//! A display behind a kernel mode setting driver.
//!
//! Two buffers in the device's plain memory ("dumb buffers"): one is shown while the next frame is
//! copied into the other. Each remembers what it has not got yet, so a copy brings it up to date
//! with no more than the damage since it was last used.
//!
//! The mode is set by the old interface, which every driver has. Flips go by an atomic commit that
//! carries the damage where the driver knows such things (a virtual machine's then sends no more
//! than that to its host), and else by the old page flip. Both report their completion with the
//! kernel's time stamp.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use drm::buffer::{Buffer as _, DrmFourcc};
use drm::control::{
    AtomicCommitFlags, Device as _, Mode, ModeTypeFlags, PageFlipFlags, ResourceHandles,
    atomic::AtomicModeReq, connector, crtc, dumbbuffer::DumbBuffer, framebuffer, plane, property,
};
use drm::{ClientCapability, Device as _, DriverCapability};
use memmap2::{MmapMut, MmapOptions};
use rustix::fs::OFlags;

use super::pixel::Format;
use super::{Canvas, Display, Event, Presented, Rectangle, Region};

/// The opened device.
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Card {}
impl drm::control::Device for Card {}

/// A display of a kernel mode setting driver.
pub struct Drm {
    card: Rc<Card>,
    name: String,
    output: Output,
    /// The one at 0 is shown, the other one is drawn next.
    buffers: [Buffer; 2],
    /// Shown until the mode of the new ones is set.
    retired: Vec<Buffer>,
    flip: Flip,
    state: State,
}

/// Where the picture comes out.
#[derive(Debug, Clone, PartialEq)]
struct Output {
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
}

/// How a buffer is brought to the display.
enum Flip {
    Atomic {
        plane: plane::Handle,
        framebuffer: property::Handle,
        damage: Option<property::Handle>,
    },
    PageFlip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next frame sets the mode.
    ModeNotSet,
    Shown,
    Dark,
}

impl Drm {
    /// The first display of this machine that is connected.
    pub fn open() -> io::Result<Self> {
        let mut cards: Vec<PathBuf> = std::fs::read_dir("/dev/dri")?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("card"))
            })
            .collect();
        cards.sort();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no card in /dev/dri");
        for card in cards {
            match Self::open_card(&card) {
                Ok(display) => return Ok(display),
                Err(error) => {
                    last = io::Error::new(error.kind(), format!("{}: {error}", card.display()))
                }
            }
        }
        Err(last)
    }

    fn open_card(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
        let card = Rc::new(Card(
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags.bits() as i32)
                .open(path)?,
        ));
        if card.get_driver_capability(DriverCapability::DumbBuffer)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the driver has no plain buffers",
            ));
        }
        let atomic = card
            .set_client_capability(ClientCapability::UniversalPlanes, true)
            .is_ok()
            && card
                .set_client_capability(ClientCapability::Atomic, true)
                .is_ok();
        let output = Output::find(&card)?;
        let driver = card
            .get_driver()
            .map(|driver| driver.name().to_string_lossy().into_owned())
            .unwrap_or_default();
        let flip = if atomic {
            Flip::atomic(&card, output.crtc)?
        } else {
            Flip::PageFlip
        };
        let buffers = Buffer::pair(&card, output.mode)?;
        let name = format!("{} ({driver})", path.display());
        Ok(Self {
            card,
            name,
            output,
            buffers,
            retired: Vec::new(),
            flip,
            state: State::ModeNotSet,
        })
    }

    fn set_mode(&mut self, framebuffer: framebuffer::Handle) -> io::Result<()> {
        let Output {
            connector,
            crtc,
            mode,
        } = self.output;
        self.card
            .set_crtc(crtc, Some(framebuffer), (0, 0), &[connector], Some(mode))
    }

    fn flip(&self, buffer: &Buffer, damage: Rectangle) -> io::Result<()> {
        match &self.flip {
            Flip::Atomic {
                plane,
                framebuffer,
                damage: clips,
            } => {
                let mut request = AtomicModeReq::new();
                request.add_property(
                    *plane,
                    *framebuffer,
                    property::Value::Framebuffer(Some(buffer.framebuffer)),
                );
                let blob = match clips {
                    Some(clips) => {
                        // struct drm_mode_rect: left, upper, right and lower edge.
                        let edges = [
                            damage.x,
                            damage.y,
                            damage.x + damage.width,
                            damage.y + damage.height,
                        ]
                        .map(|edge| edge as i32);
                        let blob = self.card.create_property_blob(&edges)?;
                        request.add_property(*plane, *clips, blob);
                        Some(u64::from(blob))
                    }
                    None => None,
                };
                let flags = AtomicCommitFlags::NONBLOCK | AtomicCommitFlags::PAGE_FLIP_EVENT;
                let result = self.card.atomic_commit(flags, request);
                if let Some(blob) = blob {
                    // The commit holds its own reference.
                    self.card.destroy_property_blob(blob)?;
                }
                result
            }
            Flip::PageFlip => self.card.page_flip(
                self.output.crtc,
                buffer.framebuffer,
                PageFlipFlags::EVENT,
                None,
            ),
        }
    }
}

impl Display for Drm {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn size(&self) -> (u32, u32) {
        let (width, height) = self.output.mode.size();
        (width.into(), height.into())
    }

    fn frame_time(&self) -> Duration {
        match self.output.mode.vrefresh() {
            rate @ 24..=240 => Duration::from_secs(1) / rate,
            _ => Duration::from_secs(1) / 60,
        }
    }

    fn present(&mut self, canvas: &Canvas, damage: &Region) -> io::Result<Presented> {
        for buffer in &mut self.buffers {
            buffer.missing.extend(damage);
        }
        let changed = self.buffers[1].missing.bounds();
        self.buffers[1].update(canvas);
        let presented = match self.state {
            State::Dark => return Ok(Presented::Complete),
            State::Shown => match self.flip(&self.buffers[1], changed) {
                Ok(()) => Presented::Pending,
                // Not every driver can flip, and not in every state: setting the mode always works.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                    ) =>
                {
                    self.set_mode(self.buffers[1].framebuffer)?;
                    Presented::Complete
                }
                Err(error) => return Err(error),
            },
            State::ModeNotSet => {
                self.set_mode(self.buffers[1].framebuffer)?;
                self.state = State::Shown;
                Presented::Complete
            }
        };
        self.buffers.swap(0, 1);
        self.retired.clear();
        Ok(presented)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.card.as_fd())
    }

    fn receive(&mut self) -> io::Result<Vec<Event>> {
        match self.card.receive_events() {
            Ok(events) => Ok(events
                .filter_map(|event| match event {
                    drm::control::Event::PageFlip(flip) if flip.crtc == self.output.crtc => {
                        Some(Event::Flipped(flip.duration))
                    }
                    _ => None,
                })
                .collect()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    fn probe(&mut self) -> io::Result<Vec<Event>> {
        let output = match Output::find(&self.card) {
            Ok(output) => output,
            // Unplugged: the picture is kept for when it comes back.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if output == self.output {
            return Ok(Vec::new());
        }
        let buffers = Buffer::pair(&self.card, output.mode)?;
        if output.crtc != self.output.crtc && matches!(self.flip, Flip::Atomic { .. }) {
            self.flip = Flip::atomic(&self.card, output.crtc)?;
        }
        self.retired
            .extend(std::mem::replace(&mut self.buffers, buffers));
        self.output = output;
        if self.state == State::Shown {
            self.state = State::ModeNotSet;
        }
        Ok(vec![Event::Resized])
    }

    fn set_lit(&mut self, lit: bool) -> io::Result<()> {
        if lit {
            if self.state == State::Dark {
                // With the next frame, so that the old one does not flash up.
                self.state = State::ModeNotSet;
            }
            return Ok(());
        }
        self.card
            .set_crtc(self.output.crtc, None, (0, 0), &[], None)?;
        self.state = State::Dark;
        Ok(())
    }
}

impl Output {
    /// The connected output to use: a built-in panel before anything that is plugged in.
    fn find(card: &Card) -> io::Result<Self> {
        let resources = card.resource_handles()?;
        let mut connected: Vec<_> = resources
            .connectors()
            .iter()
            .filter_map(|connector| card.get_connector(*connector, true).ok())
            .filter(|connector| {
                connector.state() == connector::State::Connected && !connector.modes().is_empty()
            })
            .collect();
        connected.sort_by_key(|connector| !is_built_in(connector.interface()));
        for connector in connected {
            let mode = connector
                .modes()
                .iter()
                .find(|mode| mode.mode_type().contains(ModeTypeFlags::PREFERRED));
            let mode = mode.or(connector.modes().first());
            if let (Some(mode), Some(crtc)) = (mode, find_crtc(card, &resources, &connector)) {
                return Ok(Self {
                    connector: connector.handle(),
                    crtc,
                    mode: *mode,
                });
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no display is connected",
        ))
    }
}

fn is_built_in(interface: connector::Interface) -> bool {
    use connector::Interface;
    matches!(
        interface,
        Interface::EmbeddedDisplayPort
            | Interface::LVDS
            | Interface::DSI
            | Interface::DPI
            | Interface::SPI
    )
}

fn find_crtc(
    card: &Card,
    resources: &ResourceHandles,
    connector: &connector::Info,
) -> Option<crtc::Handle> {
    let current = connector
        .current_encoder()
        .and_then(|encoder| card.get_encoder(encoder).ok()?.crtc());
    current.or_else(|| {
        let encoders = connector
            .encoders()
            .iter()
            .filter_map(|encoder| card.get_encoder(*encoder).ok());
        encoders
            .flat_map(|encoder| resources.filter_crtcs(encoder.possible_crtcs()))
            .next()
    })
}

impl Flip {
    /// By the primary plane of a CRTC.
    fn atomic(card: &Card, crtc: crtc::Handle) -> io::Result<Self> {
        let resources = card.resource_handles()?;
        for plane in card.plane_handles()? {
            let reaches = resources
                .filter_crtcs(card.get_plane(plane)?.possible_crtcs())
                .contains(&crtc);
            let values = card.get_properties(plane)?;
            let named = values.as_hashmap(card)?;
            let value = |name: &str| {
                let handle = named.get(name)?.handle();
                values
                    .iter()
                    .find(|(property, _)| **property == handle)
                    .map(|(_, value)| *value)
            };
            let primary = value("type") == Some(drm::control::PlaneType::Primary as u64);
            if let (true, true, Some(framebuffer)) = (reaches, primary, named.get("FB_ID")) {
                let damage = named.get("FB_DAMAGE_CLIPS").map(property::Info::handle);
                return Ok(Self::Atomic {
                    plane,
                    framebuffer: framebuffer.handle(),
                    damage,
                });
            }
        }
        Ok(Self::PageFlip)
    }
}

/// A picture in the device's memory.
struct Buffer {
    card: Rc<Card>,
    buffer: DumbBuffer,
    framebuffer: framebuffer::Handle,
    memory: MmapMut,
    /// What the canvas has and this has not.
    missing: Region,
}

impl Buffer {
    fn pair(card: &Rc<Card>, mode: Mode) -> io::Result<[Self; 2]> {
        Ok([Self::new(card, mode)?, Self::new(card, mode)?])
    }

    fn new(card: &Rc<Card>, mode: Mode) -> io::Result<Self> {
        let (width, height) = mode.size();
        let size = (u32::from(width), u32::from(height));
        let buffer = card.create_dumb_buffer(size, DrmFourcc::Xrgb8888, 32)?;
        let made = Self::show(card, &buffer);
        let (framebuffer, memory) = match made {
            Ok(made) => made,
            Err(error) => {
                card.destroy_dumb_buffer(buffer)?;
                return Err(error);
            }
        };
        Ok(Self {
            card: card.clone(),
            buffer,
            framebuffer,
            memory,
            missing: Rectangle::of_size(size.0, size.1).into(),
        })
    }

    fn show(card: &Card, buffer: &DumbBuffer) -> io::Result<(framebuffer::Handle, MmapMut)> {
        let length = buffer.pitch() as usize * buffer.size().1 as usize;
        let place = drm_ffi::mode::dumbbuffer::map(card.as_fd(), buffer.handle().into(), 0, 0)?;
        // SAFETY: the kernel gave this place of the device for this buffer of at least this length;
        // it is no file that anybody could truncate, and nobody else has the buffer.
        let memory = unsafe {
            MmapOptions::new()
                .offset(place.offset)
                .len(length)
                .map_mut(&card.0)
        }?;
        let framebuffer = card.add_framebuffer(buffer, 24, 32)?;
        Ok((framebuffer, memory))
    }

    /// Copies what is missing.
    fn update(&mut self, canvas: &Canvas) {
        let pitch = self.buffer.pitch() as usize;
        for part in self.missing.rectangles() {
            for (y, row) in canvas.rows(*part) {
                let start = y as usize * pitch + part.x as usize * 4;
                if let Some(target) = self.memory.get_mut(start..start + row.len() * 4) {
                    Format::XRGB8888.write(row, target);
                }
            }
        }
        self.missing.clear();
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let gone = self
            .card
            .destroy_framebuffer(self.framebuffer)
            .and_then(|()| self.card.destroy_dumb_buffer(self.buffer));
        if let Err(error) = gone {
            tracing::warn!("giving a buffer of the display back failed: {error}");
        }
    }
}
