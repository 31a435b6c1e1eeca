//! What older clients have told, in a file that outlives the container: they tell it once, and it
//! stands in no annotation.

use std::fs;
use std::io;
use std::path::Path;

use kt_wire::rules::{Route, RuleSet};
use serde::{Deserialize, Serialize};

use super::Router;
use super::table::Table;

/// The version of the format which this program writes.
const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
struct Kept {
    version: u32,
    /// Ports and original, where no laptop has told them.
    set: Option<RuleSet>,
    routes: Vec<Route>,
}

/// Writes what older clients have told so far. Whoever reads meanwhile gets all of it or what was
/// there before.
pub(super) fn write(path: &Path, table: &Table) -> io::Result<()> {
    let set = table.set().filter(|set| set.generation == 0).cloned();
    let kept = Kept { version: VERSION, set, routes: table.added().to_vec() };
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(&kept)?)?;
    fs::rename(new, path)
}

/// Uses what was told before the container was started anew. A file that is not there, or can not be
/// used, is none.
pub(super) fn restore(path: &Path, router: &Router) {
    let kept = match fs::read(path).and_then(|json| Ok(serde_json::from_slice::<Kept>(&json)?)) {
        Ok(kept) if kept.version == VERSION => kept,
        Ok(Kept { version, .. }) => return eprintln!("router: {}: it has version {version}", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return eprintln!("router: {}: {error}", path.display()),
    };
    if let Some(set) = kept.set {
        router.adopt(set);
    }
    for route in kept.routes {
        router.add(route);
    }
}
