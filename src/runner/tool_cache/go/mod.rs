//! `surveil cacheprog`: the helper by which Go reaches the tool cache of its attempt. Go speaks JSON on the helper's
//! standard input and output (`cmd/go/internal/cacheprog`), and takes results as files; the helper speaks HTTP to the
//! runner.
//!
//! Anything that goes wrong with the runner is a miss for Go. Results stay in a directory of the attempt's own, so a
//! second command of the attempt finds them there.

mod client;
mod encoding;

use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::limits::GO_LINE_BYTES;
use client::Cache;
use encoding::{base64, from_hex, hex, id, new_file, read_body};

/// The variable with the address of the tool cache.
pub const GO_ADDRESS: &str = super::variables::ADDRESS;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    #[serde(rename = "ID")]
    id: u64,
    command: String,
    #[serde(default, rename = "ActionID")]
    action: String,
    #[serde(default, rename = "OutputID")]
    output: String,
    /// The name that the field had before Go 1.24.
    #[serde(default, rename = "ObjectID")]
    object: String,
    #[serde(default)]
    body_size: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Reply {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    err: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    known_commands: Vec<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    miss: bool,
    #[serde(rename = "OutputID", skip_serializing_if = "String::is_empty")]
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    disk_path: String,
}

/// Serves Go until it is done, and passes each answer to `tell`. `address` is that of the tool cache, `None` for none;
/// results are kept in `directory`.
pub fn serve_go(
    address: Option<&str>,
    directory: &Path,
    input: &mut impl BufRead,
    tell: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut helper = Helper { cache: address.and_then(Cache::at), directory: directory.to_owned() };
    let known_commands = vec!["get", "put", "close"];
    reply(tell, &Reply { known_commands, ..Reply::default() })?;
    while let Some(request) = read_request(input)? {
        let id = request.id;
        let answer = match &*request.command {
            "get" => helper.get(&request),
            "put" => helper.put(&request, input)?,
            "close" => Ok(Reply::default()),
            other => Err(format!("unknown command {other:?}")),
        };
        let answer = answer.unwrap_or_else(|err| Reply { err, ..Reply::default() });
        reply(tell, &Reply { id, ..answer })?;
        if request.command == "close" {
            break;
        }
    }
    Ok(())
}

fn reply(tell: &mut dyn FnMut(&[u8]) -> io::Result<()>, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply).map_err(io::Error::other)?;
    line.push(b'\n');
    tell(&line)
}

