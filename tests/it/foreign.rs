//! Clients of other protocols at the dispatcher's port, and at that of a runner that listens: each gets one readable
//! line soon, and the log says who they were and what they seemed to speak.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use serde_json::Value;

use crate::harness::{PATIENCE, World};

const LINE: &str = "this port is for the observers, runners and commands of Surveil, see docs/protocol.md";

/// Sends bytes to that port, and nothing more. Returns the peer as a log names it, and what it hears until the end.
fn hears(address: impl Into<SocketAddr>, bytes: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address.into()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    stream.write_all(bytes).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    (peer, heard)
}

#[test]
fn clients_of_other_protocols_get_one_line_and_the_log_says_what_they_speak() {
    let world = World::new();
    let dispatcher = world.dispatcher(&[]);
    let bad_request = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n";
    for (said, begin, name) in [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", bad_request, "HTTP"),
        ("POST /x HTTP/1.1\r\n", bad_request, "HTTP"),
        ("SSH-2.0-OpenSSH_9.9\r\n", LINE, "SSH"),
        ("0032git-upload-pack /app\0host=127.0.0.1:9000\0", "005dERR this port", "the protocol of git:// URLs"),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 5 9000\r\n", LINE, "the PROXY protocol of a load balancer"),
        ("hello", LINE, "an unknown protocol that begins with `hello`"),
    ] {
        let (peer, heard) = hears(world.address(), said.as_bytes());
        let heard = String::from_utf8(heard).unwrap();
        assert!(heard.starts_with(begin) && heard.trim_end().ends_with(LINE), "{said}: {heard}");
        dispatcher.says(&format!("connection from {peer} refused: it speaks {name}"));
    }
    // Bytes that begin nothing are refused before a line ends.
    for first in [0x00, 0x03, b'*', 0x80, 0xff] {
        let (peer, heard) = hears(world.address(), &[first, 0, 1, 2]);
        let refusal: Value = serde_json::from_slice(&heard).unwrap();
        let text = refusal["text"].as_str().unwrap();
        assert!(refusal["code"] == "malformed" && text.contains(&format!("the byte {first:#04x}: see")), "{refusal}");
        dispatcher.says(&format!("connection from {peer} refused: a connection begins with"));
    }
    // A health check connects and leaves. That is worth no line.
    let check = TcpStream::connect(world.address()).unwrap();
    let peer = check.local_addr().unwrap().to_string();
    check.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&check).read(&mut [0; 10]).unwrap(), 0);
    assert!(!dispatcher.log().contains(&peer), "{}", dispatcher.log());
}

#[test]
fn a_peer_that_says_nothing_is_told_so_after_a_while() {
    let world = World::new();
    let dispatcher = world.dispatcher(&[]);
    let (peer, heard) = hears(world.address(), b"");
    let refusal: Value = serde_json::from_slice(&heard).unwrap();
    assert_eq!(refusal["text"], "the peer said nothing for 10 s: the connection is given up");
    dispatcher.says(&format!("connection from {peer} refused: the peer said nothing for 10 s"));
}

/// A few lines tell as much as thousands, and whoever reaches the port could fill the disk with them.
#[test]
fn a_scanner_does_not_fill_the_log() {
    let world = World::new();
    let dispatcher = world.dispatcher(&[]);
    // On a busy machine they take longer than the ten seconds over which lines are counted.
    for _ in 0..200 {
        hears(world.address(), b"GET / HTTP/1.1\r\n\r\n");
    }
    dispatcher.says("it speaks HTTP");
    let lines = dispatcher.log().matches("it speaks HTTP").count();
    assert!(lines <= 100, "{lines} lines");

    let runner = world.runner("w1", &["--host=127.0.0.1", "--port=0"]);
    world.connected("w1");
    let listens = runner.log().lines().find_map(|line| line.split(" listens at ").nth(1).map(str::to_owned));
    let port: SocketAddr = listens.unwrap().parse().unwrap();
    for _ in 0..200 {
        hears(port, b"GET / HTTP/1.1\r\n\r\n");
    }
    runner.says("a call was refused: ");
    let lines = runner.log().matches("a call was refused").count();
    assert!(lines <= 100, "{lines} lines");
}

/// A browser or curl that was given an `https://` address: it may trust anybody, or, as usual, the authorities of its
/// system alone.
#[test]
fn clients_of_https_get_an_answer_of_http_or_see_that_they_do_not_know_the_authority() {
    let world = World::new();
    let dispatcher = world.dispatcher(&[]);
    let (heard, end) = gets(&world, true);
    assert!(heard.starts_with("HTTP/1.1 400 Bad Request\r\n") && heard.ends_with(&format!("{LINE}\r\n")), "{heard}");
    assert!(end.is_ok(), "{end:?}");
    dispatcher.says("refused: it speaks HTTP over TLS");
    let (heard, end) = gets(&world, false);
    assert!(heard.is_empty() && end.is_err(), "{heard} {end:?}");
    dispatcher.says("it does not accept the certificate: its pin is that of another dispatcher, or it is a browser");
    // Other peers come in all the same.
    world.surveil(&["status"]).ok();
}

/// Asks for a page over TLS, with the protocol `http/1.1` on offer (ALPN). Returns the answer, and how it ended.
fn gets(world: &World, trusts_anybody: bool) -> (String, std::io::Result<usize>) {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Verifier { provider: provider.clone(), trusts_anybody });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(world.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    let mut heard = String::new();
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let end = asked.and_then(|()| stream.read_to_string(&mut heard));
    (heard, end)
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trusts_anybody: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        if self.trusts_anybody { Ok(ServerCertVerified::assertion()) } else { Err(unknown) }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("the dispatcher speaks TLS 1.3")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
