//! What devices ask of the owner, and what the owner has said.
//!
//! A question stands over everything, and only where the screen is unlocked; a locked one says that
//! there is one, and not what. The buttons take a finger only when the question has stood for a
//! moment, so that nobody allows what has come up under a finger that was on its way.

use super::Scene;
use super::present::model;
use super::updates::Request;
use super::wire::Handle;
use super::words::Language;
use bus::grants::{Grant, Until};
use bus::questions::{Question, Reply, Standing};
use slint::{ComponentHandle as _, TimerMode};
use std::rc::Rc;
use std::time::Duration;

/// How long a question stands before it can be answered.
const MOMENT: Duration = Duration::from_millis(500);

/// What the family's service has said about grants.
#[derive(Default)]
pub(super) struct GrantsState {
    grants: Vec<Grant>,
    standing: Option<Standing>,
    /// The question that was answered last, while it may still be among those that wait.
    answered: Option<u64>,
    /// The question on the screen.
    shown: Option<u64>,
}

impl GrantsState {
    /// This is what the owner has allowed and refused.
    pub(super) fn take_grants(&mut self, grants: Vec<Grant>) {
        self.grants = grants;
    }

    /// This waits. Whether there is something new among it.
    fn take_standing(&mut self, standing: Standing) -> bool {
        let is_among = |id: u64, standing: &Standing| {
            let mut waiting = standing.waiting.iter();
            waiting.any(|question| question.id == id)
        };
        if self.answered.is_some_and(|id| !is_among(id, &standing)) {
            self.answered = None;
        }
        let before = self.standing.replace(standing);
        let mut now = self.standing.iter().flat_map(|now| &now.waiting);
        now.any(|question| !before.iter().any(|before| is_among(question.id, before)))
    }

    /// The answer to a question was not taken: it waits again.
    pub(super) fn take_back(&mut self, question: u64) {
        if self.answered == Some(question) {
            self.answered = None;
        }
    }

    fn waiting(&self) -> impl Iterator<Item = &Question> {
        let waiting = self.standing.iter().flat_map(|standing| &standing.waiting);
        waiting.filter(|question| self.answered != Some(question.id))
    }
}

impl Language {
    /// How long a grant holds.
    fn until(self, until: Until, when: impl FnOnce(u64) -> String) -> String {
        let words = match until {
            Until::Once => ["One call", "一次", "Una llamada"],
            Until::Always => ["Always", "始终允许", "Siempre"],
            Until::Never => ["Never", "绝不允许", "Nunca"],
            Until::Time(second) => {
                let when = when(second.saturating_mul(1000));
                return match self {
                    Self::English => format!("Until {when}"),
                    Self::Chinese => format!("到 {when}"),
                    Self::Spanish => format!("Hasta {when}"),
                };
            }
        };
        words[self.index()].to_owned()
    }
}

impl Scene {
    /// What the owner has allowed and refused.
    pub(super) fn present_grants(&self) {
        let known = self.0.known.borrow();
        let language = self.0.preferences.borrow().language;
        let given = |grant: &Grant| ui::Given {
            id: grant.id.as_str().into(),
            caller: grant.caller.name.as_str().into(),
            callee: grant
                .callee
                .as_ref()
                .map_or("", |callee| callee.name.as_str())
                .into(),
            interfaces: grant.interfaces.as_str().into(),
            until: language
                .until(grant.until, |moment| self.when(moment))
                .into(),
            refused: grant.until == Until::Never,
        };
        let shown = known.family.shown();
        let concerns = |grant: &&Grant| {
            let callee = grant.callee.as_ref();
            grant.caller.id == shown || callee.is_none_or(|callee| callee.id == shown)
        };
        let global = self.0.window.global::<ui::Grants<'_>>();
        let grants = &known.grants.grants;
        global.set_all(model(grants.iter().map(given)));
        global.set_of_shown(model(grants.iter().filter(concerns).map(given)));
        let muted = known.grants.standing.iter();
        let muted: Vec<_> = muted
            .flat_map(|standing| &standing.muted)
            .map(|device| ui::Party {
                id: device.id.as_str().into(),
                name: device.name.as_str().into(),
            })
            .collect();
        global.set_shown_muted(muted.iter().any(|device| device.id == shown));
        global.set_muted(model(muted));
    }

