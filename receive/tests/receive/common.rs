//! A receiver in a process of its own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Idp, Port, Request, Response, SOON, TokenBuilder, eventually};
use serde_json::{Value, json};

pub const CONFIG: &str = "PORTCULLIS_RECEIVE_CONFIG";
pub const NOW: &str = "PORTCULLIS_RECEIVE_NOW";
pub const ADMIN: &str = "an-admin-token-of-more-than-32-bytes";
pub const AUDIENCE: &str = "web.app";
pub const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
pub const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

pub struct Receiver {
    pub port: Port,
    folder: PathBuf,
    child: Option<Child>,
    now: Option<u64>,
    pub largest_file: Option<u64>,
}

/// How a receiver is started.
#[derive(Default)]
pub struct Options {
    pub port: Option<Port>,
    pub now: Option<u64>,
    /// The certificates that it trusts, in PEM.
    pub authority: String,
    /// How large its files may become, in bytes: what is past that fails as on a full disk.
    pub largest_file: Option<u64>,
}

impl Receiver {
    /// Starts one; `config` lacks `listen` and `database`.
    #[track_caller]
    pub fn start(config: Value) -> Self {
        Self::start_at(config, None)
    }

    #[track_caller]
    pub fn start_at(config: Value, now: Option<u64>) -> Self {
        Self::start_with(config, Options { now, ..Options::default() })
    }

    #[track_caller]
    pub fn start_with(mut config: Value, options: Options) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("portcullis-receive-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let port = options.port.unwrap_or_else(Port::reserve);
        config["listen"] = json!(port.addr().to_string());
        config["database"] = json!(folder.join("receive.redb"));
        fs::write(folder.join("receive.json"), config.to_string()).expect("a configuration");
        fs::write(folder.join("ca.pem"), options.authority).expect("an authority");
        let mut receiver =
            Self { port, folder, child: None, now: options.now, largest_file: options.largest_file };
        receiver.begin();
        receiver.wait_ready();
        receiver
    }

    pub fn begin(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["receiver", "--exact", "--nocapture"]);
        command.env(CONFIG, self.folder.join("receive.json"));
        command.env("SSL_CERT_FILE", self.folder.join("ca.pem")).env_remove("SSL_CERT_DIR");
        command.env("RECEIVE_ADMIN", ADMIN).env("RECEIVE_SECRET", "s3cret/+&");
        if let Some(now) = self.now {
            command.env(NOW, now.to_string());
        }
        if let Some(largest) = self.largest_file {
            let limit = libc::rlimit { rlim_cur: largest, rlim_max: largest };
            let set = move || {
                // SAFETY: both calls are async-signal-safe, and touch nothing of this process.
                let done = unsafe {
                    libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                    libc::setrlimit(libc::RLIMIT_FSIZE, &limit)
                };
                if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            };
            // SAFETY: as above.
            unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, set) };
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("the receiver starts"));
    }

    #[track_caller]
    pub fn wait_ready(&mut self) {
        let addr = self.addr();
        eventually("the receiver listens", SOON, || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                panic!("the receiver ended with {status}: {}", self.log());
            }
            TcpStream::connect(addr).ok()
        });
    }

    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// At once, whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// As a supervisor would: its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let id = i32::try_from(child.id()).expect("a process id");
        // SAFETY: a signal to a child that was not waited for.
        unsafe { libc::kill(id, libc::SIGTERM) };
        child.wait().expect("it ends").code()
    }

    pub fn signal(&self) {
        let id = self.child.as_ref().map(Child::id).expect("it runs");
        // SAFETY: as above.
        unsafe { libc::kill(i32::try_from(id).expect("a process id"), libc::SIGTERM) };
    }

    #[track_caller]
    pub fn list(&self) -> Value {
        let response = harness::get(self.addr(), "/revoked.json");
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    /// All entries and cut-offs, in one list.
    #[track_caller]
    pub fn entries(&self) -> Vec<Value> {
        let list = self.list();
        let both = ["entries", "cutoffs"].map(|name| list[name].as_array().cloned().expect("a list"));
        both.concat()
    }

    pub fn logout(&self, token: &str) -> Response {
        logout_request(token).send(self.addr())
    }

    pub fn push(&self, token: &str) -> Response {
        Request::post("/events", token).header("content-type", "application/secevent+jwt").send(self.addr())
    }

    pub fn revoke(&self, body: &Value) -> Response {
        Request::post("/revocations", body.to_string())
            .header("content-type", "application/json")
            .bearer(ADMIN)
            .send(self.addr())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub fn logout_request(token: &str) -> Request {
    Request::post("/backchannel-logout", format!("logout_token={token}"))
        .header("content-type", "application/x-www-form-urlencoded")
}

pub fn idp() -> Idp {
    use harness::{Alg, Key};
    let keys = [Key::cached(Alg::ES256, "ec-1"), Key::cached(Alg::RS256, "rsa-1")];
    Idp::builder().audience(AUDIENCE).keys(keys).start().expect("the identity provider starts")
}

/// A receiver's configuration with the keys of this provider.
pub fn config(idp: &Idp) -> Value {
    json!({
        "admin": { "token": { "environment_variable": "RECEIVE_ADMIN" } },
        "issuers": [{
            "issuer": idp.issuer(),
            "audiences": [AUDIENCE],
            "local_jwks": { "inline": idp.jwks() },
        }],
    })
}

/// A name that was not there before.
pub fn fresh(what: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("{what}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A good logout token about a session.
pub fn logout_token(idp: &Idp, sid: &str) -> TokenBuilder {
    idp.mint()
        .header("typ", "logout+jwt")
        .expires_in(120)
        .claims(json!({ "jti": fresh("jti"), "sid": sid, "events": { LOGOUT: {} } }))
}

/// A good Security Event Token: session-revoked, of this subject.
pub fn revoked_token(idp: &Idp, sub_id: Value) -> TokenBuilder {
    idp.mint()
        .header("typ", "secevent+jwt")
        .without("sub")
        .without("exp")
        .claims(json!({ "jti": fresh("jti"), "sub_id": sub_id, "events": { REVOKED: {} } }))
}
