//! How long a long log takes: to read in from nothing, and to take one entry more.
//!
//! `cargo run --release -p trust --example evaluate -- 5000`

use std::time::Instant;

use trust::{
    identity::Identity,
    log::{Action, Grant, Log, Role, Until},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: usize = std::env::args()
        .nth(1)
        .map_or(Ok(5000), |text| text.parse())?;
    let owners: Vec<Identity> = (0..4)
        .map(|_| Identity::generate())
        .collect::<Result<_, _>>()?;
    let mut log = Log::found(&owners[0], "0", None, 0)?;
    for owner in &owners[1..] {
        let added = Action::Added {
            device: owner.id(),
            role: Role::Owner,
            name: "owner".into(),
        };
        log.write(&owners[0], added, 0)?;
    }
    let mut number = 0;
    while log.len() < count {
        let owner = &owners[number % owners.len()];
        let device = Identity::generate()?.id();
        // A device that comes and goes for every hundred grants.
        if number % 100 == 0 {
            let added = Action::Added {
                device,
                role: Role::Guest,
                name: "guest".into(),
            };
            log.write(&owners[0], added, 0)?;
            log.remove(&owners[0], device, false, 0)?;
        }
        let grant = Grant {
            from: owners[1].id(),
            to: None,
            interfaces: "hyper:clipboard/*".parse()?,
            until: Until::Once,
        };
        log.write(owner, Action::GrantGiven(grant), 0)?;
        number += 1;
    }
    let entries: Vec<Vec<u8>> = log.entries().map(|entry| entry.bytes().to_vec()).collect();
    let bytes: usize = entries.iter().map(Vec::len).sum();

    let start = Instant::now();
    let mut read = Log::open(&entries[0])?;
    let (new, _) = read.insert_all(entries[1..].iter().map(Vec::as_slice));
    println!(
        "{} entries, {bytes} bytes: read in {:?}",
        new.len() + 1,
        start.elapsed()
    );
    let start = Instant::now();
    read.renew_secret(&owners[0], 0)?;
    println!(
        "one entry more, signed and evaluated: {:?}",
        start.elapsed()
    );
    assert_eq!(read.family().members().count(), owners.len());
    Ok(())
}
