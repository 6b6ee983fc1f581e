//! Stories about connections, over each kind of link.

mod connection;
mod encrypted;
mod late;

use std::time::Duration;

use super::{AuthorityKey, Listener, Stream, TlsServer};
use crate::threads::{self, Thread};

/// Longer than any step here takes; a test that waits so long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const SHORT: Duration = Duration::from_millis(30);

/// Runs a story over each kind of connection.
pub(crate) fn over_each(story: impl Fn(Stream, Stream)) {
    let encrypted = encrypt(tcp_pair());
    let (client, server) = encrypt(late_pair());
    // Each side of an encrypted connection is here once.
    for (here, there) in [Stream::pair(), tcp_pair(), late_pair(), encrypted, (server, client)] {
        story(here, there);
    }
}

/// Makes a connection encrypted, with its first end as the client.
pub(crate) fn encrypt((here, there): (Stream, Stream)) -> (Stream, Stream) {
    let authority = std::sync::Arc::new(AuthorityKey::generate().unwrap());
    let pins = [authority.pin()];
    let server = TlsServer::new(authority, None).unwrap();
    let serving = spawn(move || there.encrypt_as(&server, Vec::new(), LONG).unwrap());
    let client = here.encrypt(&pins, LONG).unwrap();
    (client, serving.join().unwrap())
}

pub(crate) fn tcp_pair() -> (Stream, Stream) {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let dialled = Stream::dial(&listener.local_addr().to_string().parse().unwrap(), LONG).unwrap();
    (dialled, listener.accept().unwrap().unwrap())
}

/// Two ends, each of which holds back the bytes that it accepted.
pub(crate) fn late_pair() -> (Stream, Stream) {
    let (one, other) = late::Late::pair();
    (Stream::over(one), Stream::over(other))
}

pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Thread<T> {
    threads::spawn("peer", body).unwrap()
}
