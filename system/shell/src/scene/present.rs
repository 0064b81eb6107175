//! Facts to words on the screen.
//!
//! Each function shows one kind of fact, from what is known, in the language of the screen; all of
//! them run again when the language changes.

use super::book::Standing;
use super::navigation::{Panel, PowerMenu};
use super::preferences::THEMES;
use super::words::Language;
use super::{Known, Scene};
use bus::notify::Importance;
use jiff::{Timestamp, Zoned};
use slint::{ComponentHandle as _, ModelRc, SharedString, TimerMode, VecModel};
use std::rc::Rc;
use std::time::Duration;

/// What a list on the screen is made from.
pub(super) fn model<T: Clone + 'static>(items: impl IntoIterator<Item = T>) -> ModelRc<T> {
    ModelRc::new(VecModel::from_iter(items))
}

pub(super) fn strings(lines: &[String]) -> ModelRc<SharedString> {
    model(lines.iter().map(SharedString::from))
}

impl Scene {
    /// Shows all that is known.
    pub(super) fn present_everything(&self) {
        self.present_preferences();
        self.tell_time();
        self.present_navigation();
        self.present_network();
        self.present_time_source();
        self.present_services();
        self.present_device();
        self.present_storage();
        self.present_family();
        self.present_files();
        self.present_pairing();
        self.present_paper();
        self.present_loss();
        self.present_grants();
        self.present_consent();
        self.present_release();
        self.present_other_releases();
        self.present_notifications();
    }

    /// The time in the owner's zone.
    fn zoned(&self, timestamp: Timestamp) -> Zoned {
        timestamp.to_zoned(self.0.zones.get(&self.0.preferences.borrow().zone))
    }

    /// A moment as the services give it.
    pub(super) fn moment(&self, milliseconds: u64) -> Zoned {
        let timestamp = i64::try_from(milliseconds)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        self.zoned(timestamp)
    }

    /// When something happened, as the owner wants times.
    pub(super) fn when(&self, milliseconds: u64) -> String {
        let preferences = self.0.preferences.borrow();
        preferences.language.when(
            &self.moment(milliseconds),
            &self.zoned((self.0.surroundings.wall)()),
            preferences.hours_24,
        )
    }

    /// Shows the time, and comes back at the turn of the minute.
    pub(super) fn tell_time(&self) {
        let now = self.zoned((self.0.surroundings.wall)());
        {
            let preferences = self.0.preferences.borrow();
            let language = preferences.language;
            let (time, half) = language.time(&now, preferences.hours_24);
            let clock = self.0.window.global::<ui::Clock<'_>>();
            clock.set_time(time.into());
            clock.set_half(half.into());
            clock.set_weekday(language.weekday(&now).into());
            clock.set_date(language.date(&now).into());
            clock.set_full(language.full_date(&now).into());
            clock.set_day(now.day().to_string().into());
            clock.set_month(language.month(&now).into());
            clock.set_zone(preferences.zone.as_str().into());
            let theme = self.0.window.global::<ui::Theme<'_>>();
            theme.set_dark(preferences.is_dark(now.hour()));
        }
        self.present_wallpaper();
        let left = 60_000 - (now.second() as u64 * 1000 + now.millisecond() as u64) % 60_000;
        let scene = Rc::downgrade(&self.0);
        // A little late rather than a little early, which would show the old minute again.
        self.0.minute.start(
            TimerMode::SingleShot,
            Duration::from_millis(left + 5),
            move || {
                if let Some(inner) = scene.upgrade() {
                    Scene(inner).tell_time();
                }
            },
        );
    }

    /// Draws the wallpaper when what it is made from has changed.
    pub(super) fn present_wallpaper(&self) {
        let size = self.0.window.window().size();
        let theme = self.0.window.global::<ui::Theme<'_>>();
        let accent = self.0.preferences.borrow().accent;
        let made_from = (accent, theme.get_dark(), size.width, size.height);
        if size.width == 0 || size.height == 0 || self.0.wallpaper.get() == Some(made_from) {
            return;
        }
        self.0.wallpaper.set(Some(made_from));
        let colour = self
            .0
            .window
            .global::<ui::Palette<'_>>()
            .get_accent()
            .to_argb_u8();
        let picture = ui::wallpaper::Scene {
            accent: [colour.red, colour.green, colour.blue],
            dark: theme.get_dark(),
        }
        .draw(size.width, size.height);
        self.0
            .window
            .global::<ui::Wallpaper<'_>>()
            .set_image(picture);
    }

