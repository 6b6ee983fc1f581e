//! The limits of a tool cache, each with its reason.

use std::time::Duration;

/// Connections of one attempt at a time, each with a thread. Bazel opens up to a hundred.
pub(super) const CONNECTIONS: usize = 128;
/// The longest head of a request. The clients' own take less than 2 KiB.
pub(super) const HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request. The clients send fewer than twenty.
pub(super) const HEADERS: usize = 64;
/// Time for the rest of a head, once its first bytes have come.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// Time for a body, besides that of its bytes at [`BODY_RATE`]. Also the longest time that a client reads nothing.
pub(super) const BODY_TIME: Duration = Duration::from_secs(20);
/// Bytes of a body that must come in a second. Clients are on this machine.
pub(super) const BODY_RATE: u64 = 64 * 1024;
/// The longest line with the size of a chunk. Its digits take 16 bytes, and clients send no extensions.
pub(super) const CHUNK_LINE_BYTES: usize = 256;
/// The longest name of an entry. Names are hashes, and paths of hashes.
pub(super) const NAME_BYTES: usize = 512;
/// The longest value of a header that is kept with an entry.
pub(super) const KEPT_HEADER_BYTES: usize = 256;
/// The longest entry. Turborepo and Nx store the products of a whole task in one.
pub(super) const ENTRY_BYTES: u64 = 2 << 30;
/// The longest body that is read to its end although it is not kept, so that the client gets an answer.
pub(super) const SKIPPED_BYTES: u64 = 8 << 30;
/// The part of the whole cache that one entry may take, so that no single one empties it.
pub(super) const ENTRY_SHARE: u64 = 4;
/// Entries up to this length are read in one piece. All connections of an attempt then need at most 32 MiB for them.
pub(super) const SMALL_BYTES: u64 = 128 << 10;
/// The size of a read or write of longer ones.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// The most entries, because the list of them is in memory: about 100 bytes each.
pub(super) const ENTRIES: usize = 200_000;
/// The part that is removed at a time when the cache is full: a sixteenth, so that it is seldom.
pub(super) const EVICTED_SHARE: u64 = 16;
/// Time after which a use of an entry is noted on the disk again, in milliseconds. The order of uses then survives a
/// restart of the runner, at little cost.
pub(super) const NOTED_MS: u64 = 60 * 60 * 1000;
/// The longest line of a request of Go's. Bodies are read in pieces.
pub(super) const GO_LINE_BYTES: u64 = 64 * 1024;
/// Time that the runner has for an answer to Go's helper.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Time in which the dispatcher must answer a question about an entry. Then it is a miss.
pub(super) const SHARED_TIME: Duration = Duration::from_secs(2);
/// Bytes of an entry that must come in a millisecond besides: a tool has made most entries anew before a slower
/// connection has brought them.
pub(super) const SHARED_BYTES_MS: u64 = 4 << 10;
/// Questions to the dispatcher that wait for an answer, over all attempts. Each is answered with at most 256 KiB.
pub(super) const ASKED_AT_ONCE: usize = 64;
/// Time for which a dispatcher that was silent is not asked again, in milliseconds: at first, and at most.
pub(super) const FIRST_PAUSE_MS: u64 = 5_000;
pub(super) const MAX_PAUSE_MS: u64 = 60_000;
/// Entries of an attempt that wait to be sent to the dispatcher. Their bytes are on the disk.
pub(super) const UNSENT_ENTRIES: usize = 4096;
/// Bytes of them that are sent and not answered.
pub(super) const SENT_BYTES: u64 = 4 << 20;
/// Interval at which a session is looked for while there is none.
pub(super) const SEND_PAUSE: Duration = Duration::from_millis(250);
/// Time for which the end of an attempt waits for entries that are not sent yet.
pub(super) const END_TIME: Duration = Duration::from_secs(4);
/// The pause after a failed accept.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
