//! Requests as the tools send them, recorded from ccache 4.7, sccache 0.16, Bazel 4.2, Gradle 4.4, Turborepo 2.11 and
//! Nx 24, and Go's helper as it is.

use std::fs;

use super::client::Client;
use super::{MIB, Place, endpoint};
use crate::runner::tool_cache::serve_go;

const CONTENT: &[u8] = b"the bytes";
/// The SHA-256 of [`CONTENT`].
const SUM: &str = "ed589341c9fd5da96aaff4c5efa008226282a716186608d5a032ac75895a9c2f";

/// A miss, a store and a hit, by the heads of a tool's requests.
#[track_caller]
fn miss_store_hit(get: &str, put: &str) {
    let place = Place::new();
    let disk = place.disk(MIB);
    let endpoint = endpoint(&disk);
    let mut client = Client::of(&endpoint);
    assert_eq!(client.ask(get, b"").status, 404);
    let put = put.replace("{length}", &CONTENT.len().to_string());
    assert_eq!(client.ask(&put, CONTENT).status, 200);
    let hit = client.ask(get, b"");
    assert_eq!((hit.status, &*hit.body), (200, CONTENT));
    assert_eq!(endpoint.summary().unwrap(), "tool cache: 1 of 2 reads hit, 1 stored (9 bytes)");
}

#[test]
fn ccache_finds_what_it_stored() {
    let headers = "Accept: */*\nHost: 127.0.0.1:53037\nUser-Agent: ccache/4.7.5";
    let path = "/{path}/ccache/a7/423dkgo8q860itt4cj3b02i8gh764fu";
    miss_store_hit(
        &format!("GET {path} HTTP/1.1\n{headers}"),
        &format!("PUT {path} HTTP/1.1\n{headers}\nContent-Length: {{length}}\nContent-Type: application/octet-stream"),
    );
}

#[test]
fn sccache_finds_what_it_stored() {
    let place = Place::new();
    let disk = place.disk(MIB);
    let endpoint = endpoint(&disk);
    let mut client = Client::of(&endpoint);
    let host = "accept: */*\nuser-agent: sccache/0.16.0\nhost: 127.0.0.1:39403";
    assert_eq!(client.ask(&format!("GET /{{path}}/sccache/.sccache_check HTTP/1.1\n{host}"), b"").status, 404);
    let found = client.ask(
        &format!(
            "PROPFIND /{{path}}/sccache/ HTTP/1.1\ncontent-type: application/xml\ncontent-length: 9\ndepth: 0\n{host}"
        ),
        CONTENT,
    );
    let text = String::from_utf8(found.body).unwrap();
    assert_eq!(found.status, 207);
    assert!(text.contains("<D:collection/>") && text.contains("<D:status>HTTP/1.1 200 OK</D:status>"), "{text}");
    let check = format!("PUT /{{path}}/sccache/.sccache_check HTTP/1.1\ncontent-length: 13\n{host}");
    assert_eq!(client.ask(&check, b"Hello, World!").status, 200);
    assert_eq!(client.ask(&format!("MKCOL /{{path}}/sccache/a/ HTTP/1.1\n{host}"), b"").status, 201);
    let name = "sccache/a/b/c/abc0123";
    assert_eq!(client.ask(&format!("PROPFIND /{{path}}/{name} HTTP/1.1\ndepth: 0\n{host}"), b"").status, 404);
    assert_eq!(client.put(name, CONTENT), 200);
    let found = client.ask(&format!("PROPFIND /{{path}}/{name} HTTP/1.1\ndepth: 0\n{host}"), b"");
    let text = String::from_utf8(found.body).unwrap();
    assert!(found.status == 207 && text.contains("<D:getcontentlength>9</D:getcontentlength>"), "{text}");
    assert_eq!(client.get(name).unwrap(), CONTENT);
}

#[test]
fn bazel_finds_what_it_stored() {
    let headers = "host: 127.0.0.1:59849\naccept: */*\nconnection: keep-alive\nuser-agent: bazel/";
    let put = |path: &str| format!("PUT /{{path}}/bazel/{path} HTTP/1.1\n{headers}\ncontent-length: {{length}}");
    let get = |path: &str| format!("GET /{{path}}/bazel/{path} HTTP/1.1\n{headers}\naccept-encoding: gzip");
    for kind in ["ac", "cas"] {
        miss_store_hit(&get(&format!("{kind}/{SUM}")), &put(&format!("{kind}/{SUM}")));
    }
    // Bytes of another sum are never kept under this one.
    let place = Place::new();
    let endpoint = endpoint(&place.disk(MIB));
    let mut client = Client::of(&endpoint);
    assert_eq!(client.put(&format!("bazel/cas/{SUM}"), b"other bytes"), 400);
    assert_eq!(client.get(&format!("bazel/cas/{SUM}")), None);
    assert_eq!(client.put(&format!("bazel/cas/{SUM}"), CONTENT), 200);
    let looked = client.ask(&format!("HEAD /{{path}}/bazel/cas/{SUM} HTTP/1.1\n{headers}"), b"");
    assert!(looked.status == 200 && looked.head.contains("content-length: 9\r\n"), "{looked:?}");
    assert_eq!(client.get(&format!("bazel/cas/{SUM}")).unwrap(), CONTENT, "a HEAD has no body");
}

