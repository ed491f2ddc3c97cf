//! What is wrong with a configuration, and where.
//!
//! In: faults, one by one, as the stages of the reader meet them. Out: `ConfigErrors` with all of them,
//! so that a person mends the file once. Every finding holds the file, the line, the column and the
//! field. No finding repeats a control character of the file to the terminal.

use std::fmt;
use std::io;

use super::limits::{FINDINGS_MAX, QUOTE_MAX};
use super::tree::Position;

/// One fault, or one thing worth a warning, at one place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file as it was named to the reader.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Path of the field, e.g. `mirror.additionalImages[2].name`; empty for the whole document.
    pub field: String,
    /// What is wrong: lower case, no final period.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.problem)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// There is no such file.
    #[error("there is no configuration `{file}`")]
    Missing {
        /// The file.
        file: String,
    },
    /// The file cannot be opened or read; the text names its path.
    #[error("cannot read the configuration: {source}")]
    Read {
        /// The fault, with the path.
        source: io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("the configuration `{file}` is larger than {max} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit in bytes.
        max: u64,
    },
    /// The content is refused.
    #[error("{}", listing(.findings, *.more))]
    Invalid {
        /// Everything that is wrong, in the order of the file, at most `FINDINGS_MAX`.
        findings: Vec<Finding>,
        /// How many more there were.
        more: usize,
    },
}

impl ConfigErrors {
    /// The faults of the content; empty when the file could not be read at all.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Invalid { findings, .. } => findings,
            Self::Missing { .. } | Self::Read { .. } | Self::TooLarge { .. } => &[],
        }
    }
}

fn listing(findings: &[Finding], more: usize) -> String {
    use fmt::Write as _;
    let total = findings.len() + more;
    let faults = if total == 1 { "fault" } else { "faults" };
    let mut out = format!("the configuration has {total} {faults}");
    for finding in findings {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n  {finding}");
        if let Some(hint) = &finding.hint {
            let _ = write!(out, "\n    hint: {hint}");
        }
    }
    if more > 0 {
        let _ = write!(out, "\n  … and {more} more");
    }
    out
}

/// A place in the document: where a value stands and what it is called.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub at: Position,
    pub field: String,
}

/// The findings of one run of the reader.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    more: usize,
}

impl Report {
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), errors: Vec::new(), warnings: Vec::new(), more: 0 }
    }

    /// Refuses the file because of the value at `spot`.
    pub fn error(&mut self, spot: &Spot, problem: impl Into<String>, hint: &str) {
        if self.errors.len() < FINDINGS_MAX {
            let finding = self.finding(spot, problem.into(), hint);
            self.errors.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Accepts the value at `spot`, but says something about it.
    pub fn warn(&mut self, spot: &Spot, problem: impl Into<String>, hint: &str) {
        if self.warnings.len() < FINDINGS_MAX {
            let finding = self.finding(spot, problem.into(), hint);
            self.warnings.push(finding);
        }
    }

    /// A finding that is neither kept as an error nor as a warning.
    pub fn finding(&self, spot: &Spot, problem: String, hint: &str) -> Finding {
        Finding {
            file: self.file.clone(),
            line: spot.at.line,
            column: spot.at.column,
            field: spot.field.clone(),
            problem,
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
        }
    }

    /// The warnings, or every error in the order of the file.
    pub fn finish(mut self) -> Result<Vec<Finding>, ConfigErrors> {
        let place = |f: &Finding| (f.line, f.column);
        if self.errors.is_empty() {
            self.warnings.sort_by_key(place);
            return Ok(self.warnings);
        }
        self.errors.sort_by_key(place);
        Err(ConfigErrors::Invalid { findings: self.errors, more: self.more })
    }

    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }
}

/// A text from the file between backticks: clipped, and free of control characters.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("`");
    for (n, c) in text.chars().enumerate() {
        if n == QUOTE_MAX {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.push('`');
    out
}
