//! A web server for repositories: `git http-backend` below a server that answers one request for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use surveil::threads;

use super::World;
use super::certificates::certified;

/// The user and password of `/private/`, as a client sends them: `ada:secret`.
const CREDENTIALS: &str = "Basic YWRhOnNlY3JldA==";

/// Serves the repositories of a directory: at `/`, with a password at `/private/`, and by a redirection at `/moved/`.
pub(crate) struct WebServer {
    pub(crate) address: String,
    state: Arc<State>,
}

struct State {
    root: PathBuf,
    home: PathBuf,
    is_over: AtomicBool,
    requests: Mutex<Vec<String>>,
}

impl WebServer {
    /// Returns `None`, and says so, if git has no program for this.
    pub(crate) fn new(world: &World, root: &Path) -> Option<Self> {
        Self::start(world, root, None)
    }

    /// Like [`WebServer::new`], over TLS, with a certificate of the world's [`AUTHORITY`](super::AUTHORITY).
    pub(crate) fn encrypted(world: &World, root: &Path) -> Option<Self> {
        Self::start(world, root, Some(certified(world)))
    }

    fn start(world: &World, root: &Path, tls: Option<Arc<ServerConfig>>) -> Option<Self> {
        let programs = Command::new("git").arg("--exec-path").output().unwrap().stdout;
        let programs = Path::new(std::str::from_utf8(&programs).unwrap().trim()).to_owned();
        if !["git-http-backend", "git-remote-http", "git-remote-https"].iter().all(|name| programs.join(name).exists())
        {
            let said = b"nothing is fetched by HTTP here: git has no git-http-backend or no git-remote-http(s)\n";
            std::io::stderr().write_all(said).unwrap();
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (root, home) = (root.to_owned(), world.path("home"));
        let state = State { root, home, is_over: AtomicBool::new(false), requests: Mutex::default() };
        let server = Self { address, state: Arc::new(state) };
        let state = server.state.clone();
        // The thread ends with the server, and holds nothing but its socket.
        threads::spawn("web", move || {
            for stream in listener.incoming() {
                if state.is_over.load(Ordering::Acquire) {
                    return;
                }
                let (mut stream, state, tls) = (stream.unwrap(), state.clone(), tls.clone());
                let body = move || match tls {
                    None => answer(&mut stream, &state),
                    Some(config) => {
                        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                        answer(&mut stream, &state);
                        stream.conn.send_close_notify();
                        // A client that has seen enough may be gone.
                        drop(stream.flush());
                    }
                };
                threads::spawn("web-answer", body).unwrap().detach();
            }
        })
        .unwrap()
        .detach();
        Some(server)
    }

    /// The lines with which requests began.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Release);
        // Wakes the thread.
        drop(TcpStream::connect(&self.address));
    }
}

fn answer(stream: &mut (impl Read + Write), state: &State) {
    let mut reader = BufReader::new(&mut *stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        // The connection of the end has no request, nor has that of a client that does not accept the certificate.
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let mut pairs = lines.iter().filter_map(|line| line.split_once(": "));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    state.requests.lock().unwrap().push(lines[0].clone());
    let words: Vec<&str> = lines[0].split(' ').collect();
    let (path, query) = words[1].split_once('?').unwrap_or((words[1], ""));
    let mut body = vec![0; header("Content-Length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let told = match path.strip_prefix("/private") {
        _ if path.starts_with("/moved/") => {
            let place = words[1].replacen("/moved", "", 1);
            format!("301 Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        }
        Some(_) if header("Authorization").as_deref() != Some(CREDENTIALS) => {
            b"401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
        below => backend(state, words[0], (below.unwrap_or(path), query), &header, &body),
    };
    // A client that has seen enough may be gone.
    drop(stream.write_all(&[b"HTTP/1.1 ", &told[..]].concat()));
}

/// Executes `git http-backend`, and returns its answer behind the version of HTTP.
fn backend(
    state: &State,
    method: &str,
    (path, query): (&str, &str),
    header: &dyn Fn(&str) -> Option<String>,
    body: &[u8],
) -> Vec<u8> {
    let mut command = Command::new("git");
    command.args(["-c", "safe.directory=*", "-c", "uploadpack.allowAnySHA1InWant=true", "http-backend"]).env_clear();
    command.envs([
        ("PATH", std::env::var_os("PATH").unwrap()),
        ("HOME", state.home.clone().into()),
        ("GIT_PROJECT_ROOT", state.root.clone().into()),
    ]);
    let variables = [("REQUEST_METHOD", method), ("PATH_INFO", path), ("QUERY_STRING", query)];
    command.envs(variables).env("GIT_HTTP_EXPORT_ALL", "1").env("REMOTE_ADDR", "127.0.0.1");
    for (variable, name) in [
        ("CONTENT_TYPE", "Content-Type"),
        ("CONTENT_LENGTH", "Content-Length"),
        ("HTTP_CONTENT_ENCODING", "Content-Encoding"),
        ("GIT_PROTOCOL", "Git-Protocol"),
    ] {
        command.envs(header(name).map(|value| (variable, value)));
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // A request is small, so the program takes it before it answers.
    child.stdin.take().unwrap().write_all(body).unwrap();
    let answer = child.wait_with_output().unwrap().stdout;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(answer.len());
    let (head, content) =
        (String::from_utf8_lossy(&answer[..end]).into_owned(), &answer[(end + 4).min(answer.len())..]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let head: String =
        head.lines().filter(|line| !line.starts_with("Status: ")).map(|line| format!("{line}\r\n")).collect();
    let head = format!("{status}\r\nConnection: close\r\nContent-Length: {}\r\n{head}\r\n", content.len());
    [head.as_bytes(), content].concat()
}