#[test]
fn gradle_finds_what_it_stored() {
    let headers =
        "X-Gradle-Version: 4.4.1\nHost: 127.0.0.1:43397\nConnection: Keep-Alive\nUser-Agent: Gradle/4.4.1 (Linux)";
    let accept = "Accept: application/vnd.gradle.build-cache-artifact.v1, */*";
    let kind = "Content-Type: application/vnd.gradle.build-cache-artifact.v1";
    miss_store_hit(
        &format!("GET /{{path}}/gradle/0d4e1b2ad4ef HTTP/1.1\n{accept}\n{headers}\nAccept-Encoding: gzip,deflate"),
        &format!(
            "PUT /{{path}}/gradle/0d4e1b2ad4ef HTTP/1.1\n{kind}\nContent-Length: {{length}}\n{headers}\nExpect: 100-continue"
        ),
    );
}

#[test]
fn turborepo_finds_what_it_stored() {
    let place = Place::new();
    let endpoint = endpoint(&place.disk(MIB));
    let mut client = Client::of(&endpoint);
    let headers =
        "user-agent: turbo 2.11.11 1.98.0-nightly linux x86_64\nauthorization: Bearer surveil\naccept: */*\nhost: h";
    let status =
        client.ask(&format!("GET /{{path}}/turborepo/v8/artifacts/status?slug=surveil HTTP/1.1\n{headers}"), b"");
    assert_eq!((status.status, &*status.body), (200, br#"{"status":"enabled"}"#.as_slice()));
    let path = "/{path}/turborepo/v8/artifacts/0c1b7c1e6a5f?slug=surveil HTTP/1.1";
    assert_eq!(client.ask(&format!("GET {path}\n{headers}"), b"").status, 404);
    let put = format!(
        "PUT {path}\ncontent-type: application/octet-stream\nx-artifact-duration: 1234\nx-artifact-tag: dGFn=\n\
         x-artifact-sha: 1fda063a74148a6fab55928efd842cc71efd890e\n{headers}\ncontent-length: 9"
    );
    assert_eq!(client.ask(&put, CONTENT).status, 200);
    let hit = client.ask(&format!("GET {path}\n{headers}"), b"");
    assert_eq!((hit.status, &*hit.body), (200, CONTENT));
    assert!(hit.head.contains("x-artifact-duration: 1234\r\nx-artifact-tag: dgfn=\r\n"), "{}", hit.head);
    assert!(!hit.head.contains("x-artifact-sha"), "{}", hit.head);
    let events =
        format!("POST /{{path}}/turborepo/v8/artifacts/events?slug=surveil HTTP/1.1\n{headers}\ncontent-length: 9");
    assert_eq!(client.ask(&events, CONTENT).status, 200);
}

#[test]
fn nx_finds_what_it_stored() {
    let headers =
        "accept: */*\nauthorization: Bearer surveil\ncontent-type: application/octet-stream\nhost: 127.0.0.1:53163";
    miss_store_hit(
        &format!("GET /{{path}}/nx/v1/cache/15573211432465104121 HTTP/1.1\n{headers}"),
        &format!(
            "PUT /{{path}}/nx/v1/cache/15573211432465104121 HTTP/1.1\ncontent-type: application/octet-stream\ncontent-length: {{length}}\n{headers}"
        ),
    );
}

/// Two commands of Go, each with a helper and a directory of its own: the second one gets what the first one made.
#[test]
fn go_finds_what_it_stored() {
    let place = Place::new();
    let endpoint = endpoint(&place.disk(MIB));
    let action = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let output = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let url = endpoint.url();
    let serve = |directory: &str, asked: &str, address: &str| {
        let mut told = Vec::new();
        let mut tell = |line: &[u8]| {
            told.extend_from_slice(line);
            Ok(())
        };
        let directory = place.directory.path().join(directory);
        serve_go(Some(address), &directory, &mut asked.as_bytes(), &mut tell).unwrap();
        String::from_utf8(told).unwrap()
    };
    let get = format!("{{\"ID\":1,\"Command\":\"get\",\"ActionID\":\"{action}\"}}\n");
    let put = format!(
        "{{\"ID\":2,\"Command\":\"put\",\"ActionID\":\"{action}\",\"OutputID\":\"{output}\",\"BodySize\":9}}\n\"dGhlIGJ5dGVz\"\n"
    );
    let close = "{\"ID\":3,\"Command\":\"close\"}\n";
    let told = serve("first", &format!("{get}{put}{get}{close}"), &url);
    assert!(told.contains(r#"{"ID":1,"Miss":true}"#) && !told.contains("Err"), "{told}");
    let told = serve("second", &format!("{get}{get}{close}"), &url);
    let data = place.directory.path().join("second").join(format!("{}-d", "01".repeat(32)));
    let hit = format!("{{\"ID\":1,\"OutputID\":\"{output}\",\"Size\":9,\"DiskPath\":{data:?}}}\n");
    assert_eq!(told.matches(&hit).count(), 2, "{told}");
    assert_eq!(fs::read(&data).unwrap(), CONTENT);
    assert_eq!(endpoint.summary().unwrap(), "tool cache: 1 of 2 reads hit, 1 stored (74 bytes)");
    // Anything may be at the address: a miss, and what is put stays with the command.
    drop(endpoint);
    for address in [url.as_str(), "http://127.0.0.1:1/x", "nonsense", "http://[::1/"] {
        let directory = format!("away{}", address.len());
        let told = serve(&directory, &format!("{get}{put}{get}{close}"), address);
        assert!(told.contains(r#"{"ID":1,"Miss":true}"#) && told.contains(r#""Size":9"#), "{address}: {told}");
        assert!(!told.contains("Err"), "{address}: {told}");
    }
}
