use super::*;

fn summary(names: &[&str], files: u32, bytes: u64) -> Summary {
    Summary {
        names: names.iter().map(ToString::to_string).collect(),
        files,
        folders: 0,
        bytes,
        contents: digest(names.concat().as_bytes()).into(),
    }
}

fn phone() -> bus::Device {
    bus::Device {
        id: "ab".repeat(32).into(),
        name: "phone".into(),
        program: None,
    }
}

struct Place {
    received: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            received: tempfile::tempdir().unwrap(),
        }
    }

    fn begin(&self, summary: &Summary) -> Result<(Arriving, bool), Error> {
        let about = about(&phone(), "1", summary)?;
        Arriving::begin(self.received.path().join(".arriving/1"), about)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.received.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.received.path().join(path)).unwrap()
    }
}

fn digest(data: &[u8]) -> Vec<u8> {
    Sha256::digest(data).to_vec()
}

fn put(arriving: &mut Arriving, path: &str, data: &str) -> Result<(), Error> {
    arriving.put(path, 1_000, data.as_bytes(), &digest(data.as_bytes()))
}

#[test]
fn nothing_appears_before_all_of_it_is_there() {
    let place = Place::new();
    let (mut arriving, resuming) = place.begin(&summary(&["a.txt", "b"], 2, 8)).unwrap();
    assert!(!resuming);
    put(&mut arriving, "a.txt", "four").unwrap();
    let error = arriving.finish(place.received.path()).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    assert!(place.names().is_empty());
    put(&mut arriving, "b/deep/c.txt", "more").unwrap();
    let mut names = arriving.finish(place.received.path()).unwrap();
    names.sort();
    assert_eq!(names, ["a.txt", "b"]);
    assert_eq!(place.text("b/deep/c.txt"), "more");
    let modified = fs::metadata(place.received.path().join("a.txt"))
        .unwrap()
        .modified();
    let since = modified
        .unwrap()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(since, Duration::from_secs(1));
}

#[test]
fn what_is_there_is_never_overwritten() {
    let place = Place::new();
    fs::write(place.received.path().join("a.txt"), "mine").unwrap();
    fs::create_dir(place.received.path().join("folder")).unwrap();
    let (mut arriving, _) = place.begin(&summary(&["a.txt", "folder"], 2, 8)).unwrap();
    put(&mut arriving, "a.txt", "four").unwrap();
    put(&mut arriving, "folder/x", "more").unwrap();
    let mut names = arriving.finish(place.received.path()).unwrap();
    names.sort();
    assert_eq!(names, ["a (2).txt", "folder (2)"]);
    assert_eq!(place.text("a.txt"), "mine");
    assert_eq!(place.text("a (2).txt"), "four");
}

#[test]
fn a_file_goes_on_where_it_was() {
    let place = Place::new();
    let data = "0123456789";
    let (mut arriving, _) = place.begin(&summary(&["n"], 1, 10)).unwrap();
    arriving.open_file("n", 10, 0).unwrap();
    arriving.write(0, b"0123").unwrap();
    drop(arriving);

    let (mut arriving, resuming) = place.begin(&summary(&["n"], 1, 10)).unwrap();
    assert!(resuming);
    let held = arriving.held(&["n".into(), "other".into()]).unwrap();
    assert_eq!(held, [Some((4, digest(b"0123"))), None]);
    arriving.open_file("n", 10, 4).unwrap();
    arriving.write(4, b"456789").unwrap();
    arriving.close(1_000, &digest(data.as_bytes())).unwrap();
    arriving.finish(place.received.path()).unwrap();
    assert_eq!(place.text("n"), data);
}

#[test]
fn what_is_not_what_was_sent_is_not_kept() {
    let place = Place::new();
    let (mut arriving, _) = place.begin(&summary(&["n"], 1, 4)).unwrap();
    let damaged = |result: Result<(), Error>| matches!(result, Err(Error::Damaged(_)));
    assert!(damaged(arriving.put("n", 0, b"four", &digest(b"five"))));
    assert!(damaged(arriving.write(0, b"four")), "nothing is open");
    arriving.open_file("n", 4, 0).unwrap();
    assert!(damaged(arriving.write(1, b"our")), "a gap");
    assert!(damaged(arriving.write(0, b"fours")), "longer than it said");
    arriving.write(0, b"four").unwrap();
    assert!(damaged(arriving.close(0, &digest(b"five"))));
    assert_eq!(arriving.held(&["n".into()]).unwrap(), [None]);
    assert_eq!(arriving.used(), 0);
    assert!(
        damaged(arriving.open_file("n", 4, 3)),
        "behind what is here"
    );
    arriving.open_file("n", 4, 0).unwrap();
    arriving.write(0, b"fo").unwrap();
    assert!(damaged(arriving.close(0, &digest(b"fo"))), "too short");
}

