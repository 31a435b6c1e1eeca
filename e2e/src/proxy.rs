//! Our router, as it travels in the packed program, and nginx to compare it with: each on the
//! loopback in front of one origin.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::bed::checkout;

/// As `scripts/build.sh` leaves it.
const ROUTER: &str = "target/x86_64-unknown-linux-musl/agent/router";
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// One process without any buffering of bodies, and connections to the origin that are kept. Its
/// buffers have the standard size, or `KT_NGINX_BUFFER` (e.g. `64k`).
const NGINX: &str = "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 8192;
pid {dir}/pid; error_log {dir}/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  keepalive_requests 100000000; client_max_body_size 0;
  map $http_upgrade $kept_or_upgraded { '' ''; default upgrade; }
  upstream origin { server {origin}; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:{port}{speaks};
    location / { {pass} }
  }
}
";
/// How nginx hands on what is HTTP, also an upgrade to a WebSocket.
const PASS: &str = "
      proxy_pass http://origin; proxy_http_version 1.1;
      proxy_buffering off; proxy_request_buffering off; {buffer}
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $kept_or_upgraded;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto http;";

/// What callers of nginx say; on one port it understands one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Also with an upgrade to a WebSocket.
    Http1,
    /// Without TLS.
    Http2,
    /// To an origin that speaks it, too.
    Grpc,
}

/// A proxy that runs; dropped, it is ended.
#[derive(Debug)]
pub struct Proxy {
    process: Child,
    dir: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Proxy {
    /// Starts our router; nothing when it was not built.
    ///
    /// # Errors
    /// When it does not start.
    pub fn router(origin: SocketAddr) -> io::Result<Option<Self>> {
        let program = env::var_os("KT_ROUTER").map_or_else(|| checkout().join(ROUTER), PathBuf::from);
        if !program.exists() {
            return Ok(None);
        }
        Self::start("router", |dir, port| router(&program, dir, port, origin)).map(Some)
    }

    /// Starts nginx; nothing when it is not there.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nginx(origin: SocketAddr, speech: Speech) -> io::Result<Option<Self>> {
        let Some(program) = nginx_program() else { return Ok(None) };
        Self::start("nginx", |dir, port| nginx(&program, dir, port, origin, speech)).map(Some)
    }

    fn start(name: &str, command: impl FnOnce(&Path, u16) -> io::Result<Command>) -> io::Result<Self> {
        let port = unused_port()?;
        let dir = env::temp_dir().join(format!("kt-{name}-{port}"));
        fs::create_dir_all(&dir)?;
        let process = command(&dir, port)?.stdin(Stdio::null()).spawn()?;
        let proxy = Self { process, dir, address: (Ipv4Addr::LOCALHOST, port).into() };
        proxy.wait_until_open()?;
        Ok(proxy)
    }

    fn wait_until_open(&self) -> io::Result<()> {
        let until = Instant::now() + STARTS_WITHIN;
        while let Err(error) = TcpStream::connect(self.address) {
            if Instant::now() > until {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Processor time in seconds since it began. It has one thread.
    ///
    /// # Errors
    /// When it has ended.
    pub fn time(&self) -> io::Result<f64> {
        let text = self.read("schedstat")?;
        let nanoseconds = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
        Ok(nanoseconds.ok_or(io::ErrorKind::InvalidData)? / 1e9)
    }

    /// The peak of its resident memory in MiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> io::Result<f64> {
        let text = self.read("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.ok_or(io::ErrorKind::InvalidData)? / 1024.0)
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.process.id()))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.dir); // only temporary files
    }
}

/// The system's, or the one that `scripts/setup.sh peers` has unpacked.
fn nginx_program() -> Option<PathBuf> {
    let unpacked = cache().join("ktctl/nginx/usr/sbin/nginx");
    [PathBuf::from("nginx"), PathBuf::from("/usr/sbin/nginx"), unpacked].into_iter().find(|program| {
        let said = Command::new(program).arg("-v").stderr(Stdio::null()).status();
        said.is_ok_and(|status| status.success())
    })
}

/// The user's folder for caches.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache");
    env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from)
}

/// Our router, with one who has joined: each request is looked at.
fn router(program: &Path, dir: &Path, port: u16, origin: SocketAddr) -> io::Result<Command> {
    let rules = format!(
        r#"{{"version":1,"generation":1,"service":"tomcat","original":"{}","ports":[{{"listen":{port},"service":{}}}],
        "routes":[{{"name":"127.0.0.9","rules":[{{"header":"kt-version","equals":"ann"}}]}}]}}"#,
        origin.ip(),
        origin.port()
    );
    let file = dir.join("rules");
    fs::write(&file, rules)?;
    let mut command = Command::new(program);
    command.arg("--port").arg(unused_port()?.to_string()).arg("--rules").arg(file);
    Ok(command)
}

fn nginx(program: &Path, dir: &Path, port: u16, origin: SocketAddr, speech: Speech) -> io::Result<Command> {
    let speaks = if speech == Speech::Http1 { "" } else { " http2" };
    let pass = if speech == Speech::Grpc { "grpc_pass grpc://origin;" } else { PASS };
    let mut text = NGINX.replace("{pass}", pass).replace("{speaks}", speaks);
    text = text.replace("{dir}", &dir.to_string_lossy());
    text = text.replace("{port}", &port.to_string()).replace("{origin}", &origin.to_string());
    let mut buffer = String::new();
    if let Ok(size) = env::var("KT_NGINX_BUFFER") {
        let _ = write!(
            buffer,
            "proxy_buffer_size {size}; proxy_buffers 8 {size}; proxy_busy_buffers_size {size};"
        );
    }
    let file = dir.join("nginx.conf");
    fs::write(&file, text.replace("{buffer}", &buffer))?;
    let mut command = Command::new(program);
    command.arg("-c").arg(file).arg("-p").arg(dir).arg("-e").arg(dir.join("error.log"));
    Ok(command)
}

/// A port of the loopback that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn unused_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
