//! The kernel's messages, and what it says about refused system calls.

use super::line::Level;

/// Reads a record of `/dev/kmsg`: `priority,sequence,microseconds,flags;text`, then lines that
/// begin with a space and carry keys, which are passed over.
pub fn parse(record: &[u8]) -> Option<(Level, String)> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    let text = text.lines().next()?.to_owned();
    // The upper bits are the facility.
    Some((Level::from_number((priority & 7) as u8), text))
}

/// A system call that a sandbox refused, out of the kernel's audit record of it
/// (`type=1326`, AUDIT_SECCOMP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCall {
    /// The user that made it.
    pub user: u32,
    /// The process, as process 1 sees it.
    pub process: u32,
    /// The system call's number.
    pub number: u32,
}

impl RefusedCall {
    /// Reads a message of the kernel; `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.contains("type=1326") {
            return None;
        }
        let value = |key: &str| -> Option<u32> {
            text.split_whitespace()
                .find_map(|word| word.strip_prefix(key))?
                .parse()
                .ok()
        };
        Some(Self {
            user: value("uid=")?,
            process: value("pid=")?,
            number: value("syscall=")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_is_read() {
        let record = b"6,339,5140900,-;NET: Registered PF_INET6\n SUBSYSTEM=x\n";
        assert_eq!(
            parse(record),
            Some((Level::Information, "NET: Registered PF_INET6".into()))
        );
        assert_eq!(parse(b"30,1,2,-;init: text").unwrap().0, Level::Information);
    }

    #[test]
    fn a_refused_call_is_read() {
        let text = "audit: type=1326 audit(1700000000.123:2): auid=4294967295 uid=1001 gid=1001 \
            ses=4294967295 pid=71 comm=\"hyper\" exe=\"/system/hyper\" sig=0 arch=c000003e \
            syscall=165 compat=0 ip=0x4a code=0x50000";
        let refused = RefusedCall {
            user: 1001,
            process: 71,
            number: 165,
        };
        assert_eq!(RefusedCall::parse(text), Some(refused));
        assert_eq!(RefusedCall::parse("uid=1 pid=2 syscall=3"), None);
    }

    proptest! {
        #[test]
        fn no_record_ends_the_parser(record in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some((_, text)) = parse(&record) {
                let _ = RefusedCall::parse(&text);
            }
        }
    }
}