#[test]
fn nobody_can_send_more_than_was_said() {
    let place = Place::new();
    let (mut arriving, _) = place.begin(&summary(&["n"], 1, 4)).unwrap();
    let refused = |result: Result<(), Error>| matches!(result, Err(Error::Refused(_)));
    assert!(refused(put(&mut arriving, "n", "five!")));
    arriving.open_file("n", u64::MAX, 0).unwrap();
    assert!(refused(arriving.write(0, b"five!")));
    let entries = (0..100).find(|number| {
        let made = arriving.put_folder(&format!("d{number}"));
        refused(made)
    });
    assert!(entries.is_some_and(|number| number < 40));
    let many = Summary {
        folders: u32::MAX,
        ..summary(&["n"], u32::MAX, 1)
    };
    assert!(matches!(place.begin(&many), Err(Error::Refused(_))));
    let huge = summary(&["n"], 1, u64::MAX / 2);
    assert!(matches!(place.begin(&huge), Err(Error::Full)));
    assert!(matches!(
        place.begin(&summary(&[], 1, 1)),
        Err(Error::Refused(_))
    ));
}

#[test]
fn a_file_that_is_shorter_now_does_not_count_for_what_it_was() {
    let place = Place::new();
    let (mut arriving, _) = place.begin(&summary(&["a", "b"], 2, 11)).unwrap();
    put(&mut arriving, "a", "1").unwrap();
    put(&mut arriving, "b", "0123456789").unwrap();
    drop(arriving);
    // They have been changed meanwhile, and `a` comes first.
    let (mut arriving, resuming) = place.begin(&summary(&["a", "b"], 2, 6)).unwrap();
    assert!(resuming);
    put(&mut arriving, "a", "12345").unwrap();
    let early = arriving.finish(place.received.path());
    assert!(matches!(early, Err(Error::Damaged(_))), "{early:?}");
    put(&mut arriving, "b", "0").unwrap();
    arriving.finish(place.received.path()).unwrap();
    assert_eq!((&*place.text("a"), &*place.text("b")), ("12345", "0"));
}

#[test]
fn an_empty_file_that_is_missing_is_missed() {
    let place = Place::new();
    let nothing = place.begin(&summary(&["n"], 0, 0));
    assert!(matches!(nothing, Err(Error::Refused(_))), "nothing at all");
    let (mut arriving, _) = place.begin(&summary(&["n", "empty"], 2, 4)).unwrap();
    put(&mut arriving, "n", "four").unwrap();
    let early = arriving.finish(place.received.path());
    assert!(matches!(early, Err(Error::Damaged(_))), "{early:?}");
    put(&mut arriving, "empty", "").unwrap();
    assert_eq!(
        arriving.finish(place.received.path()).unwrap(),
        ["empty", "n"]
    );
}

#[test]
fn what_is_there_of_other_paths_is_deleted() {
    let place = Place::new();
    let (mut arriving, _) = place.begin(&summary(&["n"], 2, 8)).unwrap();
    put(&mut arriving, "n/gone meanwhile", "four").unwrap();
    drop(arriving);
    let other = Summary {
        contents: digest(b"other paths").into(),
        ..summary(&["n"], 1, 4)
    };
    let (mut arriving, resuming) = place.begin(&other).unwrap();
    assert!(!resuming && arriving.used() == 0);
    put(&mut arriving, "n/still there", "more").unwrap();
    arriving.finish(place.received.path()).unwrap();
    assert!(!place.received.path().join("n/gone meanwhile").exists());
}

#[test]
fn no_path_leads_out_of_its_folder() {
    let place = Place::new();
    let outside = place.received.path().join("outside");
    let (mut arriving, _) = place.begin(&summary(&["n"], 9, 100)).unwrap();
    for path in ["../outside", "/outside", "a/../../outside", "..", ""] {
        assert!(put(&mut arriving, path, "x").is_err(), "{path:?}");
        assert!(arriving.put_folder(path).is_err(), "{path:?}");
        assert!(arriving.open_file(path, 1, 0).is_err(), "{path:?}");
        assert!(arriving.held(&[path.into()]).is_err(), "{path:?}");
    }
    assert!(!outside.exists());
    for name in ["../n", "n/within", ".."] {
        let out = summary(&[name], 1, 1);
        assert!(matches!(place.begin(&out), Err(Error::Refused(_))));
    }
    // A file is not a folder, nor the other way round.
    put(&mut arriving, "file", "x").unwrap();
    assert!(put(&mut arriving, "file/below", "x").is_err());
    arriving.put_folder("folder").unwrap();
    assert!(put(&mut arriving, "folder", "x").is_err());
}

#[test]
fn putting_names_down_goes_on_after_a_loss_of_power() {
    let place = Place::new();
    let (mut arriving, _) = place.begin(&summary(&["a", "b"], 2, 8)).unwrap();
    put(&mut arriving, "a", "four").unwrap();
    put(&mut arriving, "b", "more").unwrap();
    let folder = arriving.folder.clone();
    arriving.about.update(|about| about.placing = true).unwrap();
    fs::rename(folder.join("files/a"), place.received.path().join("a")).unwrap();
    drop(arriving);
    let mut arriving = Arriving::open(folder).unwrap();
    assert!(arriving.about().placing);
    assert_eq!(arriving.finish(place.received.path()).unwrap(), ["b"]);
    assert_eq!(place.names(), ["a", "b"]);
}
