//! The programs of a device, built from a copy of the sources in which one statement was added.
//!
//! The copy is built in the place of the sources and with a target folder in the place of theirs (in a mount
//! namespace of its own): what cargo and the compiler see is the same but for that statement, as it is when
//! a maker builds the next release where the last one was built. So the copied target folder begins as a
//! copy of the present one too, and only what the statement changes is compiled.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{paths, process, programs, progress::Progress, reproduce};

/// Where the statement is added.
pub const FILE: &str = "lib/bus/src/server.rs";

/// Before this line.
const BEFORE: &str = "                let user = program.user;\n";

/// It is in an asynchronous function that every service awaits, so it is compiled into each of them.
const STATEMENT: &str =
    "                tracing::debug!(\"{socket_name}: a connection of {}\", program.user);\n";

/// What of a target folder cargo builds upon.
const BUILT: [&str; 4] = [
    "CACHEDIR.TAG",
    ".rustc_info.json",
    "release",
    "x86_64-unknown-linux-gnu/release",
];

/// Builds them, and returns the folder that they are in.
///
/// # Errors
///
/// Fails when the statement has no place any more, or what is copied does not build.
pub fn programs(
    root: &Path,
    folder: &Path,
    no_build: bool,
    progress: &Progress,
) -> Result<PathBuf> {
    let (sources, target) = (folder.join("sources"), folder.join("target"));
    let built = target.join(programs::TARGET).join("release");
    if no_build {
        ensure!(
            built.join(programs::RECOVERY).is_file(),
            "the changed programs have not been built: leave --no-build away"
        );
        return Ok(built);
    }
    let present = paths::target(root)?;
    if !target.exists() {
        progress.step("copying what is built already", || {
            copy_target(&present, &target)
        })?;
    }
    copy_sources(root, &sources)?;
    let mut command = in_the_place_of(
        &programs::build_command(root, &[])?,
        [(&sources, root), (&target, &present)],
    )?;
    progress.noisy_step("building them with one more statement", || {
        process::run_visibly(&mut command).context("building the changed programs")
    })?;
    Ok(built)
}

/// Copies a target folder beside its place and moves it there, so that one that exists is whole.
fn copy_target(from: &Path, to: &Path) -> Result<()> {
    let unfinished = to.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("removing {}", unfinished.display()))?;
    }
    for name in BUILT {
        let (from, to) = (from.join(name), unfinished.join(name));
        if !from.exists() {
            continue;
        }
        paths::create(to.parent().unwrap_or(&unfinished))?;
        // With the times of all files: by these cargo sees what is built already.
        process::run(
            Command::new("cp")
                .args(["--archive", "--reflink=auto"])
                .args([&from, &to]),
        )?;
    }
    fs::rename(&unfinished, to).with_context(|| format!("renaming {}", unfinished.display()))
}

/// Makes `to` what is under version control in `root`, with the statement. A file that is the same already
/// is left as it is, and a new one gets the time of its original: what is not changed is not built again.
fn copy_sources(root: &Path, to: &Path) -> Result<()> {
    let is_new = !to.exists();
    let names = reproduce::sources(root)?;
    for name in &names {
        let (from, copy) = (root.join(name), to.join(name));
        let read = |path: &Path| fs::read(path).with_context(|| format!("reading {name}"));
        let original = read(&from)?;
        let is_changed = name == FILE;
        let content = if is_changed {
            with_statement(&String::from_utf8(original).context("reading the changed file")?)?
                .into_bytes()
        } else {
            original
        };
        if copy.exists() && read(&copy)? == content {
            continue;
        }
        paths::create(copy.parent().unwrap_or(to))?;
        fs::write(&copy, content).with_context(|| format!("writing {}", copy.display()))?;
        let about = fs::metadata(&from).with_context(|| format!("looking at {name}"))?;
        fs::set_permissions(&copy, about.permissions())
            .with_context(|| format!("setting the permissions of {}", copy.display()))?;
        if is_new && !is_changed {
            let time = about.modified().context("asking for a time")?;
            fs::File::options()
                .write(true)
                .open(&copy)
                .and_then(|file| file.set_modified(time))
                .with_context(|| format!("setting the time of {}", copy.display()))?;
        }
    }
    remove_others(to, to, &names)
}

/// Removes the files below `folder` that are not named, by their paths from `base`.
fn remove_others(folder: &Path, base: &Path, names: &[String]) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_others(&path, base, names)?;
            continue;
        }
        let name = path.strip_prefix(base).unwrap_or(&path).to_string_lossy();
        if names
            .binary_search_by(|other| (**other).cmp(&*name))
            .is_err()
        {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

fn with_statement(text: &str) -> Result<String> {
    let places = text.matches(BEFORE).count();
    ensure!(
        places == 1,
        "{FILE} has {places} places for the statement that is to be added, which goes before {:?}",
        BEFORE.trim()
    );
    Ok(text.replace(BEFORE, &format!("{STATEMENT}{BEFORE}")))
}

/// The same command where folders stand in the place of others, of which the second may be inside of the first.
fn in_the_place_of(command: &Command, folders: [(&PathBuf, &Path); 2]) -> Result<Command> {
    let [(sources, root), (target, present)] = folders;
    // Whatever is mounted over hides what is below it.
    let script = if let Ok(inside) = present.strip_prefix(root) {
        paths::create(&sources.join(inside))?;
        r#"mount --bind "$3" "$1/${4#"$2/"}"; mount --rbind "$1" "$2"; cd "$2"; shift 4; exec "$@""#
    } else {
        r#"mount --bind "$1" "$2"; mount --bind "$3" "$4"; cd "$2"; shift 4; exec "$@""#
    };
    let mut inside = process::tool("unshare");
    inside
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-euc",
            script,
            "sh",
        ])
        .args([sources, root, target, present])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_has_its_place() {
        let text = fs::read_to_string(paths::repository().unwrap().join(FILE)).unwrap();
        let changed = with_statement(&text).unwrap();
        assert_eq!(changed.len(), text.len() + STATEMENT.len());
        assert_eq!(changed.lines().count(), text.lines().count() + 1);
        with_statement(&changed.replace(BEFORE, "")).unwrap_err();
    }
}