    /// Where everything stands.
    pub(super) fn present_navigation(&self) {
        let navigation = self.0.navigation.borrow();
        let global = self.0.window.global::<ui::Navigation<'_>>();
        global.set_lock(navigation.shown(Panel::Lock));
        global.set_centre(navigation.shown(Panel::Centre));
        global.set_shade(navigation.shown(Panel::Shade));
        let (page, under) = navigation.rooms();
        if page.is_empty() && !global.get_page().is_empty() {
            // Who comes back to Settings from the home screen begins anew.
            let search = self.0.window.global::<ui::Search<'_>>();
            search.set_text("".into());
        }
        global.set_page(page.into());
        global.set_under(under.into());
        global.set_page_shown(navigation.shown(Panel::Page));
        global.set_power_menu(match navigation.power() {
            PowerMenu::Closed => ui::PowerMenu::Closed,
            PowerMenu::Open => ui::PowerMenu::Open,
            PowerMenu::ConfirmOff => ui::PowerMenu::ConfirmOff,
            PowerMenu::ConfirmRestart => ui::PowerMenu::ConfirmRestart,
        });
        // What was held down may be let go of, and lead elsewhere.
        drop(navigation);
        self.tell_visits();
    }

    /// What the owner chose.
    pub(super) fn present_preferences(&self) {
        let preferences = self.0.preferences.borrow().clone();
        self.0
            .navigation
            .borrow_mut()
            .set_still(preferences.reduce_motion);
        if let Err(error) = slint::select_bundled_translation(preferences.language.tag()) {
            tracing::warn!("the language {}: {error}", preferences.language.tag());
        }
        let theme = self.0.window.global::<ui::Theme<'_>>();
        theme.set_accent(preferences.accent as i32);
        theme.set_text_scale(preferences.text_size as f32 / 100.0);
        theme.set_reduced_motion(preferences.reduce_motion);
        let global = self.0.window.global::<ui::Preferences<'_>>();
        let chosen = THEMES
            .iter()
            .position(|(theme, _)| *theme == preferences.theme);
        global.set_theme(chosen.unwrap_or(0) as i32);
        global.set_text_size(preferences.text_size as i32);
        global.set_do_not_disturb(preferences.do_not_disturb);
        global.set_twenty_four_hours(preferences.hours_24);
        global.set_language(preferences.language.index() as i32);
        global.set_screen_off_after(i32::try_from(preferences.screen_off_after).unwrap_or(0));
        global.set_has_brightness(self.0.display.brightness().is_some());
        global.set_brightness(preferences.brightness as f32);
        global.set_network_enabled(preferences.network);
        global.set_time_servers(preferences.time_servers.join(" ").into());
        global.set_automatic(preferences.automatic as i32);
        global.set_channel(preferences.channel as i32);
        global.set_mirrors(preferences.mirrors.join(" ").into());
        global.set_relay(preferences.relay.as_str().into());
        self.0
            .window
            .global::<ui::Navigation<'_>>()
            .set_hint(!preferences.hint_seen);
        self.0
            .window
            .global::<ui::Device<'_>>()
            .set_name(preferences.name.as_str().into());
    }

    /// Links, addresses and names.
    pub(super) fn present_network(&self) {
        let known = self.0.known.borrow();
        let Some(state) = &known.network else { return };
        let global = self.0.window.global::<ui::Network<'_>>();
        // What the kernel makes for itself, such as tunnels that nobody uses, says nothing.
        let links = state.links.iter().filter(|link| match link.kind {
            bus::network::LinkKind::Ethernet | bus::network::LinkKind::Wireless => true,
            bus::network::LinkKind::Loopback => false,
            bus::network::LinkKind::Other => link.connected && !link.addresses.is_empty(),
        });
        let address = links
            .clone()
            .flat_map(|link| &link.addresses)
            .min_by_key(|address| address.contains(':'))
            .and_then(|address| address.split('/').next())
            .unwrap_or_default();
        global.set_address(if state.online { address } else { "" }.into());
        global.set_links(model(links.map(|link| ui::Link {
            name: link.name.as_str().into(),
            wireless: link.kind == bus::network::LinkKind::Wireless,
            connected: link.connected,
            addresses: link.addresses.join("\n").into(),
            gateways: link.gateways.join("\n").into(),
            sources: strings(&link.sources),
        })));
        global.set_name_servers(state.name_servers.join("\n").into());
        global.set_time_servers(state.time_servers.join("\n").into());
        global.set_online(state.online);
        global.set_known(true);
    }

