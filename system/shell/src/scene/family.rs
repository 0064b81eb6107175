//! The family on the screen: its devices, and how another comes in.

use super::Scene;
use super::present::model;
use super::updates::Request;
use super::wire::Handle;
use super::words::Language;
use bus::family::Role;
use bus::pairing::{Membership, Method, Stage};
use slint::{ComponentHandle as _, SharedString};
use std::collections::BTreeSet;

/// What the family service has said.
#[derive(Default)]
pub(super) struct FamilyState {
    devices: Option<Vec<bus::family::Device>>,
    profiles: Vec<bus::home::Profile>,
    /// The id of the one whose page is open.
    shown: String,
    candidates: Vec<bus::pairing::Candidate>,
    /// The id of the one that is to be paired with.
    chosen: String,
    stage: Option<Stage>,
}

impl FamilyState {
    /// The id of the device whose page is open.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The id of this device.
    pub(super) fn here(&self) -> Option<&str> {
        let mut devices = self.devices.iter().flatten();
        devices
            .find(|device| device.here)
            .map(|device| device.id.as_str())
    }

    /// Whether this device is an owner device among others.
    pub(super) fn is_of_owner(&self) -> bool {
        let devices = || self.devices.iter().flatten();
        let is_owner = |device: &bus::family::Device| device.here && device.role == Role::Owner;
        devices().count() > 1 && devices().any(is_owner)
    }

    /// What a device is called.
    pub(super) fn name(&self, id: &str) -> Option<&str> {
        let mut devices = self.devices.iter().flatten();
        let device = devices.find(|device| device.id == id)?;
        Some(device.name.as_str())
    }

    /// The other devices, where this one is the owner's; guests are not the owner's to update.
    pub(super) fn others_of_owner(&self) -> impl Iterator<Item = &bus::family::Device> {
        use bus::family::Role;
        let devices = || self.devices.iter().flatten();
        let owner = devices().any(|device| device.here && device.role == Role::Owner);
        devices().filter(move |device| owner && !device.here && device.role != Role::Guest)
    }

    /// These devices belong to it.
    pub(super) fn take_devices(&mut self, devices: Vec<bus::family::Device>) {
        self.devices = Some(devices);
    }

    /// This is known of them.
    pub(super) fn take_profiles(&mut self, profiles: Vec<bus::home::Profile>) {
        self.profiles = profiles;
    }

    /// These devices nearby are open for pairing.
    pub(super) fn take_candidates(&mut self, candidates: Vec<bus::pairing::Candidate>) {
        // One that has gone can be chosen no more.
        if !candidates.iter().any(|one| one.id == self.chosen) {
            self.chosen.clear();
        }
        self.candidates = candidates;
    }

    /// The pairing has come so far.
    pub(super) fn take_stage(&mut self, stage: Stage) {
        self.stage = Some(stage);
    }
}

/// Digits in two groups, which are easier to compare than six in a row.
fn grouped(digits: &str) -> String {
    match digits.split_at_checked(digits.len() / 2) {
        Some((first, second)) if digits.len() == 6 => format!("{first} {second}"),
        _ => digits.to_owned(),
    }
}

