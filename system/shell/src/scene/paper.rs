//! The paper phrase on the screen: its words to write down, and a family that is restored by them.

use super::Scene;
use super::family::{groups_of_four, role};
use super::link::Sink;
use super::present::{model, strings};
use super::updates::{Request, Update};
use super::wire::Handle;
use bus::Client;
use bus::family::Role;
use bus::pairing::Candidate;
use bus::paper::{Error, Member, Stage};
use futures::StreamExt as _;
use slint::ComponentHandle as _;
use std::collections::BTreeSet;
use std::fmt;

/// How much of a key is shown, to tell devices apart by eye.
const KEY: usize = 16;

/// Words of a paper phrase, or what was typed of one. No log has them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Words(pub String);

impl Words {
    /// One by one, without what stands between them.
    fn each(&self) -> Vec<String> {
        let words = self.0.split(|c: char| !c.is_alphabetic());
        let words = words.filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(…)")
    }
}

/// What is said about the paper phrase.
#[derive(Debug, Clone)]
pub enum PaperUpdate {
    /// Whether the family has one.
    HasPhrase(bool),
    /// These are new words.
    Words(Words),
    /// They are the phrase now.
    Set,
    /// These devices nearby let their family be restored.
    Candidates(Vec<Candidate>),
    /// Restoring a family has come so far.
    Stage(Stage),
}

/// What the screen asks for.
#[derive(Debug, Clone)]
pub enum PaperRequest {
    /// Make new words.
    Make,
    /// Make these the phrase.
    Set(Words),
    /// Let the family of this device be restored.
    Open,
    /// End what is under way.
    Close,
    /// Restore the family of the device with this id.
    Begin(String, Words),
    /// The devices with these ids are lost.
    Restore(Vec<String>),
}

/// What is known of it.
#[derive(Default)]
pub(super) struct PaperState {
    has_phrase: bool,
    words: Words,
    done: bool,
    candidates: Vec<Candidate>,
    /// The id of the one that was chosen.
    chosen: String,
    stage: Option<Stage>,
    /// The ids of those that are lost.
    lost: BTreeSet<String>,
}

impl PaperState {
    fn take_stage(&mut self, stage: Stage) {
        if let Stage::Choosing(members) = &stage {
            // That the owner's devices are lost is why somebody does this.
            let owners = members.iter().filter(|member| member.role == Role::Owner);
            self.lost = owners.map(|member| member.id.clone()).collect();
        }
        self.stage = Some(stage);
    }

    fn take_candidates(&mut self, candidates: Vec<Candidate>) {
        // One that has gone can be chosen no more.
        if !candidates.iter().any(|one| one.id == self.chosen) {
            self.chosen.clear();
        }
        self.candidates = candidates;
    }
}

/// Does what the screen asks for.
pub(super) async fn answer(
    client: &Client,
    sink: &Sink,
    request: PaperRequest,
) -> Result<(), String> {
    let failed = |error| sink(Update::Paper(PaperUpdate::Stage(Stage::Failed(error))));
    let begun = match request {
        PaperRequest::Make => {
            let words = plain(bus::paper::generate(client).await)?;
            let words = Words(words.join(" "));
            sink(Update::Paper(PaperUpdate::Words(words)));
            return Ok(());
        }
        PaperRequest::Set(words) => {
            plain(bus::paper::set(client, &words.0).await)?;
            sink(Update::Paper(PaperUpdate::Set));
            return Ok(());
        }
        PaperRequest::Close => return bus::paper::close(client).await.map_err(to_text),
        PaperRequest::Open => bus::paper::open(client).await,
        PaperRequest::Begin(device, words) => {
            // By the name that it gives itself.
            bus::paper::begin(client, &device, &words.0, "").await
        }
        PaperRequest::Restore(lost) => bus::paper::restore(client, &lost).await,
    };
    begun.map_err(to_text)?.unwrap_or_else(failed);
    Ok(())
}

fn to_text(error: bus::Error) -> String {
    error.to_string()
}

