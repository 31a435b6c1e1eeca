//! The program on the laptop.
mod cli;
mod inbound;
mod report;
mod tasks;

fn main() {
    let typed = cli::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    println!("{:?}", typed.cli);
}
