//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use release::repository::Standing;
use release::wave::{ALL, Step, Wave};

use crate::mirror::{self, Site};
use crate::publish::{self, Change, Keys, OFFLINE_DAYS, in_days};
use crate::{keys, make, stick, verify};

/// Makes, signs, publishes and checks releases.
#[derive(Debug, Parser)]
#[command(name = "hyper-release", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a signing key. Keep those of root and targets where no network is
    Key {
        /// A file that does not exist yet
        file: PathBuf,
    },
    /// Say which keys count for what. Images carry this file; devices believe it
    Root {
        /// Where it goes
        file: PathBuf,
        /// A key of the root itself; more than one, best in different hands
        #[arg(long = "root-key", required = true)]
        root_keys: Vec<PathBuf>,
        /// How many of them have to sign
        #[arg(long, default_value_t = 1)]
        threshold: u64,
        /// The key of the list of channels
        #[arg(long)]
        targets_key: PathBuf,
        /// The key of snapshot and timestamp
        #[arg(long)]
        online_key: PathBuf,
        /// The root that this one follows, when keys change
        #[arg(long)]
        follows: Option<PathBuf>,
        /// A key of the root before that is none of this one; it signs too
        #[arg(long = "also-signed-by")]
        also: Vec<PathBuf>,
        /// For how many days it holds
        #[arg(long, default_value_t = 10 * OFFLINE_DAYS)]
        days: i64,
    },
    /// Make an empty repository
    Init {
        /// A folder
        repository: PathBuf,
        /// The root that it begins with
        #[arg(long)]
        root: PathBuf,
        /// A channel and its key, such as `stable=stable.pem`
        #[arg(long = "channel", required = true)]
        channels: Vec<String>,
        /// The key of the list of channels
        #[arg(long)]
        targets_key: PathBuf,
        /// The key of snapshot and timestamp
        #[arg(long)]
        online_key: PathBuf,
    },
    /// Make a release of an image and put its pieces into a repository, unsigned
    Make {
        /// The repository
        repository: PathBuf,
        /// What `cargo xtask image` made: `target/hyperos/PRODUCT`
        #[arg(long)]
        image: PathBuf,
        /// The product
        #[arg(long)]
        product: String,
        /// A text file that says what is new
        #[arg(long)]
        notes: Option<PathBuf>,
    },
    /// Let a channel have a release
    Publish {
        #[command(flatten)]
        place: Place,
        /// Which percentage of the devices may have it from when on, such as
        /// `2026-12-01T08:00:00Z=1`; it grows evenly from one to the next. Without any, everyone at once
        #[arg(long = "wave")]
        waves: Vec<String>,
    },
    /// Let nobody new have a release for now
    Pause(Place),
    /// Go on with it
    Resume(Place),
    /// Let nobody have it any more, for good
    Withdraw(Place),
    /// Make the timestamp fresh again
    Renew {
        /// The repository
        repository: PathBuf,
        /// The key of snapshot and timestamp
        #[arg(long)]
        online_key: PathBuf,
        /// A root that follows the one in use
        #[arg(long)]
        root: Option<PathBuf>,
        /// For how many days they hold
        #[arg(long, default_value_t = publish::ONLINE_DAYS)]
        days: i64,
    },
    /// Copy a repository for another site. What is there already stays, so this brings an older copy up to date
    Mirror {
        /// From this folder
        from: PathBuf,
        /// To this one; or to a store that speaks S3, as in `s3://BUCKET/FOLDER`. Who may write there stands in
        /// the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_REGION or, for a store
        /// elsewhere, AWS_ENDPOINT
        to: String,
    },
    /// Make a stick from which a new machine gets the system
    Stick {
        /// The repository
        repository: PathBuf,
        /// The release whose recovery is started, `PRODUCT.EDITION.VERSION`
        release: String,
        /// Where the stick, which has a FAT file system, is mounted
        stick: PathBuf,
    },
    /// Check every byte of a repository
    Verify {
        /// The repository
        repository: PathBuf,
        /// The root that devices believe; without it, only that the repository fits together is known
        #[arg(long)]
        root: Option<PathBuf>,
        /// Accept the development key and development images
        #[arg(long)]
        development: bool,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// The repository
    repository: PathBuf,
    /// The release, `PRODUCT.EDITION.VERSION`
    release: String,
    /// The channel
    #[arg(long, default_value = "stable")]
    channel: String,
    /// The channel's key
    #[arg(long)]
    channel_key: PathBuf,
    /// The key of snapshot and timestamp
    #[arg(long)]
    online_key: PathBuf,
}

