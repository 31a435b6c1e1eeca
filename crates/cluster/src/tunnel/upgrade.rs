//! Asking the API server for a way into a pod, and understanding why it says no.

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::Upgraded;
use kube::client::Body;
use kube::core::Status;

use super::{Dialect, Error, Way};
use crate::Cluster;
use crate::api::{ApiError, Right};

const SPDY: &str = "SPDY/3.1";

/// How much of a refusal is read.
const REFUSAL: usize = 16 * 1024;

/// Upgrades a connection to the API server into a way into a pod in `dialect`.
pub(super) async fn upgrade(
    cluster: &Cluster,
    dialect: Dialect,
    pod: &str,
    way: &Way<'_>,
) -> Result<Upgraded, Error> {
    let asked = Asked { dialect, namespace: cluster.namespace(), pod, way };
    let failed = |source| Error::Api { pod: pod.to_owned(), source };
    let request = request(&asked).map_err(|error| failed(ApiError::Other(error.to_string())))?;
    let answer = cluster.client().send(request).await.map_err(|error| failed(error.into()))?;
    if let Some(message) = not_upgraded(dialect, way.protocol(dialect), &answer) {
        return Err(refusal(&asked, answer.status(), &text(answer).await, message));
    }
    let broken = |error| failed(ApiError::Unreachable(crate::api::causes(&error)));
    hyper::upgrade::on(answer).await.map_err(broken)
}

fn request(asked: &Asked<'_>) -> http::Result<Request<Body>> {
    let Asked { dialect, namespace, pod, way } = asked;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/{}{}", way.resource(), way.query(*dialect));
    let request = Request::builder().uri(path).header(header::CONNECTION, "Upgrade");
    let protocol = way.protocol(*dialect);
    let request = match dialect {
        Dialect::Spdy => request
            .method(Method::POST)
            .header(header::UPGRADE, SPDY)
            .header("X-Stream-Protocol-Version", protocol),
        Dialect::WebSocket => request
            .method(Method::GET)
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, websocket_key())
            .header(header::SEC_WEBSOCKET_PROTOCOL, protocol),
    };
    request.body(Body::empty())
}

fn websocket_key() -> String {
    let (one, other) = (crate::names::random(), crate::names::random());
    base64(&[one.to_be_bytes(), other.to_be_bytes()].concat())
}

/// Why the answer is no upgrade to `dialect`; nothing when it is one.
fn not_upgraded<B>(dialect: Dialect, protocol: &str, answer: &Response<B>) -> Option<String> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Some(format!("answer {}", answer.status()));
    }
    let (name, wanted) = match dialect {
        Dialect::Spdy => (header::UPGRADE, SPDY),
        Dialect::WebSocket => (header::SEC_WEBSOCKET_PROTOCOL, protocol),
    };
    let got = answer.headers().get(&name).and_then(|value| value.to_str().ok()).unwrap_or("");
    (!got.eq_ignore_ascii_case(wanted)).then(|| format!("upgrade to {got:?} instead of {wanted:?}"))
}

async fn text(answer: Response<Body>) -> String {
    match Limited::new(answer.into_body(), REFUSAL).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(_) => String::new(),
    }
}

struct Asked<'a> {
    dialect: Dialect,
    namespace: &'a str,
    pod: &'a str,
    way: &'a Way<'a>,
}

/// What a refusal means. `otherwise` is said when it has no text.
fn refusal(asked: &Asked<'_>, code: StatusCode, text: &str, otherwise: String) -> Error {
    let status: Option<Status> = serde_json::from_str(text).ok();
    let message = match (&status, text) {
        (Some(status), _) if !status.message.is_empty() => status.message.clone(),
        (None, text) if !text.is_empty() && !text.starts_with('<') => text.to_owned(),
        _ => otherwise,
    };
    let pod = asked.pod.to_owned();
    match code {
        StatusCode::FORBIDDEN => Error::Forbidden { pod, right: right(asked) },
        StatusCode::UNAUTHORIZED => Error::Api { pod, source: ApiError::Unauthorized(message) },
        StatusCode::NOT_FOUND if is_missing_pod(status.as_ref()) => Error::PodGone { pod },
        StatusCode::NOT_FOUND => Error::NotReady { pod, message },
        code if code.is_server_error() && code != StatusCode::NOT_IMPLEMENTED => {
            Error::NotReady { pod, message }
        }
        _ if is_not_running(&message) => Error::NotReady { pod, message },
        _ => Error::Refused { pod, message },
    }
}

fn right(asked: &Asked<'_>) -> Right {
    let verb = match asked.dialect {
        Dialect::Spdy => "create",
        Dialect::WebSocket => "get",
    };
    Right {
        verb: verb.to_owned(),
        resource: format!("pods/{}", asked.way.resource()),
        group: String::new(),
        namespace: Some(asked.namespace.to_owned()),
    }
}

/// The API server has no such pod; the node says "not found" too while it is still starting.
fn is_missing_pod(status: Option<&Status>) -> bool {
    let details = status.and_then(|status| status.details.as_ref());
    details.is_some_and(|details| details.kind == "pods")
}

fn is_not_running(message: &str) -> bool {
    ["is not running", "does not have a host assigned", "pod not found", "container not running"]
        .iter()
        .any(|words| message.contains(words))
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(code: u16, text: &str) -> Error {
        let asked = Asked { dialect: Dialect::WebSocket, namespace: "dev", pod: "x", way: &Way::Port(80) };
        refusal(&asked, StatusCode::from_u16(code).unwrap(), text, "answer".into())
    }

    #[test]
    fn a_missing_right_is_named_by_the_dialect() {
        let error = meaning(403, r#"{"kind":"Status","message":"no","code":403}"#);

        let wanted = "no right to get pods/portforward in namespace dev, which reaching pod x needs";
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn a_missing_pod_is_told_from_one_that_starts() {
        let gone = r#"{"message":"pods \"x\" not found","code":404,"details":{"kind":"pods"}}"#;
        let starting = r#"unable to upgrade connection: pod not found ("x_dev")"#;

        assert!(matches!(meaning(404, gone), Error::PodGone { .. }));
        assert!(matches!(meaning(404, starting), Error::NotReady { .. }));
        assert!(matches!(meaning(500, "pod is not running"), Error::NotReady { .. }));
    }

    #[test]
    fn what_does_not_speak_the_dialect_is_a_refusal() {
        for code in [200, 302, 400, 405, 426, 501] {
            assert!(matches!(meaning(code, ""), Error::Refused { .. }), "{code}");
        }
    }

    #[test]
    fn an_upgrade_to_something_else_is_none() {
        let answer = Response::builder()
            .status(101)
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Protocol", "channel.k8s.io");
        let answer = answer.body(()).unwrap();

        for dialect in [Dialect::WebSocket, Dialect::Spdy] {
            let protocol = Way::Port(80).protocol(dialect);
            assert!(not_upgraded(dialect, protocol, &answer).is_some());
        }
    }

    #[test]
    fn base64_has_its_padding() {
        let encoded: Vec<_> = ["", "f", "fo", "foo", "foob"].map(|t| base64(t.as_bytes())).into();

        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
