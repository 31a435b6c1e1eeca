//! What is asked of a pod: a stream to a port of it, or what a command in it says.

use super::Dialect;

/// A way into a pod.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a> {
    /// To a port of its loopback.
    Port(u16),
    /// What a command says on stderr, until it ends.
    Command {
        /// In which container.
        container: &'a str,
        /// The program and its arguments.
        words: &'a [&'a str],
    },
}

impl Way<'_> {
    /// The part of a pod that a right is given for.
    pub(super) fn resource(&self) -> &'static str {
        match self {
            Way::Port(_) => "portforward",
            Way::Command { .. } => "exec",
        }
    }

    /// The sub-protocol. Those for commands are the ones that say nothing when all went well.
    pub(super) fn protocol(&self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Way::Port(_), Dialect::Spdy) => "portforward.k8s.io",
            (Way::Port(_), Dialect::WebSocket) => "v4.channel.k8s.io",
            (Way::Command { .. }, Dialect::Spdy) => "v2.channel.k8s.io",
            (Way::Command { .. }, Dialect::WebSocket) => "channel.k8s.io",
        }
    }

    /// What stands behind the path, with its question mark.
    pub(super) fn query(&self, dialect: Dialect) -> String {
        match (self, dialect) {
            (Way::Port(_), Dialect::Spdy) => String::new(),
            (Way::Port(port), Dialect::WebSocket) => format!("?ports={port}"),
            (Way::Command { container, words }, _) => {
                let words: String = words.iter().map(|word| format!("&command={}", encoded(word))).collect();
                format!("?container={container}&stderr=true{words}")
            }
        }
    }
}

/// A word of a query: all but letters, digits and what is harmless as `%XX`.
fn encoded(word: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    word.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_command_stand_in_the_query() {
        let words = ["/usr/sbin/router", "add", "kt-mark:a b&c"];
        let way = Way::Command { container: "standalone", words: &words };

        let wanted = "?container=standalone&stderr=true\
            &command=/usr/sbin/router&command=add&command=kt-mark:a%20b%26c";
        assert_eq!(way.query(Dialect::Spdy), wanted);
        assert_eq!(Way::Port(8080).query(Dialect::WebSocket), "?ports=8080");
    }
}
