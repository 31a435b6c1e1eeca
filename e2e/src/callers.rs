//! Callers on both nodes who say how each of their requests went.

use std::time::Duration;

use crate::{Cluster, Running, wait_until};

/// Who are led elsewhere learn of it by then.
const NODES: Duration = Duration::from_secs(6);

/// A caller on each node who keeps his connection to who answers `page`, and asks again after so many
/// milliseconds. Each asks with this header (`VERSION: mine`), or with none (empty).
///
/// Asks on one connection until that is ended, and then on another one. Prints the pages, `FIN` for
/// an end between two requests, and `LOST: …` for every other way in which no answer comes. An end
/// that crosses a request, both being on their way at once, is an end between two requests, too: no
/// server can know, and clients ask again. A reset is none.
///
/// # Panics
/// When the service at the address does not answer the page within some seconds.
pub fn callers_who_keep(
    cluster: &Cluster,
    address: &str,
    header: &str,
    pause: &str,
    page: &str,
) -> [Running; 2] {
    start(cluster, address, header, &["keep", pause], page)
}

/// The same, but each request on a connection of its own, and the next one 10 ms after its answer.
///
/// # Panics
/// As above.
pub fn callers_who_come_anew(cluster: &Cluster, address: &str, header: &str, page: &str) -> [Running; 2] {
    start(cluster, address, header, &["anew", "10"], page)
}

fn start(cluster: &Cluster, address: &str, header: &str, how: &[&str; 2], page: &str) -> [Running; 2] {
    let url = format!("http://{address}:8080");
    ["node1", "node2"].map(|node| {
        wait_until(&format!("{page:?} is behind the service on {node}"), NODES, || {
            let answer = cluster.start_on(node, &["curl", "-sS", "-m", "2", "-H", header, &url]).wait(5);
            answer.text.contains(page).then_some(())
        });
        let [keeps, pause] = how;
        let mut caller = cluster.start_on(node, &["python3", "-uc", ASKS, address, header, keeps, pause]);
        caller.wait_for(page, 10);
        caller
    })
}

const ASKS: &str = r#"
import http.client, select, sys
address, header, keeps, pause = sys.argv[1], sys.argv[2], sys.argv[3] == "keep", int(sys.argv[4]) / 1000
headers = dict([header.split(": ")]) if header else {}

def ask_until_it_ends():
    server = http.client.HTTPConnection(address, 8080, timeout=15)
    has_answered = False
    while True:
        try:
            server.request("GET", "/", headers=headers)
            answer = server.getresponse()
        except http.client.RemoteDisconnected:
            print("FIN" if has_answered else "LOST: the end came first")
            return server.close()
        has_answered = True
        page = answer.read().decode().strip()
        print(page if answer.status == 200 else f"LOST: {answer.status} {page}")
        if select.select([server.sock] if server.sock else [], [], [], pause)[0]:
            rest = server.sock.recv(1)
            print("FIN" if rest == b"" else f"LOST: got {rest}")
            return server.close()
        if not keeps or not server.sock:
            return server.close()

while True:
    try:
        ask_until_it_ends()
    except Exception as error:
        print("LOST:", repr(error))
"#;
