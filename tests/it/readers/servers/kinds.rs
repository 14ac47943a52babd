//! The servers: what each needs, and how it is started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::workspace;

use super::stage::{GUARDED, PUBLIC};

/// A kind of server, in one way of setting it up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Nginx,
    NginxUnmerged,
    Lighttpd,
    Apache,
    Python,
    Werkzeug,
    Aiohttp,
    Php,
    NodeUrl,
    NodeDecoding,
    NodeLegacy,
    NodeWindows,
    Tomcat,
}

/// What Tomcat is made of, in Debian's packages.
const TOMCAT: &str = "/usr/share/java/tomcat10-embed-core.jar";
const APACHE_MODULES: &str = "/usr/lib/apache2/modules";

impl Kind {
    pub const ALL: [Self; 13] = [
        Self::Nginx,
        Self::NginxUnmerged,
        Self::Lighttpd,
        Self::Apache,
        Self::Python,
        Self::Werkzeug,
        Self::Aiohttp,
        Self::Php,
        Self::NodeUrl,
        Self::NodeDecoding,
        Self::NodeLegacy,
        Self::NodeWindows,
        Self::Tomcat,
    ];

    /// Its name as a cluster of Envoy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::NginxUnmerged => "nginx-unmerged",
            Self::Lighttpd => "lighttpd",
            Self::Apache => "apache",
            Self::Python => "python",
            Self::Werkzeug => "werkzeug",
            Self::Aiohttp => "aiohttp",
            Self::Php => "php",
            Self::NodeUrl => "node-url",
            Self::NodeDecoding => "node-decoding",
            Self::NodeLegacy => "node-legacy",
            Self::NodeWindows => "node-windows",
            Self::Tomcat => "tomcat",
        }
    }

    /// The name of its test.
    pub fn test(self) -> &'static str {
        match self {
            Self::Nginx => "nginx_hands_out_nothing",
            Self::NginxUnmerged => "nginx_without_merged_slashes_hands_out_nothing",
            Self::Lighttpd => "lighttpd_hands_out_nothing",
            Self::Apache => "apache_hands_out_nothing",
            Self::Python => "python_hands_out_nothing",
            Self::Werkzeug => "werkzeug_hands_out_nothing",
            Self::Aiohttp => "aiohttp_hands_out_nothing",
            Self::Php => "php_hands_out_nothing",
            Self::NodeUrl => "node_url_hands_out_nothing",
            Self::NodeDecoding => "node_decoding_hands_out_nothing",
            Self::NodeLegacy => "node_in_the_old_way_hands_out_nothing",
            Self::NodeWindows => "node_with_windows_paths_hands_out_nothing",
            Self::Tomcat => "tomcat_hands_out_nothing",
        }
    }

    /// Whether it can be started here.
    ///
    /// # Errors
    /// What is missing, and where it is to be had.
    pub fn is_installed(self) -> Result<(), String> {
        let package = |program: &str, package: &str| {
            program_of(program)
                .map(|_| ())
                .ok_or_else(|| format!("{program} is missing (apt-get install {package})"))
        };
        let module = |name: &str| {
            let found = python().args(["-c", &format!("import {name}")]).stderr(Stdio::null()).status();
            let found = found.is_ok_and(|status| status.success());
            let folder = python_packages();
            found.then_some(()).ok_or_else(|| {
                format!(
                    "Python's {name} is missing (python3 -m pip install --target {} {name})",
                    folder.display()
                )
            })
        };
        match self {
            Self::Nginx | Self::NginxUnmerged => package("nginx", "nginx-light"),
            Self::Lighttpd => package("lighttpd", "lighttpd"),
            Self::Apache => package("apache2", "apache2-bin"),
            Self::Python => package("python3", "python3"),
            Self::Werkzeug => module("werkzeug"),
            Self::Aiohttp => module("aiohttp"),
            Self::Php => package("php", "php-cli"),
            Self::NodeUrl | Self::NodeDecoding | Self::NodeLegacy | Self::NodeWindows => {
                package("node", "nodejs")
            }
            Self::Tomcat if !Path::new(TOMCAT).exists() => {
                Err(format!("{TOMCAT} is missing (apt-get install libtomcat10-embed-java)"))
            }
            // A source file is compiled as it is run.
            Self::Tomcat => package("java", "default-jdk-headless")
                .and_then(|()| package("javac", "default-jdk-headless")),
        }
    }

    /// The command that serves the folder's `www` here. `folder` is its own.
    pub fn command(self, folder: &Path, www: &Path, addr: SocketAddr) -> Command {
        let port = addr.port().to_string();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("a server's file");
            path
        };
        match self {
            Self::Nginx => nginx(&write("nginx.conf", &nginx_conf(folder, www, addr, "on"))),
            Self::NginxUnmerged => nginx(&write("nginx.conf", &nginx_conf(folder, www, addr, "off"))),
            Self::Lighttpd => {
                let conf = write("lighttpd.conf", &lighttpd_conf(www, addr));
                command("lighttpd", &["-D", "-f"], &[&conf])
            }
            Self::Apache => {
                let conf = write("apache.conf", &apache_conf(folder, www, addr));
                // It becomes another user, and then the kernel no longer ends it with this process: a shell does,
                // when its input ends.
                let mut command = command(
                    "sh",
                    &["-c", "PATH=$PATH:/usr/sbin; apache2 -X -f \"$0\" & read _; kill $!"],
                    &[&conf],
                );
                command.stdin(Stdio::piped());
                command
            }
            Self::Python => {
                let mut command = python();
                command.args(["-m", "http.server", &port, "--bind", "127.0.0.1", "--directory"]).arg(www);
                command
            }
            Self::Werkzeug => script(&write("serve.py", include_str!("serve_werkzeug.py")), &port),
            Self::Aiohttp => script(&write("serve.py", include_str!("serve_aiohttp.py")), &port),
            Self::Php => {
                let mut command = Command::new("php");
                command.args(["-S", &addr.to_string(), "-t"]).arg(www);
                command
            }
            Self::NodeUrl => node(&write("serve.js", include_str!("serve_node.js")), &port, "url"),
            Self::NodeDecoding => node(&write("serve.js", include_str!("serve_node.js")), &port, "decoded"),
            Self::NodeLegacy => node(&write("serve.js", include_str!("serve_node.js")), &port, "legacy"),
            Self::NodeWindows => node(&write("serve.js", include_str!("serve_node.js")), &port, "windows"),
            Self::Tomcat => {
                let source = write("Servlets.java", include_str!("Servlets.java"));
                let mut command = Command::new("java");
                command.args(["-XX:TieredStopAtLevel=1", "-Xmx64m", "-cp", TOMCAT]).arg(source).arg(port);
                command.arg(folder).args([PUBLIC, GUARDED]);
                command
            }
        }
    }
}

