//! HTTP: `CONNECT`, and requests with an absolute URI. One request per connection: the next one may
//! be for another host.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Refused, Target, target};
use crate::outbound::dial::Reason;

/// The longest head of a request, in bytes.
const LONGEST: usize = 64 * 1024;
/// Headers between program and proxy, which the target does not get.
const NOT_PASSED_ON: [&str; 4] = ["proxy-connection", "proxy-authorization", "keep-alive", "connection"];

/// What a program wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) target: Target,
    /// What the target has to hear first.
    pub(super) first: Vec<u8>,
    /// It asked for a tunnel, and is told when there is one.
    tunnel: bool,
}

impl Request {
    pub(super) fn yes(&self) -> &[u8] {
        if self.tunnel { b"HTTP/1.1 200 Connection established\r\n\r\n" } else { b"" }
    }
}

/// Reads a request after its first byte; `None` when it was refused.
pub(super) async fn read(first: u8, program: &mut TcpStream) -> io::Result<Option<Request>> {
    let (mut bytes, mut chunk) = (vec![first], [0; 4096]);
    let end = loop {
        let length = program.read(&mut chunk).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let looked_at = bytes.len().saturating_sub(3);
        bytes.extend_from_slice(&chunk[..length]);
        let end = bytes[looked_at..].windows(4).position(|four| four == b"\r\n\r\n");
        match end {
            Some(end) => break looked_at + end + 4,
            None if bytes.len() > LONGEST => {
                program
                    .write_all(&answer("431 Request Header Fields Too Large", "The request is too long."))
                    .await?;
                return Ok(None);
            }
            None => {}
        }
    };
    let parsed = std::str::from_utf8(&bytes[..end]).ok().and_then(|head| parse(head, &bytes[end..]));
    if parsed.is_none() {
        let text = "This is the proxy of ktctl. Set it as SOCKS or HTTP proxy of your program.";
        program.write_all(&answer("400 Bad Request", text)).await?;
    }
    Ok(parsed)
}

/// Understands a head; `rest` is what came behind it.
fn parse(head: &str, rest: &[u8]) -> Option<Request> {
    let (line, headers) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, uri, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with("HTTP/1.") || words.next().is_some() {
        return None;
    }
    if method == "CONNECT" {
        let (host, port) = authority(uri)?;
        return Some(Request { target: target(host, port?), first: rest.to_vec(), tunnel: true });
    }
    let without_scheme =
        uri.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).map(|_| &uri[7..])?;
    let path_at = without_scheme.find(['/', '?']).unwrap_or(without_scheme.len());
    let (authority_text, path) = without_scheme.split_at(path_at);
    let authority_text = authority_text.rsplit('@').next()?;
    let (host, port) = authority(authority_text)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut first = format!("{method} {slash}{path} {version}\r\nHost: {authority_text}\r\n");
    pass_on(headers, &mut first);
    let first = [first.as_bytes(), rest].concat();
    Some(Request { target: target(host, port.unwrap_or(80)), first, tunnel: false })
}

/// The headers for the target. An upgrade stays one; else the connection ends after the answer.
fn pass_on(headers: &str, to: &mut String) {
    let lines = headers.split("\r\n").filter(|line| !line.is_empty());
    let (mut upgrades, name) = (false, |line: &str| line.split(':').next().map(str::to_ascii_lowercase));
    for line in lines {
        let name = name(line).unwrap_or_default();
        upgrades |= name == "connection" && line.to_ascii_lowercase().contains("upgrade");
        if name != "host" && !NOT_PASSED_ON.contains(&name.as_str()) {
            to.push_str(line);
            to.push_str("\r\n");
        }
    }
    to.push_str(if upgrades { "Connection: Upgrade\r\n\r\n" } else { "Connection: close\r\n\r\n" });
}

/// Host and port, as in `tomcat:8080` or `[fd00::1]:8080`.
fn authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = match port {
        "" => None,
        port => Some(port.parse().ok()?),
    };
    (!host.is_empty() && host.len() <= 255).then_some((host, port))
}

/// What tells a program why its connection is not made.
pub(super) fn failure(target: &Target, why: &Refused) -> Vec<u8> {
    let status = match why.reason {
        Reason::TimedOut => "504 Gateway Timeout",
        Reason::Forbidden => "403 Forbidden",
        Reason::LinkLost | Reason::Busy => "503 Service Unavailable",
        _ => "502 Bad Gateway",
    };
    answer(status, &format!("ktctl can not connect to {target}: {why}"))
}

fn answer(status: &str, text: &str) -> Vec<u8> {
    let length = text.len() + 1;
    let head = "Content-Type: text/plain; charset=utf-8\r\nConnection: close";
    format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\n\r\n{text}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target_of(head: &str) -> Option<String> {
        parse(head, b"").map(|request| request.target.to_string())
    }

    #[test]
    fn a_tunnel_goes_to_its_authority_with_what_was_said_already() {
        let request = parse("CONNECT tomcat.dev:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"early").expect("request");

        assert_eq!(request.target, Target::Name("tomcat.dev".into(), 443));
        assert_eq!((request.first.as_slice(), request.tunnel), (&b"early"[..], true));
        assert_eq!(target_of("CONNECT [fd00::1]:443 HTTP/1.0\r\n\r\n").as_deref(), Some("[fd00::1]:443"));
        assert_eq!(target_of("CONNECT 10.96.0.1:443 HTTP/1.1\r\n\r\n").as_deref(), Some("10.96.0.1:443"));
    }

    #[test]
    fn an_absolute_uri_becomes_a_path() {
        let head = "GET http://me:secret@tomcat:8080/a?b=c HTTP/1.1\r\nHost: other\r\nAccept: */*\r\n\
                    Proxy-Connection: keep-alive\r\nConnection: keep-alive\r\n\r\n";
        let request = parse(head, b"body").expect("request");

        assert_eq!(request.target, Target::Name("tomcat".into(), 8080));
        assert_eq!(
            String::from_utf8(request.first).expect("text"),
            "GET /a?b=c HTTP/1.1\r\nHost: tomcat:8080\r\nAccept: */*\r\nConnection: close\r\n\r\nbody"
        );
    }

    #[test]
    fn an_upgrade_stays_one_and_a_path_may_be_missing() {
        let head =
            "GET HTTP://tomcat?a HTTP/1.1\r\nconnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let request = parse(head, b"").expect("request");

        let first = String::from_utf8(request.first).expect("text");
        assert_eq!(request.target, Target::Name("tomcat".into(), 80));
        assert!(first.starts_with("GET /?a HTTP/1.1\r\nHost: tomcat\r\n"), "{first}");
        assert!(first.ends_with("Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), "{first}");
    }

    #[test]
    fn what_is_not_for_a_proxy_is_refused() {
        for line in [
            "GET / HTTP/1.1",
            "GET https://tomcat/ HTTP/1.1",
            "GET http:// HTTP/1.1",
            "GET http://tomcat:99999/ HTTP/1.1",
            "CONNECT tomcat HTTP/1.1",
            "CONNECT [::1 HTTP/1.1",
            "CONNECT tomcat:443 HTTP/2",
            "CONNECT tomcat:443",
            "",
            "é http:/é x",
        ] {
            assert_eq!(target_of(&format!("{line}\r\n\r\n")), None, "{line}");
        }
    }
}
