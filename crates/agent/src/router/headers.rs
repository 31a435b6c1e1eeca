//! What a proxy does to headers, and how rules see them.

use std::net::IpAddr;

use http::header::{CONNECTION, EXPECT, Entry, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, Version, request};
use kt_wire::rules::Request;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request as rules see it.
pub(super) struct Asked<'a>(pub(super) &'a request::Parts);

impl Request for Asked<'_> {
    fn path(&self) -> &str {
        self.0.uri.path()
    }

    fn any_header(&self, name: impl Fn(&str) -> bool, wanted: impl Fn(&str) -> bool) -> bool {
        let fits = |value: &HeaderValue| value.to_str().is_ok_and(&wanted);
        self.0.headers.iter().any(|(present, value)| name(present.as_str()) && fits(value))
    }
}

/// Takes away what is meant for this connection only.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> =
            connection_words(headers).filter_map(|word| HeaderName::try_from(word).ok()).collect();
        for name in named.iter().filter(|name| **name != TE) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS] {
        headers.remove(name);
    }
}

fn connection_words(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',').map(str::trim))
}

/// Makes a caller's request one of ours.
pub(super) fn prepare(asked: &mut request::Parts, peer: IpAddr, host: impl FnOnce() -> String) {
    remove_hop_by_hop(&mut asked.headers);
    keep_trailers_only(&mut asked.headers);
    asked.headers.remove(EXPECT); // the caller is told to go on as soon as the upstream reads
    let named = HeaderValue::from_str(&host_of(asked).unwrap_or_else(host)).ok();
    if asked.version != Version::HTTP_2 {
        asked.version = Version::HTTP_11;
        take_origin_form(asked, &named);
    }
    append_forwarded_for(&mut asked.headers, peer);
    asked.headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Some(named) = named {
        asked.headers.entry(FORWARDED_HOST).or_insert(named);
    }
}

/// `te` may say `trailers` (gRPC does); anything else is between neighbours.
fn keep_trailers_only(headers: &mut HeaderMap) {
    if let Entry::Occupied(entry) = headers.entry(TE)
        && !entry.get().as_bytes().eq_ignore_ascii_case(b"trailers")
    {
        entry.remove_entry_mult();
    }
}

/// Whom the caller names: the target of the request goes before the header.
fn host_of(asked: &request::Parts) -> Option<String> {
    let authority = asked.uri.authority().map(Authority::as_str);
    let host = || asked.headers.get(HOST).and_then(|host| host.to_str().ok());
    authority.or_else(host).map(str::to_owned)
}

/// A server wants the path, and whom it is for as a header.
fn take_origin_form(asked: &mut request::Parts, host: &Option<HeaderValue>) {
    if asked.uri.authority().is_some() {
        let path = asked.uri.path_and_query().cloned();
        asked.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        asked.headers.remove(HOST);
    }
    if let Some(host) = host {
        asked.headers.entry(HOST).or_insert_with(|| host.clone());
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: IpAddr) {
    let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut chain = String::new();
    for value in before {
        chain.push_str(value);
        chain.push_str(", ");
    }
    chain.push_str(&peer.to_string());
    if let Ok(value) = HeaderValue::try_from(chain) {
        headers.insert(FORWARDED_FOR, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(builder: request::Builder) -> request::Parts {
        let (mut parts, ()) = builder.body(()).expect("request").into_parts();
        prepare(&mut parts, "10.0.0.9".parse().expect("address"), || "tomcat:80".into());
        parts
    }

    fn value<'a>(parts: &'a request::Parts, name: &str) -> Option<&'a str> {
        parts.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    #[test]
    fn what_is_for_this_connection_only_stays_here() {
        let parts = prepared(
            http::Request::get("/a?b")
                .header("connection", "keep-alive, X-Mine")
                .header("x-mine", "1")
                .header("keep-alive", "5")
                .header("te", "gzip")
                .header("http2-settings", "x")
                .header("upgrade", "h2c")
                .header("accept", "*/*"),
        );

        let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
    }

    #[test]
    fn the_upstream_learns_who_called_and_whom() {
        let parts = prepared(
            http::Request::get("http://shop/a?b")
                .header("host", "other")
                .header("x-forwarded-for", "1.2.3.4"),
        );

        assert_eq!(parts.uri, "/a?b");
        assert_eq!(value(&parts, "host"), Some("shop"));
        assert_eq!(value(&parts, "x-forwarded-for"), Some("1.2.3.4, 10.0.0.9"));
        assert_eq!(value(&parts, "x-forwarded-host"), Some("shop"));
        assert_eq!(value(&parts, "x-forwarded-proto"), Some("http"));
    }
}
