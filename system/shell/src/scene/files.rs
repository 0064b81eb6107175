//! Files on the screen: what was received, and what is on its way.

use super::Scene;
use super::present::model;
use super::updates::Request;
use super::wire::Handle;
use super::words::Language;
use bus::transfer::{Delivery, Direction, Phase, Problem, Received};
use slint::ComponentHandle as _;
use std::collections::BTreeSet;

/// So many received files are shown.
const MOST: usize = 100;
/// So many deliveries that are over are shown.
const MOST_OVER: usize = 3;

/// What the service for files has said, and what the person has chosen of it.
#[derive(Default)]
pub(super) struct FilesState {
    received: Option<Vec<Received>>,
    deliveries: Vec<Delivery>,
    chosen: BTreeSet<String>,
}

impl FilesState {
    /// This was received and is still there.
    pub(super) fn take_received(&mut self, received: Vec<Received>) {
        // What is gone can be chosen no more.
        self.chosen
            .retain(|name| received.iter().any(|one| one.name == *name));
        self.received = Some(received);
    }

    /// This is on its way.
    pub(super) fn take_deliveries(&mut self, deliveries: Vec<Delivery>) {
        self.deliveries = deliveries;
    }

    fn choose(&mut self, name: &str) {
        if !self.chosen.remove(name) {
            self.chosen.insert(name.to_owned());
        }
    }
}

fn is_going(delivery: &Delivery) -> bool {
    matches!(delivery.phase, Phase::Waiting | Phase::Running)
}

/// Those to show: what is on its way, and the last few that are over; the newest first.
fn to_show(deliveries: &[Delivery]) -> Vec<&Delivery> {
    let mut over = 0;
    deliveries
        .iter()
        .rev()
        .filter(|delivery| {
            let going = is_going(delivery);
            over += usize::from(!going);
            going || over <= MOST_OVER
        })
        .collect()
}

/// One name, and how many more.
fn names(delivery: &Delivery) -> String {
    match delivery.names.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first, more @ ..] => format!("{first} + {}", more.len()),
    }
}

/// How it stands, in a sentence.
fn detail(delivery: &Delivery, language: Language) -> String {
    let device = &delivery.device_name;
    let sends = delivery.direction == Direction::Sending;
    let say = |english: String, chinese: String, spanish: String| match language {
        Language::English => english,
        Language::Chinese => chinese,
        Language::Spanish => spanish,
    };
    match &delivery.phase {
        Phase::Waiting => say(
            format!("Waits for {device}"),
            format!("正在等待 {device}"),
            format!("Espera a {device}"),
        ),
        Phase::Running => {
            // Who on one line and how much on the next: the card stays as it is while numbers grow.
            let (done, all) = (
                language.bytes(delivery.done),
                language.bytes(delivery.bytes),
            );
            if sends {
                say(
                    format!("To {device}\n{done} of {all}"),
                    format!("发送到 {device}\n{done} / {all}"),
                    format!("A {device}\n{done} de {all}"),
                )
            } else {
                say(
                    format!("From {device}\n{done} of {all}"),
                    format!("来自 {device}\n{done} / {all}"),
                    format!("De {device}\n{done} de {all}"),
                )
            }
        }
        Phase::Finished if sends => say(
            format!("Sent to {device}"),
            format!("已发送到 {device}"),
            format!("Enviado a {device}"),
        ),
        Phase::Finished => say(
            format!("Received from {device}"),
            format!("已从 {device} 接收"),
            format!("Recibido de {device}"),
        ),
        Phase::Cancelled => say("Taken back".into(), "已取消".into(), "Cancelado".into()),
        Phase::Failed(problem) => trouble(problem, device, sends, language),
    }
}

/// Why it came to nothing and what can be done.
fn trouble(problem: &Problem, device: &str, sends: bool, language: Language) -> String {
    let say = |english: String, chinese: String, spanish: String| match language {
        Language::English => english,
        Language::Chinese => chinese,
        Language::Spanish => spanish,
    };
    match problem {
        Problem::Full if sends => say(
            format!("{device} has not enough space. Free some there, then send it again."),
            format!("{device} 的空间不足。请在那里腾出空间后重新发送。"),
            format!("{device} no tiene espacio. Libera un poco allí y envíalo otra vez."),
        ),
        Problem::Full => say(
            format!(
                "There was not enough space for what {device} sent. Free some, then have it sent again."
            ),
            format!("空间不足，无法接收 {device} 发来的内容。请腾出空间后让对方重新发送。"),
            format!(
                "No había espacio para lo que envió {device}. Libera un poco y pide que lo envíe otra vez."
            ),
        ),
        Problem::Changed(path) => say(
            format!("{path} was changed while it was being sent. Send it again later."),
            format!("{path} 在发送过程中被修改。请稍后重新发送。"),
            format!("{path} cambió mientras se enviaba. Envíalo otra vez más tarde."),
        ),
        Problem::Unreadable(reason) => say(
            format!("It could not be read: {reason}"),
            format!("无法读取：{reason}"),
            format!("No se pudo leer: {reason}"),
        ),
        Problem::Refused(reason) => say(
            format!("It was not taken: {reason}"),
            format!("对方未接收：{reason}"),
            format!("No se aceptó: {reason}"),
        ),
        Problem::Unsaved(reason) => say(
            format!("It could not be kept: {reason}"),
            format!("无法保存：{reason}"),
            format!("No se pudo guardar: {reason}"),
        ),
    }
}

