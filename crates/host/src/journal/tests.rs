//! Unit tests of the journal.

#![cfg(target_os = "linux")]

use super::*;

#[test]
fn a_journal_of_version_1_is_still_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/journal.v1.json");

    let journal = Journal::read(&path).unwrap();

    assert_eq!(journal.main().pid, 4_000_001);
    assert_eq!(
        journal.entries(),
        [
            Entry::Device { name: "kt0".to_owned() },
            routes(&["10.96.0.0/16", "fd00:10:96::/112"]),
            Entry::Resolved { device: "kt0".to_owned() },
            Entry::ResolvConf { path: "/etc/resolv.conf".into(), created: false },
            Entry::Hosts { path: "/etc/hosts".into(), created: false },
            Entry::Redirect,
        ]
    );
    assert!(!journal.is_live());
}

#[test]
fn a_journal_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal-1.json");
    let sample = include_str!("../../samples/journal.v1.json");
    fs::write(&path, sample.replace("\"version\": 1", "\"version\": 2")).unwrap();

    assert!(Journal::read(&path).is_err());
    assert!(leftovers(folder.path()).is_empty());
    assert!(path.exists());
}

#[test]
fn an_entry_is_on_disk_when_it_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = journal(&folder.path().join("sub"));

    journal.record(Entry::Redirect).unwrap();

    let read = Journal::read(&journal.path).unwrap();
    assert_eq!(read.entries(), [Entry::Redirect]);
    assert!(read.is_live());
}

#[test]
fn later_routes_widen_what_will_be_undone() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = journal(folder.path());

    journal.record(routes(&["10.1.0.0/16"])).unwrap();
    journal.record(Entry::Redirect).unwrap();
    journal.record(routes(&["10.2.0.0/16", "10.1.0.0/16"])).unwrap();

    assert_eq!(journal.entries(), [routes(&["10.1.0.0/16", "10.2.0.0/16"]), Entry::Redirect]);
}

#[test]
fn what_was_before_the_first_change_is_not_forgotten_by_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = journal(folder.path());
    let entry = |created| Entry::ResolvConf { path: "/etc/resolv.conf".into(), created };

    journal.record(entry(true)).unwrap();
    journal.record(entry(false)).unwrap();

    assert_eq!(journal.entries(), [entry(true)]);
}

#[test]
fn file_and_folder_go_with_the_last_entry() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("kt-connect");
    let mut journal = journal(&ours);
    journal.record(Entry::Redirect).unwrap();
    journal.record(routes(&[])).unwrap();

    journal.forget(&Entry::Redirect).unwrap();
    assert!(journal.path.exists());
    journal.forget(&routes(&[])).unwrap();

    assert!(!ours.exists());
}

#[test]
fn a_folder_that_was_there_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = journal(folder.path());

    journal.record(Entry::Redirect).unwrap();
    journal.forget(&Entry::Redirect).unwrap();

    assert!(folder.path().exists());
}

#[test]
fn only_journals_of_dead_helpers_are_leftovers() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = journal(folder.path());
    live.record(Entry::Redirect).unwrap();
    fs::write(folder.path().join("journal-4000001.json"), include_str!("../../samples/journal.v1.json"))
        .unwrap();
    fs::write(folder.path().join("journal-7.json.new"), "{").unwrap();
    fs::write(folder.path().join("journal-8.json"), "{").unwrap();

    let left = leftovers(folder.path());

    assert_eq!(left.iter().map(|journal| journal.main().pid).collect::<Vec<_>>(), [4_000_001]);
}

fn journal(folder: &Path) -> Journal {
    let me = Process::current().unwrap();
    Journal::new(folder, me.clone(), me)
}

fn routes(ranges: &[&str]) -> Entry {
    let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
    Entry::Routes { device: "kt0".to_owned(), ranges }
}
