//! No helper yet on this system.

use std::convert::Infallible;
use std::process::ExitCode;

use super::{Config, Error, Undone};
use crate::{Change, Made, Unsupported};

/// Can not be started here.
#[derive(Debug)]
pub struct Spawned(Infallible);

impl Spawned {
    /// Waits until the helper is ready.
    ///
    /// # Errors
    /// Never called.
    pub async fn connect(self) -> Result<Helper, Error> {
        match self.0 {}
    }
}

/// Can not be started here.
#[derive(Debug)]
pub struct Helper(Infallible);

impl Helper {
    /// What dead runs had left.
    #[must_use]
    pub fn recovered(&self) -> &[Undone] {
        match self.0 {}
    }

    /// Makes the change.
    ///
    /// # Errors
    /// Never called.
    pub async fn make(&mut self, _change: Change) -> Result<Made, Error> {
        match self.0 {}
    }

    /// Undoes all changes.
    ///
    /// # Errors
    /// Never called.
    pub async fn undo_all(&mut self) -> Result<Vec<Undone>, Error> {
        match self.0 {}
    }

    /// Undoes all changes and ends.
    ///
    /// # Errors
    /// Never called.
    pub async fn finish(self) -> Result<Vec<Undone>, Error> {
        match self.0 {}
    }
}

/// Can not start a helper here.
///
/// # Errors
/// Always.
pub fn spawn(_config: &Config<'_>) -> Result<Spawned, Error> {
    Err(Error::Start(Unsupported("changing the network").into()))
}

/// Nothing to serve here.
#[must_use]
pub fn serve() -> ExitCode {
    ExitCode::FAILURE
}
