//! The releases of the system on the screen: the one that runs, and the way to a newer one.

use super::Scene;
use super::present::model;
use super::updates::Request;
use super::wire::Handle;
use super::words::Language;
use bus::update::{Outcome, Phase, Release, State, Step};
use slint::ComponentHandle as _;

impl Scene {
    /// What the update service said.
    pub(super) fn present_release(&self) {
        let known = self.0.known.borrow();
        let Some(state) = &known.release else { return };
        let language = self.0.preferences.borrow().language;
        let global = self.0.window.global::<ui::Update<'_>>();
        global.set_installed(state.installed.as_str().into());
        global.set_development(state.development);
        global.set_problems(model(state.problems.iter().map(|problem| ui::Problem {
            title: problem.source.as_str().into(),
            note: problem.reason.as_str().into(),
        })));
        let (stage, sentence) = self.stage(state, language);
        global.set_stage(stage);
        global.set_state(sentence.into());
        let newer = match &state.phase {
            Phase::Available(release) | Phase::Ready(release) => Some(release),
            Phase::Installing(progress) => Some(&progress.release),
            _ => None,
        };
        global.set_version(newer.map_or("", |release| &release.version).into());
        global.set_notes(newer.map_or("", |release| release.notes.trim()).into());
        global.set_about(
            newer
                .map(|release| self.about(release, language))
                .unwrap_or_default()
                .into(),
        );
        if let Phase::Installing(progress) = &state.phase {
            global.set_share(progress.done as f32 / progress.total.max(1) as f32);
            let step = step(progress.step, language);
            let bytes = language.bytes(progress.downloaded);
            global.set_progress(
                [
                    format!("{step} · {bytes} downloaded"),
                    format!("{step} · 已下载 {bytes}"),
                    format!("{step} · {bytes} descargados"),
                ][language.index()]
                .as_str()
                .into(),
            );
        }
        global.set_reason(
            match &state.phase {
                Phase::Failed(reason) | Phase::Unsupported(reason) => reason.as_str(),
                _ => "",
            }
            .into(),
        );
        let (trial, failed) = match &state.trial {
            Some(trial) => trial_in_words(&trial.version, &trial.outcome, language),
            None => (String::new(), false),
        };
        global.set_trial(trial.into());
        global.set_trial_failed(failed);
        global.set_known(true);
    }

    fn stage(&self, state: &State, language: Language) -> (ui::UpdateStage, String) {
        let pick = |words: [&str; 3]| words[language.index()].to_owned();
        match &state.phase {
            Phase::Idle => (ui::UpdateStage::Idle, self.last_asked(state, language)),
            Phase::Checking => (
                ui::UpdateStage::Checking,
                pick([
                    "Looking for a newer release",
                    "正在查找新版本",
                    "Buscando una versión nueva",
                ]),
            ),
            Phase::Current => (
                ui::UpdateStage::Current,
                pick([
                    "This is the newest release",
                    "已是最新版本",
                    "Es la versión más nueva",
                ]),
            ),
            Phase::Available(_) => (
                ui::UpdateStage::Available,
                pick([
                    "There is a newer release",
                    "有新版本",
                    "Hay una versión nueva",
                ]),
            ),
            Phase::Installing(_) => (
                ui::UpdateStage::Installing,
                pick([
                    "A newer release is being installed",
                    "正在安装新版本",
                    "Se está instalando una versión nueva",
                ]),
            ),
            Phase::Ready(_) => (
                ui::UpdateStage::Ready,
                pick([
                    "A newer release is ready",
                    "新版本已就绪",
                    "Hay una versión nueva lista",
                ]),
            ),
            Phase::Failed(_) => (
                ui::UpdateStage::Failed,
                pick(["That did not work", "未能完成", "No se pudo hacer"]),
            ),
            Phase::Unsupported(_) => (
                ui::UpdateStage::Unsupported,
                pick([
                    "Cannot be updated as it was started",
                    "以当前启动方式无法更新",
                    "No se puede actualizar tal como arrancó",
                ]),
            ),
        }
    }

    fn last_asked(&self, state: &State, language: Language) -> String {
        match state.checked {
            Some(at) => {
                let when = self.when(at);
                [
                    format!("Last checked {when}"),
                    format!("上次检查：{when}"),
                    format!("Última comprobación: {when}"),
                ][language.index()]
                .clone()
            }
            None => {
                ["Not checked yet", "尚未检查", "Aún sin comprobar"][language.index()].to_owned()
            }
        }
    }

    fn about(&self, release: &Release, language: Language) -> String {
        let built = language.date(&self.moment(release.built));
        let size = language.bytes(release.size);
        let source = &release.source;
        [
            format!("Built {built} · at most {size} · {source}"),
            format!("构建于{built} · 至多 {size} · {source}"),
            format!("Del {built} · {size} como mucho · {source}"),
        ][language.index()]
        .clone()
    }

    pub(super) fn wire_release(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Update<'_>>();
        let handle = scene.clone();
        global.on_check(move || handle.with(|scene| scene.ask(Request::CheckForRelease)));
        let handle = scene.clone();
        global.on_install(move || handle.with(|scene| scene.ask(Request::InstallRelease)));
        let handle = scene.clone();
        global.on_cancel(move || handle.with(|scene| scene.ask(Request::CancelInstallation)));
        let handle = scene.clone();
        global.on_restart(move || {
            handle.with(|scene| scene.leave(ui::Leaving::Restart, Request::RestartIntoRelease));
        });
    }
}

fn step(step: Step, language: Language) -> &'static str {
    let words = match step {
        Step::Comparing => ["Comparing", "正在比较", "Comparando"],
        Step::Writing => ["Writing", "正在写入", "Escribiendo"],
        Step::Verifying => ["Verifying", "正在校验", "Verificando"],
        Step::Finishing => ["Finishing", "正在完成", "Terminando"],
    };
    words[language.index()]
}

/// How a try came out, and whether that is bad news.
fn trial_in_words(version: &str, outcome: &Outcome, language: Language) -> (String, bool) {
    let pick = |words: [String; 3]| words[language.index()].clone();
    match outcome {
        Outcome::Trying => (
            pick([
                format!("Release {version} is being tried."),
                format!("正在试用版本 {version}。"),
                format!("Se está probando la versión {version}."),
            ]),
            false,
        ),
        // It is what runs: nothing is to be said.
        Outcome::Kept => (String::new(), false),
        Outcome::FellBack(reason) => (
            pick([
                format!(
                    "Release {version} did not come up well, so this one was started again. {reason}"
                ),
                format!("版本 {version} 未能正常启动，已恢复当前版本。{reason}"),
                format!("La versión {version} no arrancó bien y se volvió a esta. {reason}"),
            ]),
            true,
        ),
    }
}
