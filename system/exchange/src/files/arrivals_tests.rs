use bus::Address;

use super::*;

struct Home {
    received: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            received: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self) -> Arc<Arrivals> {
        let received = self.received.path();
        let bus = bus::Client::new(Address::Here(received.join("no bus")));
        let (arrivals, notices) = Arrivals::open(received, Arc::default(), bus).unwrap();
        assert!(notices.is_empty());
        arrivals
    }

    /// Folders of deliveries that have not arrived.
    fn unfinished(&self) -> usize {
        let folder = self.received.path().join(ARRIVING);
        fs::read_dir(folder).unwrap().count()
    }
}

fn key(device: &str, number: usize) -> Key {
    (device.repeat(32), format!("{number:032x}"))
}

fn about(key: &Key) -> About {
    About {
        device: key.0.clone(),
        device_name: "phone".into(),
        delivery: key.1.clone(),
        names: vec!["n".into()],
        files: 1,
        folders: 0,
        bytes: 4,
        contents: vec![0; 32],
        placing: false,
    }
}

async fn begin(arrivals: &Arc<Arrivals>, key: &Key) -> Result<Standing, Error> {
    arrivals.begin(key.clone(), about(key)).await
}

async fn send(arrivals: &Arc<Arrivals>, key: &Key) -> Result<(), Error> {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(b"four");
    arrivals
        .on(key, 4, |arriving| arriving.put("n", 0, b"four", &digest))
        .await
}

fn phase(arrivals: &Arrivals) -> Phase {
    arrivals.book.all().pop().unwrap().phase
}

#[tokio::test]
async fn what_has_arrived_does_not_arrive_twice() {
    let home = Home::new();
    let key = key("ab", 1);
    let arrivals = home.open();
    assert!(matches!(begin(&arrivals, &key).await, Ok(Standing::Fresh)));
    send(&arrivals, &key).await.unwrap();
    arrivals.finish(key.clone()).await.unwrap();
    assert_eq!(phase(&arrivals), Phase::Finished);
    assert_eq!(home.unfinished(), 0);
    // The answer was lost, and then the device was restarted.
    arrivals.finish(key.clone()).await.unwrap();
    for arrivals in [arrivals, home.open()] {
        let again = begin(&arrivals, &key).await;
        assert!(matches!(again, Ok(Standing::Finished)), "{again:?}");
    }
    let names = fs::read_dir(home.received.path()).unwrap();
    let names = names.filter(|entry| !entry.as_ref().unwrap().file_type().unwrap().is_dir());
    assert_eq!(names.count(), 1);
}

#[tokio::test]
async fn what_is_taken_back_waits_for_the_one_at_work_and_does_not_come_back() {
    let home = Home::new();
    let key = key("ab", 1);
    let arrivals = home.open();
    begin(&arrivals, &key).await.unwrap();
    let (id, slot) = arrivals.find(&key).unwrap();
    let at_work = slot.lock_owned().await;
    let cancelling = {
        let arrivals = Arc::clone(&arrivals);
        tokio::spawn(async move { arrivals.cancel(id).await })
    };
    while !arrivals.settled.is_cancelled(&key) {
        tokio::task::yield_now().await;
    }
    assert!(arrivals.is_listed(&key, id) && home.unfinished() == 1);
    drop(at_work);
    assert!(cancelling.await.unwrap());
    assert_eq!((phase(&arrivals), home.unfinished()), (Phase::Cancelled, 0));
    assert!(!arrivals.cancel(id).await, "it is over");
    let late = send(&arrivals, &key).await;
    assert!(matches!(late, Err(Error::Cancelled)), "{late:?}");
    for arrivals in [arrivals, home.open()] {
        let again = begin(&arrivals, &key).await;
        assert!(matches!(again, Err(Error::Cancelled)), "{again:?}");
    }
    assert_eq!(home.unfinished(), 0);
}

#[tokio::test]
async fn a_device_keeps_few_at_once_and_leaves_the_others_theirs() {
    let home = Home::new();
    let arrivals = home.open();
    let others = key("cd", 0);
    begin(&arrivals, &others).await.unwrap();
    for number in 0..MAX_OF_DEVICE + 3 {
        begin(&arrivals, &key("ab", number)).await.unwrap();
    }
    assert_eq!(home.unfinished(), MAX_OF_DEVICE + 1);
    let oldest = send(&arrivals, &key("ab", 0)).await;
    assert!(matches!(oldest, Err(Error::Unknown)), "{oldest:?}");
    send(&arrivals, &key("ab", MAX_OF_DEVICE)).await.unwrap();
    send(&arrivals, &others).await.unwrap();
}

#[tokio::test]
async fn when_all_room_is_taken_nobody_who_is_at_it_loses_it() {
    let home = Home::new();
    let arrivals = home.open();
    for number in 0..MAX_OF_ALL {
        let device = format!("{:02x}", number / MAX_OF_DEVICE);
        begin(&arrivals, &key(&device, number)).await.unwrap();
    }
    let one_more = begin(&arrivals, &key("ff", 1)).await;
    assert!(matches!(one_more, Err(Error::Refused(_))), "{one_more:?}");
    assert_eq!(home.unfinished(), MAX_OF_ALL);
    // One of them was left alone for long.
    let alone = key("03", 13);
    {
        let mut entries = arrivals.entries();
        let entry = entries.get_mut(&alone).unwrap();
        entry.heard = entry.heard.checked_sub(ALONE * 2).unwrap();
    }
    begin(&arrivals, &key("ff", 1)).await.unwrap();
    assert!(matches!(send(&arrivals, &alone).await, Err(Error::Unknown)));
    assert_eq!(home.unfinished(), MAX_OF_ALL);
}
