//! Whether callers come to the router, and whether it comes to a route and to the original: each node
//! of the cluster learns of new and of changed Services by itself.

use std::net::IpAddr;
use std::time::Duration;

use kt_wire::{Incoming, Reason};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};

use super::Router;

/// How many callers may arrive while a rehearsal is not looking.
pub(super) const REMEMBERED: usize = 64;
/// A laptop does not wait longer either.
const LONGEST: Duration = Duration::from_secs(10);
/// How often it is tried to reach the route.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Accepts once all ways have been seen.
pub(super) async fn serve(router: &Router, caller: IpAddr, route: &str, asked: Incoming) {
    let mut arrived = router.arrived.subscribe();
    let both = async { tokio::join!(comes(&mut arrived, caller), reaches(router, route)) };
    match timeout(LONGEST, both).await {
        Ok(_) => drop(asked.accept()),
        Err(_) => asked.refuse(&Reason::TimedOut.into()),
    }
}

async fn comes(arrived: &mut Receiver<IpAddr>, caller: IpAddr) {
    loop {
        match arrived.recv().await {
            Ok(address) if address == caller => return,
            Err(RecvError::Closed) => std::future::pending().await,
            Ok(_) | Err(RecvError::Lagged(_)) => {} // he calls again
        }
    }
}

async fn reaches(router: &Router, route: &str) {
    loop {
        let ways = router.table().route(route);
        if let Some((route, original)) = ways
            && route.is_there().await
            && original.is_there().await
        {
            return;
        }
        sleep(TRY_EVERY).await;
    }
}
