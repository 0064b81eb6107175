//! Reading programs before they are run.
//!
//! A page of the root is read, verified and unpacked when it is first touched, and the first service
//! touches most of its program, one page after the other, while a second processor has nothing to do.
//! So that processor does it, from the moment at which the root is there.

use std::fs::File;
use std::path::Path;

use rustix::fs::Advice;

/// The file that lists what is read ahead: a path a line. The image's builder writes it.
const LIST: &str = "/system/read-ahead";

/// Has the kernel read what `LIST` names. Nothing waits for it, and nothing depends on it.
pub fn begin() {
    let reader = std::thread::Builder::new().name("read-ahead".to_owned());
    // Without a thread the pages are read when they are needed.
    let _ = reader.spawn(|| {
        let list = std::fs::read_to_string(LIST).unwrap_or_default();
        list.lines().for_each(|path| read(Path::new(path)));
    });
}

fn read(path: &Path) {
    if let Ok(file) = File::open(path) {
        // Advice that is not taken costs time, and that is all.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::WillNeed);
    }
}
