//! A shadow beside the program that is called ends by itself.

use super::*;

/// How long a laptop may stay away.
const MINUTES: Duration = Duration::from_secs(300);

fn beside() -> Rc<Shadow> {
    Shadow::new(Resolver::from_system(), Some(Rc::new(Redirects::new(Probes::default()))))
}

/// Runs a test with such a shadow and a laptop, which has not asked for a port yet.
async fn with_laptop<F: Future>(test: impl FnOnce(Rc<Shadow>, Cable, Link) -> F) -> F::Output {
    LocalSet::new()
        .run_until(async {
            let shadow = beside();
            let (cable, link, _incoming) = linked(&shadow).await;
            test(shadow, cable, link).await
        })
        .await
}

async fn is_over_within(shadow: &Shadow, time: Duration) -> bool {
    tokio::time::timeout(time, shadow.ports.are_over()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_no_laptop_ever_comes() {
    let shadow = beside();

    assert!(!is_over_within(&shadow, MINUTES - Duration::from_secs(1)).await);
    assert!(is_over_within(&shadow, MINUTES + Duration::from_secs(1)).await);
}

#[tokio::test]
async fn it_ends_with_the_laptops_link() {
    with_laptop(async |shadow, _cable, link| {
        assert!(!is_over_within(&shadow, Duration::from_millis(50)).await);

        link.end(&Reason::Cancelled.into());

        assert!(is_over_within(&shadow, Duration::from_secs(5)).await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_the_laptop_stays_away_for_five_minutes_and_not_before() {
    with_laptop(async |shadow, cable, link| {
        cable.pull();
        let mut status = link.status();
        status.wait_for(|state| matches!(state, LinkState::Down(..))).await.expect("down");

        assert!(!is_over_within(&shadow, MINUTES - Duration::from_secs(10)).await);
        assert!(is_over_within(&shadow, Duration::from_secs(20)).await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_when_the_laptop_is_back_in_time() {
    with_laptop(async |shadow, cable, link| {
        cable.pull();
        let mut status = link.status();
        status.wait_for(|state| matches!(state, LinkState::Down(..))).await.expect("down");
        tokio::time::sleep(MINUTES - Duration::from_secs(60)).await;

        cable.plug_in();

        assert!(!is_over_within(&shadow, MINUTES * 3).await);
    })
    .await;
}
