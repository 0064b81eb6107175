//! Settings.

use std::io::Write;

use anyhow::{Context as _, Result, anyhow, bail};
use bus::settings::{Error, Kind, Value};

use super::SettingsAction;
use crate::table::Table;

/// Does what was asked.
pub async fn run(bus: &bus::Client, action: SettingsAction, out: &mut impl Write) -> Result<()> {
    match action {
        SettingsAction::List => {
            let mut table = Table::new(&["SETTING", "VALUE", "DEFAULT", "ABOUT"]);
            for setting in bus::settings::all(bus).await? {
                let changed = setting.value != setting.default_value;
                let default = if changed {
                    text(&setting.default_value)
                } else {
                    "·".into()
                };
                table.row([
                    setting.key,
                    text(&setting.value),
                    default,
                    setting.description,
                ]);
            }
            table.print(out)?;
            for notice in bus::settings::notices(bus).await? {
                writeln!(out, "note: {notice}")?;
            }
        }
        SettingsAction::Get { key } => {
            let value = bus::settings::get(bus, &key)
                .await?
                .map_err(|error| problem("reading", &key, &error))?;
            writeln!(out, "{}", text(&value))?;
        }
        SettingsAction::Set { key, value } => {
            let all = bus::settings::all(bus).await?;
            let Some(setting) = all.iter().find(|setting| setting.key == key) else {
                return Err(problem("changing", &key, &Error::UnknownKey(key.clone())));
            };
            let value = read(&setting.kind, &value).with_context(|| format!("changing {key}"))?;
            bus::settings::set(bus, &key, &value)
                .await?
                .map_err(|error| problem("changing", &key, &error))?;
        }
        SettingsAction::Reset { key } => {
            bus::settings::reset(bus, &key)
                .await?
                .map_err(|error| problem("resetting", &key, &error))?;
        }
    }
    Ok(())
}

/// A value of a kind, from words.
fn read(kind: &Kind, words: &[String]) -> Result<Value> {
    if let Kind::Texts(_) = kind {
        return Ok(Value::Texts(words.to_vec()));
    }
    let [word] = words else {
        bail!("one value is wanted, {} given", words.len())
    };
    Ok(match kind {
        Kind::Boolean => Value::Boolean(
            word.parse()
                .ok()
                .with_context(|| format!("`{word}` is neither true nor false"))?,
        ),
        Kind::Integer(bounds) => Value::Integer(word.parse().ok().with_context(|| {
            format!(
                "`{word}` is not a whole number from {} to {}",
                bounds.least, bounds.most
            )
        })?),
        Kind::Choice(_) | Kind::Text(_) | Kind::Texts(_) => Value::Text(word.clone()),
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Text(value) => value.clone(),
        Value::Texts(values) => values.join(" "),
    }
}

fn problem(doing: &str, key: &str, error: &Error) -> anyhow::Error {
    match error {
        Error::UnknownKey(_) => {
            anyhow!("{doing} {key}: there is no such setting; `hyper settings` lists them")
        }
        Error::Unfit(fits) => anyhow!("{doing} {key}: {fits}"),
        Error::NotSaved(reason) => {
            anyhow!("{doing} {key}: it could not be saved and stays as it was: {reason}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_values_of_the_settings_kind() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let number = Kind::Integer(bus::settings::Bounds {
            least: 85,
            most: 200,
        });
        assert_eq!(
            read(&number, &words(&["120"])).unwrap(),
            Value::Integer(120)
        );
        assert!(
            read(&number, &words(&["much"]))
                .unwrap_err()
                .to_string()
                .contains("85 to 200")
        );
        assert!(
            read(&number, &words(&["1", "2"]))
                .unwrap_err()
                .to_string()
                .contains("2 given")
        );
        assert_eq!(
            read(&Kind::Boolean, &words(&["true"])).unwrap(),
            Value::Boolean(true)
        );
        assert_eq!(
            read(&Kind::Texts(9), &words(&["a", "b"])).unwrap(),
            Value::Texts(words(&["a", "b"]))
        );
    }
}
