//! Blobs and manifests, on a real file system.

mod copies;
mod manifests;
mod stores;
mod trees;

use std::path::Path;

use super::*;
use crate::model::BlobId;

/// The name of these bytes.
fn id_of(bytes: &[u8]) -> BlobId {
    sum(bytes).unwrap().0
}

/// The compressed form of these bytes.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut form = Vec::new();
    std::io::Read::read_to_end(&mut packing(bytes, bytes.len() as u64).unwrap(), &mut form).unwrap();
    form
}

/// Sends a blob whole.
fn put(store: &BlobStore, owner: &str, bytes: &[u8]) -> BlobId {
    let id = id_of(bytes);
    let mut arriving = store.receive(owner, (id, bytes.len() as u64), Form::Plain, 0).unwrap();
    arriving.add(0, bytes).unwrap();
    arriving.finish().unwrap();
    id
}

fn open(directory: &Path) -> BlobStore {
    BlobStore::open(&directory.join("blobs")).unwrap()
}