/// Reads the next request, but not the body behind it. Returns `None` at the end.
fn read_request(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    loop {
        let mut line = Vec::new();
        input.by_ref().take(GO_LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |error| io::Error::other(format!("a line of standard input is no request of Go's: {error}"));
        return serde_json::from_slice(&line).map(Some).map_err(wrong);
    }
}

struct Helper {
    cache: Option<Cache>,
    directory: PathBuf,
}

impl Helper {
    /// The file of an action's result: the digits of its output's id and a line feed in one, the bytes in another.
    fn paths(&self, action: &str) -> (PathBuf, PathBuf) {
        (self.directory.join(format!("{action}-a")), self.directory.join(format!("{action}-d")))
    }

    /// Answers `get`. An error is for Go's user.
    fn get(&mut self, request: &Request) -> Result<Reply, String> {
        let action = id(&request.action)?;
        let (about, data) = self.paths(&hex(&action));
        if !about.exists()
            && let Some(cache) = &mut self.cache
        {
            // An error is a miss.
            drop(cache.get(&hex(&action), &about, &data));
        }
        let miss = Reply { miss: true, ..Reply::default() };
        let (Ok(output), Ok(meta)) = (fs::read_to_string(&about), fs::metadata(&data)) else { return Ok(miss) };
        let Some(output) = from_hex(output.trim_end()) else { return Ok(miss) };
        Ok(Reply { output: base64(&output), size: Some(meta.len()), disk_path: text(&data)?, ..Reply::default() })
    }

    /// Answers `put`, whose body is read to its end in any case. The outer error is one of the input.
    fn put(&mut self, request: &Request, input: &mut impl BufRead) -> io::Result<Result<Reply, String>> {
        let ids = id(&request.action).and_then(|action| {
            let output = if request.output.is_empty() { &request.object } else { &request.output };
            Ok((action, id(output)?))
        });
        let (action, output) = match ids {
            Ok(ids) => ids,
            Err(why) => {
                read_body(request.body_size, input, &mut |_| {})?;
                return Ok(Err(why));
            }
        };
        let (about, data) = self.paths(&hex(&action));
        let (new, mut failure) = (new_file(&data), None);
        let mut file = File::create(&new).map_err(|error| failure = Some(error)).ok();
        read_body(request.body_size, input, &mut |bytes| {
            if let Some(Err(error)) = file.as_mut().map(|file| file.write_all(bytes)) {
                (file, failure) = (None, Some(error));
            }
        })?;
        drop(file);
        let kept = failure.map_or(Ok(()), Err).and_then(|()| fs::rename(&new, &data));
        // Written last: a result with this file is whole.
        let kept = kept.and_then(|()| fs::write(&about, hex(&output) + "\n"));
        if let Err(error) = kept {
            return Ok(Err(format!("could not keep a result in {}: {error}", self.directory.display())));
        }
        if let Some(cache) = &mut self.cache {
            // If it fails, others have to make it again; this command has it.
            drop(cache.put(&hex(&action), &hex(&output), &data));
        }
        Ok(text(&data).map(|disk_path| Reply { disk_path, ..Reply::default() }))
    }
}

/// Returns a path as text, which is all that Go takes.
fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("the path {} is no text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conversation of Go 1.27 with its helper, without a tool cache.
    #[test]
    fn go_finds_what_it_has_put() {
        let place = tempfile::tempdir().unwrap();
        let (action, output) = (base64(&[1; 32]), base64(&[2; 32]));
        let asked = format!(
            "{{\"ID\":1,\"Command\":\"get\",\"ActionID\":\"{action}\"}}\n\n\
             {{\"ID\":2,\"Command\":\"put\",\"ActionID\":\"{action}\",\"OutputID\":\"{output}\",\"BodySize\":5}}\n\n\
             \"SGVsbG8=\"\n{{\"ID\":3,\"Command\":\"get\",\"ActionID\":\"{action}\"}}\n\
             {{\"ID\":4,\"Command\":\"put\",\"ActionID\":\"{output}\",\"OutputID\":\"{output}\"}}\n\
             {{\"ID\":5,\"Command\":\"put\",\"ActionID\":\"../x\",\"OutputID\":\"{output}\",\"BodySize\":5}}\n\
             \"SGVsbG8=\"\n{{\"ID\":6,\"Command\":\"close\"}}\n"
        );
        let mut told = Vec::new();
        let mut tell = |line: &[u8]| told.write_all(line);
        serve_go(None, place.path(), &mut asked.as_bytes(), &mut tell).unwrap();
        let told = String::from_utf8(told).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], r#"{"ID":0,"KnownCommands":["get","put","close"]}"#);
        assert_eq!(lines[1], r#"{"ID":1,"Miss":true}"#);
        let data = place.path().join(format!("{}-d", "01".repeat(32)));
        assert_eq!(lines[2], format!("{{\"ID\":2,\"DiskPath\":{data:?}}}"));
        assert_eq!(lines[3], format!("{{\"ID\":3,\"OutputID\":\"{output}\",\"Size\":5,\"DiskPath\":{data:?}}}"));
        assert_eq!(fs::read(&data).unwrap(), b"Hello");
        assert!(lines[4].starts_with(r#"{"ID":4,"DiskPath":"#), "an empty result has no body: {}", lines[4]);
        assert!(lines[5].starts_with(r#"{"ID":5,"Err":"#), "{}", lines[5]);
        assert_eq!((lines[6], lines.len()), (r#"{"ID":6}"#, 7));
    }
}