/// The first characters of a key, in groups that can be compared by eye.
pub(super) fn groups_of_four(key: &str, most: usize) -> String {
    let letters: Vec<char> = key.chars().take(most).collect();
    letters
        .chunks(4)
        .map(String::from_iter)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Rooms to choose from: those in which devices stand, then some that most homes have.
fn rooms(profiles: &[bus::home::Profile], language: Language) -> Vec<String> {
    let usual = [
        ["Living room", "Kitchen", "Bedroom", "Study"],
        ["客厅", "厨房", "卧室", "书房"],
        ["Salón", "Cocina", "Dormitorio", "Estudio"],
    ];
    let used: BTreeSet<&str> = profiles
        .iter()
        .filter_map(|profile| profile.room.as_deref())
        .collect();
    let usual = usual[language.index()].into_iter();
    let others = usual.filter(|room| !used.contains(room));
    used.iter()
        .copied()
        .chain(others)
        .map(str::to_owned)
        .collect()
}

pub(super) fn role(role: Role, language: Language) -> (&'static str, &'static str) {
    let words = match role {
        Role::Owner => [
            (
                "Owner's device",
                "May add and remove devices and answer for you.",
            ),
            ("主人的设备", "可以添加、移除设备，并代表你作答。"),
            (
                "Del propietario",
                "Puede añadir y quitar dispositivos y responder por ti.",
            ),
        ],
        Role::Shared => [
            (
                "Shared device",
                "Belongs to the home. May do what you allow.",
            ),
            ("共用设备", "属于这个家，只能做你允许的事。"),
            ("Compartido", "Es de la casa. Puede hacer lo que permitas."),
        ],
        Role::Guest => [
            (
                "Guest",
                "Somebody else's. May do what you allow, for a time.",
            ),
            ("访客", "属于别人，只能在一段时间内做你允许的事。"),
            (
                "Invitado",
                "Es de otra persona. Puede hacer lo que permitas, por un tiempo.",
            ),
        ],
    };
    words[language.index()]
}

impl Scene {
    /// The devices of the family, and the one whose page is open.
    pub(super) fn present_family(&self) {
        let known = self.0.known.borrow();
        let Some(devices) = &known.family.devices else {
            return;
        };
        let language = self.0.preferences.borrow().language;
        let members: Vec<ui::Member> = devices
            .iter()
            .map(|device| {
                let mut profiles = known.family.profiles.iter();
                let profile = profiles.find(|profile| profile.id == device.id);
                self.member(device, profile, language)
            })
            .collect();
        let rooms = rooms(&known.family.profiles, language);
        let global = self.0.window.global::<ui::Family<'_>>();
        if let Some(shown) = members
            .iter()
            .find(|member| member.id == known.family.shown.as_str())
        {
            global.set_shown(shown.clone());
        }
        global.set_count(devices.len() as i32);
        global.set_alone(devices.len() <= 1);
        // A device without a family has nobody who would hear of it.
        global.set_names(known.family.is_of_owner());
        global.set_rooms(model(rooms.into_iter().map(SharedString::from)));
        global.set_members(model(members));
        global.set_known(true);
    }

    fn member(
        &self,
        device: &bus::family::Device,
        profile: Option<&bus::home::Profile>,
        language: Language,
    ) -> ui::Member {
        let state = if device.here {
            ["This device", "本设备", "Este dispositivo"][language.index()].to_owned()
        } else if device.online {
            ["Online", "在线", "En línea"][language.index()].to_owned()
        } else {
            match device.last_seen {
                Some(at) => language.last_seen(&self.when(at)),
                None => ["Not seen yet", "尚未连接", "Aún no visto"][language.index()].to_owned(),
            }
        };
        let (role, rights) = role(device.role, language);
        let facts = profile.and_then(|profile| profile.facts.as_ref());
        let text = |text: Option<&str>| SharedString::from(text.unwrap_or_default());
        let storage = facts.filter(|facts| facts.storage_size > 0);
        ui::Member {
            room: text(profile.and_then(|profile| profile.room.as_deref())),
            model: text(facts.map(|facts| &*facts.model)),
            release: text(facts.map(|facts| &*facts.release)),
            storage: storage
                .map(|facts| language.free_of(facts.storage_available, facts.storage_size))
                .unwrap_or_default()
                .into(),
            used: storage.map_or(0.0, |facts| {
                1.0 - facts.storage_available as f32 / facts.storage_size as f32
            }),
            id: device.id.as_str().into(),
            name: profile
                .map_or(device.name.as_str(), |profile| profile.name.as_str())
                .into(),
            here: device.here,
            online: device.online,
            state: state.into(),
            role: role.into(),
            rights: rights.into(),
            key: groups_of_four(&device.id, usize::MAX).into(),
        }
    }

    /// Who is nearby, and how far the pairing has come.
    pub(super) fn present_pairing(&self) {
        let known = self.0.known.borrow();
        let family = &known.family;
        let global = self.0.window.global::<ui::Pairing<'_>>();
        let candidate = |one: &bus::pairing::Candidate| ui::Candidate {
            id: one.id.as_str().into(),
            key: groups_of_four(&one.id, 16).into(),
        };
        let chosen = family.candidates.iter().find(|one| one.id == family.chosen);
        global.set_chosen(chosen.map(candidate).unwrap_or_default());
        global.set_candidates(model(family.candidates.iter().map(candidate)));
        let text = |text: &str| SharedString::from(text);
        global.set_stage(match &family.stage {
            None | Some(Stage::Closed) => ui::PairingStage::Closed,
            Some(Stage::Open(secrets)) => {
                global.set_pin(text(&secrets.pin));
                global.set_code(text(&secrets.code));
                ui::PairingStage::Open
            }
            Some(Stage::Connecting) => ui::PairingStage::Connecting,
            Some(Stage::Compare(comparison)) => {
                global.set_digits(grouped(&comparison.digits).into());
                global.set_other(text(&comparison.name));
                ui::PairingStage::Compare
            }
            Some(Stage::Waiting) => ui::PairingStage::Waiting,
            Some(Stage::Paired(id)) => {
                global.set_other(text(family.name(id).unwrap_or(id)));
                ui::PairingStage::Paired
            }
            Some(Stage::Failed(reason)) => {
                global.set_reason(text(reason));
                ui::PairingStage::Failed
            }
        });
    }

    /// The pairing has come so far. What asks for the person's eyes comes before them.
    pub(super) fn take_pairing(&self, stage: Stage) {
        let asks = matches!(stage, Stage::Compare(_));
        self.0.known.borrow_mut().family.take_stage(stage);
        self.present_pairing();
        if asks && !self.0.navigation.borrow().is_locked() {
            self.navigate(|navigation| navigation.go("pairing"));
        }
    }

    pub(super) fn wire_family(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Family<'_>>();
        let handle = scene.clone();
        global.on_show(move |id| {
            handle.with(|scene| {
                scene.0.known.borrow_mut().family.shown = id.to_string();
                scene.present_family();
                scene.present_grants();
            });
        });
        let handle = scene.clone();
        global.on_rename(move |id, name| {
            handle.with(|scene| match name.trim() {
                // An empty name is no name: show the one that stands.
                "" => scene.present_family(),
                name => scene.ask(Request::RenameDevice(id.to_string(), name.to_owned())),
            });
        });
        let handle = scene.clone();
        global.on_set_room(move |id, room| {
            let room = Some(room.trim().to_owned()).filter(|room| !room.is_empty());
            handle.with(|scene| scene.ask(Request::SetRoom(id.to_string(), room)));
        });
        let handle = scene.clone();
        global.on_light_up(move |id| {
            handle.with(|scene| scene.ask(Request::LightUp(id.to_string())));
        });
        let handle = scene.clone();
        self.0
            .window
            .global::<ui::Beacon<'_>>()
            .on_found(move || handle.with(Scene::hide_beacon));
        let handle = scene.clone();
        global.on_remove(move |id| {
            handle.with(|scene| scene.ask(Request::RemoveDevice(id.to_string())));
        });
        let handle = scene.clone();
        global.on_mark_lost(move |id| {
            handle.with(|scene| scene.ask(Request::MarkLost(id.to_string())));
        });
        self.wire_pairing(scene);
        self.wire_paper(scene);
    }

    fn wire_pairing(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Pairing<'_>>();
        let handle = scene.clone();
        global.on_choose(move |id| {
            handle.with(|scene| {
                scene.0.known.borrow_mut().family.chosen = id.to_string();
                scene.present_pairing();
            });
        });
        let handle = scene.clone();
        global.on_open(move || handle.with(|scene| scene.ask(Request::OpenPairing)));
        let handle = scene.clone();
        global.on_close(move || {
            handle.with(|scene| {
                scene.0.known.borrow_mut().family.chosen.clear();
                scene.ask(Request::ClosePairing);
            });
        });
        let handle = scene.clone();
        global.on_begin(move |method, secret| {
            handle.with(|scene| scene.begin_pairing(method == 0, secret.trim()));
        });
        let handle = scene.clone();
        global.on_confirm(move || handle.with(|scene| scene.ask(Request::ConfirmPairing)));
        let handle = scene.clone();
        global.on_refuse(move || handle.with(|scene| scene.ask(Request::RefusePairing)));
    }

    /// Lights the screen up and says which device this is, for so long or until it was found. What
    /// is locked stays locked behind it.
    pub fn show_beacon(&self, asker: String, time: std::time::Duration) {
        self.set_power(true);
        let global = self.0.window.global::<ui::Beacon<'_>>();
        global.set_asker(asker.into());
        global.set_shown(true);
        let scene = std::rc::Rc::downgrade(&self.0);
        self.0
            .beacon
            .start(slint::TimerMode::SingleShot, time, move || {
                if let Some(inner) = scene.upgrade() {
                    Scene(inner).hide_beacon();
                }
            });
    }

    /// It was found, or nobody came.
    pub fn hide_beacon(&self) {
        self.0.beacon.stop();
        let global = self.0.window.global::<ui::Beacon<'_>>();
        global.set_shown(false);
        self.0.window.invoke_focus_screen();
    }

    /// Asks the chosen device into the family.
    fn begin_pairing(&self, compare: bool, secret: &str) {
        let membership = self.0.window.global::<ui::Pairing<'_>>().get_membership();
        let request = {
            let known = self.0.known.borrow();
            let family = &known.family;
            let Some(chosen) = family.candidates.iter().find(|one| one.id == family.chosen) else {
                return;
            };
            Request::Pair {
                candidate: chosen.id.clone(),
                method: match secret {
                    _ if compare => Method::Digits,
                    secret if is_pin(secret) => Method::Pin,
                    _ => Method::Code,
                },
                secret: secret.to_owned(),
                membership: match membership {
                    0 => Membership::Owner,
                    1 => Membership::Shared,
                    _ => Membership::Guest,
                },
            }
        };
        self.ask(request);
    }
}

/// A PIN is digits alone, which a code never is.
fn is_pin(secret: &str) -> bool {
    secret
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_are_shown_in_two_groups() {
        assert_eq!(grouped("482913"), "482 913");
        assert_eq!(grouped("4829"), "4829");
    }

    #[test]
    fn keys_are_shown_in_groups() {
        assert_eq!(groups_of_four("7f3a00c1d9", 8), "7f3a 00c1");
        assert_eq!(groups_of_four("7f3a0", usize::MAX), "7f3a 0");
    }

    #[test]
    fn rooms_in_use_come_first_and_none_comes_twice() {
        let profile = |room: Option<&str>| bus::home::Profile {
            id: String::new(),
            name: String::new(),
            room: room.map(str::to_owned),
            facts: None,
        };
        let profiles = [
            profile(Some("Loft")),
            profile(None),
            profile(Some("Kitchen")),
            profile(Some("Loft")),
        ];
        assert_eq!(
            rooms(&profiles, Language::English),
            ["Kitchen", "Loft", "Living room", "Bedroom", "Study"]
        );
    }

    #[test]
    fn a_pin_is_told_from_a_code() {
        assert!(is_pin("48291374") && is_pin("4829 1374"));
        assert!(!is_pin("K7QF-93MZ"));
    }

    #[test]
    fn who_has_gone_is_chosen_no_more() {
        let mut family = FamilyState {
            chosen: "a".into(),
            ..FamilyState::default()
        };
        family.take_candidates(vec![bus::pairing::Candidate { id: "a".into() }]);
        assert_eq!(family.chosen, "a");
        family.take_candidates(Vec::new());
        assert_eq!(family.chosen, "");
    }
}
