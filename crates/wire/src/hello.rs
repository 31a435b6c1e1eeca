//! How a carrier is taken into use, before any other frame.
//!
//! A link is opened by whoever the API server lets forward a port: the laptop makes up a random id
//! and key and sends both. To go on over another carrier both ends prove that they know the key, by
//! HMAC-SHA-256 over nonces of both, so that nobody can continue somebody else's link.
//!
//! ```text
//! laptop                                        cluster
//! HELLO "KTW" least greatest 0 id nonce key name ->
//!                  <- HELLO "KTW" version 0 nonce proof received name
//! or, to go on:
//! HELLO "KTW" least greatest 1 id nonce name    ->
//!                  <- HELLO "KTW" version 0 nonce proof 0 name
//! HELLO proof received                          ->
//!                  <- HELLO received
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::VERSIONS;
use crate::frame::{Frame, HEADER, Kind};

const MAGIC: &[u8] = b"KTW";

/// No hello is longer; bounds what a stranger can make us hold.
const LONGEST: usize = 512;

/// What tells links apart. Not a secret, but hard to guess.
pub type Id = [u8; 16];
/// The secret of a link.
pub type Key = [u8; 32];
type Nonce = [u8; 16];

/// Why a carrier can not be used.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// It broke.
    #[error("the connection to the shadow broke: {0}")]
    Carrier(#[from] std::io::Error),
    /// What answers there is no shadow of ours; the bytes may say what it is.
    #[error("what answers is not a shadow: {0:?}")]
    Foreign(String),
    /// Nothing answers there, or not yet.
    #[error("no answer to our hello")]
    Silent,
    /// Shadow and laptop have no version of the protocol in common.
    #[error("the shadow speaks another version of the protocol: {0}")]
    Version(String),
    /// The shadow has forgotten the link, or never knew it.
    #[error("the shadow does not know the link")]
    Unknown,
    /// The other end does not know the key.
    #[error("the other end does not know the key of the link")]
    Proof,
    /// The shadow refuses.
    #[error("the shadow refuses: {0}")]
    Declined(String),
}

/// How an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Welcome = 0,
    Unknown = 1,
    Version = 2,
    Declined = 3,
}

/// What a laptop asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Open(Key),
    Resume,
}

/// A laptop's hello, as the cluster reads it.
#[derive(Debug)]
pub(crate) struct Hello {
    pub(crate) id: Id,
    pub(crate) intent: Intent,
    pub(crate) versions: (u8, u8),
    nonce: Nonce,
}

/// Random bytes.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes)
}

// --- laptop -------------------------------------------------------------------------------

/// Opens a link over a carrier. Returns the name and version of the program at the other end.
pub(crate) async fn open(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    id: &Id,
    key: &Key,
    name: &str,
) -> Result<String, HelloError> {
    let nonce = random()?;
    say_hello(io, 0, id, &nonce, Some(key), name).await?;
    let answer = read_answer(io).await?;
    check(key, b"cluster", &nonce, &answer.nonce, &answer.proof)?;
    Ok(answer.name)
}

/// Goes on with a link over another carrier. Returns up to where the peer had received.
pub(crate) async fn resume(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    id: &Id,
    key: &Key,
    received: u64,
) -> Result<u64, HelloError> {
    let nonce = random()?;
    say_hello(io, 1, id, &nonce, None, "").await?;
    let answer = read_answer(io).await?;
    check(key, b"cluster", &nonce, &answer.nonce, &answer.proof)?;
    let mut proof = BytesMut::new();
    proof.put_slice(&prove(key, b"laptop", &nonce, &answer.nonce));
    proof.put_u64(received);
    send(io, proof.freeze()).await?;
    let mut last = receive(io).await?;
    last.try_get_u64().map_err(|_| foreign(&last))
}

async fn say_hello(
    io: &mut (impl AsyncWrite + Unpin),
    intent: u8,
    id: &Id,
    nonce: &Nonce,
    key: Option<&Key>,
    name: &str,
) -> Result<(), HelloError> {
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    out.put_slice(&[VERSIONS.0, VERSIONS.1, intent]);
    out.put_slice(id);
    out.put_slice(nonce);
    out.put_slice(key.map_or(&[][..], |key| key));
    put_name(&mut out, name);
    send(io, out.freeze()).await
}

struct Answer {
    nonce: Nonce,
    proof: [u8; 32],
    name: String,
}

