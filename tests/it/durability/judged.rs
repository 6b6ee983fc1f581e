//! The checker on made-up traces: one that it accepts, and each fault that it must find.

use super::checker::{Shown, check};

const READ: &str = r#"11<s1-read> recvfrom(9<TCP:[a->b]>, "{\"type\":\"dispatch\",\"repo\":\"r\",\"commit\":\"c\"}\n", 4096, 0, NULL, NULL) = 44"#;
const READ_PACK: &str = r#"11<s1-read> recvfrom(9<TCP:[a->b]>, "{\"type\":\"pack\",\"repo\":\"r\",\"last\":true,\"bytes\":4}\nPA\nK{\"type\":\"dispatch\",\"repo\":\"r\",\"commit\":\"c\"}\n", 4096, 0, NULL, NULL) = 97"#;
const SYNC_PACK: &str = "12<s1-work> fsync(14</d/mirrors/r.git/objects/incoming-1/pack/pack-1.pack>) = 0";
const SYNC_INDEX: &str = "12<s1-work> fsync(14</d/mirrors/r.git/objects/incoming-1/pack/pack-1.idx>) = 0";
const SYNC_PLACE: &str = "12<s1-work> fsync(14</d/mirrors/r.git/objects/pack>) = 0";
const SYNC_NOTE: &str = "12<s1-work> fdatasync(14</d/mirrors/r.git/objects/incoming-1/notes>) = 0";
const HEADER: &str = r#"10<core> pwrite64(7</d/surveil.db-wal>, "7\177"..., 32, 0) = 32"#;
const WRITE: &str = r#"10<core> pwrite64(7</d/surveil.db-wal>, "\0\0"..., 4096, 56) = 4096"#;
const SYNC: &str = "10<core> fdatasync(7</d/surveil.db-wal>) = 0";
const SEND: &str = r#"10<core> sendto(9<TCP:[a->b]>, "{\"type\":\"ok\",\"repo\":\"r\",\"branch\":\"main\",\"commit\":\"c\"}\n", 60, MSG_DONTWAIT, NULL, 0) = 60"#;
const READ_RESULT: &str = r#"11<s2-read> recvfrom(8<TCP:[a->c]>, "{\"type\":\"log\",\"attempt\":7,\"offset\":0,\"bytes\":2}\nx\n{\"type\":\"results\",\"attempt\":7}\n", 4096, 0, NULL, NULL) = 83"#;
const SYNC_LOG: &str = "13<logs> fdatasync(15</d/logs/r/b1/t.1.log>) = 0";
const READ_LONG_RESULT: &str = r#"11<s2-read> recvfrom(8<TCP:[a->c]>, "{\"type\":\"log\",\"attempt\":7,\"offset\":0,\"bytes\":4097}\n", 4096, 0, NULL, NULL) = 51
11<s2-read> recvfrom(8<TCP:[a->c]>, "x"..., 4097, 0, NULL, NULL) = 4097
11<s2-read> recvfrom(8<TCP:[a->c]>, "{\"type\":\"results\",\"attempt\":7}\n", 4096, 0, NULL, NULL) = 31"#;
const WRITE_LOG: &str = r#"10<core> pwrite64(7</d/surveil.db-wal>, "\0\0x\n\0"..., 4096, 56) = 4096"#;
const SEND_RESULT: &str =
    r#"10<core> sendto(8<TCP:[a->c]>, "{\"type\":\"ok\",\"attempt\":7}\n", 26, MSG_DONTWAIT, NULL, 0) = 26"#;

fn judge(lines: &[&str]) -> Shown {
    check(&lines.join("\n"))
}

#[track_caller]
fn is_noticed(lines: &[&str], words: &str) {
    let shown = judge(lines);
    assert!(matches!(&shown.broken[..], [one] if one.contains(words)), "{:?}", shown.broken);
}

#[test]
fn an_acknowledgement_behind_its_sync_passes() {
    let shown = judge(&[READ, HEADER, WRITE, SYNC, SEND]);
    assert_eq!(shown, Shown { submissions: 1, syncs: 1, ..Shown::default() });
    let shown = judge(&[READ_PACK, SYNC_PACK, SYNC_INDEX, SYNC_PLACE, WRITE, SYNC, SEND]);
    assert_eq!(shown, Shown { submissions: 1, packs: 1, syncs: 1, ..Shown::default() });
    let noted = judge(&[READ_PACK, SYNC_NOTE, WRITE, SYNC, SEND]);
    assert_eq!(noted, shown);
    let shown = judge(&[READ_LONG_RESULT, SYNC_LOG, WRITE, SYNC, SEND_RESULT]);
    assert_eq!(shown, Shown { results: 1, logs: 1, syncs: 1, ..Shown::default() });
    let shown = judge(&[READ_RESULT, WRITE, WRITE_LOG, SYNC, SEND_RESULT]);
    assert_eq!(shown, Shown { results: 1, short_logs: 1, syncs: 1, ..Shown::default() });
}