    /// These questions wait. A screen that is off lights up for a new one, unless the owner does not want
    /// to be disturbed: it waits for a minute and no longer.
    pub(super) fn take_questions(&self, standing: Standing) {
        let is_new = self.0.known.borrow_mut().grants.take_standing(standing);
        let quiet = self.0.preferences.borrow().do_not_disturb;
        if is_new && !quiet && !self.0.display.is_on() {
            self.set_power(true);
        }
        self.present_grants();
        self.present_consent();
    }

    /// The question that is to be answered, where the screen is unlocked.
    pub(super) fn present_consent(&self) {
        let global = self.0.window.global::<ui::Consent<'_>>();
        let locked = self.0.navigation.borrow().is_locked();
        let (shown, before) = {
            let mut known = self.0.known.borrow_mut();
            let (first, more) = {
                let mut waiting = known.grants.waiting();
                (waiting.next().cloned(), waiting.count())
            };
            global.set_waits(first.is_some());
            let first = first.filter(|_| !locked);
            if let Some(question) = &first {
                global.set_question(ui::Question {
                    caller: question.caller.name.as_str().into(),
                    program: question.program.as_deref().unwrap_or_default().into(),
                    callee: question.callee.name.as_str().into(),
                    here: known.family.here() == Some(&*question.callee.id),
                    wanted: question.wanted.as_str().into(),
                    purpose: sentence(&question.purpose).into(),
                });
                global.set_more(i32::try_from(more).unwrap_or(i32::MAX));
            }
            let shown = first.map(|question| question.id);
            (shown, std::mem::replace(&mut known.grants.shown, shown))
        };
        if shown != before {
            // What was written or chosen before goes on afterwards; no key goes there meanwhile. (Before
            // the buttons are disabled: a disabled one keeps its ring.)
            self.0.window.global::<ui::Keyboard<'_>>().set_shown(false);
            self.0.window.invoke_focus_screen();
            global.set_armed(false);
        }
        global.set_shown(shown.is_some());
        self.tell_visits();
        if shown == before {
            return;
        }
        if shown.is_none() {
            self.0.consent.stop();
            return;
        }
        let scene = Rc::downgrade(&self.0);
        self.0
            .consent
            .start(TimerMode::SingleShot, MOMENT, move || {
                if let Some(scene) = scene.upgrade() {
                    let global = scene.window.global::<ui::Consent<'_>>();
                    global.set_armed(global.get_shown());
                }
            });
    }

    /// The owner has said something about the question on the screen.
    pub(super) fn answer(&self, reply: Reply) {
        let armed = self.0.window.global::<ui::Consent<'_>>().get_armed();
        if !armed || self.0.navigation.borrow().is_locked() {
            return;
        }
        let shown = {
            let mut known = self.0.known.borrow_mut();
            let shown = known.grants.shown;
            known.grants.answered = shown;
            shown
        };
        if let Some(question) = shown {
            self.ask(Request::Answer(question, reply));
            self.present_consent();
        }
    }

    pub(super) fn wire_grants(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Grants<'_>>();
        let handle = scene.clone();
        global.on_revoke(move |id| {
            handle.with(|scene| {
                scene
                    .0
                    .window
                    .global::<ui::Grants<'_>>()
                    .set_chosen("".into());
                scene.ask(Request::RevokeGrant(id.to_string()));
            });
        });
        let handle = scene.clone();
        global.on_unmute(move |device| {
            handle.with(|scene| scene.ask(Request::Unmute(device.to_string())));
        });
        let handle = scene.clone();
        self.0
            .window
            .global::<ui::Consent<'_>>()
            .on_answer(move |reply| {
                handle.with(|scene| {
                    scene.answer(match reply {
                        ui::Reply::Refuse => Reply::Refuse,
                        ui::Reply::Once => Reply::Once,
                        ui::Reply::Hour => Reply::Hour,
                        ui::Reply::Always => Reply::Always,
                        ui::Reply::Never => Reply::Never,
                    });
                });
            });
    }
}

/// With its full stop.
fn sentence(purpose: &str) -> String {
    if purpose.is_empty() {
        return String::new();
    }
    format!("{purpose}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_says_how_long_it_holds() {
        let when = |moment| format!("at {moment}");
        let word = |until| Language::English.until(until, when);
        assert_eq!(word(Until::Once), "One call");
        assert_eq!(word(Until::Time(60)), "Until at 60000");
        assert_eq!(word(Until::Always), "Always");
        assert_eq!(word(Until::Never), "Never");
        let far = Language::English.until(Until::Time(u64::MAX), when);
        assert!(far.starts_with("Until"));
    }
}