/// What came of a call about words of the system's own making, in a sentence.
fn plain<T>(answer: Result<Result<T, Error>, bus::Error>) -> Result<T, String> {
    answer.map_err(to_text)?.map_err(|error| match error {
        Error::Refused(reason) | Error::NotSaved(reason) | Error::Unreachable(reason) => reason,
        _ => "These words are no paper phrase.".to_owned(),
    })
}

/// Whether the family has a phrase.
pub(super) async fn watch_phrase(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut answers = bus::paper::watch_phrase(client).await?;
    while let Some(answer) = answers.next().await {
        sink(Update::Paper(PaperUpdate::HasPhrase(answer?)));
    }
    Ok(())
}

/// How restoring a family stands.
pub(super) async fn watch(client: &Client, sink: &Sink) -> Result<(), bus::Error> {
    let mut stages = bus::paper::watch(client).await?;
    while let Some(stage) = stages.next().await {
        sink(Update::Paper(PaperUpdate::Stage(stage?)));
    }
    Ok(())
}

fn problem(error: &Error) -> (ui::RestoreProblem, u32, &str) {
    use ui::RestoreProblem as Problem;
    match error {
        Error::Count(count) => (Problem::Count, *count, ""),
        Error::UnknownWord(number) => (Problem::UnknownWord, *number, ""),
        Error::Checksum => (Problem::Checksum, 0, ""),
        Error::OtherWords => (Problem::OtherWords, 0, ""),
        Error::NotOpen => (Problem::NotOpen, 0, ""),
        Error::TooSoon => (Problem::TooSoon, 0, ""),
        Error::Unreachable(reason) => (Problem::Unreachable, 0, reason),
        Error::Refused(reason) | Error::NotSaved(reason) => (Problem::Other, 0, reason),
    }
}

impl Scene {
    /// Something was said about the paper phrase.
    pub(super) fn take_paper(&self, update: PaperUpdate) {
        {
            let state = &mut self.0.known.borrow_mut().paper;
            match update {
                PaperUpdate::HasPhrase(has_phrase) => state.has_phrase = has_phrase,
                PaperUpdate::Words(words) => state.words = words,
                PaperUpdate::Set => {
                    state.words = Words::default();
                    state.done = true;
                }
                PaperUpdate::Candidates(candidates) => state.take_candidates(candidates),
                PaperUpdate::Stage(stage) => state.take_stage(stage),
            }
        }
        self.present_paper();
    }

    /// The words, and how far a family is restored.
    pub(super) fn present_paper(&self) {
        let known = self.0.known.borrow();
        let state = &known.paper;
        let paper = self.0.window.global::<ui::Paper<'_>>();
        paper.set_has_phrase(state.has_phrase);
        paper.set_may_set(known.family.is_of_owner());
        paper.set_words(strings(&state.words.each()));
        paper.set_done(state.done);

        let restore = self.0.window.global::<ui::Restore<'_>>();
        restore.set_chosen(state.chosen.as_str().into());
        restore.set_candidates(model(state.candidates.iter().map(|one| ui::Candidate {
            id: one.id.as_str().into(),
            key: groups_of_four(&one.id, KEY).into(),
        })));
        let here = known.family.here().unwrap_or_default();
        restore.set_key(groups_of_four(here, KEY).into());
        restore.set_stage(match &state.stage {
            None | Some(Stage::Closed) => ui::RestoreStage::Closed,
            Some(Stage::Open) => ui::RestoreStage::Open,
            Some(Stage::Connecting) => ui::RestoreStage::Connecting,
            Some(Stage::Choosing(members)) => {
                let language = self.0.preferences.borrow().language;
                let device = |member: &Member| ui::RestoreDevice {
                    id: member.id.as_str().into(),
                    name: member.name.as_str().into(),
                    role: role(member.role, language).0.into(),
                    lost: state.lost.contains(&member.id),
                };
                restore.set_devices(model(members.iter().map(device)));
                ui::RestoreStage::Choosing
            }
            Some(Stage::Waiting) => ui::RestoreStage::Waiting,
            Some(Stage::Restored(id)) => {
                restore.set_other(known.family.name(id).unwrap_or_default().into());
                ui::RestoreStage::Restored
            }
            Some(Stage::Failed(error)) => {
                let (problem, number, reason) = problem(error);
                restore.set_problem(problem);
                restore.set_number(i32::try_from(number).unwrap_or(i32::MAX));
                restore.set_reason(reason.into());
                ui::RestoreStage::Failed
            }
        });
    }

