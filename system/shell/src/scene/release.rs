//! The releases of the system on the screen: the one that runs, and the way to a newer one.

use super::Scene;
use super::preferences::AUTOMATIC;
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

    pub(super) fn stage(&self, state: &State, language: Language) -> (ui::UpdateStage, String) {
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

    /// Says once what the owner should know of it, and takes it back when it is over.
    pub(super) fn tell_release(&self) {
        const PROGRAM: &str = "update";
        const TAG: &str = "release";
        let news = {
            let known = self.0.known.borrow();
            let Some(state) = &known.release else { return };
            let preferences = self.0.preferences.borrow();
            News::of(state, AUTOMATIC[preferences.automatic])
        };
        if self.0.release_told.replace(news.clone()) == news {
            return;
        }
        let Some(news) = news else {
            if self.0.notifications.withdraw(PROGRAM, TAG) {
                self.present_notifications();
            }
            return;
        };
        let (title, text) = news.in_words(self.0.preferences.borrow().language);
        self.0.notifications.say(PROGRAM, TAG, title, text, false);
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

/// What the owner should know of releases without looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// There is a newer one, which the device does not install by itself.
    Available(String),
    /// One is installed and waits for a restart; whether the device makes it at night.
    Ready(String, bool),
    /// One was tried and given up.
    FellBack(String),
}

impl News {
    fn of(state: &State, automatic: &str) -> Option<Self> {
        match (&state.phase, &state.trial) {
            (Phase::Ready(release), _) => {
                Some(Self::Ready(release.version.clone(), automatic == "restart"))
            }
            (Phase::Available(release), _) if automatic == "tell" => {
                Some(Self::Available(release.version.clone()))
            }
            (_, Some(trial)) if matches!(trial.outcome, Outcome::FellBack(_)) => {
                Some(Self::FellBack(trial.version.clone()))
            }
            _ => None,
        }
    }

    /// Its title and its text.
    fn in_words(&self, language: Language) -> (String, String) {
        let pick = |words: [String; 3]| words[language.index()].clone();
        match self {
            Self::Available(version) => (
                pick([
                    format!("HyperOS {version} is there"),
                    format!("HyperOS {version} 已发布"),
                    format!("Ya está HyperOS {version}"),
                ]),
                pick([
                    "It can be installed while you use the device.".to_owned(),
                    "安装时可以继续使用设备。".to_owned(),
                    "Se puede instalar mientras usas el dispositivo.".to_owned(),
                ]),
            ),
            Self::Ready(version, at_night) => (
                pick([
                    format!("HyperOS {version} is installed"),
                    format!("HyperOS {version} 已安装"),
                    format!("HyperOS {version} está instalado"),
                ]),
                if *at_night {
                    pick([
                        "It starts tonight while the screen is off, or when you restart."
                            .to_owned(),
                        "今晚熄屏后自动启用，或在你重启时启用。".to_owned(),
                        "Arranca esta noche con la pantalla apagada, o cuando reinicies."
                            .to_owned(),
                    ])
                } else {
                    pick([
                        "Restart the device to use it.".to_owned(),
                        "重启设备即可使用。".to_owned(),
                        "Reinicia el dispositivo para usarlo.".to_owned(),
                    ])
                },
            ),
            Self::FellBack(version) => (
                pick([
                    format!("HyperOS {version} did not come up well"),
                    format!("HyperOS {version} 未能正常启动"),
                    format!("HyperOS {version} no arrancó bien"),
                ]),
                pick([
                    "The release before it runs again. Nothing of yours was lost.".to_owned(),
                    "已恢复之前的版本，你的数据没有丢失。".to_owned(),
                    "Vuelve a funcionar la versión anterior. No se perdió nada tuyo.".to_owned(),
                ]),
            ),
        }
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
