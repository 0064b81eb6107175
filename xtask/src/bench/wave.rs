//! Reading what `hyper call` prints: values in the component model's text form, WAVE.
//!
//! Only as much as the figures need: a value becomes the nearest JSON value. A record becomes an
//! object, a list and a tuple become an array, `some(x)` and `ok(x)` become `x`, `none` becomes null,
//! another word with a value in brackets becomes an object of that one key, and a bare word a string.

use anyhow::{Result, bail};
use serde_json::{Map, Number, Value};

/// Values that stand deeper than this are refused rather than followed.
const DEEPEST: usize = 64;

/// Reads one value, which must be all there is.
///
/// # Errors
///
/// Fails when the text is not such a value, with the place.
pub fn read(text: &str) -> Result<Value> {
    let mut reader = Reader { text, position: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.position < text.len() {
        return reader.wrong("something follows the value");
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.position..]
    }

    fn wrong<T>(&self, what: &str) -> Result<T> {
        let near: String = self.rest().chars().take(20).collect();
        bail!(
            "cannot read what hyper printed: {what}, at byte {} near {near:?}",
            self.position
        )
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, wanted: char) -> bool {
        self.space();
        let there = self.rest().starts_with(wanted);
        if there {
            self.position += wanted.len_utf8();
        }
        there
    }

    fn while_in(&mut self, accept: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let length = rest
            .find(|character| !accept(character))
            .unwrap_or(rest.len());
        let word = rest[..length].to_owned();
        self.position += length;
        word
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > DEEPEST {
            return self.wrong("it is nested too deeply");
        }
        self.space();
        match self.rest().chars().next() {
            Some('[') => self.several('[', ']', depth),
            Some('(') => self.several('(', ')', depth),
            Some('{') => self.record(depth),
            Some('"') => self.string(),
            Some(first) if first.is_ascii_digit() || first == '-' => self.number(),
            Some(first) if first.is_ascii_alphabetic() || first == '%' => self.word(depth),
            _ => self.wrong("a value was expected"),
        }
    }

    fn several(&mut self, open: char, close: char, depth: usize) -> Result<Value> {
        self.take(open);
        let mut values = Vec::new();
        while !self.take(close) {
            values.push(self.value(depth + 1)?);
            if !self.take(',') {
                if self.take(close) {
                    break;
                }
                return self.wrong("a comma or the end of the list was expected");
            }
        }
        Ok(Value::Array(values))
    }

    fn record(&mut self, depth: usize) -> Result<Value> {
        self.take('{');
        let mut fields = Map::new();
        while !self.take('}') {
            if self.take(':') {
                continue; // `{:}` is the empty record; flags have no colon at all.
            }
            self.space();
            let name = self.while_in(is_word);
            if name.is_empty() {
                return self.wrong("a field's name was expected");
            }
            let value = if self.take(':') {
                self.value(depth + 1)?
            } else {
                Value::Bool(true)
            };
            fields.insert(name.trim_start_matches('%').to_owned(), value);
            if !self.take(',') {
                if self.take('}') {
                    break;
                }
                return self.wrong("a comma or the end of the record was expected");
            }
        }
        Ok(Value::Object(fields))
    }

    fn string(&mut self) -> Result<Value> {
        self.take('"');
        let mut text = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.position += index + 1;
                    return Ok(Value::String(text));
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    // Its number is not needed for any figure.
                    Some((_, 'u')) => text.push('\u{fffd}'),
                    Some((_, other)) => text.push(other),
                    None => break,
                },
                other => text.push(other),
            }
        }
        self.wrong("a text does not end")
    }

    fn number(&mut self) -> Result<Value> {
        let word =
            self.while_in(|character| character.is_ascii_digit() || "+-.eE".contains(character));
        let number = word
            .parse::<u64>()
            .map(Number::from)
            .ok()
            .or_else(|| word.parse::<i64>().map(Number::from).ok())
            .or_else(|| word.parse::<f64>().ok().and_then(Number::from_f64));
        match number {
            Some(number) => Ok(Value::Number(number)),
            None => self.wrong(&format!("{word:?} is no number")),
        }
    }

    fn word(&mut self, depth: usize) -> Result<Value> {
        let word = self.while_in(is_word);
        let word = word.trim_start_matches('%');
        if !self.rest().starts_with('(') {
            return Ok(match word {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "none" | "ok" => Value::Null,
                other => Value::String(other.to_owned()),
            });
        }
        self.take('(');
        let value = self.value(depth + 1)?;
        if !self.take(')') {
            return self.wrong("a closing bracket was expected");
        }
        Ok(match word {
            "some" | "ok" => value,
            other => Value::Object(Map::from_iter([(other.to_owned(), value)])),
        })
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-' || character == '%'
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn statistics_of_the_screen() {
        let text = "{frames: 12, touch-to-flip: [41000, 52000], redraws: [(18000, 1000), (90, 3)],\n first-frame: some(840000)}";
        assert_eq!(
            read(text).unwrap(),
            json!({"frames": 12, "touch-to-flip": [41000, 52000], "redraws": [[18000, 1000], [90, 3]], "first-frame": 840_000})
        );
    }

    #[test]
    fn words_texts_and_options() {
        let text = r#"[{name: "a \"b\"", state: backing-off, process: none, problem: some("x"), on: true, scale: 1.5, back: -3}]"#;
        assert_eq!(
            read(text).unwrap(),
            json!([{"name": "a \"b\"", "state": "backing-off", "process": null, "problem": "x", "on": true, "scale": 1.5, "back": -3}])
        );
        assert_eq!(
            read("err(unknown-service(\"x\"))").unwrap(),
            json!({"err": {"unknown-service": "x"}})
        );
        assert_eq!(read("{:}").unwrap(), json!({}));
        assert_eq!(read("[]").unwrap(), json!([]));
    }

    #[test]
    fn what_is_no_value_is_refused_with_its_place() {
        for text in [
            "",
            "[1",
            "{a: }",
            "\"open",
            "1 2",
            "{a 1}",
            "some(1",
            "[1 2]",
            &"[".repeat(1000),
        ] {
            assert!(
                read(text).unwrap_err().to_string().contains("cannot read"),
                "{text}"
            );
        }
    }
}
