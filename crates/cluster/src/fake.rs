//! An API server of a test's own: answers by a function, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Access, Cluster, Settings};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `GET /api/v1/...`
    pub(crate) line: String,
    pub(crate) body: Value,
}

/// What was asked so far, in its order.
pub(crate) type Log = Arc<Mutex<Vec<Asked>>>;

/// A cluster of which all requests but the first one, for the version, are answered by `answer`: a
/// status and a text. May take its time, each request has a thread.
pub(crate) async fn cluster(
    settings: Settings,
    answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
) -> (Cluster, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let (log, answer) = (Log::default(), Arc::new(answer));
    let noted = log.clone();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (noted, answer) = (noted.clone(), answer.clone());
            thread::spawn(move || serve(connection.unwrap(), &noted, &*answer));
        }
    });
    let named = |what: &str, content: Value| json!([{"name": "fake", what: content}]);
    let kubeconfig = json!({
        "current-context": "fake",
        "clusters": named("cluster", json!({"server": server})),
        "users": named("user", json!({})),
        "contexts": named("context", json!({"cluster": "fake", "user": "fake", "namespace": "dev"})),
    });
    let access = Access { embedded: Some(kubeconfig.to_string()), ..Access::default() };
    (Cluster::connect_with(&access, settings).await.unwrap(), log)
}

/// One answer, as the API server refuses.
pub(crate) fn refusal(code: u16, reason: &str) -> (u16, String) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason
    });
    (code, status.to_string())
}

/// No answer, for longer than any test lasts: of a watch, that nothing happens.
pub(crate) fn silence() -> (u16, String) {
    thread::sleep(Duration::from_secs(60));
    (500, String::new())
}

fn serve(connection: TcpStream, log: &Log, answer: &(dyn Fn(&Asked) -> (u16, String) + Sync)) {
    let Some(asked) = read(&connection) else { return };
    let (code, text) = match asked.line.as_str() {
        "GET /version" => {
            let names =
                ["gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"];
            let mut version: serde_json::Map<String, Value> =
                names.map(|name| (name.to_owned(), json!("v1.34.0"))).into_iter().collect();
            version.extend([("major".to_owned(), json!("1")), ("minor".to_owned(), json!("34"))]);
            (200, json!(version).to_string())
        }
        _ => {
            log.lock().unwrap().push(asked.clone());
            answer(&asked)
        }
    };
    let head = format!(
        "HTTP/1.1 {code} Answer\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    let _ = (&connection).write_all([head, text].concat().as_bytes()); // who asked may have left
}

fn read(connection: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(connection);
    let mut first = String::new();
    lines.read_line(&mut first).ok()?;
    let line = first.rsplit_once(' ')?.0.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        lines.read_line(&mut header).ok()?;
        match header.trim().to_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    Some(Asked { line, body: serde_json::from_slice(&body).unwrap_or_default() })
}