    /// What was shown of words is shown no more: somebody has gone elsewhere.
    pub(super) fn forget_words(&self) {
        {
            let state = &mut self.0.known.borrow_mut().paper;
            state.words = Words::default();
            state.done = false;
        }
        let restore = self.0.window.global::<ui::Restore<'_>>();
        restore.set_words("".into());
        restore.set_typed(strings(&[]));
        self.present_paper();
    }

    fn ask_paper(&self, request: PaperRequest) {
        self.ask(Request::Paper(request));
    }

    pub(super) fn wire_paper(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Paper<'_>>();
        let handle = scene.clone();
        global.on_make(move || handle.with(|scene| scene.ask_paper(PaperRequest::Make)));
        let handle = scene.clone();
        global.on_written(move || {
            handle.with(|scene| {
                let words = scene.0.known.borrow().paper.words.clone();
                scene.ask_paper(PaperRequest::Set(words));
            });
        });
        let handle = scene.clone();
        global.on_forget(move || handle.with(Scene::forget_words));

        let global = self.0.window.global::<ui::Restore<'_>>();
        let handle = scene.clone();
        global.on_choose(move |id| {
            handle.with(|scene| {
                scene.0.known.borrow_mut().paper.chosen = id.to_string();
                scene.present_paper();
            });
        });
        let handle = scene.clone();
        global.on_edit(move |typed| {
            handle.with(|scene| {
                let restore = scene.0.window.global::<ui::Restore<'_>>();
                restore.set_typed(strings(&Words(typed.to_string()).each()));
            });
        });
        let handle = scene.clone();
        global.on_open(move || handle.with(|scene| scene.ask_paper(PaperRequest::Open)));
        let handle = scene.clone();
        global.on_close(move || handle.with(|scene| scene.ask_paper(PaperRequest::Close)));
        let handle = scene.clone();
        global.on_begin(move || {
            handle.with(|scene| {
                let restore = scene.0.window.global::<ui::Restore<'_>>();
                let words = Words(restore.get_words().to_string());
                let chosen = scene.0.known.borrow().paper.chosen.clone();
                scene.ask_paper(PaperRequest::Begin(chosen, words));
            });
        });
        let handle = scene.clone();
        global.on_toggle(move |id| {
            handle.with(|scene| {
                let lost = &mut scene.0.known.borrow_mut().paper.lost;
                if !lost.remove(id.as_str()) {
                    lost.insert(id.to_string());
                }
            });
            handle.with(Scene::present_paper);
        });
        let handle = scene.clone();
        global.on_restore(move || {
            handle.with(|scene| {
                let lost = scene.0.known.borrow().paper.lost.iter().cloned().collect();
                scene.ask_paper(PaperRequest::Restore(lost));
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_and_no_log_has_them() {
        let typed = Words("1. Zoo 2 abandon,legal  ".into());
        assert_eq!(typed.each(), ["zoo", "abandon", "legal"]);
        let request = PaperRequest::Begin("id".into(), typed.clone());
        let update = Update::Paper(PaperUpdate::Words(typed));
        for shown in [format!("{request:?}"), format!("{update:?}")] {
            assert!(!shown.to_lowercase().contains("zoo"), "{shown}");
        }
    }

    #[test]
    fn the_owner_s_devices_are_lost_unless_somebody_says_otherwise() {
        let member = |id: &str, role| Member {
            id: id.into(),
            name: id.into(),
            role,
        };
        let mut state = PaperState::default();
        state.take_stage(Stage::Choosing(vec![
            member("phone", Role::Owner),
            member("tv", Role::Shared),
        ]));
        assert_eq!(Vec::from_iter(&state.lost), ["phone"]);
    }

    #[test]
    fn who_has_gone_is_chosen_no_more() {
        let mut state = PaperState {
            chosen: "a".into(),
            ..PaperState::default()
        };
        state.take_candidates(vec![Candidate { id: "a".into() }]);
        assert_eq!(state.chosen, "a");
        state.take_candidates(Vec::new());
        assert_eq!(state.chosen, "");
    }
}
