//! Clients that do not behave harm themselves alone, and nothing of an endpoint outlives its attempt.

use std::thread::available_parallelism;

use super::client::Client;
use super::{MIB, Place, endpoint};
use crate::runner::tool_cache::limits::{CONNECTIONS, HEAD_BYTES, HEADERS};
use crate::threads;

#[test]
fn a_request_that_is_not_understood_ends_its_connection_alone() {
    let place = Place::new();
    let endpoint = endpoint(&place.disk(MIB));
    let mut good = Client::of(&endpoint);
    assert_eq!(good.put("ccache/a", b"a"), 200);
    let header = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(HEAD_BYTES));
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: a\r\n".repeat(HEADERS + 1));
    let requests = [
        "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "PUT /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &header,
        &headers,
    ];
    for request in requests {
        let mut bad = Client::of(&endpoint);
        bad.send(request.as_bytes());
        assert_eq!(bad.answer(false).map(|answer| answer.status), Some(400), "{request:?}");
        assert!(bad.has_ended());
        assert_eq!(good.get("ccache/a").unwrap(), b"a");
    }
    // A body that is none gets no answer at all.
    let path = endpoint.url();
    let path = path.rsplit_once('/').unwrap().1;
    for body in ["x\r\n", "-1\r\n", "\r\n", "3\r\nabcd\r\n", "ffffffffffffffffff\r\n", "3\nabc\n"] {
        let mut bad = Client::of(&endpoint);
        bad.send(format!("PUT /{path}/ccache/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes());
        assert!(bad.answer(false).is_none(), "{body:?}");
        assert_eq!(good.get("ccache/b"), None);
    }
    // A client that goes away in the middle of a body leaves nothing.
    let mut bad = Client::of(&endpoint);
    bad.send(format!("PUT /{path}/ccache/b HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc").as_bytes());
    drop(bad);
    drop((good, endpoint));
    assert_eq!(place.files().len(), 1, "{:?}", place.files());
}

#[test]
fn pieces_of_a_request_may_come_one_by_one_and_requests_together() {
    let place = Place::new();
    let endpoint = endpoint(&place.disk(MIB));
    let url = endpoint.url();
    let path = url.rsplit_once('/').unwrap().1;
    let mut client = Client::of(&endpoint);
    let put = format!("PUT /{path}/ccache/a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
    put.bytes().for_each(|byte| client.send(&[byte]));
    assert_eq!(client.answer(false).unwrap().status, 200);
    let get = format!("GET /{path}/ccache/a HTTP/1.1\r\n\r\n");
    let chunked =
        format!("PUT /{path}/ccache/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\nT: t\r\n\r\n");
    client.send(format!("{get}{get}{chunked}{get}").as_bytes());
    let bodies: Vec<Vec<u8>> = (0..4).map(|_| client.answer(false).unwrap().body).collect();
    assert_eq!(bodies, [&b"hello"[..], b"hello", b"", b"hello"]);
    assert_eq!(client.get("ccache/b").unwrap(), b"ab");
    let last = client.ask("GET /{path}/ccache/a HTTP/1.1\nConnection: close", b"");
    assert!(last.head.contains("connection: close"), "{}", last.head);
    assert!(client.has_ended());
}

/// The one that waits longest goes, so that connections that somebody only opens keep no tool out.
#[test]
fn more_connections_than_allowed_end_the_one_that_waits_longest() {
    let place = Place::new();
    let endpoint = endpoint(&place.disk(MIB));
    let mut idle: Vec<Client> = (0..CONNECTIONS + 20).map(|_| Client::of(&endpoint)).collect();
    let mut busy = Client::of(&endpoint);
    assert_eq!(busy.put("ccache/a", b"a"), 200);
    for _ in 0..CONNECTIONS * 2 {
        let mut other = Client::of(&endpoint);
        assert_eq!(other.get("ccache/a").unwrap(), b"a");
        assert_eq!(busy.get("ccache/a").unwrap(), b"a", "it has waited for a shorter time than all others");
        idle.push(other);
    }
    assert!(idle[0].has_ended());
}

/// S48.
#[test]
fn an_endpoint_ends_with_all_its_connections() {
    let place = Place::new();
    let endpoint = endpoint(&place.disk(64 * MIB));
    let url = endpoint.url();
    let path = url.rsplit_once('/').unwrap().1.to_owned();
    let mut clients: Vec<Client> = (0..4).map(|_| Client::of(&endpoint)).collect();
    assert_eq!(clients[0].put("ccache/long", &vec![1; 8 * MIB as usize]), 200);
    clients[1].send(format!("GET /{path}/ccache").as_bytes());
    clients[2].send(format!("PUT /{path}/ccache/b HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc").as_bytes());
    // It does not read the answer, which is longer than the buffers of a connection.
    clients[3].send(format!("GET /{path}/ccache/long HTTP/1.1\r\n\r\n").as_bytes());
    drop(endpoint);
    for client in &mut clients {
        assert!(client.has_ended());
    }
    let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    assert!(std::net::TcpStream::connect(host).is_err(), "nobody listens any more");
    assert_eq!(place.files().len(), 1, "what was half stored is gone");
}

#[test]
fn many_clients_at_once_store_and_read_the_same_names() {
    let place = Place::new();
    let endpoint = endpoint(&place.disk(16 * MIB));
    let url = endpoint.url();
    let clients = available_parallelism().map_or(4, usize::from).max(4);
    let work = |number: usize| {
        let url = url.clone();
        threads::spawn("client", move || {
            let mut client = Client::at(&url);
            for round in 0..200_usize {
                let name = format!("ccache/{}", round % 20);
                let content = vec![(round % 20) as u8; 100 + round % 20];
                match client.get(&name) {
                    Some(found) => assert_eq!(found, content, "client {number}"),
                    None => assert_eq!(client.put(&name, &content), 200),
                }
            }
        })
        .unwrap()
    };
    let threads: Vec<_> = (0..clients).map(work).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(place.files().len(), 20);
}
