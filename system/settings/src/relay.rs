//! What an address of a relay is.

/// Whether a text is the address of a relay: a scheme, a host, a port perhaps, and nothing else.
pub fn is_address(text: &str) -> bool {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let Some(rest) = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest)) else {
        return false;
    };
    let (host, after) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, after))) => {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            (is_address, after)
        }
        Some(None) => return false,
        None => {
            let (name, after) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
            let is_label = |label: &str| {
                (1..=63).contains(&label.len())
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            };
            // What ends with a number is read as an address of IPv4.
            let last = name.rsplit('.').next().unwrap_or_default();
            let is_host = if last.chars().all(|c| c.is_ascii_digit()) {
                name.parse::<std::net::Ipv4Addr>().is_ok()
            } else {
                name.split('.').all(is_label)
            };
            (is_host, after)
        }
    };
    let is_port = |port: &str| {
        port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    host && (after.is_empty() || after.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_nothing_but_a_port() {
        for good in [
            "https://relay.example",
            "https://relay.example:3340/",
            "http://192.168.1.20:3340",
            "http://[fd00::1]:80",
            "http://nas",
        ] {
            assert!(is_address(good), "{good}");
        }
        for wrong in [
            "",
            "relay.example",
            "ftp://relay.example",
            "https://",
            "https://relay.example/path",
            "https://me:word@relay.example",
            "https://relay.example?x=1",
            "https://relay..example",
            "https://relay example",
            "https://relay.example:0",
            "https://relay.example:70000",
            "https://relay.example:+80",
            "https://1.2.3",
            "https://[fd00::1",
            "https://[relay]",
        ] {
            assert!(!is_address(wrong), "{wrong}");
        }
    }
}
