//! The rules in use, with the upstreams that they name.

use std::rc::Rc;

use kt_wire::Protocol;
use kt_wire::rules::{self, MatchRule, Port, Request, Route, RuleSet};

use super::upstream::Upstream;
use crate::names::Resolver;

/// What the router does at the moment. It is never changed, only replaced.
#[derive(Default)]
pub(super) struct Table {
    set: Option<RuleSet>,
    /// Routes of older clients, who know nothing of sets; they stay when the set changes.
    added: Vec<Route>,
    ports: Vec<PortTable>,
}

/// One port, and who its callers may go to.
struct PortTable {
    port: Port,
    original: Rc<Upstream>,
    /// In the order of the routes.
    routes: Vec<(Vec<MatchRule>, Rc<Upstream>)>,
}

impl Table {
    pub(super) fn generation(&self) -> u64 {
        self.set.as_ref().map_or(0, |set| set.generation)
    }

    pub(super) fn set(&self) -> Option<&RuleSet> {
        self.set.as_ref()
    }

    /// The routes of older clients.
    pub(super) fn added(&self) -> &[Route] {
        &self.added
    }

    /// Whether anybody has joined.
    pub(super) fn has_routes(&self) -> bool {
        !self.added.is_empty() || self.set.as_ref().is_some_and(|set| !set.routes.is_empty())
    }

    /// Who has joined.
    #[cfg(test)]
    pub(super) fn route_names(&self) -> Vec<String> {
        let set = self.set.iter().flat_map(|set| &set.routes);
        set.chain(&self.added).map(|route| route.name.clone()).collect()
    }

    /// The ports to listen on.
    pub(super) fn ports(&self) -> impl Iterator<Item = Port> {
        self.ports.iter().map(|entry| entry.port)
    }

    /// This table with another set.
    pub(super) fn with_set(&self, set: RuleSet, resolver: &Resolver) -> Table {
        let known = |route: &&Route| !set.routes.iter().any(|other| other.name == route.name);
        let added = self.added.iter().filter(known).cloned().collect();
        self.rebuilt(Some(set), added, resolver)
    }

    /// This table with the route of an older client.
    pub(super) fn with_route(&self, route: Route, resolver: &Resolver) -> Table {
        let table = self.without_route(&route.name, resolver);
        let mut added = table.added.clone();
        added.push(route);
        table.rebuilt(table.set.clone(), added, resolver)
    }

    /// This table without the route, whoever made it.
    pub(super) fn without_route(&self, name: &str, resolver: &Resolver) -> Table {
        let keep = |route: &Route| route.name != name;
        let mut set = self.set.clone();
        if let Some(set) = &mut set {
            set.routes.retain(keep);
        }
        let added = self.added.iter().filter(|route| keep(route)).cloned().collect();
        self.rebuilt(set, added, resolver)
    }

    /// Upstreams that stay keep their connections.
    fn rebuilt(&self, set: Option<RuleSet>, added: Vec<Route>, resolver: &Resolver) -> Table {
        let known = |name: &str, port: &Port| self.upstreams().find(|known| known.is(name, port.service));
        let original = |name: &str, port: &Port| match known(name, port) {
            Some(known) => known.clone(),
            None => Upstream::new(name, port.service, resolver.clone()),
        };
        let route = |route: &Route, port: &Port| match known(&route.name, port) {
            Some(known) => known.clone(),
            None => Upstream::of_route(route, port.service, port.listen, resolver.clone()),
        };
        let table = |set: &RuleSet, port: &Port| PortTable {
            port: *port,
            original: original(&set.original, port),
            routes: set
                .routes
                .iter()
                .chain(&added)
                .map(|one| (one.rules.clone(), route(one, port)))
                .collect(),
        };
        let ports = set.iter().flat_map(|set| set.ports.iter().map(move |port| table(set, port))).collect();
        Table { set, added, ports }
    }

    fn upstreams(&self) -> impl Iterator<Item = &Rc<Upstream>> {
        self.ports.iter().flat_map(|port| port.routes.iter().map(|(_, route)| route).chain([&port.original]))
    }

    /// Lets connections go that nobody used for a while.
    pub(super) fn drop_idle(&self) {
        self.upstreams().for_each(|upstream| upstream.drop_idle());
    }

    /// A route by its name, at a TCP port, and the original there.
    pub(super) fn route(&self, name: &str) -> Option<(Rc<Upstream>, Rc<Upstream>)> {
        let tcp = self.ports.iter().filter(|entry| entry.port.protocol == Protocol::Tcp);
        let mut ways = tcp.flat_map(|entry| entry.routes.iter().map(move |(_, route)| (entry, route)));
        let (entry, route) = ways.find(|(entry, route)| route.is(name, entry.port.service))?;
        Some((route.clone(), entry.original.clone()))
    }

    /// The original of a TCP port.
    pub(super) fn original(&self, listen: u16) -> Option<Rc<Upstream>> {
        Some(self.port(listen)?.original.clone())
    }

    /// The original of a UDP port.
    pub(super) fn udp_original(&self, listen: u16) -> Option<Rc<Upstream>> {
        let udp = |entry: &&PortTable| entry.port.protocol == Protocol::Udp && entry.port.listen == listen;
        Some(self.ports.iter().find(udp)?.original.clone())
    }

    /// Who gets a request that arrived at the port, and the original.
    pub(super) fn choose(&self, listen: u16, request: &impl Request) -> Option<(Rc<Upstream>, Rc<Upstream>)> {
        let port = self.port(listen)?;
        let chosen = port.routes.iter().find(|(rules, _)| rules::all_match(rules, request));
        let chosen = chosen.map_or(&port.original, |(_, upstream)| upstream);
        Some((chosen.clone(), port.original.clone()))
    }

    fn port(&self, listen: u16) -> Option<&PortTable> {
        let tcp = |entry: &&PortTable| entry.port.protocol == Protocol::Tcp;
        self.ports.iter().filter(tcp).find(|entry| entry.port.listen == listen)
    }
}
