//! The settings over the bus, as other programs meet them.

use bus::{Address, Client, Server, settings as wire};
use futures::StreamExt as _;

/// Serves the settings in that folder and answers a client of them.
fn serve(folder: &std::path::Path) -> Client {
    let bus = folder.join("bus");
    let mut server = Server::bind(&bus, &[wire::ID]).expect("binding in a folder of our own");
    let keeper = settings::open(&folder.join("data"), &folder.join("system")).expect("opening");
    server.serve(settings::interface(keeper));
    tokio::spawn(server.run());
    Client::new(Address::Here(bus))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::create_dir(folder.path().join("system")).unwrap();
    folder
}

#[tokio::test]
async fn a_setting_is_read_changed_watched_and_reset() {
    let folder = folder();
    let bus = serve(folder.path());
    let key = "appearance.accent";
    let text = |word: &str| wire::Value::Text(word.to_owned());
    assert_eq!(wire::get(&bus, key).await.unwrap(), Ok(text("tide")));
    let mut changes = wire::watch(&bus).await.unwrap();
    wire::set(&bus, key, &text("moss")).await.unwrap().unwrap();
    wire::reset(&bus, key).await.unwrap().unwrap();
    for word in ["moss", "tide"] {
        let change = changes.next().await.expect("the stream goes on").unwrap();
        assert_eq!((change.key.as_str(), change.value), (key, text(word)));
    }
    let all = wire::all(&bus).await.unwrap();
    assert!(all.is_sorted_by_key(|setting| setting.key.clone()));
    assert!(
        all.iter()
            .any(|setting| setting.key == key && setting.value == text("tide"))
    );
    assert_eq!(wire::notices(&bus).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn refusals_name_what_is_wrong() {
    let folder = folder();
    let bus = serve(folder.path());
    assert_eq!(
        wire::get(&bus, "no.such").await.unwrap(),
        Err(wire::Error::UnknownKey("no.such".into()))
    );
    let refusal = wire::set(&bus, "display.brightness", &wire::Value::Integer(4))
        .await
        .unwrap();
    assert!(matches!(refusal, Err(wire::Error::Unfit(reason)) if reason.contains("5 to 100")));
}

#[tokio::test]
async fn a_damaged_file_is_told_and_kept() {
    let folder = folder();
    std::fs::write(folder.path().join("data/settings"), "not what we wrote").unwrap();
    let bus = serve(folder.path());
    let notices = wire::notices(&bus).await.unwrap();
    assert!(notices[0].contains("settings.damaged-1"), "{notices:?}");
    let kept = std::fs::read(folder.path().join("data/settings.damaged-1")).unwrap();
    assert_eq!(kept, b"not what we wrote");
}
