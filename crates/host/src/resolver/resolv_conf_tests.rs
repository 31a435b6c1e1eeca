//! Unit tests of the edit of `resolv.conf`.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 2));

#[test]
fn foreign_servers_are_switched_off_and_ours_is_added() {
    assert_eq!(
        edited("# by hand\nnameserver 10.0.0.2\nsearch corp.example\n", &[]),
        "# by hand\n#nameserver 10.0.0.2 # Removed by KtConnect\nsearch corp.example\n\
         nameserver 198.18.0.2 # Added by KtConnect\n"
    );
}

#[test]
fn our_endings_come_first_and_the_laptop_keeps_its_own() {
    let content = edited("search corp.example lab.example\n", &["dev.svc.cluster.local", "lab.example"]);

    assert_eq!(
        content.lines().rfind(|line| line.starts_with("search ")),
        Some("search dev.svc.cluster.local lab.example corp.example")
    );
}

#[test]
fn the_file_comes_back_byte_for_byte() {
    for before in [
        "",
        "\n",
        "nameserver 10.0.0.2",
        "nameserver 10.0.0.2\n",
        "\n\nnameserver\t10.0.0.2 \nnameserver fd00::1\n\n",
        "search a b\r\nnameserver 10.0.0.2\r\n",
        "nameserver 10.0.0.2\r\nsearch a",
        "domain corp.example\noptions ndots:2\n#nameserver 1.1.1.1\n",
        "search only.here",
        "nameserver 10.0.0.2\n\n\n",
    ] {
        for search in [&[][..], &["svc.cluster.local"]] {
            assert_eq!(text(&restored(edited(before, search).as_bytes())), before);
        }
    }
}

#[test]
fn bytes_that_are_no_text_survive() {
    let before = b"# caf\xe9\nnameserver 10.0.0.2\n";

    assert_eq!(restored(&with_server(before, SERVER, &[])), before);
}

#[test]
fn a_second_run_finds_the_same_file() {
    let once = edited("nameserver 10.0.0.2", &["a.b"]);

    assert_eq!(edited(&once, &["a.b"]), once);
}

#[test]
fn when_somebody_rewrote_the_file_only_our_lines_go() {
    let ours = edited("nameserver 10.0.0.2\n", &["a.b"]);
    let rewritten = format!("{ours}nameserver 10.9.9.9\nsearch new.example\n");

    assert_eq!(
        text(&restored(rewritten.as_bytes())),
        "nameserver 10.0.0.2\nnameserver 10.9.9.9\nsearch new.example\n"
    );
    assert_eq!(text(&restored(b"nameserver 10.9.9.9\n")), "nameserver 10.9.9.9\n");
}

#[test]
fn what_the_original_program_left_is_restored_too() {
    let left = "#nameserver 10.0.0.2 # Removed by KtConnect\nnameserver 127.0.0.1 # Added by KtConnect\n";

    assert_eq!(text(&restored(left.as_bytes())), "nameserver 10.0.0.2\n");
}

#[test]
fn link_inode_and_mode_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("resolv.conf"));
    fs::write(&real, "nameserver 10.0.0.2\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, &link).unwrap();
    let inode = fs::metadata(&real).unwrap().ino();

    make(&link, SERVER, &["a.b".to_owned()]).unwrap();
    let between = fs::read_to_string(&real).unwrap();
    undo(&link, false).unwrap();

    assert!(between.contains("nameserver 198.18.0.2"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let metadata = fs::metadata(&real).unwrap();
    assert_eq!((metadata.ino(), metadata.mode() & 0o777), (inode, 0o640));
    assert_eq!(fs::read_to_string(&real).unwrap(), "nameserver 10.0.0.2\n");
}

#[test]
fn a_file_that_we_created_goes_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");

    make(&path, SERVER, &[]).unwrap();
    assert!(path.exists());
    undo(&path, true).unwrap();
    undo(&path, true).unwrap();

    assert!(!path.exists());
}

fn edited(before: &str, search: &[&str]) -> String {
    let search: Vec<String> = search.iter().map(|domain| (*domain).to_owned()).collect();
    text(&with_server(before.as_bytes(), SERVER, &search))
}

fn text(content: &[u8]) -> String {
    String::from_utf8(content.to_vec()).unwrap()
}
