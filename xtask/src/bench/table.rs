//! The table: each figure with what it should reach, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The value; none where it could not be measured, and then `note` says why.
    pub value: Option<f64>,
    /// The value's unit, such as `ms`; empty for a ratio.
    pub unit: &'static str,
    /// The most that it should be; none for a figure that is only reported.
    pub at_most: Option<f64>,
    /// The least that it should be; none where there is no such limit.
    pub at_least: Option<f64>,
    /// Whether it is; none where there is no such limit or no value.
    pub met: Option<bool>,
    /// What the reader should know of how it came about.
    pub note: Option<String>,
    /// What it is made of: lines of a name and a value with its unit.
    pub parts: Vec<(String, String)>,
}

impl Figure {
    /// A figure with its value.
    #[must_use]
    pub fn measured(name: &str, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            value: Some(value),
            unit,
            at_most: None,
            at_least: None,
            met: None,
            note: None,
            parts: Vec::new(),
        }
    }

    /// A figure that could not be measured, and why.
    #[must_use]
    pub fn missing(name: &str, unit: &'static str, reason: &str) -> Self {
        Self {
            value: None,
            note: Some(format!("not measured: {reason}")),
            ..Self::measured(name, 0.0, unit)
        }
    }

    /// Sets the most that it should be.
    #[must_use]
    pub fn at_most(mut self, limit: f64) -> Self {
        self.at_most = Some(limit);
        self.met = self.value.map(|value| value <= limit);
        self
    }

    /// Sets the least that it should be.
    #[must_use]
    pub fn at_least(mut self, limit: f64) -> Self {
        self.at_least = Some(limit);
        self.met = self.value.map(|value| value >= limit);
        self
    }

    /// The limit that it has.
    fn limit(&self) -> Option<String> {
        let most = self.at_most.map(|limit| format!("≤ {}", self.shown(limit)));
        most.or_else(|| {
            self.at_least
                .map(|limit| format!("≥ {}", self.shown(limit)))
        })
    }

    /// Adds a sentence.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parts.push((name.into(), value.into()));
        self
    }

    /// The figure in one line, without its parts.
    #[must_use]
    pub fn line(&self) -> String {
        let Some(value) = self.value else {
            let reason = self.note.as_deref().unwrap_or("not measured");
            return format!("{}: {reason}", self.name);
        };
        let verdict = match (self.limit(), self.met) {
            (Some(limit), Some(true)) => format!(", {limit}: met"),
            (Some(limit), _) => format!(", {limit}: NOT MET"),
            (None, _) => String::new(),
        };
        format!("{}: {}{verdict}", self.name, self.shown(value))
    }

    fn shown(&self, value: f64) -> String {
        let digits = match value.abs() {
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            size if size >= 0.1 || size == 0.0 => 2,
            _ => 3,
        };
        let unit = if self.unit.is_empty() {
            "×".to_owned()
        } else {
            format!(" {}", self.unit)
        };
        format!("{value:.digits$}{unit}")
    }
}

/// What a whole run found.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The machine it ran on and how busy it was: figures of two tables with different ones are not
    /// to be compared.
    pub circumstances: Vec<(String, String)>,
    /// The figures, in the order of the issue that asked for them.
    pub figures: Vec<Figure>,
}

impl Table {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.circumstances {
            line(&mut text, &format!("{name}: {value}"));
        }
        let width = self
            .figures
            .iter()
            .map(|figure| figure.name.chars().count())
            .max()
            .unwrap_or(0);
        for figure in &self.figures {
            let value = figure
                .value
                .map_or_else(|| "–".to_owned(), |value| figure.shown(value));
            let target = figure.limit().unwrap_or_default();
            let verdict = match figure.met {
                Some(true) => "met",
                Some(false) => "NOT MET",
                None => "",
            };
            let padding = " ".repeat(width - figure.name.chars().count());
            line(
                &mut text,
                format!(
                    "{}{padding}  {value:>12}  {target:<12}  {verdict}",
                    figure.name
                )
                .trim_end(),
            );
            if let Some(note) = &figure.note {
                line(&mut text, &format!("    {note}"));
            }
            let inner = figure
                .parts
                .iter()
                .map(|(name, _)| name.chars().count())
                .max()
                .unwrap_or(0);
            for (name, value) in &figure.parts {
                let padding = " ".repeat(inner - name.chars().count());
                line(&mut text, &format!("    {name}{padding}  {value}"));
            }
        }
        text
    }

    /// How many figures do not reach what they should.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.figures
            .iter()
            .filter(|figure| figure.met == Some(false))
            .count()
    }
}

fn line(text: &mut String, line: &str) {
    // What others printed may have lines of its own. Writing to a string cannot fail.
    let _ = writeln!(text, "{}", line.replace('\n', " · "));
}

/// The middle value, or the mean of the two in the middle; none of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The smallest value that at least `share` of all values do not exceed; none of nothing.
#[must_use]
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let sorted = sorted(values);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles_are_the_usual_ones() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.95), Some(95.0));
        assert_eq!(percentile(&[7.0], 0.95), Some(7.0));
        assert_eq!(percentile(&[], 0.95), None);
    }

    #[test]
    fn a_figure_says_whether_it_reaches_its_limit() {
        assert_eq!(Figure::measured("a", 1.3, "").at_most(1.3).met, Some(true));
        assert_eq!(
            Figure::measured("a", 1.31, "").at_most(1.3).met,
            Some(false)
        );
        let ratio = Figure::measured("a", 0.84, "").at_least(0.85);
        assert_eq!(ratio.met, Some(false));
        assert_eq!(ratio.line(), "a: 0.84×, ≥ 0.85×: NOT MET");
        assert_eq!(ratio.at_least(0.84).met, Some(true));
        assert_eq!(Figure::measured("a", 1.0, "").met, None);
        assert_eq!(Figure::missing("a", "ms", "no peer").at_most(1.0).met, None);
    }

    #[test]
    fn a_figure_in_a_line_says_what_the_table_does() {
        let line = |figure: Figure| figure.line();
        assert_eq!(
            line(Figure::measured("a", 1.31, "").at_most(1.3)),
            "a: 1.31×, ≤ 1.30×: NOT MET"
        );
        assert_eq!(line(Figure::measured("a", 12.0, "ms")), "a: 12.0 ms");
        assert_eq!(
            line(Figure::missing("a", "ms", "no peer").at_most(1.0)),
            "a: not measured: no peer"
        );
    }

    #[test]
    fn the_table_never_hides_a_figure_that_is_missing_or_missed() {
        let table = Table {
            circumstances: vec![("load".into(), "0.1".into())],
            figures: vec![
                Figure::measured("touch", 93.4, "ms")
                    .at_most(80.0)
                    .part("taps", "100"),
                Figure::missing("boot", "", "the peer was left out").at_most(0.125),
            ],
        };
        let text = table.text();
        assert!(
            text.contains("touch       93.4 ms  ≤ 80.0 ms     NOT MET"),
            "{text}"
        );
        assert!(text.contains("taps  100"), "{text}");
        assert!(
            text.contains("not measured: the peer was left out"),
            "{text}"
        );
        assert_eq!(table.missed(), 1);
    }
}
