use super::super::packet::{ACK, Packet, SYN, read};
use super::super::sample;
use super::*;

const FLOW: &str = "the far half";

fn tcp(client: u16, flags: u8, sequence: u32) -> Tcp {
    let client = SocketAddr::from(([10, 0, 0, 2], client));
    let packet = sample::segment(client, ([10, 96, 0, 10], 80).into(), flags, b"");
    match read(&packet) {
        Some(Packet::Tcp(mut tcp)) => {
            tcp.sequence = sequence;
            tcp
        }
        other => panic!("no TCP: {other:?}"),
    }
}

struct Table {
    connections: Connections<&'static str>,
    now: Instant,
}

impl Table {
    fn new() -> Table {
        Table { connections: Connections::new(), now: Instant::now() }
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        self.connections.sweep(self.now);
    }

    fn send(&mut self, client: u16, flags: u8, sequence: u32) -> Verdict {
        self.connections.outgoing(&tcp(client, flags, sequence), b"frame", self.now)
    }

    fn dial(&mut self, client: u16) -> Ticket {
        match self.send(client, SYN, 7) {
            Verdict::Dial(ticket) => ticket,
            other => panic!("not dialled: {other:?}"),
        }
    }

    /// A connection that is carried.
    fn carried(&mut self, client: u16) -> Ticket {
        let ticket = self.dial(client);
        self.connections.connected(ticket, FLOW, self.now).expect("connected");
        self.connections.accepted(ticket.port).expect("accepted").0
    }
}

#[test]
fn a_syn_is_held_until_the_far_end_has_connected() {
    let mut table = Table::new();

    let ticket = table.dial(1);

    assert_eq!(table.send(1, SYN, 7), Verdict::Swallow);
    assert!(table.connections.accepted(ticket.port).is_none(), "not before it is connected");
    let (ends, syn) = table.connections.connected(ticket, FLOW, table.now).expect("connected");
    assert_eq!((ends.client.port(), syn.as_slice()), (1, &b"frame"[..]));
    assert_eq!(table.send(1, SYN, 7), Verdict::Pass(ticket.port));
    assert_eq!(table.connections.incoming(ticket.port, &tcp(1, SYN | ACK, 1), table.now), Some(ends));
    assert_eq!(table.connections.accepted(ticket.port), Some((ticket, FLOW)));
    assert_eq!(table.connections.accepted(ticket.port), None, "only once");
}

#[test]
fn a_refused_connection_is_forgotten() {
    let mut table = Table::new();

    let ticket = table.dial(1);

    assert_eq!(table.connections.refused(ticket, table.now), Some(b"frame".to_vec()));
    assert_eq!(table.connections.connected(ticket, FLOW, table.now), None);
    assert_eq!(table.send(1, ACK, 8), Verdict::Unknown);
}

#[test]
fn a_program_that_gives_up_while_it_is_dialled_is_forgotten() {
    let mut table = Table::new();
    let ticket = table.dial(1);

    table.send(1, RST, 8);

    assert_eq!(table.connections.connected(ticket, FLOW, table.now), None);
}

#[test]
fn segments_and_ports_of_no_connection_are_unknown() {
    let mut table = Table::new();

    assert_eq!(table.send(1, ACK, 8), Verdict::Unknown);
    for port in [0, 53, 1023, 1024, 65_535] {
        assert_eq!(table.connections.incoming(port, &tcp(1, ACK, 1), table.now), None);
        assert_eq!(table.connections.accepted(port), None);
    }
}

#[test]
fn an_idle_connection_lives_as_long_as_its_relay() {
    let mut table = Table::new();
    let ticket = table.carried(1);

    table.later(Duration::from_secs(10 * 3600));

    assert_eq!(table.send(1, ACK, 8), Verdict::Pass(ticket.port));
    table.connections.ended(ticket);
    table.later(SILENT);
    assert_eq!(table.send(1, ACK, 8), Verdict::Unknown);
}

#[test]
fn a_connection_ends_with_both_its_ends_or_a_reset() {
    let mut table = Table::new();
    let (orderly, half, reset) = (table.carried(1), table.carried(2), table.carried(3));

    table.send(1, FIN | ACK, 8);
    table.connections.incoming(orderly.port, &tcp(1, FIN | ACK, 1), table.now);
    table.send(2, FIN | ACK, 8);
    table.connections.incoming(reset.port, &tcp(3, RST, 1), table.now);
    table.later(AFTER_RESET);

    assert_eq!(table.send(1, ACK, 9), Verdict::Pass(orderly.port), "the last acknowledgement");
    assert_eq!(table.send(3, ACK, 9), Verdict::Unknown);
    table.later(GOODBYE);
    assert_eq!(table.send(1, ACK, 9), Verdict::Unknown);
    assert_eq!(table.send(2, ACK, 9), Verdict::Pass(half.port), "half-closed is not closed");
}

#[test]
fn another_connection_between_the_same_ends_gets_another_port() {
    let mut table = Table::new();
    let first = table.carried(1);

    let Verdict::Dial(second) = table.send(1, SYN, 99) else { panic!("not dialled") };

    assert_ne!(first.port, second.port);
    table.connections.ended(first); // must not touch the second
    assert!(table.connections.connected(second, FLOW, table.now).is_some());
}

#[test]
fn a_port_rests_before_it_is_used_again() {
    let mut table = Table::new();
    let first = table.dial(1);
    table.connections.refused(first, table.now);

    assert_ne!(table.dial(2).port, first.port);
    table.later(REST);
    assert_eq!(table.dial(3).port, first.port);
}

#[test]
fn when_all_ports_were_used_the_longest_free_one_is_taken() {
    let mut table = Table::new();
    let first = table.dial(1);
    table.connections.refused(first, table.now);
    for client in 2..=(u16::MAX - FIRST_PORT + 1) {
        table.dial(client);
    }

    assert_eq!(table.dial(65_000).port, first.port);
    assert_eq!(table.send(65_001, SYN, 7), Verdict::Unknown, "none is left");
    assert_eq!(table.connections.len(), 64_512);
}