async fn read_answer(io: &mut (impl AsyncRead + Unpin)) -> Result<Answer, HelloError> {
    let payload = receive(io).await?;
    let mut rest = &payload[..];
    let parse = |rest: &mut &[u8]| -> Option<(u8, Nonce, [u8; 32], String)> {
        take::<3>(rest).filter(|magic| magic == MAGIC)?;
        let _version = rest.try_get_u8().ok()?;
        let status = rest.try_get_u8().ok()?;
        let (nonce, proof) = (take(rest)?, take(rest)?);
        let _received = rest.try_get_u64().ok()?;
        Some((status, nonce, proof, get_name(rest)?))
    };
    let (status, nonce, proof, name) = parse(&mut rest).ok_or_else(|| foreign(&payload))?;
    match status {
        0 => Ok(Answer { nonce, proof, name }),
        1 => Err(HelloError::Unknown),
        2 => Err(HelloError::Version(name)),
        _ => Err(HelloError::Declined(name)),
    }
}

// --- cluster ------------------------------------------------------------------------------

/// Reads a laptop's hello.
pub(crate) async fn read_hello(io: &mut (impl AsyncRead + Unpin)) -> Result<Hello, HelloError> {
    let payload = receive(io).await?;
    let mut rest = &payload[..];
    let parse = |rest: &mut &[u8]| -> Option<Hello> {
        take::<3>(rest).filter(|magic| magic == MAGIC)?;
        let [least, greatest, intent] = take(rest)?;
        let (id, nonce) = (take(rest)?, take(rest)?);
        let intent = match intent {
            0 => Intent::Open(take(rest)?),
            1 => Intent::Resume,
            _ => return None,
        };
        Some(Hello { id, intent, versions: (least, greatest), nonce })
    };
    parse(&mut rest).ok_or_else(|| foreign(&payload))
}

/// Tells the laptop that it is welcome, and that we know the key.
pub(crate) async fn welcome(
    io: &mut (impl AsyncWrite + Unpin),
    hello: &Hello,
    key: &Key,
    name: &str,
) -> Result<Nonce, HelloError> {
    let nonce = random()?;
    let proof = prove(key, b"cluster", &hello.nonce, &nonce);
    send(io, answer(Status::Welcome, &nonce, &proof, name)).await?;
    Ok(nonce)
}

/// Refuses a carrier.
pub(crate) async fn decline(
    io: &mut (impl AsyncWrite + Unpin),
    status: Status,
    text: &str,
) -> Result<(), HelloError> {
    send(io, answer(status, &[0; 16], &[0; 32], text)).await
}

fn answer(status: Status, nonce: &Nonce, proof: &[u8; 32], name: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    out.put_slice(&[VERSIONS.1, status as u8]);
    out.put_slice(nonce);
    out.put_slice(proof);
    out.put_u64(0);
    put_name(&mut out, name);
    out.freeze()
}

/// Lets the laptop prove that it knows the key. Returns up to where it had received.
pub(crate) async fn read_proof(
    io: &mut (impl AsyncRead + Unpin),
    hello: &Hello,
    key: &Key,
    nonce: &Nonce,
) -> Result<u64, HelloError> {
    let payload = receive(io).await?;
    let mut rest = &payload[..];
    let proof: [u8; 32] = take(&mut rest).ok_or_else(|| foreign(&payload))?;
    check(key, b"laptop", &hello.nonce, nonce, &proof)?;
    rest.try_get_u64().map_err(|_| foreign(&payload))
}

/// Tells the laptop up to where we had received; the last word before the frames.
pub(crate) async fn resumed(io: &mut (impl AsyncWrite + Unpin), received: u64) -> Result<(), HelloError> {
    send(io, Bytes::copy_from_slice(&received.to_be_bytes())).await
}

// --- both ---------------------------------------------------------------------------------

fn mac(key: &Key, who: &[u8], laptop: &Nonce, cluster: &Nonce) -> Hmac<Sha256> {
    let mut block = [0; 64]; // HMAC fills a key up to SHA-256's block with zeros (RFC 2104)
    block[..key.len()].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in [who, laptop, cluster] {
        mac.update(part);
    }
    mac
}

fn prove(key: &Key, who: &[u8], laptop: &Nonce, cluster: &Nonce) -> [u8; 32] {
    mac(key, who, laptop, cluster).finalize().into_bytes().into()
}

fn check(key: &Key, who: &[u8], laptop: &Nonce, cluster: &Nonce, proof: &[u8; 32]) -> Result<(), HelloError> {
    mac(key, who, laptop, cluster).verify(proof.into()).map_err(|_| HelloError::Proof)
}

async fn send(io: &mut (impl AsyncWrite + Unpin), payload: Bytes) -> Result<(), HelloError> {
    let mut out = BytesMut::new();
    Frame::new(Kind::Hello, 0, payload).encode(&mut out);
    io.write_all(&out).await?;
    Ok(io.flush().await?)
}

