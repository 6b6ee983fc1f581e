//! Artifacts that an attempt takes, against a scripted dispatcher (S43, S44): whatever that sends, the task finds the
//! bytes of the manifest, or does not start.

use std::collections::HashMap;
use std::io::Read;

use super::scene::*;
use crate::blobs::{Entry, EntryKind, packing, sum, write_manifest};
use crate::protocol::blobs::{BlobPart, NeededArtifact, WantedPiece};
use crate::protocol::runner::{FromRunner, ToRunner};
use crate::shutdown::Stop;
use crate::transport::{Frame, write_frame};

/// The form in which a scripted dispatcher has a blob.
#[derive(Clone)]
struct Form {
    zstd: bool,
    bytes: Vec<u8>,
}

/// Two files, their manifest, and the forms in which they are stored.
struct Artifact {
    manifest: String,
    large: String,
    forms: HashMap<String, Form>,
}

const LARGE: usize = 150_000;

impl Artifact {
    fn new() -> Self {
        // No two parts of it are alike, and it is no text that zstd makes much shorter.
        let large: Vec<u8> =
            (0..LARGE / 4).flat_map(|n| (n as u32).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let contents = [("dist/large", large), ("small", b"small\n".to_vec())];
        let mut forms = HashMap::new();
        let mut entries = Vec::new();
        let mut ids = Vec::new();
        for (path, bytes) in contents {
            let (blob, length) = sum(bytes.as_slice()).unwrap();
            ids.push(blob.to_string());
            forms.insert(blob.to_string(), Form { zstd: false, bytes });
            let kind = EntryKind::File { blob, bytes: length, executable: false };
            entries.push(Entry { path: path.to_owned(), mtime_ns: 1_000_000_000, kind });
        }
        let mut text = Vec::new();
        write_manifest(&entries, &mut text).unwrap();
        let manifest = sum(text.as_slice()).unwrap().0.to_string();
        forms.insert(manifest.clone(), Form { zstd: false, bytes: text });
        Self { manifest, large: ids.remove(0), forms }
    }

    /// The lease of an attempt that takes it and tells what it finds.
    fn lease(&self, attempt: u64, commit: &str) -> ToRunner {
        let script = "cat small; cksum < dist/large; stat -c %Y small";
        let ToRunner::Runtask(mut lease) = runtask(attempt, commit, script) else { unreachable!("it is a lease") };
        let (task, name, manifest) = ("build".into(), "files".into(), self.manifest.clone());
        lease.artifacts = vec![NeededArtifact { task, name, manifest }];
        ToRunner::Runtask(lease)
    }

    /// The large file in its zstd form.
    fn packed(&self) -> Form {
        let mut bytes = Vec::new();
        packing(self.forms[&self.large].bytes.as_slice(), LARGE as u64).unwrap().read_to_end(&mut bytes).unwrap();
        Form { zstd: true, bytes }
    }

    /// The log of an attempt that found exactly what was left.
    fn log(&self) -> String {
        let cksum = cksum(&self.forms[&self.large].bytes);
        format!(
            "surveil: took artifact `files` of task `build`: 2 entries, {} bytes\nsmall\n{cksum} {LARGE}\n1\n",
            LARGE + 6
        )
    }
}

/// The checksum of POSIX cksum: a CRC of the bytes and of their number.
fn cksum(bytes: &[u8]) -> u32 {
    let mut length = bytes.len();
    let mut all = bytes.to_vec();
    while length > 0 {
        all.push((length & 0xff) as u8);
        length >>= 8;
    }
    let mut crc = 0u32;
    for byte in all {
        crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 };
        }
    }
    !crc
}

/// Answers requests for blobs until another message comes, which is returned. `answer` gets the number of the request,
/// and one of its pieces; if it returns nothing, so does this.
fn serve(
    peer: &mut Peer,
    attempt: u64,
    answer: &mut dyn FnMut(usize, &WantedPiece) -> Option<Frame>,
) -> Option<FromRunner> {
    for number in 0.. {
        let message = peer.hear();
        let FromRunner::Want(request) = &message else { return Some(message) };
        assert_eq!(request.attempt, attempt);
        for piece in &request.blobs {
            write_frame(&peer.stream, &answer(number, piece)?).ok()?;
        }
    }
    None
}

/// The answer to a request, as far as the form goes and with `most` bytes at most.
fn part(attempt: u64, form: &Form, piece: &WantedPiece, most: usize) -> Option<Frame> {
    let from = usize::try_from(piece.offset).unwrap().min(form.bytes.len());
    let length = most.min(usize::try_from(piece.bytes).unwrap()).min(form.bytes.len() - from);
    let bytes = form.bytes[from..from + length].to_vec();
    let last = from + length == form.bytes.len();
    let (blob, offset, zstd) = (piece.blob.clone(), piece.offset, form.zstd);
    let message = ToRunner::Blob(BlobPart { attempt, blob, zstd, offset, last, bytes: length as u64 });
    Some(Frame::with_payload(&message, bytes))
}

/// Hears the rest of an attempt that has started.
fn passes(peer: &mut Peer, first: FromRunner, artifact: &Artifact) {
    peer.log.clear();
    if let FromRunner::Log { offset, bytes, .. } = first {
        peer.take_log(offset, bytes);
    }
    let results = if matches!(first, FromRunner::Results { .. }) { first } else { peer.hear_log(true) };
    assert_results(&results, "passed", artifact.log().as_bytes());
}

