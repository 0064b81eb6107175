//! What is wrong with a manifest, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a manifest cannot be used: file, line, column and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    file: PathBuf,
    line: usize,
    column: usize,
    reason: String,
}

impl ManifestError {
    /// A fault at a range of bytes of a file's text.
    pub(super) fn new(file: &Path, text: &str, span: Range<usize>, reason: String) -> Self {
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            reason,
        }
    }

    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The character of the line, counted from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            reason,
        } = self;
        write!(f, "{}:{line}:{column}: {reason}", file.display())
    }
}

impl std::error::Error for ManifestError {}
