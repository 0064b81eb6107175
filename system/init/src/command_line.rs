//! The kernel command line: what the image says about the root that it belongs to.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// What the kernel command line asks of process 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `hyper.slot`: which of the root slots to start, `a` or `b`.
    pub slot: Option<String>,
    /// The root's verity tree, when one is named.
    pub verity: Option<Verity>,
    /// `hyper.security-version`, where the boot file is signed for secure boot: see
    /// [`crate::slots::security_version`].
    pub security_version: Option<u32>,
    /// `hyper.watchdog`: after how many seconds a hang in the initramfs ends in a reset.
    pub watchdog: Option<Duration>,
    /// `hyper.bench=display-only`: wait for the display and do nothing else, as the baseline
    /// that the start of the whole system is compared with.
    pub display_only: bool,
}

/// Where a root slot's verity tree begins and what its root hash must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// `hyper.root-hash`: the SHA-256 root hash, 64 hexadecimal digits.
    pub root_hash: String,
    /// `hyper.root-salt`: hexadecimal digits, or `-` for none.
    pub salt: String,
    /// `hyper.root-blocks`: how many blocks of 4096 bytes hold data; the tree follows them.
    pub data_blocks: u64,
}

impl CommandLine {
    /// Reads the parameters that are ours and passes over all others.
    ///
    /// # Errors
    /// When a parameter of ours has a value that cannot be meant, or when `hyper.root-hash` and
    /// `hyper.root-blocks` do not come together. A root that should have been verified is never
    /// mounted without.
    pub fn parse(text: &str) -> Result<Self> {
        let mut line = Self::default();
        let (mut root_hash, mut salt, mut data_blocks) = (None, None, None);
        for parameter in split(text) {
            let Some((key, value)) = parameter.split_once('=') else {
                continue;
            };
            match key {
                "hyper.slot" => match value {
                    "a" | "b" => line.slot = Some(value.to_owned()),
                    _ => bail!("hyper.slot={value}: a slot is `a` or `b`"),
                },
                "hyper.root-hash" => {
                    if value.len() != 64 || !is_hexadecimal(value) {
                        bail!("hyper.root-hash={value}: a root hash is 64 hexadecimal digits");
                    }
                    root_hash = Some(value.to_ascii_lowercase());
                }
                "hyper.root-salt" => {
                    // The kernel accepts up to 256 bytes of salt.
                    if value != "-"
                        && (value.len() % 2 != 0 || value.len() > 512 || !is_hexadecimal(value))
                    {
                        bail!(
                            "hyper.root-salt={value}: a salt is an even number of hexadecimal digits, at most 512"
                        );
                    }
                    salt = Some(if value.is_empty() {
                        "-".to_owned()
                    } else {
                        value.to_ascii_lowercase()
                    });
                }
                "hyper.root-blocks" => {
                    let blocks: u64 = value.parse().with_context(|| {
                        format!("hyper.root-blocks={value}: not a number of blocks")
                    })?;
                    // Sectors of 512 bytes are counted in 64 bits by the kernel.
                    if blocks == 0 || blocks > u64::MAX / 8 {
                        bail!("hyper.root-blocks={value}: not a possible number of blocks");
                    }
                    data_blocks = Some(blocks);
                }
                "hyper.security-version" => {
                    line.security_version = Some(value.parse().with_context(|| {
                        format!("hyper.security-version={value}: not a number")
                    })?);
                }
                "hyper.watchdog" => {
                    let seconds: u64 = value.parse().with_context(|| {
                        format!("hyper.watchdog={value}: not a number of seconds")
                    })?;
                    line.watchdog = Some(Duration::from_secs(seconds.clamp(5, 3600)));
                }
                "hyper.bench" => match value {
                    "display-only" => line.display_only = true,
                    _ => bail!("hyper.bench={value}: the only one there is, is `display-only`"),
                },
                _ => {}
            }
        }
        line.verity = match (root_hash, data_blocks) {
            (Some(root_hash), Some(data_blocks)) => Some(Verity {
                root_hash,
                salt: salt.unwrap_or_else(|| "-".to_owned()),
                data_blocks,
            }),
            (None, None) => None,
            (Some(_), None) => bail!("hyper.root-hash is given without hyper.root-blocks"),
            (None, Some(_)) => bail!("hyper.root-blocks is given without hyper.root-hash"),
        };
        Ok(line)
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Splits at white space as the kernel does: double quotes keep spaces and are dropped.
fn split(text: &str) -> Vec<String> {
    let mut parameters = Vec::new();
    let mut current = String::new();
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !current.is_empty() {
                    parameters.push(std::mem::take(&mut current));
                }
            }
            c => current.push(c),
        }
    }
    if !current.is_empty() {
        parameters.push(current);
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_whole_command_line_is_read() {
        let hash = "0123456789abcdef".repeat(4);
        let line = CommandLine::parse(&format!(
            "quiet hyper.slot=b hyper.root-hash={hash} hyper.root-blocks=1200 hyper.root-salt=AB \
             hyper.security-version=3 console=ttyS0 other=\"hyper.slot=a x\" panic=10"
        ))
        .unwrap();
        assert_eq!(line.slot.as_deref(), Some("b"));
        let verity = line.verity.unwrap();
        assert_eq!(
            verity,
            Verity {
                root_hash: hash,
                salt: "ab".into(),
                data_blocks: 1200
            }
        );
        assert!(!line.display_only);
        assert_eq!(line.security_version, Some(3));
        CommandLine::parse("hyper.security-version=-1").unwrap_err();
    }

    #[test]
    fn half_of_a_verity_tree_is_refused() {
        let hash = "0".repeat(64);
        assert!(CommandLine::parse(&format!("hyper.root-hash={hash}")).is_err());
        assert!(CommandLine::parse("hyper.root-blocks=12").is_err());
        assert!(
            CommandLine::parse(&format!("hyper.root-hash={hash} hyper.root-blocks=0")).is_err()
        );
        assert!(CommandLine::parse("hyper.root-hash=zz hyper.root-blocks=12").is_err());
    }

    proptest! {
        #[test]
        fn no_text_ends_the_parser(text in "\\PC*") {
            let _ = CommandLine::parse(&text);
        }

        #[test]
        fn parameters_of_others_change_nothing(
            words in proptest::collection::vec("[a-z.]{1,8}(=[a-z0-9\"]{0,8})?", 0..8)
        ) {
            let text = words.join(" ");
            prop_assume!(!text.contains("hyper."));
            prop_assert_eq!(CommandLine::parse(&text).unwrap(), CommandLine::default());
        }
    }
}