#[test]
fn files_are_exact_whatever_pieces_come() {
    let (scene, artifact) = (Scene::new(), Artifact::new());
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();

    // As they are asked for; in short pieces; and in the zstd form, which is longer than was to be expected.
    let endless = Form {
        bytes: [artifact.packed().bytes, vec![0x50, 0x2a, 0x4d, 0x18, 0xa0, 0x86, 1, 0], vec![7; 100_000]].concat(),
        zstd: true,
    };
    let variants = [
        (artifact.forms[&artifact.large].clone(), usize::MAX),
        (artifact.forms[&artifact.large].clone(), 1_000),
        (artifact.packed(), usize::MAX),
        (endless, usize::MAX),
    ];
    for ((large, most), attempt) in variants.into_iter().zip(7..) {
        peer.say(&artifact.lease(attempt, &commit));
        if attempt == 7 {
            peer.give_source(&repository, &commit);
        }
        let mut forms = artifact.forms.clone();
        forms.insert(artifact.large.clone(), large);
        let first = serve(&mut peer, attempt, &mut |_, piece| {
            assert!(!piece.check, "nothing came wrong");
            part(attempt, &forms[&piece.blob], piece, most)
        });
        passes(&mut peer, first.unwrap(), &artifact);
        peer.record(attempt);
        scene.forget_copies();
    }
    runner.end(Stop::Now).unwrap();
}

#[test]
fn bytes_that_are_wrong_are_asked_for_once_more_and_checked() {
    let (scene, artifact) = (Scene::new(), Artifact::new());
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    let mut wrong = artifact.forms[&artifact.large].clone();
    wrong.bytes[LARGE / 2] ^= 1;
    for (attempt, heals) in [(7, true), (8, false)] {
        peer.say(&artifact.lease(attempt, &commit));
        if attempt == 7 {
            peer.give_source(&repository, &commit);
        }
        let mut checks = 0;
        let first = serve(&mut peer, attempt, &mut |_, piece| {
            checks += usize::from(piece.check);
            let is_wrong = piece.blob == artifact.large && !(heals && checks > 0);
            let form = if is_wrong { &wrong } else { &artifact.forms[&piece.blob] };
            part(attempt, form, piece, usize::MAX)
        });
        assert_eq!(checks, 1);
        if heals {
            passes(&mut peer, first.unwrap(), &artifact);
        } else {
            let Some(FromRunner::Results { outcome, reason, .. }) = first else { panic!("{first:?}") };
            assert_eq!(outcome, "lost");
            assert!(reason.unwrap().contains("does not arrive as the dispatcher has it"));
        }
        peer.record(attempt);
        scene.forget_copies();
    }
    runner.end(Stop::Now).unwrap();
}

#[test]
fn an_attempt_whose_artifact_is_missing_could_not_start() {
    let (scene, artifact) = (Scene::new(), Artifact::new());
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    for (attempt, missing) in [(7, &artifact.large), (8, &artifact.manifest)] {
        peer.say(&artifact.lease(attempt, &commit));
        if attempt == 7 {
            peer.give_source(&repository, &commit);
        }
        let first = serve(&mut peer, attempt, &mut |_, piece| {
            if piece.blob != *missing {
                return part(attempt, &artifact.forms[&piece.blob], piece, usize::MAX);
            }
            let (blob, reason) = (piece.blob.clone(), "it was removed".to_owned());
            Some(Frame::new(&ToRunner::BlobMissing { attempt, blob, reason }))
        });
        let Some(FromRunner::Results { outcome, reason, .. }) = first else { panic!("{first:?}") };
        let text = "artifact `files` of task `build` is not there any more: it was removed; a rerun of that task makes it anew";
        assert_eq!((outcome.as_str(), reason.as_deref()), ("could_not_start", Some(text)));
        peer.record(attempt);
        scene.forget_copies();
    }
    runner.end(Stop::Now).unwrap();
}

/// It goes on at the byte where it was. A dispatcher that has the blob in another form by then begins it anew.
#[test]
fn taking_goes_on_over_sessions() {
    let (scene, artifact) = (Scene::new(), Artifact::new());
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&artifact.lease(7, &commit));
    peer.give_source(&repository, &commit);
    for (session, form) in
        [artifact.forms[&artifact.large].clone(), artifact.forms[&artifact.large].clone(), artifact.packed()]
            .into_iter()
            .enumerate()
    {
        let (mut first_offset, mut first_request) = (None, None);
        let end = serve(&mut peer, 7, &mut |request, piece| {
            if piece.blob != artifact.large {
                return part(7, &artifact.forms[&piece.blob], piece, usize::MAX);
            }
            first_offset = first_offset.or(Some(piece.offset));
            // The next request shows that something of this one has been taken.
            let is_first = *first_request.get_or_insert(request) == request;
            if session < 2 && !is_first { None } else { part(7, &form, piece, usize::MAX) }
        });
        match session {
            0 => assert_eq!((first_offset, end.is_none()), (Some(0), true)),
            1 => assert!(first_offset.unwrap() > 0 && end.is_none(), "{first_offset:?}"),
            _ => {
                assert!(first_offset.unwrap() > 0);
                passes(&mut peer, end.unwrap(), &artifact);
                peer.record(7);
                break;
            }
        }
        drop(peer);
        peer = scene.accept_and_register();
    }
    runner.end(Stop::Now).unwrap();
}
