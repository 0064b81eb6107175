//! A device that is lost: its screen shows that and the way back into its family, and nothing else.
//!
//! What says so is the family service ([`Update::Lost`](super::updates::Update::Lost)), which is there only after the
//! first frame. So the screen keeps it in its own folder: a device that is started again is locked from the first
//! frame on, and until that service says that it is not lost any more.

use super::Scene;
use super::navigation::Navigation;
use bus::family::Loss;
use slint::ComponentHandle as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// The file that is there as long as the device is lost.
const FILE: &str = "lost";

/// What is kept in a folder. That the file is there counts, whatever is in it.
fn load(folder: &Path) -> Option<Loss> {
    match fs::read_to_string(folder.join(FILE)) {
        Ok(text) => {
            let (at, by) = text.trim_end().split_once(' ').unwrap_or_default();
            Some(Loss {
                by: by.to_owned(),
                at: at.parse().unwrap_or_default(),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(Loss {
            by: String::new(),
            at: 0,
        }),
    }
}

/// Keeps it durably: beside what was there first, then in its place.
fn save(folder: &Path, loss: Option<&Loss>) -> io::Result<()> {
    let file = folder.join(FILE);
    match loss {
        Some(loss) => {
            let new = folder.join("lost.new");
            let mut written = File::create(&new)?;
            writeln!(written, "{} {}", loss.at, loss.by.replace('\n', " "))?;
            written.sync_all()?;
            fs::rename(new, file)?;
        }
        None => match fs::remove_file(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        },
    }
    File::open(folder)?.sync_all()
}

impl Scene {
    /// What was known before this start.
    pub(super) fn recall_loss(&self) {
        let Some(folder) = &self.0.surroundings.data else {
            return;
        };
        if let Some(loss) = load(folder) {
            self.0.known.borrow_mut().loss = Some(loss);
            self.0.navigation.borrow_mut().keep_locked(true);
        }
    }

    /// The family service says whether this device is lost.
    pub(super) fn take_loss(&self, loss: Option<Loss>) {
        if self.0.known.borrow().loss == loss {
            return;
        }
        if let Some(folder) = &self.0.surroundings.data
            && let Err(error) = save(folder, loss.as_ref())
        {
            tracing::warn!(
                "keeping in {} whether this device is lost: {error}",
                folder.display()
            );
        }
        let is_lost = loss.is_some();
        self.0.known.borrow_mut().loss = loss;
        if is_lost {
            self.stop_all_visits();
            self.hide_beacon();
            let keyboard = self.0.window.global::<ui::Keyboard<'_>>();
            keyboard.set_shown(false);
        }
        self.navigate(|navigation: &mut Navigation| navigation.keep_locked(is_lost));
        self.present_loss();
        self.0.window.invoke_focus_screen();
    }

    pub(super) fn present_loss(&self) {
        let known = self.0.known.borrow();
        let global = self.0.window.global::<ui::Lost<'_>>();
        if let Some(loss) = &known.loss {
            global.set_by(loss.by.as_str().into());
            global.set_when(self.when(loss.at).into());
        }
        global.set_shown(known.loss.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_it_is_lost_is_known_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), None);
        let loss = Loss {
            by: "Anna's phone".into(),
            at: 1_795_358_520_000,
        };
        save(folder.path(), Some(&loss)).unwrap();
        assert_eq!(load(folder.path()), Some(loss));
        save(folder.path(), None).unwrap();
        assert_eq!(load(folder.path()), None);
        save(folder.path(), None).unwrap();

        // A file that makes no sense locks all the same.
        fs::write(folder.path().join(FILE), [0xff, 0]).unwrap();
        assert!(load(folder.path()).is_some());
        fs::write(folder.path().join(FILE), "").unwrap();
        assert!(load(folder.path()).is_some());
    }
}
