//! A backlight is shown to a process in a mount namespace of its own. It needs root; without, the
//! test says that it was skipped.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

/// Ends with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_backlight_that_comes_later_is_shown_to_a_running_service_and_can_be_set() {
    if !rustix::process::geteuid().is_root() {
        let _ = std::io::stderr().write_all(b"SKIPPED: this test needs root\n");
        return;
    }
    let devices = tempfile::tempdir().unwrap();
    let light = devices.path().join("panel0");
    std::fs::create_dir(&light).unwrap();
    std::fs::write(light.join("brightness"), "9").unwrap();
    let script = "mount -t tmpfs none /dev && echo ready && exec sleep infinity";
    let mut service = Service(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    let mut said = BufReader::new(service.0.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");

    let given = Command::new(env!("CARGO_BIN_EXE_init"))
        .arg("give")
        .arg(service.0.id().to_string())
        .arg(&light)
        .status()
        .unwrap();
    assert!(given.success());
    let seen = format!("/proc/{}/root/dev/backlight/panel0", service.0.id());
    std::fs::write(format!("{seen}/brightness"), "5").unwrap();
    assert_eq!(
        std::fs::read_to_string(light.join("brightness")).unwrap(),
        "5"
    );
    let metadata = std::fs::metadata(light.join("brightness")).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(
        (metadata.gid(), metadata.mode() & 0o777),
        (init::manifest::DeviceGroup::Backlight.id(), 0o664)
    );
    // Nothing of it is seen outside.
    assert!(!std::path::Path::new("/dev/backlight").exists());
}
