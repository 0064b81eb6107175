//! The releases of the owner's other devices on the page of updates, and having them updated from here.

use std::collections::BTreeMap;

use super::Scene;
use super::present::model;
use super::updates::{Request, Step};
use super::wire::Handle;
use bus::update::{Phase, State};
use slint::ComponentHandle as _;

/// What the other devices said of their releases, by their ids; those that say nothing are missing.
pub(super) type Others = BTreeMap<String, State>;

/// What there is to do next on a device that stands so.
fn next(state: &State) -> Option<Step> {
    match state.phase {
        Phase::Idle | Phase::Current | Phase::Failed(_) => Some(Step::Check),
        Phase::Available(_) => Some(Step::Install),
        Phase::Ready(_) => Some(Step::Restart),
        Phase::Checking | Phase::Installing(_) | Phase::Unsupported(_) => None,
    }
}

impl Scene {
    /// A device said how it stands, or says it no more.
    pub(super) fn take_other_release(&self, id: String, state: Option<State>) {
        let others = &mut self.0.known.borrow_mut().other_releases;
        match state {
            Some(state) => others.insert(id, state),
            None => others.remove(&id),
        };
    }

    /// The list of them.
    pub(super) fn present_other_releases(&self) {
        let known = self.0.known.borrow();
        let language = self.0.preferences.borrow().language;
        let away = ["Not connected", "未连接", "Sin conexión"][language.index()];
        let silent = [
            "Says nothing of updates",
            "未提供更新信息",
            "No informa de actualizaciones",
        ][language.index()];
        let mut installable = 0;
        let others: Vec<_> = known
            .family
            .others_of_owner()
            .map(|device| {
                let state = known.other_releases.get(&device.id);
                let state = state.filter(|_| device.online);
                let note = match state {
                    Some(state) => self.standing(state),
                    None if device.online => silent.to_owned(),
                    None => away.to_owned(),
                };
                let step = state.and_then(next);
                installable += u32::from(step == Some(Step::Install));
                ui::OtherRelease {
                    id: device.id.as_str().into(),
                    name: device.name.as_str().into(),
                    note: note.into(),
                    step: match step {
                        Some(Step::Check) => ui::OtherStep::Check,
                        Some(Step::Install) => ui::OtherStep::Install,
                        Some(Step::Restart) => ui::OtherStep::Restart,
                        None => ui::OtherStep::None,
                    },
                }
            })
            .collect();
        let global = self.0.window.global::<ui::Update<'_>>();
        let here = known.release.as_ref().and_then(next) == Some(Step::Install);
        global.set_installable(
            (installable + u32::from(here))
                .try_into()
                .unwrap_or(i32::MAX),
        );
        global.set_others(model(others));
    }

    /// Its release and how it stands, in a line.
    fn standing(&self, state: &State) -> String {
        let language = self.0.preferences.borrow().language;
        let (_, sentence) = self.stage(state, language);
        let more = match &state.phase {
            Phase::Available(release) | Phase::Ready(release) => format!(" · {}", release.version),
            Phase::Installing(progress) => {
                let share = progress.done * 100 / progress.total.max(1);
                format!(" · {} · {share} %", progress.release.version)
            }
            Phase::Failed(reason) | Phase::Unsupported(reason) => format!(" · {reason}"),
            _ => String::new(),
        };
        format!("HyperOS {} · {sentence}{more}", state.installed)
    }

    pub(super) fn wire_other_releases(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Update<'_>>();
        let handle = scene.clone();
        global.on_other(move |id| {
            handle.with(|scene| {
                let step = {
                    let known = scene.0.known.borrow();
                    known.other_releases.get(id.as_str()).and_then(next)
                };
                if let Some(step) = step {
                    scene.ask(Request::UpdateOther(id.into(), step));
                }
            });
        });
        let handle = scene.clone();
        global.on_install_all(move || {
            handle.with(|scene| {
                let (here, others) = {
                    let known = scene.0.known.borrow();
                    let can = |state: &State| next(state) == Some(Step::Install);
                    let online = known
                        .family
                        .others_of_owner()
                        .filter(|device| device.online);
                    let others = online.map(|device| device.id.clone());
                    let others: Vec<_> = others
                        .filter(|id| known.other_releases.get(id).is_some_and(can))
                        .collect();
                    (known.release.as_ref().is_some_and(can), others)
                };
                if here {
                    scene.ask(Request::InstallRelease);
                }
                for id in others {
                    scene.ask(Request::UpdateOther(id, Step::Install));
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::update::Release;

    #[test]
    fn each_standing_has_its_next_step() {
        let state = |phase| State {
            installed: "0.1.0".into(),
            slot: None,
            channel: "stable".into(),
            phase,
            trial: None,
            checked: None,
            problems: Vec::new(),
            development: false,
        };
        let release = Release {
            version: "0.2.0".into(),
            channel: "stable".into(),
            built: 0,
            notes: String::new(),
            size: 1,
            source: "phone".into(),
        };
        for (phase, step) in [
            (Phase::Idle, Some(Step::Check)),
            (Phase::Current, Some(Step::Check)),
            (Phase::Failed("x".into()), Some(Step::Check)),
            (Phase::Available(release.clone()), Some(Step::Install)),
            (Phase::Ready(release), Some(Step::Restart)),
            (Phase::Checking, None),
            (Phase::Unsupported("x".into()), None),
        ] {
            assert_eq!(next(&state(phase.clone())), step, "{phase:?}");
        }
    }
}
