//! Artifacts as a tar archive, which is written while the files arrive. Pure: makes the bytes that stand before and
//! behind the content of each file.

use std::io;

use tar::{Builder, EntryType, Header};

use crate::blobs::{Entry, EntryKind};

/// An archive consists of blocks of this size.
const BLOCK_BYTES: usize = 512;

/// The end of an archive.
pub(crate) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// Returns what stands before the content of an entry. Its content has the length that the entry says, and then
/// [`padding`] follows; links and directories have none.
pub(crate) fn head(Entry { path, mtime_ns, kind }: &Entry) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_mtime(u64::try_from(mtime_ns.div_euclid(1_000_000_000)).unwrap_or(0));
    header.set_size(0);
    // A path that does not fit into the header stands in an entry of its own before it.
    let mut archive = Builder::new(Vec::new());
    match kind {
        EntryKind::File { bytes, executable, .. } => {
            header.set_size(*bytes);
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            archive.append_data(&mut header, path, io::empty())?;
        }
        EntryKind::Link { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            archive.append_link(&mut header, path, target)?;
        }
        EntryKind::EmptyDirectory => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            archive.append_data(&mut header, format!("{path}/"), io::empty())?;
        }
    }
    // The builder would write the end of the archive when it is dropped.
    Ok(std::mem::take(archive.get_mut()))
}

/// Returns what stands behind a content of this length.
pub(crate) fn padding(bytes: u64) -> &'static [u8] {
    let rest = usize::try_from(bytes % BLOCK_BYTES as u64).unwrap_or(0);
    if rest == 0 { &[] } else { &END[..BLOCK_BYTES - rest] }
}
