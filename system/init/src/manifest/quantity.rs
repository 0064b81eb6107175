//! Amounts with their unit: `32 MiB`, `10 ms`.

use std::time::Duration;

/// Reads an amount of memory.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    number
        .and_then(|number| number.checked_mul(factor))
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| {
            format!("`{text}` is not an amount of memory such as `32 MiB` (KiB, MiB, GiB)")
        })
}

/// Reads a time, at most a day.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        _ => 0,
    };
    number
        .and_then(|number| number.checked_mul(factor))
        .filter(|milliseconds| (1..=24 * 3_600_000).contains(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!("`{text}` is not a time such as `10 ms` (ms, s, min), at most a day")
        })
}

fn split(text: &str) -> (Option<u64>, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    (text[..end].parse().ok(), text[end..].trim_start())
}
