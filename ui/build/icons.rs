//! Turns Lucide's SVG files into path commands for Slint's `Path`.
//!
//! Lucide draws with a handful of elements and no transforms, so this reads exactly those and
//! refuses anything else: an icon that would come out wrong stops the build.

use std::fmt::Write as _;
use std::path::Path;

/// The `.slint` source of a global `Icons` with a property of path commands for each `*.svg`.
pub fn generate(folder: &Path) -> Result<String, String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map_err(|error| format!("cannot list {}: {error}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "svg"))
        .collect();
    files.sort();
    let mut source = String::from("// Generated from ui/icons/*.svg.\nexport global Icons {\n");
    for file in files {
        let svg = std::fs::read_to_string(&file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let name = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let commands = commands(&svg).map_err(|error| format!("{}: {error}", file.display()))?;
        let _ = writeln!(source, "    out property <string> {name}: \"{commands}\";");
    }
    source.push_str("}\n");
    Ok(source)
}

fn commands(svg: &str) -> Result<String, String> {
    let mut result = String::new();
    let body = svg.split_once("<svg").ok_or("no <svg> element")?.1;
    for element in body.split('<').skip(1) {
        let element = element.split('>').next().unwrap_or_default();
        let name = element
            .split(|c: char| c.is_whitespace() || c == '/')
            .next()
            .unwrap_or("");
        if name.is_empty() {
            continue;
        }
        let number = |key: &str| -> Result<f64, String> {
            match attribute(element, key) {
                Some(text) => text
                    .parse()
                    .map_err(|_| format!("{name}: {key} is no number")),
                None => Ok(0.0),
            }
        };
        if !result.is_empty() {
            result.push(' ');
        }
        match name {
            "path" => {
                result.push_str(&absolute_start(
                    attribute(element, "d").ok_or("a path without d")?,
                )?);
            }
            "line" => {
                let (x1, y1, x2, y2) = (number("x1")?, number("y1")?, number("x2")?, number("y2")?);
                let _ = write!(result, "M{x1} {y1}L{x2} {y2}");
            }
            "circle" | "ellipse" => {
                let (cx, cy) = (number("cx")?, number("cy")?);
                let (rx, ry) = match name {
                    "circle" => (number("r")?, number("r")?),
                    _ => (number("rx")?, number("ry")?),
                };
                let _ = write!(
                    result,
                    "M{} {cy}a{rx} {ry} 0 1 0 {} 0a{rx} {ry} 0 1 0 {} 0Z",
                    cx - rx,
                    rx * 2.0,
                    rx * -2.0
                );
            }
            "rect" => {
                let (x, y, w, h) = (
                    number("x")?,
                    number("y")?,
                    number("width")?,
                    number("height")?,
                );
                let r = number("rx")?.max(number("ry")?);
                let _ = write!(
                    result,
                    "M{} {y}h{}a{r} {r} 0 0 1 {r} {r}v{}a{r} {r} 0 0 1 -{r} {r}h{}a{r} {r} 0 0 1 \
                     -{r} -{r}v{}a{r} {r} 0 0 1 {r} -{r}Z",
                    x + r,
                    w - 2.0 * r,
                    h - 2.0 * r,
                    2.0 * r - w,
                    2.0 * r - h
                );
            }
            "polyline" | "polygon" => {
                let points = attribute(element, "points").ok_or("a polyline without points")?;
                let _ = write!(result, "M{points}");
                if name == "polygon" {
                    result.push('Z');
                }
            }
            other => return Err(format!("the element <{other}> is not understood")),
        }
    }
    Ok(result.replace('\n', " "))
}

/// A path whose first move is absolute, so that it can follow another path. What follows a relative
/// move is relative lines.
fn absolute_start(d: &str) -> Result<String, String> {
    let Some(rest) = d.trim().strip_prefix('m') else {
        return Ok(d.to_owned());
    };
    let mut end = 0;
    for _ in 0..2 {
        end += number_length(&rest[end..]).ok_or("a move without two numbers")?;
    }
    let (start, rest) = rest.split_at(end);
    let lines = rest
        .trim_start_matches([' ', ','])
        .starts_with(|c: char| "-.0123456789".contains(c));
    Ok(format!("M{start}{}{rest}", if lines { "l" } else { "" }))
}

/// How many bytes the number at the beginning takes, with what separates it from the one before.
fn number_length(text: &str) -> Option<usize> {
    let digits = text.trim_start_matches([' ', ',']);
    let mut length = text.len() - digits.len();
    let mut dot = false;
    let mut any = false;
    for (index, c) in digits.char_indices() {
        match c {
            '-' if index == 0 => {}
            '.' if !dot => dot = true,
            '0'..='9' => any = true,
            _ => break,
        }
        length += 1;
    }
    any.then_some(length)
}

fn attribute<'a>(element: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = element;
    while let Some(at) = rest.find(key) {
        let before = rest[..at].chars().next_back();
        let after = &rest[at + key.len()..];
        if before.is_some_and(char::is_whitespace) && after.starts_with("=\"") {
            return after[2..].split('"').next();
        }
        rest = after;
    }
    None
}
