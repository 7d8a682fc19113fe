//! Ready means that nobody holds a guard.

/// Collects guards; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness;

/// Something that is still awaited; dropping it says that it is there.
#[derive(Debug)]
pub struct Guard;

impl Readiness {
    /// A process that waits for nothing yet.
    pub fn new() -> Self {
        todo!()
    }
    /// Makes the process unready until the guard is dropped.
    pub fn guard(&self, _name: &'static str) -> Guard {
        todo!()
    }
    /// Whether nothing is awaited.
    pub fn is_ready(&self) -> bool {
        todo!()
    }
    /// Names of what is still awaited.
    pub fn awaited(&self) -> Vec<&'static str> {
        todo!()
    }
    /// Resolves once nothing is awaited.
    pub async fn ready(&self) {
        todo!()
    }
}