    /// Where the time comes from.
    pub(super) fn present_time_source(&self) {
        let known = self.0.known.borrow();
        let Some(time) = &known.time else { return };
        let language = self.0.preferences.borrow().language;
        let global = self.0.window.global::<ui::Preferences<'_>>();
        global.set_time_source(language.time_source(&time.source).into());
        let synchronised = time
            .synchronised
            .map(|at| language.synchronised(&self.when(at), time.offset))
            .unwrap_or_default();
        global.set_time_synchronised(synchronised.into());
        global.set_time_problem(time.problem.as_deref().unwrap_or_default().into());
    }

    /// The services, and the one whose page is open.
    pub(super) fn present_services(&self) {
        let known = self.0.known.borrow();
        let Some(services) = &known.services else {
            return;
        };
        let language = self.0.preferences.borrow().language;
        let global = self.0.window.global::<ui::Services<'_>>();
        let running =
            |state| matches!(state, ui::ServiceState::Running | ui::ServiceState::Waiting);
        let troubled = |state| {
            matches!(
                state,
                ui::ServiceState::Failed | ui::ServiceState::Broken | ui::ServiceState::BackingOff
            )
        };
        let shown: Vec<ui::Service> = services
            .values()
            .map(|service| row(service, language))
            .collect();
        global.set_running(shown.iter().filter(|s| running(s.state)).count() as i32);
        global.set_troubled(shown.iter().filter(|s| troubled(s.state)).count() as i32);
        if let Some(service) = shown
            .iter()
            .find(|s| s.name == known.shown_service.as_str())
        {
            global.set_shown(service.clone());
        }
        global.set_all(model(shown));
        global.set_known(true);
        let network = self.0.window.global::<ui::Network<'_>>();
        network.set_absent(!services.contains_key("network"));
    }

    /// What this device is.
    pub(super) fn present_device(&self) {
        let Known {
            device, resources, ..
        } = &*self.0.known.borrow();
        let language = self.0.preferences.borrow().language;
        let global = self.0.window.global::<ui::Device<'_>>();
        if let Some(device) = device {
            global.set_model(device.model.as_str().into());
            global.set_product(device.product.as_str().into());
            global.set_release(device.release.as_str().into());
            global.set_edition(device.edition.as_str().into());
            global.set_slot(device.slot.as_deref().unwrap_or_default().into());
            global.set_kernel(device.kernel.as_str().into());
            global.set_processors(device.processors.to_string().into());
            global.set_development(device.development);
            global.set_firmware(device.firmware);
            global.set_secure_boot(device.secure_boot);
            global.set_known(true);
        }
        if let Some(used) = resources {
            let busy = used.memory_total.saturating_sub(used.memory_available);
            global.set_memory(
                format!(
                    "{} / {}",
                    language.bytes(busy),
                    language.bytes(used.memory_total)
                )
                .into(),
            );
            global.set_memory_share(busy as f32 / used.memory_total.max(1) as f32);
            global.set_uptime(language.duration(used.uptime / 1_000_000).into());
        }
    }

