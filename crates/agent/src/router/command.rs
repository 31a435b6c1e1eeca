//! The commands `setup`, `add` and `remove`, which older clients execute in the container.
//!
//! The same program, started anew, tells the running one over a socket whose name is abstract: no
//! file has to be written, and other pods can not reach it. Clients look for ` ERR ` in what is
//! said on stderr, and for nothing else.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kt_wire::Protocol;
use kt_wire::rules::{MatchRule, Port, Route, RuleSet, Speaks, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::{Router, kept};
use crate::links::{PORT, pause_after};

/// How long a router that is just starting is waited for.
const START_WITHIN: Duration = Duration::from_secs(5);
/// The longest command.
const MOST: u64 = 64 << 10;

/// Tells the running router; what older clients see is the text only.
pub(super) fn tell(arguments: &[String]) -> ExitCode {
    let told = ask(&arguments.join("\n"), PORT).unwrap_or_else(|error| error.to_string());
    if !told.is_empty() {
        eprintln!("router ERR {} failed error={told:?}", arguments[0]);
    }
    ExitCode::SUCCESS
}

/// The router's answer: nothing, or what is wrong.
pub(super) fn ask(command: &str, port: u16) -> io::Result<String> {
    let mut connection = connect(port)?;
    connection.write_all(command.as_bytes())?;
    connection.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

fn connect(port: u16) -> io::Result<net::UnixStream> {
    let until = Instant::now() + START_WITHIN;
    loop {
        match net::UnixStream::connect_addr(&address(port)?) {
            Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(100)),
            result => return result,
        }
    }
}

fn address(port: u16) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("kt-router-{port}"))
}

/// Listens for commands.
pub(super) fn listen(port: u16) -> io::Result<UnixListener> {
    let listener = net::UnixListener::bind_addr(&address(port)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Carries out the commands that arrive, one after the other.
pub(super) async fn serve(listener: UnixListener, router: Rc<Router>) {
    loop {
        match listener.accept().await {
            // Whoever breaks off does not learn what came of it.
            Ok((connection, _)) => drop(serve_one(connection, &router).await),
            Err(error) => pause_after(&error).await,
        }
    }
}

async fn serve_one(mut connection: UnixStream, router: &Router) -> io::Result<()> {
    let mut text = String::new();
    (&mut connection).take(MOST).read_to_string(&mut text).await?;
    let words: Vec<&str> = text.split('\n').collect();
    match router.obey(&words) {
        Ok(()) => router.keep(),
        Err(why) => connection.write_all(why.as_bytes()).await?,
    }
    connection.shutdown().await
}

impl Router {
    /// Carries out a command, or tells what is wrong with it.
    fn obey(&self, words: &[&str]) -> Result<(), String> {
        match *words {
            ["setup", service, ports, mark] => {
                let (set, route) = (set(service, ports)?, route(service, mark)?);
                if self.table().set().is_none() {
                    self.adopt(set);
                }
                self.add(route);
                Ok(())
            }
            ["add", mark] => {
                self.add(route(&self.service()?, mark)?);
                Ok(())
            }
            ["remove", mark] => {
                let name = route(&self.service()?, mark)?.name;
                self.put(self.table().without_route(&name, &self.resolver));
                Ok(())
            }
            _ => {
                Err("usage: setup SERVICE PORT:TARGET[,...] KEY:VALUE, add KEY:VALUE, remove KEY:VALUE"
                    .into())
            }
        }
    }

    /// Without the file it goes on, too, until the container is started anew.
    fn keep(&self) {
        let Some(path) = &self.kept else { return };
        if let Err(error) = kept::write(path, &self.table()) {
            eprintln!("router: {}: {error}", path.display());
        }
    }

    fn service(&self) -> Result<String, String> {
        let table = self.table();
        let set = table.set().ok_or("the router was not set up yet")?;
        Ok(set.service.clone())
    }
}

fn set(service: &str, ports: &str) -> Result<RuleSet, String> {
    let ports: Result<Vec<Port>, String> = ports.split(',').map(port).collect();
    Ok(RuleSet {
        version: VERSION,
        generation: 0,
        service: service.to_owned(),
        original: format!("{service}-kt-stuntman"),
        ports: ports?,
        routes: Vec::new(),
    })
}

fn port(text: &str) -> Result<Port, String> {
    let wrong = || format!("{text:?} is no pair of ports PORT:TARGET");
    let (service, listen) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    let (service, listen) = (number(service)?, number(listen)?);
    Ok(Port { listen, service, protocol: Protocol::Tcp, speaks: Speaks::Unknown })
}

/// The route of a version mark; the value is part of the shadow's name.
fn route(service: &str, mark: &str) -> Result<Route, String> {
    let wrong = || format!("{mark:?} is no version mark KEY:VALUE");
    let (key, value) = mark.split_once(':').ok_or_else(wrong)?;
    let rule = MatchRule::parse(&format!("header:{key}={value}")).map_err(|_| wrong())?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let name = format!("{service}-kt-mesh-{value}");
    Ok(Route { name, user: String::new(), rules: vec![rule], since, shadow: None })
}
