//! A certificate by which the API server knows the control plane when it asks it about new pods.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A certificate and its key, in a folder that nodes can see; dropped, it is removed.
pub(crate) struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    /// Makes one for an address; `name` tells it from others.
    pub(crate) fn of(address: &str, name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(format!("istio-{name}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let certificate = Self { folder: folder.canonicalize().expect("it is there") };
        let san = format!("subjectAltName=IP:{address}");
        let (own, key) = (certificate.file("own.pem"), certificate.file("key.pem"));
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=istiod",
            "-addext",
            &san,
            "-keyout",
            &key,
            "-out",
            &own,
        ]);
        certificate
    }

    /// The flags by which the control plane is told: who signed it, it, and its key. It has signed
    /// itself, but a file must not be named twice.
    pub(crate) fn flags(&self) -> [String; 3] {
        let (own, key, ca) = (self.file("own.pem"), self.file("key.pem"), self.file("ca.pem"));
        std::fs::copy(&own, &ca).expect("a copy");
        [format!("--caCertFile={ca}"), format!("--tlsCertFile={own}"), format!("--tlsKeyFile={key}")]
    }

    /// As the API server wants it.
    pub(crate) fn bundle(&self) -> String {
        let output = openssl(&["base64", "-A", "-in", &self.file("own.pem")]);
        String::from_utf8(output.stdout).expect("base64")
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder); // a later build removes it as well
    }
}

fn openssl(args: &[&str]) -> Output {
    let output = Command::new("openssl").args(args).output().expect("openssl is there");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