/// Where a program is, on the path or where Debian puts what only root runs.
fn program_of(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn command(program: &str, words: &[&str], paths: &[&Path]) -> Command {
    let mut command = Command::new(program_of(program).unwrap_or_else(|| program.into()));
    command.args(words).args(paths);
    command
}

/// Where `.ci/run` puts the Python packages that only these tests need.
fn python_packages() -> PathBuf {
    workspace().join(".cache").join("readers-python")
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", python_packages()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn script(file: &Path, port: &str) -> Command {
    let mut command = python();
    command.arg(file).args([port, PUBLIC, GUARDED]);
    command
}

fn node(file: &Path, port: &str, how: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(file).args([port, PUBLIC, GUARDED, how]);
    command
}

fn nginx(conf: &Path) -> Command {
    command("nginx", &["-c"], &[conf])
}

fn nginx_conf(folder: &Path, www: &Path, addr: SocketAddr, merge: &str) -> String {
    let (folder, www) = (folder.display(), www.display());
    let user = if is_root() { "user root;" } else { "" };
    format!(
        "daemon off; master_process off; {user} pid {folder}/pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
         server {{ listen {addr}; root {www}; merge_slashes {merge}; autoindex on; }} }}\n"
    )
}

fn lighttpd_conf(www: &Path, addr: SocketAddr) -> String {
    format!(
        "server.document-root = \"{}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {}\n\
         server.http-parseopts = ( \"url-path-2f-decode\" => \"enable\", \"url-path-dotseg-remove\" => \"enable\" )\n",
        www.display(),
        addr.port()
    )
}

fn apache_conf(folder: &Path, www: &Path, addr: SocketAddr) -> String {
    let built_in = |name: &str| format!("{APACHE_MODULES}/mod_{name}.so");
    let load = |name: &str| format!("LoadModule {name}_module {}\n", built_in(name));
    let modules: String = ["mpm_event", "authz_core"].map(load).concat();
    let user = if is_root() { "User www-data\nGroup www-data\n" } else { "" };
    format!(
        "ServerRoot {0}\nServerName www.example\nListen {addr}\nPidFile {0}/pid\nErrorLog {0}/error.log\n{modules}{user}\
         Mutex file:{0} default\nDocumentRoot {1}\nAllowEncodedSlashes On\n<Directory />\nRequire all granted\n</Directory>\n",
        folder.display(),
        www.display()
    )
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
