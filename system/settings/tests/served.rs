//! The settings over the bus, as other programs meet them.

use bus::{Address, Client, Server, settings as wire};
use futures::StreamExt as _;

/// Serves the settings in that folder and answers a client of them.
fn serve(folder: &std::path::Path) -> Client {
    let bus = folder.join("bus");
    let ids = [wire::ID, bus::following::ID];
    let mut server = Server::bind(&bus, &ids).expect("binding in a folder of our own");
    let keeper = settings::open(&folder.join("data"), &folder.join("system")).expect("opening");
    for interface in settings::interfaces(keeper) {
        server.serve(interface);
    }
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

#[tokio::test]
async fn what_follows_is_told_and_taken() {
    use bus::following::{Chosen, Error, Owner};
    let folder = folder();
    let bus = serve(folder.path());
    let mut moments = bus::following::watch(&bus).await.unwrap();
    let mut next = async || moments.next().await.expect("the stream goes on").unwrap();
    let of = |moment: &bus::following::Moment, key: &str| {
        let settings = moment.settings.iter();
        let found = settings.clone().find(|setting| setting.key == key);
        found.map(|setting| (setting.owner, setting.value.clone()))
    };
    let first = next().await;
    assert_eq!(of(&first, "language"), Some((Owner::Person, None)));
    assert_eq!(of(&first, "device.name"), Some((Owner::Device, None)));
    assert_eq!(of(&first, "display.brightness"), None, "it is the device's");

    let taken = Chosen::Text("zh-CN".into());
    let revision = bus::following::take(&bus, "language", Some(&taken)).await;
    let revision = revision.unwrap().unwrap();
    let moment = next().await;
    assert!(moment.revision >= revision && revision > first.revision);
    assert_eq!(of(&moment, "language"), Some((Owner::Person, Some(taken))));
    let text = wire::Value::Text("zh-CN".into());
    assert_eq!(wire::get(&bus, "language").await.unwrap(), Ok(text.clone()));

    // The default that somebody chose is a choice.
    let english = wire::Value::Text("en".into());
    wire::set(&bus, "language", &english)
        .await
        .unwrap()
        .unwrap();
    let chosen = of(&next().await, "language").unwrap().1;
    assert_eq!(chosen, Some(Chosen::Text("en".into())));
    bus::following::take(&bus, "language", None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(of(&next().await, "language"), Some((Owner::Person, None)));

    let unfit = bus::following::take(&bus, "language", Some(&Chosen::Boolean(true))).await;
    assert!(matches!(unfit.unwrap(), Err(Error::Unfit(_))));
    let brightness = Some(&Chosen::Integer(50));
    let stays = bus::following::take(&bus, "display.brightness", brightness).await;
    assert_eq!(
        stays.unwrap(),
        Err(Error::UnknownKey("display.brightness".into()))
    );
}