/// Does what the command line of this process asks.
///
/// # Errors
///
/// Fails as the command does.
pub fn execute() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    runtime.block_on(run(arguments.command))
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Key { file } => println!("{}", keys::make(&file)?),
        Command::Root {
            file,
            root_keys,
            threshold,
            targets_key,
            online_key,
            follows,
            also,
            days,
        } => {
            let keys = Keys {
                root: root_keys,
                threshold,
                targets: targets_key,
                online: online_key,
            };
            publish::root(&file, &keys, follows.as_deref(), &also, in_days(days)).await?;
        }
        Command::Init {
            repository,
            root,
            channels,
            targets_key,
            online_key,
        } => {
            let channels = channels
                .iter()
                .map(|channel| match channel.split_once('=') {
                    Some((name, key)) => Ok((name.to_owned(), PathBuf::from(key))),
                    None => bail!("{channel:?} is not a channel and its key: NAME=FILE"),
                })
                .collect::<Result<Vec<_>>>()?;
            publish::init(&repository, &root, &channels, &targets_key, &online_key).await?;
        }
        Command::Make {
            repository,
            image,
            product,
            notes,
        } => {
            let notes = match notes {
                Some(path) => std::fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?,
                None => String::new(),
            };
            let image = make::Image::in_folder(&image, &product);
            let made = make::make(&image, &repository, notes.trim())?;
            println!(
                "{} is {:.1} MB, {:.1} MB of which the repository did not have",
                made.name,
                made.size as f64 / 1e6,
                made.added as f64 / 1e6
            );
        }
        Command::Publish { place, waves } => {
            place.change(&Change::Publish(wave(&waves)?)).await?;
        }
        Command::Pause(place) => place.change(&Change::Stand(Standing::Paused)).await?,
        Command::Resume(place) => place.change(&Change::Stand(Standing::Open)).await?,
        Command::Withdraw(place) => place.change(&Change::Stand(Standing::Withdrawn)).await?,
        Command::Renew {
            repository,
            online_key,
            root,
            days,
        } => publish::renew(&repository, root.as_deref(), &online_key, days).await?,
        Command::Mirror { from, to } => {
            let copied = mirror::copy(&from, &Site::parse(&to)?).await?;
            println!("{:.1} MB copied", copied as f64 / 1e6);
        }
        Command::Stick {
            repository,
            release,
            stick,
        } => {
            let copied = stick::make(&repository, &release, &stick).await?;
            println!("{:.1} MB copied", copied as f64 / 1e6);
        }
        Command::Verify {
            repository,
            root,
            development,
        } => {
            let verified = verify::verify(&repository, root.as_deref(), development).await?;
            for line in verified.releases {
                println!("{line}");
            }
            println!("fresh until {}", verified.expires);
        }
    }
    Ok(())
}

impl Place {
    async fn change(&self, change: &Change) -> Result<()> {
        let path = |path: &PathBuf| -> PathBuf { Path::new(path).to_owned() };
        publish::change(
            &self.repository,
            &self.channel,
            &self.release,
            change,
            &path(&self.channel_key),
            &path(&self.online_key),
        )
        .await
    }
}

/// Reads the steps of a wave.
fn wave(texts: &[String]) -> Result<Wave> {
    let mut steps = Vec::new();
    for text in texts {
        let step = text.split_once('=').and_then(|(time, share)| {
            let time: jiff::Timestamp = time.parse().ok()?;
            let percent: f64 = share.parse().ok()?;
            (0.0..=100.0).contains(&percent).then_some(Step {
                time: u64::try_from(time.as_second()).ok()?,
                share: (percent / 100.0 * f64::from(ALL)).round() as u32,
            })
        });
        steps.push(step.with_context(|| {
            format!("{text:?} is no step of a wave such as 2026-12-01T08:00:00Z=10")
        })?);
    }
    let rising = steps
        .windows(2)
        .all(|pair| pair[0].time < pair[1].time && pair[0].share <= pair[1].share);
    if !rising {
        bail!("a wave's steps have to rise, in time and in share");
    }
    Ok(Wave(steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_read_from_its_steps() {
        let read = |texts: &[&str]| {
            wave(
                &texts
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        let steps = read(&["2026-12-01T00:00:00Z=0.5", "2026-12-02T00:00:00Z=100"]).unwrap();
        assert_eq!(steps.0[0].share, 5000);
        assert_eq!(steps.0[1].time - steps.0[0].time, 86_400);
        for wrong in [
            &["tomorrow=1"][..],
            &["2026-12-01T00:00:00Z=101"],
            &["2026-12-02T00:00:00Z=1", "2026-12-01T00:00:00Z=2"],
            &["2026-12-01T00:00:00Z=2", "2026-12-02T00:00:00Z=1"],
        ] {
            read(wrong).unwrap_err();
        }
    }
}
