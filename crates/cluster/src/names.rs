//! Names of objects: random parts, and words of users made legal for Kubernetes.

use std::time::Duration;

use crate::marks::Role;

/// Longest name of a Service, and so of everything that shares a name with one.
const LONGEST: usize = 63;
/// Between the name of a Service and that of its version.
const MESH: &str = "-kt-mesh-";
/// Longest part of a name that a version has: more is cut, so that what stands before it can be told.
const LONGEST_VERSION: usize = 40;

/// Name of the shadow of a `connect`.
pub fn connect_shadow() -> String {
    format!("kt-connect-shadow-{}", random_letters(5))
}

/// Name of the shadow that takes the calls of `service`.
pub fn exchange_shadow(service: &str) -> String {
    with_suffix(service, &format!("-kt-exchange-{}", random_letters(5)))
}

/// Name of the shadow, and of its Service, that serves version `mark` of `service`.
pub fn mesh_shadow(service: &str, mark: &str) -> String {
    let version = legal(mark);
    let version = match version.len() <= LONGEST_VERSION {
        true => version,
        false => join(cut(&version, LONGEST_VERSION - 5).trim_end_matches('-'), &hash(mark)),
    };
    with_suffix(service, &format!("{MESH}{version}"))
}

/// Is this the name of a version of `service`? Those of long services are cut.
pub fn is_version_of(service: &str, name: &str) -> bool {
    let mut marks = name.match_indices(MESH).map(|(at, _)| &name[at..]);
    marks.any(|suffix| suffix.len() > MESH.len() && with_suffix(service, suffix) == name)
}

/// How older clients call that version of `service`: they cut nothing.
pub fn mesh_shadow_of_older(service: &str, mark: &str) -> String {
    format!("{service}{MESH}{mark}")
}

/// Name of the shadow behind the new Service `service`.
pub fn preview_shadow(service: &str) -> String {
    with_suffix(service, &format!("-kt-{}", random_letters(5)))
}

/// Name of the router pod of `service`.
pub fn router(service: &str) -> String {
    with_suffix(service, "-kt-router")
}

/// Name of the pod that does the router's work while that ends and is made anew.
pub fn stand_in_router(service: &str) -> String {
    with_suffix(service, "-kt-router-next")
}

/// Name of the Service that stands in for the original pods of `service`.
pub fn stuntman(service: &str) -> String {
    with_suffix(service, "-kt-stuntman")
}

/// Name of a new shadow in `role`; `service` is what it stands for, nothing for `connect`.
pub fn shadow(role: Role, service: &str) -> String {
    match role {
        Role::Connect => connect_shadow(),
        Role::Exchange => exchange_shadow(service),
        Role::Mesh => mesh_shadow(service, &random_letters(5)),
        Role::Preview => preview_shadow(service),
        Role::Router => router(service),
    }
}

/// The value of the label that a redirected Service selects on.
pub fn target_mark() -> String {
    random_letters(20)
}

/// `count` random lower-case letters.
pub fn random_letters(count: usize) -> String {
    (0..count).map(|_| char::from(b'a' + (random() % 26) as u8)).collect()
}

/// A random time between nothing and `most`.
pub fn random_duration(most: Duration) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random() % millis.saturating_add(1).max(1))
}

/// A random number; falls back on the address of a local when the system gives none.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let here = 0_u8;
        (&raw const here as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// `name` made a legal part of a name (lower-case letters, digits and `-`).
///
/// What had to be changed gets four characters made of the original, so that two versions which
/// differ in forbidden characters only do not meet.
pub fn legal(name: &str) -> String {
    let mapped: String = name
        .chars()
        .map(|letter| letter.to_ascii_lowercase())
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    let trimmed = mapped.trim_matches('-');
    if trimmed == name && !name.is_empty() { name.to_owned() } else { join(trimmed, &hash(name)) }
}

/// `name` and `suffix`, cut to the longest legal name; a cut name carries a hash of the whole.
fn with_suffix(name: &str, suffix: &str) -> String {
    let whole = format!("{name}{suffix}");
    if whole.len() <= LONGEST {
        return whole;
    }
    let hash = hash(&whole);
    let suffix = cut(suffix, LONGEST - 1 - hash.len() - 1);
    let room = LONGEST - suffix.len() - hash.len() - 1;
    format!("{}{suffix}", join(cut(name, room).trim_end_matches('-'), &hash))
}

fn join(name: &str, hash: &str) -> String {
    if name.is_empty() { format!("v{hash}") } else { format!("{name}-{hash}") }
}

/// The first `most` bytes of `text`, at a character's border.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Four letters or digits which depend on all of `text` (FNV-1a).
fn hash(text: &str) -> String {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (0..4)
        .map(|_| {
            let digit = (state % 36) as u32;
            state /= 36;
            char::from_digit(digit, 36).unwrap_or('0')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_shape_of_the_specification() {
        let exchange = exchange_shadow("echo");

        assert!(exchange.starts_with("echo-kt-exchange-") && exchange.len() == 22, "{exchange}");
        assert_eq!(stuntman("echo"), "echo-kt-stuntman");
        assert_eq!(router("echo"), "echo-kt-router");
        assert_eq!(mesh_shadow("echo", "mine"), "echo-kt-mesh-mine");
        assert_eq!(target_mark().len(), 20);
    }

    #[test]
    fn an_illegal_version_is_mapped_to_a_legal_one_of_its_own() {
        let (dots, dashes) = (legal("0.0.1"), legal("0-0-1"));

        assert_ne!(dots, dashes);
        assert_eq!(dashes, "0-0-1");
        assert!(dots.starts_with("0-0-1-") && dots.len() == 10, "{dots}");
        assert_ne!(legal("Blue"), legal("blue"));
        assert!(legal("_").starts_with('v'));
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let (one, other) = ("a".repeat(62) + "b", "a".repeat(62) + "c");

        for name in [stuntman(&one), exchange_shadow(&one), mesh_shadow(&one, &"v".repeat(80))] {
            assert!(name.len() <= 63, "{name} is too long");
        }
        assert_ne!(stuntman(&one), stuntman(&other));
        assert!(stuntman(&one).ends_with("-kt-stuntman"));
    }

    #[test]
    fn a_version_is_known_for_its_services_own_however_long_that_is() {
        let (long, other) = ("a".repeat(62) + "b", "a".repeat(62) + "c");
        for service in ["echo", &"a".repeat(49), &long] {
            for mark in ["mine", "0.0.1", &"v".repeat(80)] {
                let version = mesh_shadow(service, mark);
                assert!(is_version_of(service, &version), "{service} {version}");
                assert!(!is_version_of(&other, &version), "{version}");
            }
        }
        for name in ["echo", "echo-kt-mesh-", "echo-kt-router", "another-kt-mesh-mine", "echo-1-kt-mesh-mine"]
        {
            assert!(!is_version_of("echo", name), "{name}");
        }
    }

    #[test]
    fn random_letters_differ() {
        assert_ne!(random_letters(20), random_letters(20));
        assert!(random_letters(50).bytes().all(|letter| letter.is_ascii_lowercase()));
    }
}