/// Reads one hello, and not a byte more: what follows belongs to the link.
async fn receive(io: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, HelloError> {
    let mut header = [0; HEADER];
    io.read_exact(&mut header).await?;
    let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    if header[0] != Kind::Hello as u8 || length > LONGEST {
        return Err(foreign(&header));
    }
    let mut payload = vec![0; length];
    io.read_exact(&mut payload).await?;
    Ok(payload.into())
}

fn foreign(bytes: &[u8]) -> HelloError {
    let end = bytes.len().min(32);
    HelloError::Foreign(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*taken)
}

fn put_name(out: &mut BytesMut, name: &str) {
    let end = name.len().min(u8::MAX as usize);
    out.put_u8(end as u8);
    out.put_slice(&name.as_bytes()[..end]);
}

fn get_name(from: &mut &[u8]) -> Option<String> {
    let length = from.try_get_u8().ok()? as usize;
    Some(String::from_utf8_lossy(from.get(..length)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_is_opened() {
        let (mut laptop, mut cluster) = tokio::io::duplex(1024);
        let (id, key) = ([1; 16], [2; 32]);

        let answering = async {
            let hello = read_hello(&mut cluster).await.expect("hello");
            let Intent::Open(key) = hello.intent else { panic!("{hello:?}") };
            welcome(&mut cluster, &hello, &key, "shadow 1").await.expect("welcome");
            (hello.id, key)
        };
        let (name, seen) = tokio::join!(open(&mut laptop, &id, &key, "ktctl 1"), answering);

        assert_eq!(name.expect("name"), "shadow 1");
        assert_eq!(seen, (id, key));
    }

    /// What a resume gives at both ends when these are the keys.
    async fn resumed_with(
        laptop_key: Key,
        cluster_key: Key,
    ) -> (Result<u64, HelloError>, Result<u64, HelloError>) {
        let (mut laptop, mut cluster) = tokio::io::duplex(1024);
        let answering = async move {
            let hello = read_hello(&mut cluster).await?;
            let nonce = welcome(&mut cluster, &hello, &cluster_key, "").await?;
            let received = read_proof(&mut cluster, &hello, &cluster_key, &nonce).await?;
            resumed(&mut cluster, 7).await?;
            Ok(received)
        };
        let asking = async move { resume(&mut laptop, &[1; 16], &laptop_key, 5).await };
        tokio::join!(asking, answering)
    }

    #[tokio::test]
    async fn a_resume_tells_both_ends_the_offset_of_the_other() {
        let (asked, answered) = resumed_with([2; 32], [2; 32]).await;

        assert_eq!((asked.expect("laptop"), answered.expect("cluster")), (7, 5));
    }

    #[tokio::test]
    async fn without_the_key_nobody_goes_on_with_a_link() {
        let (asked, answered) = resumed_with([2; 32], [3; 32]).await;

        assert!(matches!(asked, Err(HelloError::Proof)), "{asked:?}");
        assert!(answered.is_err());
    }

    #[tokio::test]
    async fn something_else_is_named() {
        let (mut laptop, mut cluster) = tokio::io::duplex(1024);
        cluster.write_all(b"SSH-2.0-OpenSSH_8.3\r\n").await.expect("write");

        let refused = open(&mut laptop, &[1; 16], &[2; 32], "").await;

        assert!(
            matches!(&refused, Err(HelloError::Foreign(text)) if text.starts_with("SSH-2.0")),
            "{refused:?}"
        );
    }

    /// Version 1 as it was first sent, made by another program from docs/protocol.md: a laptop opens,
    /// a laptop resumes, the cluster welcomes, the laptop proves, the cluster ends the hello.
    #[tokio::test]
    async fn a_stored_sample_of_version_1_stays_readable() {
        let mut sample: &[u8] = include_bytes!("../samples/hello.v1");
        let (key, laptop, cluster) = ([2; 32], [3; 16], [4; 16]);

        let opened = read_hello(&mut sample).await.expect("a hello that opens");
        let resumed = read_hello(&mut sample).await.expect("a hello that resumes");
        let answer = read_answer(&mut sample).await.expect("an answer");
        let received = read_proof(&mut sample, &resumed, &key, &cluster).await.expect("a proof");
        let last = receive(&mut sample).await.expect("a last word");

        assert_eq!((opened.id, opened.versions, opened.nonce), ([1; 16], (1, 1), laptop));
        assert_eq!((opened.intent, resumed.intent), (Intent::Open(key), Intent::Resume));
        assert_eq!((answer.nonce, answer.name.as_str()), (cluster, "shadow 1"));
        check(&key, b"cluster", &laptop, &cluster, &answer.proof).expect("the cluster knows the key");
        assert_eq!((received, &last[..]), (4711, &815_u64.to_be_bytes()[..]));
        assert!(sample.is_empty());
    }
}
