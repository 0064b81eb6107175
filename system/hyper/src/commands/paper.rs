//! The paper phrase: set on an owner device, and used on a new one.
//!
//! Words are read from standard input and never from arguments, which everybody on the device can see.

use std::io::{self, BufRead, Read as _, Write};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bus::family::Role;
use bus::pairing::Candidate;
use bus::paper::{Error, Member, Stage};
use futures::StreamExt as _;
use mesh::paper::describe;
use tokio::sync::mpsc;

use super::family::role;

/// How long a device of the family is looked for.
const LOOKING: Duration = Duration::from_secs(120);
/// How many words a phrase has.
const WORDS: usize = 12;
/// A line of words is no longer.
const MOST: u64 = 1024;

/// Lines that a person types. They are read beside everything else, so that an interruption is heard.
#[derive(Debug)]
pub struct Lines(mpsc::UnboundedReceiver<io::Result<String>>);

impl Lines {
    /// The lines of this.
    pub fn of(mut input: impl BufRead + Send + 'static) -> Self {
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            loop {
                let mut line = String::new();
                let read = (&mut input).take(MOST).read_line(&mut line);
                let line = match read {
                    Ok(0) => return,
                    read => read.map(|_| line.trim().to_owned()),
                };
                let over = line.is_err();
                if sender.send(line).is_err() || over {
                    return;
                }
            }
        });
        Self(lines)
    }

    /// The next, without what surrounds it; none at the end.
    async fn next(&mut self) -> Result<Option<String>> {
        let line = self.0.recv().await.transpose();
        line.context("reading standard input")
    }

    async fn ask(&mut self, out: &mut impl Write, question: &str) -> Result<Option<String>> {
        write!(out, "{question}")?;
        out.flush()?;
        self.next().await
    }
}

/// Shows new words, and sets them once they are written down.
pub async fn set(bus: &bus::Client, mut input: Lines, out: &mut impl Write) -> Result<()> {
    let words = bus::paper::generate(bus)
        .await?
        .map_err(|error| anyhow!("making a paper phrase: {}", describe(&error)))?;
    writeln!(out, "Write these words down, with their numbers:\n")?;
    let half = words.len().div_ceil(2);
    for (at, word) in words[..half].iter().enumerate() {
        let other = words.get(at + half).map_or("", |word| word);
        writeln!(
            out,
            "  {:>2}  {word:<12}{:>4}  {other}",
            at + 1,
            at + half + 1
        )?;
    }
    writeln!(
        out,
        "\nIf all owner devices are lost, these words save the family. Whoever has them is its owner, and no device keeps them."
    )?;
    if bus::paper::has_phrase(bus).await? {
        writeln!(out, "The words of before are void then.")?;
    }
    if !says_yes(&mut input, out, "Have you written them down? [y/N] ").await? {
        return writeln!(out, "Nothing has changed.").context("printing");
    }
    let set = bus::paper::set(bus, &words.join(" ")).await?;
    set.map_err(|error| anyhow!("setting the paper phrase: {}", describe(&error)))?;
    writeln!(out, "The family has this paper phrase now.").context("printing")
}

/// Restores a family on this device, which is of none: of the device nearby whose id begins like this, or of
/// one to choose.
pub async fn recover(
    bus: &bus::Client,
    beginning: &str,
    name: &str,
    mut input: Lines,
    out: &mut impl Write,
) -> Result<()> {
    let candidate = find(bus, beginning, &mut input, out).await?;
    write!(out, "The twelve words of the paper phrase: ")?;
    out.flush()?;
    let words = words(&mut input).await?;
    let restoring = |error: Error| anyhow!("restoring the family: {}", describe(&error));
    let begun = bus::paper::begin(bus, &candidate.id, &words, name).await?;
    begun.map_err(restoring)?;
    let Stage::Choosing(members) = decided(bus, false).await? else {
        bail!("restoring the family: somebody has ended it");
    };
    writeln!(out, "The family has these devices:\n")?;
    for (number, member) in (1..).zip(&members) {
        let role = role(member.role);
        let name = &member.name;
        writeln!(
            out,
            "  {number:>2}  {name:<24} {role:<8} {}",
            short(&member.id)
        )?;
    }
    let lost = loop {
        let question = "\nWhich are lost? They are removed, and lock themselves. Numbers, or `none`; every owner device, if nothing is said: ";
        let Some(answer) = input.ask(out, question).await? else {
            bus::paper::close(bus).await?;
            bail!("nobody has said which devices are lost: nothing has changed");
        };
        match lost(&members, &answer) {
            Ok(lost) => break lost,
            Err(error) => writeln!(out, "{error:#}")?,
        }
    };
    bus::paper::restore(bus, &lost).await?.map_err(restoring)?;
    match decided(bus, true).await? {
        Stage::Restored(_) => {
            writeln!(out, "This device is an owner device of the family now.").context("printing")
        }
        _ => bail!("restoring the family: somebody has ended it"),
    }
}

/// What comes of it: that the person has to choose, or, once that was done, how it ended.
async fn decided(bus: &bus::Client, chosen: bool) -> Result<Stage> {
    let mut stages = bus::paper::watch(bus).await?;
    while let Some(stage) = stages.next().await {
        match stage? {
            Stage::Failed(error) => bail!("restoring the family: {}", describe(&error)),
            Stage::Choosing(_) if chosen => {}
            Stage::Open | Stage::Connecting | Stage::Waiting => {}
            stage => return Ok(stage),
        }
    }
    bail!("the service that restores the family has ended: begin again")
}