#[test]
fn an_acknowledgement_without_a_sync_or_before_it_is_noticed() {
    let early = "the store is not synced";
    is_noticed(&[READ, WRITE, SEND], early);
    is_noticed(&[READ, WRITE, SEND, SYNC], early);
    // The header of the log is synced, but not its frames.
    is_noticed(&[READ, HEADER, SYNC, WRITE, SEND], early);
    // Writes and syncs before the request was read belong to another request.
    is_noticed(&[WRITE, SYNC, READ, SEND], early);
    is_noticed(&[WRITE, READ, SYNC, SEND], early);
    is_noticed(&[READ, WRITE, "10<core> fdatasync(7</d/surveil.db-wal>) = -1 EIO (Input/output error)", SEND], early);
    is_noticed(&[READ, WRITE, "10<core> fdatasync(7</d/surveil.db>) = 0", SEND], early);
}

#[test]
fn a_sync_that_began_too_early_or_ended_too_late_does_not_count() {
    let (begins, ends) =
        ("12<x> fdatasync(7</d/surveil.db-wal> <unfinished ...>", "12<x> <... fdatasync resumed>) = 0");
    is_noticed(&[READ, begins, WRITE, ends, SEND], "the store is not synced");
    is_noticed(&[READ, WRITE, begins, SEND, ends], "the store is not synced");
    assert_eq!(judge(&[READ, WRITE, begins, ends, SEND]).broken, [""; 0]);
}

#[test]
fn what_came_along_is_synced_before_the_store_is_written_to() {
    is_noticed(&[READ_PACK, SYNC_PACK, SYNC_INDEX, WRITE, SYNC, SEND], "\"objects/pack\"");
    is_noticed(&[READ_PACK, SYNC_INDEX, SYNC_PLACE, WRITE, SYNC, SEND], "\".pack\"");
    is_noticed(&[READ_PACK, WRITE, SYNC_PACK, SYNC_INDEX, SYNC_PLACE, SYNC, SEND], "the store is not synced");
    let anothers = [SYNC_PACK, SYNC_INDEX, SYNC_PLACE].map(|line| line.replace("s1-work", "s3-work"));
    is_noticed(&[READ_PACK, &anothers[0], &anothers[1], &anothers[2], WRITE, SYNC, SEND], "\".pack\"");
    // The files of the previous pack, which are synced later.
    let earlier = [SYNC_PACK, SYNC_INDEX].map(|line| line.replace("incoming-1/", ""));
    is_noticed(&[READ_PACK, &earlier[0], &earlier[1], SYNC_PLACE, WRITE, SYNC, SEND], "\".pack\"");
    is_noticed(&[READ_LONG_RESULT, WRITE, SYNC, SEND_RESULT], "Log");
    is_noticed(&[READ_LONG_RESULT, WRITE_LOG, SYNC, SEND_RESULT], "Log");
    is_noticed(&[READ_RESULT, WRITE, SYNC, SEND_RESULT], "ShortLog");
    is_noticed(&[READ_RESULT, SYNC_LOG, WRITE, SYNC, SEND_RESULT], "ShortLog");
    is_noticed(&[READ_RESULT, WRITE_LOG, SEND_RESULT], "the store is not synced");
}

#[test]
fn a_trace_that_does_not_show_everything_is_no_proof() {
    is_noticed(&[READ, WRITE, SYNC], "never acknowledged");
    is_noticed(&[READ, WRITE, SYNC, SEND, SEND], "was not asked for");
    let cut = READ.replace("\\\"c\\\"}\\n\"", "\"...");
    assert!(!judge(&[&cut, WRITE, SYNC, SEND]).broken.is_empty());
    let cut = SEND.replace("\\\"c\\\"}\\n\"", "\"...");
    assert!(judge(&[READ, WRITE, SYNC, &cut]).broken.iter().any(|text| text.contains("the trace is cut")));
}
