//! Reading variables and gathering mistakes.

use std::fmt;

/// Exit code of a process that was configured wrongly.
pub const EXIT_CODE: u8 = 64;

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct Errors(pub(crate) Vec<Mistake>);

/// One wrong variable.
#[derive(Debug)]
pub struct Mistake {
    /// Its full name.
    pub key: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Errors {
    /// The mistakes, in the order of the sections.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }

    /// The code a process ends with.
    pub fn exit_code(&self) -> u8 {
        EXIT_CODE
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy's configuration is wrong:")?;
        for Mistake { key, problem } in &self.0 {
            write!(f, "\n  {key}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
