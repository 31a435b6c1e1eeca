//! What happens to callers and streams while the laptop is away.

use super::*;

/// The original sends back what it gets.
async fn is_served_by_the_original(mut caller: TcpStream) {
    caller.write_all(b"hello").await.expect("write");
    let mut answer = [0; 5];
    caller.read_exact(&mut answer).await.expect("answer");
    assert_eq!(&answer, b"hello");
}

/// Not before, and less than the second later that finding it out may take.
fn assert_near(elapsed: Duration, secs: u64) {
    let (least, most) = (Duration::from_secs(secs), Duration::from_secs(secs + 1));
    assert!(least <= elapsed && elapsed <= most, "after {elapsed:?}, not {secs} s");
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_for_a_laptop_that_is_back_in_time() {
    with_cable(async |mut away| {
        away.pull_cable(1).await;
        let mut caller = away.call().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        away.cable.plug_in();

        let mut stream = away.incoming.next().await.accept();
        stream.write_all(b"local").await.expect("write");
        let mut answer = [0; 5];
        caller.read_exact(&mut answer).await.expect("answer");

        assert_eq!(&answer, b"local");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_go_to_the_original_when_the_laptop_is_away_for_15_s() {
    with_cable(async |away| {
        let cut = Instant::now();
        away.pull_cable(0).await;
        let late = async {
            tokio::time::sleep(Duration::from_secs(14)).await;
            is_served_by_the_original(away.call().await).await;
        };

        tokio::join!(is_served_by_the_original(away.call().await), late);

        assert_near(cut.elapsed(), 15);
        away.pull_cable(1000).await;
        is_served_by_the_original(away.call().await).await;
        assert_near(cut.elapsed(), 1015);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_go_to_the_original_15_s_after_a_laptop_that_fell_silent_was_heard() {
    with_cable(async |away| {
        let cut = Instant::now();
        away.cable.fall_silent();

        is_served_by_the_original(away.call().await).await;

        assert_near(cut.elapsed(), 15);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_come_to_the_laptop_again_when_it_is_back_after_the_originals_served() {
    with_cable(async |mut away| {
        away.pull_cable(20).await;
        is_served_by_the_original(away.call().await).await;

        away.come_back().await;

        away.talk().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_when_the_laptop_is_back_within_five_minutes() {
    with_cable(async |mut away| {
        let (mut caller, mut stream) = away.talk().await;
        away.pull_cable(240).await;
        stream.write_all(b"still here").await.expect("write");
        away.cable.plug_in();

        let mut answer = [0; 10];
        caller.read_exact(&mut answer).await.expect("answer");

        assert_eq!(&answer, b"still here");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_reset_when_the_laptop_is_away_for_five_minutes() {
    with_cable(async |mut away| {
        let (mut caller, _stream) = away.talk().await;
        let cut = Instant::now();
        away.pull_cable(0).await;

        let failed = caller.read(&mut [0]).await.expect_err("reset");

        assert_eq!(failed.kind(), io::ErrorKind::ConnectionReset);
        assert_near(cut.elapsed(), 300);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_reset_five_minutes_after_a_laptop_that_fell_silent_was_heard() {
    with_cable(async |mut away| {
        let (mut caller, _stream) = away.talk().await;
        let cut = Instant::now();
        away.cable.fall_silent();

        let failed = caller.read(&mut [0]).await.expect_err("reset");

        assert_eq!(failed.kind(), io::ErrorKind::ConnectionReset);
        assert_near(cut.elapsed(), 300);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_to_end_passes_waiting_callers_to_the_original_first() {
    with_cable(async |away| {
        away.pull_cable(1).await;
        let caller = away.call().await;
        tokio::time::sleep(Duration::from_secs(1)).await;

        let (ended, ()) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(3), away.shadow.ports.end()),
            is_served_by_the_original(caller)
        );

        assert!(ended.is_ok(), "the pod waits for nobody");
    })
    .await;
}
