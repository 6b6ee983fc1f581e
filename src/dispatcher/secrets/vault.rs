//! Seals and opens the values of secrets with the dispatcher's key: ChaCha20-Poly1305 of ring. The name and the rule of
//! a secret are bound to its value, so that a row of a stolen or changed database opens under no other name or rule.
//!
//! The key is 32 random bytes in a file, and is read for each use. It is drawn when the first secret is set. It is in
//! no backup.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::dispatcher::data_dir::{sync_directory, write_private};
use crate::model::SecretRule;

/// The length of the key.
const KEY_BYTES: usize = 32;
/// The beginning of what is bound to a value, so that a later form is told from this one.
const FORM: &str = "surveil secret 1";

/// The file of the key.
#[derive(Debug, Clone)]
pub(crate) struct Vault {
    path: PathBuf,
}

/// The reason why a value cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("the key of the secrets, {}, cannot be used", path.display())]
    Key { path: PathBuf, source: io::Error },
    #[error(
        "the key of the secrets, {}, is not there, and stored secrets are sealed with it: bring it back, or remove those \
         secrets first (surveil secret rm)",
        path.display()
    )]
    KeyMissing { path: PathBuf },
    #[error("the value is sealed with another key, or its row was changed")]
    Sealed,
}

impl Vault {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Seals a value. If there is no key yet, it is drawn, unless `has_secrets`: another key would open none of them.
    pub(crate) fn seal(
        &self,
        name: &str,
        rule: &SecretRule,
        mut value: Vec<u8>,
        has_secrets: bool,
    ) -> Result<Vec<u8>, VaultError> {
        let key = match self.key()? {
            Some(key) => key,
            None if has_secrets => return Err(VaultError::KeyMissing { path: self.path.clone() }),
            None => self.draw()?,
        };
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|error| self.fail(io::Error::other(error)))?;
        // Of random nonces 2^32 may be used with one key.
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound(name, rule), &mut value)
            .map_err(|_| self.fail(io::Error::other("the value is too long")))?;
        Ok([&nonce[..], &value].concat())
    }

    /// Opens a sealed value.
    pub(crate) fn open(&self, name: &str, rule: &SecretRule, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let key = self.key()?.ok_or_else(|| VaultError::KeyMissing { path: self.path.clone() })?;
        let (nonce, value) = sealed.split_at_checked(NONCE_LEN).ok_or(VaultError::Sealed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Sealed)?;
        let mut value = value.to_vec();
        let length = key.open_in_place(nonce, bound(name, rule), &mut value).map_err(|_| VaultError::Sealed)?.len();
        value.truncate(length);
        Ok(value)
    }

    /// Reads the key. Returns `None` if there is none.
    fn key(&self) -> Result<Option<LessSafeKey>, VaultError> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| self.fail(error))?,
        };
        let mode = fs::metadata(&self.path).map_err(|error| self.fail(error))?.permissions().mode();
        if mode & 0o077 != 0 {
            log::warn!("{} can be read by others: chmod 600 it, for it opens all secrets", self.path.display());
        }
        let wrong = || self.fail(io::Error::new(ErrorKind::InvalidData, "it is not 64 hexadecimal digits"));
        let bytes = parse(text.trim()).ok_or_else(wrong)?;
        Ok(Some(to_key(&bytes)))
    }

    fn draw(&self) -> Result<LessSafeKey, VaultError> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| self.fail(io::Error::other(error)))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write_private(&self.path, format!("{text}\n").as_bytes()).map_err(|error| self.fail(error))?;
        // Before any secret is stored that only this key opens.
        sync_directory(self.path.parent().unwrap_or(Path::new("."))).map_err(|error| self.fail(error))?;
        log::info!("key of the secrets made: {}; it is in no backup, so keep a copy of it apart", self.path.display());
        Ok(to_key(&bytes))
    }

    fn fail(&self, source: io::Error) -> VaultError {
        VaultError::Key { path: self.path.clone(), source }
    }
}

fn parse(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

fn to_key(bytes: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, bytes).expect("the key has the algorithm's length"))
}

fn bound(name: &str, rule: &SecretRule) -> Aad<Vec<u8>> {
    let rule = serde_json::to_string(rule).expect("a struct of texts is always JSON");
    Aad::from([FORM, name, &rule].join("\0").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_chain::chain;

    fn rule(repo: &str) -> SecretRule {
        SecretRule { repo: Some(repo.into()), ..SecretRule::default() }
    }

    #[test]
    fn a_value_opens_under_its_name_and_rule_and_with_its_key_only() {
        let place = tempfile::tempdir().unwrap();
        let vault = Vault::new(place.path().join("secrets.key"));
        let seal = |name| vault.seal(name, &rule("app"), b"swordfish".to_vec(), false).unwrap();
        let sealed = seal("A");
        assert!(!sealed.windows(4).any(|part| part == b"word"));
        assert_ne!(seal("A"), sealed, "equal values are not seen to be equal");
        assert_eq!(vault.open("A", &rule("app"), &sealed).unwrap(), b"swordfish");
        let mode = fs::metadata(&vault.path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);

        let is_refused =
            |name, repo, sealed: &[u8]| matches!(vault.open(name, &rule(repo), sealed), Err(VaultError::Sealed));
        assert!(is_refused("B", "app", &sealed) && is_refused("A", "lib", &sealed));
        assert!(is_refused("A", "app", &sealed[..5]) && is_refused("A", "app", &[]));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(is_refused("A", "app", &changed), "byte {at}");
        }
        fs::write(&vault.path, "ab".repeat(32)).unwrap();
        assert!(is_refused("A", "app", &sealed), "another key");
    }

    #[test]
    fn a_key_that_is_lost_or_broken_is_never_replaced_while_it_has_secrets() {
        let place = tempfile::tempdir().unwrap();
        let vault = Vault::new(place.path().join("secrets.key"));
        let text = chain(&vault.seal("A", &rule("app"), b"x".to_vec(), true).unwrap_err());
        assert!(text.contains("is not there") && text.contains("surveil secret rm"), "{text}");
        assert!(!vault.path.exists());
        for broken in ["", "abc", &"x".repeat(64)] {
            fs::write(&vault.path, broken).unwrap();
            let text = chain(&vault.seal("A", &rule("app"), b"x".to_vec(), false).unwrap_err());
            assert!(text.contains("64 hexadecimal digits"), "{text}");
            assert_eq!(fs::read_to_string(&vault.path).unwrap(), broken);
        }
    }
}
