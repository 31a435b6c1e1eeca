//! What a caller speaks, told by its first bytes.

/// What the first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 without an upgrade.
    Http2,
    /// Anything else.
    Raw,
    /// There are too few of them.
    Unclear,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest method there is has 17 letters (`UPDATEREDIRECTREF`).
const METHOD_MOST: usize = 20;
/// The longest first line that is waited for.
pub(super) const LINE_MOST: usize = 64 << 10;

/// Judges the first bytes. A first line is needed as a whole, since other protocols of lines
/// (Redis, memcached) begin with a word, too.
pub(super) fn judge(bytes: &[u8]) -> Speech {
    if bytes.starts_with(PREFACE) {
        return Speech::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return Speech::Unclear;
    }
    let line = after_empty_lines(bytes);
    let method = line.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'-').count();
    match line.get(method) {
        _ if method > METHOD_MOST => Speech::Raw,
        None => Speech::Unclear,
        Some(b' ') if method > 0 => judge_line(line),
        Some(_) => Speech::Raw,
    }
}

/// Some callers send an empty line after a body.
fn after_empty_lines(bytes: &[u8]) -> &[u8] {
    let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    &bytes[empty..]
}

fn judge_line(line: &[u8]) -> Speech {
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        let possible = line.len() < LINE_MOST && !line.contains(&0);
        return if possible { Speech::Unclear } else { Speech::Raw };
    };
    let version = line[..end].trim_ascii_end().rsplit(|byte| *byte == b' ').next();
    match version {
        Some(b"HTTP/1.1" | b"HTTP/1.0") => Speech::Http1,
        _ => Speech::Raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_known_by_its_first_line() {
        assert_eq!(judge(b"GET / HTTP/1.1\r\nHost: a\r\n"), Speech::Http1);
        assert_eq!(judge(b"\r\nM-SEARCH * HTTP/1.0\n"), Speech::Http1);
        assert_eq!(judge(PREFACE), Speech::Http2);
    }

    #[test]
    fn other_protocols_are_raw() {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01"[..],
            b"\0\0\0\x4e\x01",
            b"*1\r\n$4\r\nPING\r\n",
            b"GET key\r\n",
            b"EHLO a\r\n",
            b"SSH-2.0-x\r\n",
            b"PRI * HTTP/2.1\r\n",
            b"AMQP\0\0\x09\x01",
            b" GET / HTTP/1.1\r\n",
        ] {
            assert_eq!(judge(bytes), Speech::Raw, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_part_of_a_first_line_is_unclear() {
        for bytes in [&b""[..], b"G", b"GET /a", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM"] {
            assert_eq!(judge(bytes), Speech::Unclear, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
