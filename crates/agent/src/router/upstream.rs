//! A Service that requests go to: its addresses, and its connections that wait for the next request.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kt_wire::rules::Route;
use kt_wire::{Reason, Refused, Target};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::http::Line;
use crate::names::Resolver;

/// How long an address is used without asking again.
const KNOWN_FOR: Duration = Duration::from_secs(3);
/// How long a connection may take; longer than one retransmission of a SYN.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection waits for its next request: shorter than any usual server waits (Node's
/// 5 s is the shortest), so that requests seldom meet one that is just being closed.
const IDLE: Duration = Duration::from_secs(4);
/// Connections that wait at most.
const IDLE_MOST: usize = 128;
/// How long nobody tries again to reach one that is gone.
const GONE_FOR: Duration = Duration::from_secs(2);
/// How long a new version is reached by its shadow's address: until every node knows its Service.
const YOUNG_FOR: Duration = Duration::from_secs(30);
/// How long that may take; a pod that is gone does not say so.
const DIRECTLY_WITHIN: Duration = Duration::from_millis(500);

/// One Service and port.
pub(super) struct Upstream {
    target: Target,
    /// Whose laptop is behind it; nothing for the original, empty where it is not known.
    user: Option<String>,
    resolver: Resolver,
    addresses: RefCell<Option<(Instant, Vec<SocketAddr>)>>,
    /// Each with the time since when it waits.
    kept: RefCell<Vec<(Instant, Line)>>,
    gone: Cell<Option<(Instant, Reason)>>,
    /// The shadow of a young version, and until when it counts as one.
    shadow: Cell<Option<(SocketAddr, Instant)>>,
}

impl Upstream {
    pub(super) fn new(name: &str, port: u16, resolver: Resolver) -> Rc<Upstream> {
        Rc::new(Upstream::at(name, port, None, None, resolver))
    }

    /// The version of a route; in the shadow's pod it listens on `port`.
    pub(super) fn of_route(route: &Route, service: u16, port: u16, resolver: Resolver) -> Rc<Upstream> {
        let shadow = young_shadow(route).map(|(ip, until)| (SocketAddr::new(ip, port), until));
        Rc::new(Upstream::at(&route.name, service, Some(route.user.clone()), shadow, resolver))
    }

    fn at(
        name: &str,
        port: u16,
        user: Option<String>,
        shadow: Option<(SocketAddr, Instant)>,
        resolver: Resolver,
    ) -> Upstream {
        Upstream {
            target: Target::Name(name.to_owned(), port),
            user,
            resolver,
            addresses: RefCell::default(),
            kept: RefCell::default(),
            gone: Cell::default(),
            shadow: Cell::new(shadow),
        }
    }

    pub(super) fn is(&self, name: &str, port: u16) -> bool {
        matches!(&self.target, Target::Name(ours, at) if ours == name && *at == port)
    }

    /// The name, as a `Host` would have it.
    pub(super) fn host(&self) -> String {
        self.target.to_string()
    }

    /// A connection that has served a request before, if one is left that is alive.
    pub(super) fn take_kept(&self) -> Option<Line> {
        loop {
            let (_, mut line) = self.kept.borrow_mut().pop()?;
            if line.is_quiet() {
                return Some(line);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, line: Line) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < IDLE_MOST {
            kept.push((Instant::now(), line));
        }
    }

    /// Lets connections go that nobody used for a while.
    pub(super) fn drop_idle(&self) {
        self.kept.borrow_mut().retain(|(since, _)| since.elapsed() < IDLE);
    }

    /// A new connection. One that could not be reached a moment ago fails at once.
    pub(super) async fn dial(&self) -> Result<TcpStream, Refused> {
        if let Some((since, reason)) = self.gone.get()
            && since.elapsed() < GONE_FOR
        {
            return Err(reason.into());
        }
        let dialled = self.connect().await;
        match &dialled {
            Ok(_) => drop(self.gone.take()),
            Err(why) => self.note_gone(why),
        }
        dialled
    }

    /// Whether it takes a connection at the moment.
    pub(super) async fn is_there(&self) -> bool {
        self.connect().await.is_ok()
    }

    /// Said once, until it is there again.
    fn note_gone(&self, why: &Refused) {
        self.addresses.take();
        if self.gone.replace(Some((Instant::now(), why.reason))).is_none() {
            eprintln!("router: {} can not be reached: {why}", self.target);
        }
    }

    async fn connect(&self) -> Result<TcpStream, Refused> {
        match self.connect_directly().await {
            Some(connection) => Ok(connection),
            None => self.connect_by_name().await,
        }
    }

    /// While nodes do not know the Service, its callers are not even refused everywhere.
    async fn connect_directly(&self) -> Option<TcpStream> {
        let (shadow, until) = self.shadow.get()?;
        if Instant::now() < until
            && let Ok(Ok(connection)) = timeout(DIRECTLY_WITHIN, TcpStream::connect(shadow)).await
            && connection.set_nodelay(true).is_ok()
        {
            return Some(connection);
        }
        self.shadow.set(None);
        None
    }

    async fn connect_by_name(&self) -> Result<TcpStream, Refused> {
        let mut last = Refused::from(Reason::NoSuchName);
        for address in self.addresses().await? {
            match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
                Ok(Ok(connection)) => {
                    connection.set_nodelay(true)?;
                    return Ok(connection);
                }
                Ok(Err(error)) => last = error.into(),
                Err(_) => last = Reason::TimedOut.into(),
            }
        }
        Err(last)
    }

    /// One address, for datagrams.
    pub(super) async fn address(&self) -> Result<SocketAddr, Refused> {
        self.addresses().await?.first().copied().ok_or(Reason::NoSuchName.into())
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Refused> {
        if let Some((since, known)) = &*self.addresses.borrow()
            && since.elapsed() < KNOWN_FOR
        {
            return Ok(known.clone());
        }
        let found = self.resolver.addresses(&self.target).await?;
        self.addresses.replace(Some((Instant::now(), found.clone())));
        Ok(found)
    }
}

/// For people who wait for its answer.
impl fmt::Display for Upstream {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user.as_deref() {
            None => write!(to, "the original ({})", self.target),
            Some("") => write!(to, "the laptop behind {}", self.target),
            Some(user) => write!(to, "the laptop of {user} ({})", self.target),
        }
    }
}

/// By the clocks of two machines; where they differ much, nodes have to know the Service first.
fn young_shadow(route: &Route) -> Option<(IpAddr, Instant)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let age = now.as_secs().abs_diff(route.since);
    let left = YOUNG_FOR.checked_sub(Duration::from_secs(age))?;
    Some((route.shadow?, Instant::now() + left))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_young_version_is_reached_at_its_shadow_while_its_service_is_not_known() {
        let shadow = TcpListener::bind("127.0.0.1:0").await.expect("listener");
        let address = shadow.local_addr().expect("address");
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("time").as_secs();
        let version = |since| {
            let name = "127.0.0.9".to_owned(); // where nobody listens
            let route =
                Route { name, user: String::new(), rules: Vec::new(), since, shadow: Some(address.ip()) };
            Upstream::of_route(&route, address.port(), address.port(), Resolver::from_system())
        };

        assert!(version(now).is_there().await);
        assert!(!version(now - 60).is_there().await, "by now its Service has to be known");
        let gone = version(now);
        drop(shadow);
        assert!(!gone.is_there().await);
        assert!(gone.shadow.get().is_none(), "it is not tried again");
    }
}
