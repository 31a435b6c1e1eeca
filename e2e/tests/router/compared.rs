//! Whatever runs through our router runs through nginx, too, and the cases that both pass are
//! compared by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use e2e::{Proxy, Speech, skip};

/// Cases by their names; one that was not passed says why.
pub(crate) type Cases = BTreeMap<String, Result<(), String>>;
/// A case that the router is not to pass, and why.
pub(crate) type Exception = (&'static str, &'static str);

/// Runs the cases through our router and through nginx, each in front of the origin. The router
/// passes every case but the exceptions, and so each that nginx passes.
pub(crate) fn assert_as_good_as_nginx(
    test: &str,
    origin: SocketAddr,
    speech: Speech,
    exceptions: &[Exception],
    run: impl Fn(SocketAddr) -> Cases,
) {
    let Some(router) = router(test, origin) else { return };
    let ours = run(router.address);
    assert!(!ours.is_empty(), "{test}: there are no cases");
    let but: BTreeSet<&str> = exceptions.iter().map(|(case, _)| *case).collect();
    assert_eq!(missed(&ours).keys().copied().collect::<BTreeSet<_>>(), but, "{:#?}", missed(&ours));
    let Some(nginx) = Proxy::nginx(origin, speech).expect("nginx starts") else {
        return skip(test, "nginx is missing (scripts/setup.sh peers)");
    };
    let theirs = run(nginx.address);
    assert_eq!(names(&ours), names(&theirs), "{test}: other cases ran through nginx");
    println!("{test}: {} cases; nginx misses {:?}", ours.len(), missed(&theirs).keys());
    for (case, why) in exceptions {
        println!("the router misses {case:?}: {why}; nginx: {:?}", theirs[*case]);
    }
    assert!(missed(&theirs).len() < theirs.len(), "nginx passes nothing, so it is not set up for this");
}

/// Runs a case, which panics when it is not passed.
pub(crate) fn passes(case: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(case)).map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => {
            other.downcast::<&str>().map_or_else(|_| "panicked".to_owned(), |text| (*text).to_owned())
        }
    })
}

/// A router in front of an origin; nothing, and the test is skipped, when it was not built.
fn router(test: &str, origin: SocketAddr) -> Option<Proxy> {
    let router = Proxy::router(origin).expect("the router starts");
    if router.is_none() {
        skip(test, "the router is not built (make build)");
    }
    router
}

fn names(cases: &Cases) -> BTreeSet<&str> {
    cases.keys().map(String::as_str).collect()
}

fn missed(cases: &Cases) -> BTreeMap<&str, &str> {
    cases.iter().filter_map(|(name, result)| Some((name.as_str(), result.as_ref().err()?.as_str()))).collect()
}
