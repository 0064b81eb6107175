//! `hyper family paper` and `hyper family recover`, as a person types them, against a service that plays the family's.

mod serving;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use bus::family::Role;
use bus::pairing::Candidate;
use bus::paper::{Error, Member, Stage};
use bus::{Caller, Outgoing};
use futures::{StreamExt as _, stream};
use tokio::sync::watch;

const WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Set(String),
    Begin(String, String, String),
    Restore(Vec<String>),
}

struct Family {
    asked: Sender<Asked>,
    stage: watch::Sender<Stage>,
}

fn candidates() -> Vec<Candidate> {
    ["1a", "2b"]
        .map(|id| Candidate { id: id.repeat(32) })
        .into()
}

fn members() -> Vec<Member> {
    let member = |name: &str, role| Member {
        id: format!("id of {name}"),
        name: name.into(),
        role,
    };
    vec![
        member("Phone", Role::Owner),
        member("TV", Role::Shared),
        member("Tablet", Role::Owner),
    ]
}

impl bus::paper::Handler for Family {
    async fn has_phrase(&self, _: Caller) -> bool {
        true
    }
    async fn watch_phrase(&self, _: Caller) -> Outgoing<bool> {
        Box::pin(stream::pending())
    }
    async fn generate(&self, _: Caller) -> Result<Vec<String>, Error> {
        Ok(WORDS.split(' ').map(str::to_owned).collect())
    }
    async fn set(&self, _: Caller, words: String) -> Result<(), Error> {
        self.asked.send(Asked::Set(words)).unwrap();
        Ok(())
    }
    async fn open(&self, _: Caller) -> Result<(), Error> {
        Err(Error::Refused("it is of no family".into()))
    }
    async fn close(&self, _: Caller) {}
    async fn candidates(&self, _: Caller) -> Vec<Candidate> {
        candidates()
    }
    async fn watch_candidates(&self, _: Caller) -> Outgoing<Vec<Candidate>> {
        let lists = stream::iter([Vec::new(), candidates()]);
        Box::pin(lists.chain(stream::pending()))
    }
    async fn begin(
        &self,
        _: Caller,
        candidate: String,
        words: String,
        name: String,
    ) -> Result<(), Error> {
        let count = words.split_whitespace().count();
        self.asked
            .send(Asked::Begin(candidate, words.trim().into(), name))
            .unwrap();
        if count != 12 {
            return Err(Error::Count(count as u32));
        }
        self.stage.send_replace(Stage::Choosing(members()));
        Ok(())
    }
    async fn restore(&self, _: Caller, lost: Vec<String>) -> Result<(), Error> {
        self.stage.send_replace(if lost.is_empty() {
            Stage::Failed(Error::OtherWords)
        } else {
            Stage::Restored("TV".into())
        });
        self.asked.send(Asked::Restore(lost)).unwrap();
        Ok(())
    }
    async fn watch(&self, _: Caller) -> Outgoing<Stage> {
        let stage = self.stage.borrow().clone();
        Box::pin(stream::once(async { stage }).chain(stream::pending()))
    }
}

/// Serves until the test ends. What it was asked.
fn serve(folder: &Path) -> Receiver<Asked> {
    let (asked, heard) = channel();
    serving::serve(folder, bus::paper::ID, |server| {
        let stage = watch::Sender::new(Stage::Closed);
        server.serve(bus::paper::interface(Family { asked, stage }));
    });
    heard
}

/// Runs `hyper family` with what a person types: whether it went well, what it printed, what it complained of.
fn hyper(folder: &Path, arguments: &[&str], typed: &str) -> (bool, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hyper"))
        .env("HYPER_BUS", folder)
        .arg("family")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(typed.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn words_are_set_once_somebody_says_that_they_are_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let heard = serve(folder.path());
    for typed in ["", "\n", "no\n"] {
        let (done, printed, _) = hyper(folder.path(), &["paper"], typed);
        assert!(done && printed.contains("   6  sausage     "), "{printed}");
        assert!(printed.ends_with("Nothing has changed.\n"), "{printed}");
    }
    assert!(heard.try_recv().is_err(), "nothing was set");
    let (done, printed, complaint) = hyper(folder.path(), &["paper"], "yes\n");
    assert!(done, "{complaint}");
    assert!(printed.contains("12  yellow\n"), "{printed}");
    assert!(
        printed.contains("The words of before are void then."),
        "{printed}"
    );
    assert_eq!(heard.try_recv(), Ok(Asked::Set(WORDS.into())));
}

#[test]
fn a_family_is_recovered_by_what_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let heard = serve(folder.path());
    let (second, name) = ("2b".repeat(32), "New phone");
    let half = WORDS.len() / 2;
    let at = half + WORDS[half..].find(' ').unwrap();
    let two_lines = format!("{}\n{}", &WORDS[..at], &WORDS[at + 1..]);

    // One to choose, in the second attempt; words in two lines; the owner's devices are lost.
    let typed = format!("9\n2\n{two_lines}\n\n");
    let (done, printed, complaint) = hyper(folder.path(), &["recover", "--name", name], &typed);
    assert!(done, "{printed}{complaint}");
    assert!(printed.contains("   2  2b2b 2b2b 2b2b 2b2b\n"), "{printed}");
    assert!(printed.contains("Tablet"), "{printed}");
    assert!(!printed.contains("sausage"), "the words stand nowhere");
    let begun = |id: &str, name: &str| Asked::Begin(id.into(), WORDS.into(), name.into());
    assert_eq!(heard.try_recv(), Ok(begun(&second, name)));
    let lost =
        |names: &[&str]| Asked::Restore(names.iter().map(|name| format!("id of {name}")).collect());
    assert_eq!(heard.try_recv(), Ok(lost(&["Phone", "Tablet"])));

    // One that is named; who is lost is said wrongly, and then rightly.
    let typed = format!("{WORDS}\n4\n2 3\n");
    let (done, printed, complaint) = hyper(folder.path(), &["recover", "2b"], &typed);
    assert!(done, "{printed}{complaint}");
    assert!(printed.contains("there is no device 4"), "{printed}");
    assert_eq!(heard.try_recv(), Ok(begun(&second, "")));
    assert_eq!(heard.try_recv(), Ok(lost(&["TV", "Tablet"])));

    // What goes wrong is said.
    let wrong = [
        (
            "legal winner\n\n",
            "the phrase has twelve words, and these are 2",
        ),
        (
            &*format!("{WORDS}\nnone\n"),
            "that device knows other words",
        ),
        (WORDS, "nobody has said which devices are lost"),
    ];
    for (typed, why) in wrong {
        let (done, _, complaint) = hyper(folder.path(), &["recover", "2b"], typed);
        assert!(!done && complaint.contains(why), "{complaint}");
    }
    let (done, _, complaint) = hyper(folder.path(), &["open", "--recovery"], "");
    assert!(
        !done && complaint.contains("it is of no family"),
        "{complaint}"
    );
}
