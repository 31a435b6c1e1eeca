use super::*;

fn samples() -> Vec<Open> {
    let v4 = Target::Address("10.96.0.10:53".parse().expect("address"));
    let v6 = Target::Address("[fd00:10:96::a]:53".parse().expect("address"));
    let name = Target::Name("tomcat.dev".into(), 8080);
    let listen = |otherwise| Open::Listen { port: 8080, protocol: Protocol::Tcp, otherwise };
    vec![
        Open::Tcp(v4.clone()),
        Open::Tcp(name.clone()),
        Open::Udp(v6),
        Open::Echo("10.244.1.2".parse().expect("address")),
        Open::Names,
        Open::Info,
        listen(None),
        listen(Some(name)),
        Open::Arrived {
            port: 80,
            protocol: Protocol::Udp,
            peer: "10.244.1.7:4711".parse().expect("address"),
        },
        Open::Rules,
        Open::Rehearse { caller: "10.244.1.9".parse().expect("address"), route: "tomcat-kt-mesh-ann".into() },
    ]
}

#[test]
fn a_message_is_read_back_as_it_was_written() {
    for open in samples() {
        assert_eq!(Open::decode(&open.encode()), Ok(open));
    }
}

#[test]
fn a_cut_message_is_refused_and_a_longer_one_is_not() {
    for open in samples() {
        let bytes = open.encode();
        let longer = [&bytes, &b"more"[..]].concat();

        assert_eq!(Open::decode(&longer), Ok(open));
        for length in 0..bytes.len() {
            assert!(Open::decode(&bytes[..length]).is_err(), "{length} of {bytes:?}");
        }
    }
}

#[test]
fn an_unknown_reason_is_still_a_refusal() {
    let refused = Refused::decode(&[99, b'o', b'h']);

    assert_eq!(refused, Refused { reason: Reason::Other, text: "oh".into() });
    assert_eq!(Refused::decode(&[]).to_string(), "failed");
}
