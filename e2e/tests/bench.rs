//! Unit tests of `benches/figures`, whose program has no test harness of its own.

#[expect(dead_code, reason = "the program uses it")]
#[path = "../benches/figures/load.rs"]
mod load;
#[expect(dead_code, reason = "the program uses it")]
#[path = "../benches/figures/processes.rs"]
mod processes;
#[path = "../benches/figures/table.rs"]
mod table;