impl Scene {
    /// What was received and what is on its way.
    pub(super) fn present_files(&self) {
        let known = self.0.known.borrow();
        let files = &known.files;
        let Some(received) = &files.received else {
            return;
        };
        let language = self.0.preferences.borrow().language;
        let global = self.0.window.global::<ui::Files<'_>>();
        global.set_received(model(received.iter().take(MOST).map(|file| {
            let (size, time) = (language.bytes(file.size), self.when(file.time));
            ui::ReceivedFile {
                name: file.name.as_str().into(),
                folder: file.folder,
                detail: format!("{size} · {time}").into(),
                chosen: files.chosen.contains(&file.name),
            }
        })));
        global.set_more(received.len().saturating_sub(MOST) as i32);
        global.set_chosen(files.chosen.len() as i32);
        global.set_deliveries(model(to_show(&files.deliveries).into_iter().map(|one| {
            ui::Delivery {
                id: one.id.to_string().into(),
                device: one.device.as_str().into(),
                sending: one.direction == Direction::Sending,
                names: names(one).into(),
                detail: detail(one, language).into(),
                share: if one.bytes == 0 {
                    0.0
                } else {
                    (one.done as f64 / one.bytes as f64) as f32
                },
                going: is_going(one),
                failed: matches!(one.phase, Phase::Failed(_)),
            }
        })));
        global.set_known(true);
    }

    pub(super) fn wire_files(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Files<'_>>();
        let handle = scene.clone();
        global.on_choose(move |name| {
            handle.with(|scene| {
                scene.0.known.borrow_mut().files.choose(&name);
                scene.present_files();
            });
        });
        let handle = scene.clone();
        global.on_send(move |device| {
            handle.with(|scene| {
                let names = scene.take_chosen();
                if !names.is_empty() {
                    scene.ask(Request::SendFiles(device.to_string(), names));
                }
            });
        });
        let handle = scene.clone();
        global.on_delete(move || {
            handle.with(|scene| {
                let names = scene.take_chosen();
                scene.ask(Request::DeleteFiles(names));
            });
        });
        let handle = scene.clone();
        global.on_cancel(move |id| {
            handle.with(|scene| {
                if let Ok(id) = id.parse() {
                    scene.ask(Request::CancelDelivery(id));
                }
            });
        });
    }

    /// What is chosen, which is chosen no more then.
    fn take_chosen(&self) -> Vec<String> {
        let chosen = std::mem::take(&mut self.0.known.borrow_mut().files.chosen);
        self.present_files();
        chosen.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: u64, phase: Phase) -> Delivery {
        Delivery {
            id,
            direction: Direction::Sending,
            device: "ab".into(),
            device_name: "Tablet".into(),
            names: vec!["a.jpg".into(), "b.jpg".into()],
            files: 2,
            skipped: 0,
            bytes: 2_000_000,
            done: 500_000,
            resumed: 0,
            carried: 500_000,
            phase,
            began: 0,
        }
    }

    #[test]
    fn the_newest_come_first_and_few_that_are_over() {
        let all: Vec<Delivery> = (0..6)
            .map(|id| delivery(id, Phase::Finished))
            .chain([delivery(6, Phase::Running)])
            .chain([delivery(7, Phase::Cancelled)])
            .collect();
        let shown: Vec<u64> = to_show(&all).iter().map(|one| one.id).collect();
        assert_eq!(shown, [7, 6, 5, 4]);
    }

    #[test]
    fn how_it_stands_is_said_in_every_language() {
        let running = delivery(1, Phase::Running);
        assert_eq!(
            detail(&running, Language::English),
            "To Tablet\n500 kB of 2.0 MB"
        );
        assert_eq!(
            detail(&running, Language::Spanish),
            "A Tablet\n500 kB de 2,0 MB"
        );
        assert_eq!(
            detail(&running, Language::Chinese),
            "发送到 Tablet\n500 kB / 2.0 MB"
        );
        assert_eq!(names(&running), "a.jpg + 1");
        let full = delivery(1, Phase::Failed(Problem::Full));
        assert!(detail(&full, Language::English).contains("Free some"));
    }

    #[test]
    fn what_is_gone_is_chosen_no_more() {
        let file = |name: &str| Received {
            name: name.into(),
            folder: false,
            size: 1,
            time: 1,
        };
        let mut state = FilesState::default();
        state.take_received(vec![file("a"), file("b")]);
        state.choose("a");
        state.choose("b");
        state.choose("b");
        assert_eq!(state.chosen.len(), 1);
        state.take_received(vec![file("b")]);
        assert!(state.chosen.is_empty());
    }
}