async fn find(
    bus: &bus::Client,
    beginning: &str,
    input: &mut Lines,
    out: &mut impl Write,
) -> Result<Candidate> {
    writeln!(
        out,
        "On a device that is left of the family, such as a TV: open Settings, Devices, Let a family be restored; or run `hyper family open --recovery` there."
    )?;
    out.flush()?;
    loop {
        let found = tokio::time::timeout(LOOKING, nearby(bus, beginning));
        let mut found = found.await.map_err(|_| {
            anyhow!("no device nearby lets its family be restored; both have to be on one network")
        })??;
        if found.len() == 1 && !beginning.is_empty() {
            return Ok(found.remove(0));
        }
        for (number, candidate) in (1..).zip(&found) {
            writeln!(out, "  {number:>2}  {}", short(&candidate.id))?;
        }
        let question = "Which one? It shows the same. Its number; look again, if nothing is said: ";
        let answer = input.ask(out, question).await?;
        let answer = answer.context("nobody has said which device it is")?;
        let number = answer.parse().ok().filter(|number| *number > 0);
        if let Some(candidate) = number.and_then(|number: usize| found.get(number - 1)) {
            return Ok(candidate.clone());
        }
    }
}

/// Those that begin like this, as soon as there is one.
async fn nearby(bus: &bus::Client, beginning: &str) -> Result<Vec<Candidate>> {
    let mut lists = bus::paper::watch_candidates(bus).await?;
    while let Some(list) = lists.next().await {
        let mut list = list?;
        list.retain(|candidate| candidate.id.starts_with(beginning));
        if !list.is_empty() {
            return Ok(list);
        }
    }
    bail!("the service that looks for devices has ended: begin again")
}

/// The beginning of a key, as screens show it.
pub fn short(id: &str) -> String {
    let letters: Vec<char> = id.chars().take(16).collect();
    let groups: Vec<String> = letters.chunks(4).map(String::from_iter).collect();
    groups.join(" ")
}

/// Which of these devices are meant.
fn lost(members: &[Member], answer: &str) -> Result<Vec<String>> {
    let id = |member: &Member| member.id.clone();
    match answer {
        "" => {
            let owners = members.iter().filter(|member| member.role == Role::Owner);
            Ok(owners.map(id).collect())
        }
        "none" => Ok(Vec::new()),
        numbers => {
            let words = numbers.split(|c: char| c == ',' || c.is_whitespace());
            let numbers = words.filter(|word| !word.is_empty());
            numbers
                .map(|word| {
                    let number = word.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                    let member = number.and_then(|number| members.get(number));
                    let member = member.with_context(|| format!("there is no device {word}"));
                    member.map(id)
                })
                .collect()
        }
    }
}

/// As many lines as twelve words take.
async fn words(input: &mut Lines) -> Result<String> {
    let mut words = String::new();
    loop {
        let line = input.next().await?.unwrap_or_default();
        let ends = line.is_empty();
        words.push_str(&line);
        words.push(' ');
        let count = words.split(|c: char| !c.is_alphabetic());
        if ends || count.filter(|word| !word.is_empty()).count() >= WORDS {
            return Ok(words);
        }
    }
}

async fn says_yes(input: &mut Lines, out: &mut impl Write, question: &str) -> Result<bool> {
    let answer = input.ask(out, question).await?.unwrap_or_default();
    Ok(matches!(&*answer.to_lowercase(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn member(name: &str, role: Role) -> Member {
        Member {
            id: format!("id of {name}"),
            name: name.into(),
            role,
        }
    }

    #[test]
    fn who_is_lost_is_said_by_numbers() {
        let members = [
            member("Phone", Role::Owner),
            member("TV", Role::Shared),
            member("Tablet", Role::Owner),
        ];
        let lost = |answer| lost(&members, answer).ok();
        let ids = |names: &[&str]| {
            let id = |name: &&str| format!("id of {name}");
            Some(names.iter().map(id).collect::<Vec<_>>())
        };
        assert_eq!(lost(""), ids(&["Phone", "Tablet"]));
        assert_eq!(lost("none"), ids(&[]));
        assert_eq!(lost("2, 3"), ids(&["TV", "Tablet"]));
        assert_eq!(lost("1"), ids(&["Phone"]));
        for wrong in ["0", "4", "1 x", "-1"] {
            assert_eq!(lost(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn words_are_read_from_as_many_lines_as_they_take() {
        let few = "1 one 2 two three\nfour five six seven\n\n";
        let mut input = Lines::of(Cursor::new(few));
        let read = words(&mut input).await.unwrap();
        assert!(read.trim().ends_with("six seven"), "{read}");
        let twelve = "a b c d e f g h i j\nk l\nm\n";
        let mut input = Lines::of(Cursor::new(twelve));
        assert!(words(&mut input).await.unwrap().trim().ends_with("k l"));
        assert_eq!(input.next().await.unwrap().as_deref(), Some("m"));
        assert_eq!(input.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn nothing_but_a_yes_is_one() {
        for (said, yes) in [
            ("y\n", true),
            ("YES\n", true),
            ("\n", false),
            ("", false),
            ("no\n", false),
        ] {
            let mut out = Vec::new();
            let mut input = Lines::of(Cursor::new(said));
            let heard = says_yes(&mut input, &mut out, "Well? ").await.unwrap();
            assert_eq!((heard, &*out), (yes, &b"Well? "[..]));
        }
    }
}