    /// How full the storage is.
    pub(super) fn present_storage(&self) {
        let known = self.0.known.borrow();
        let Some(volumes) = &known.volumes else {
            return;
        };
        let language = self.0.preferences.borrow().language;
        let global = self.0.window.global::<ui::Storage<'_>>();
        let share = |v: &bus::device::Volume| v.used as f32 / v.size.max(1) as f32;
        let mut sorted: Vec<_> = volumes.iter().collect();
        sorted.sort_by_key(|volume| volume.name == "system");
        global.set_volumes(model(sorted.iter().map(|volume| ui::Volume {
            system: volume.name == "system",
            used: language.bytes(volume.used).into(),
            available: language.bytes(volume.available).into(),
            size: language.bytes(volume.size).into(),
            share: share(volume),
            writable: volume.writable,
        })));
        if let Some(data) = volumes.iter().find(|volume| volume.name == "data") {
            global.set_available(language.bytes(data.available).into());
            global.set_size(language.bytes(data.size).into());
            global.set_share(share(data));
            global.set_known(true);
        }
    }

    /// A notification as a card.
    pub(super) fn note(&self, standing: &Standing, leads: bool) -> ui::Note {
        let language = self.0.preferences.borrow().language;
        let posted = &standing.posted;
        let program = language.program(&posted.program);
        ui::Note {
            id: i32::try_from(posted.id).unwrap_or(i32::MAX),
            program: match &standing.origin {
                Some(origin) => format!("{program} · {}", origin.name),
                None => program,
            }
            .into(),
            title: posted.notification.title.as_str().into(),
            text: posted.notification.text.as_str().into(),
            when: self.when(posted.time).into(),
            urgent: posted.notification.importance == Importance::Urgent,
            room: super::notifications::room(standing).into(),
            leads,
        }
    }

    /// The notifications in the shade, on the lock screen and in the history.
    pub(super) fn present_notifications(&self) {
        /// More would reach the hint at the bottom of the lock screen.
        const MOST_ON_LOCK: usize = 3;
        let quiet = self.0.preferences.borrow().do_not_disturb;
        let book = self.0.notifications.book();
        let mut last = None;
        let standing: Vec<ui::Note> = book
            .grouped()
            .into_iter()
            .map(|standing| {
                let leads = last.replace(standing.group()) != Some(standing.group());
                self.note(standing, leads)
            })
            .collect();
        let on_lock: Vec<ui::Note> = book
            .standing()
            .filter(|standing| match standing.posted.notification.importance {
                Importance::Urgent => true,
                Importance::Normal => !quiet,
                Importance::Quiet => false,
            })
            .take(MOST_ON_LOCK)
            .map(|standing| self.note(standing, true))
            .collect();
        let history: Vec<ui::Note> = book.history().map(|s| self.note(s, true)).collect();
        drop(book);
        let global = self.0.window.global::<ui::Notifications<'_>>();
        global.set_standing(model(standing));
        global.set_on_lock(model(on_lock));
        global.set_history(model(history));
    }

    /// The zones that have what was typed.
    pub(super) fn search_zones(&self, typed: &str) {
        let found = self.0.zones.search(typed, (self.0.surroundings.wall)());
        let global = self.0.window.global::<ui::Preferences<'_>>();
        global.set_zones(model(found.into_iter().map(|zone| ui::Zone {
            id: zone.id.into(),
            city: zone.city.into(),
            region: zone.region.into(),
            offset: zone.offset.into(),
        })));
    }
}

fn row(service: &bus::services::Service, language: Language) -> ui::Service {
    use bus::services::State;
    ui::Service {
        name: service.name.as_str().into(),
        description: service.description.as_str().into(),
        state: match service.state {
            State::Waiting => ui::ServiceState::Waiting,
            State::Starting => ui::ServiceState::Starting,
            State::Running => ui::ServiceState::Running,
            State::Stopping => ui::ServiceState::Stopping,
            State::Stopped => ui::ServiceState::Stopped,
            State::BackingOff => ui::ServiceState::BackingOff,
            State::Failed => ui::ServiceState::Failed,
            State::Broken => ui::ServiceState::Broken,
        },
        memory: language.bytes(service.memory).into(),
        processor: language.processor_time(service.cpu_time).into(),
        restarts: i32::try_from(service.restarts).unwrap_or(i32::MAX),
        problem: service.problem.as_deref().unwrap_or_default().into(),
        interfaces: strings(&service.interfaces),
        sandbox: service
            .sandbox
            .iter()
            .map(|measure| format!("• {measure}"))
            .collect::<Vec<_>>()
            .join("\n")
            .into(),
    }
}
