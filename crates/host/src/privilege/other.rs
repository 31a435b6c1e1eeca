//! Rights are not changed yet on this system: everything runs as whoever started it.

use std::io;

use super::{Environment, Error, User};
use crate::Unsupported;

pub(super) fn is_root() -> bool {
    false
}

pub(super) fn invoking_user(_variable: impl Fn(&str) -> Option<String>) -> Option<User> {
    None
}

pub(super) fn become_user(user: &User) -> Result<(), Error> {
    let source = Unsupported("changing the user").into();
    Err(Error::Step { step: "going on", user: user.name.clone(), source })
}

pub(super) fn login_path(_user: &User) -> Option<String> {
    None
}

pub(super) fn apply(_environment: Environment) -> Result<(), Error> {
    Err(Error::Threads(0))
}

pub(super) fn raise_open_files_limit() -> io::Result<u64> {
    Err(Unsupported("raising the limit of open files").into())
}
