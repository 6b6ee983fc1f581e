//! The pins by which a peer knows its dispatcher, while the peer runs. The dispatcher tells others when it replaces its
//! authority, and a peer that has joined keeps them beside its credential.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TokenSource;
use crate::model::Pin;

/// The most pins in a `hello`, whose length is limited.
const MAX_PINS: usize = 16;

/// The pins of a dispatcher. Clones share them. No pins stand for plain text.
#[derive(Debug, Clone)]
pub struct KnownPins {
    pins: Arc<Mutex<Vec<Pin>>>,
    token: TokenSource,
}

impl KnownPins {
    /// Takes the pins from the settings of a peer with this token.
    #[must_use]
    pub fn new(pins: Vec<Pin>, token: TokenSource) -> Self {
        Self { pins: Arc::new(Mutex::new(pins)), token }
    }

    /// Returns the pins.
    #[must_use]
    pub fn list(&self) -> Vec<Pin> {
        self.lock().clone()
    }

    /// Returns the pins as `hello` carries them.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.lock().iter().take(MAX_PINS).map(Pin::to_string).collect()
    }

    /// Takes the pins that a dispatcher told after the peer had recognised it: none if they are those that the peer
    /// knows. Returns whether the peer has stored others than it knew, so that the dispatcher is to be told.
    pub fn learn(&self, told: &[String]) -> bool {
        let told: Vec<Pin> = told.iter().filter_map(|pin| pin.parse().ok()).collect();
        let mut known = self.lock();
        // Plain text proves nothing about the dispatcher.
        if known.is_empty() {
            return false;
        }
        let is_news = !told.is_empty() && *known != told;
        // Also without news: those that a person typed because the stored ones were outdated are stored now.
        match self.token.store_pins(if is_news { &told } else { &known }) {
            Ok(true) if is_news => {
                log::info!("stored the dispatcher's pins: {}", words(&told));
                *known = told;
                true
            }
            // Pins that a person typed may be those of several dispatchers, so none is dropped.
            Ok(false) if is_news => {
                let new: Vec<Pin> = told.into_iter().filter(|pin| !known.contains(pin)).collect();
                if !new.is_empty() {
                    let words = words(&new);
                    log::warn!("the dispatcher replaces its authority; if --pin was typed, add the next pin: {words}");
                    known.extend(new);
                }
                false
            }
            Ok(_) => false,
            Err(error) => {
                log::warn!("could not store the dispatcher's pins: {error}");
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pin>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn words(pins: &[Pin]) -> String {
    pins.iter().map(Pin::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::JoinedFile;

    fn pins(bytes: &[u8]) -> Vec<Pin> {
        bytes.iter().map(|byte| Pin::new([*byte; 32])).collect()
    }

    fn told(bytes: &[u8]) -> Vec<String> {
        pins(bytes).iter().map(Pin::to_string).collect()
    }

    #[test]
    fn a_peer_that_joined_keeps_the_pins_that_it_is_told_and_drops_those_that_are_over() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("joined/runner");
        let file = JoinedFile {
            token: "7f3k".into(),
            secret: "5e".repeat(32),
            pins: pins(&[1]),
            dispatch: vec![],
            role: None,
            joined: Some(("2abc".into(), "w1".into())),
        };
        file.write(&path).unwrap();
        let known = KnownPins::new(pins(&[1]), TokenSource::joined(path.clone()));
        for (news, is_kept, after) in [
            (told(&[]), false, pins(&[1])),
            (told(&[1, 2]), true, pins(&[1, 2])),
            (told(&[1, 2]), false, pins(&[1, 2])),
            (vec!["nonsense".into()], false, pins(&[1, 2])),
            (told(&[2]), true, pins(&[2])),
        ] {
            assert_eq!(known.learn(&news), is_kept, "{news:?}");
            assert_eq!(known.list(), after);
            assert!(JoinedFile::read(&path).unwrap().unwrap() == JoinedFile { pins: after, ..file.clone() });
        }
        // Somebody types the new pin, once.
        let typed = KnownPins::new(pins(&[3]), TokenSource::joined(path.clone()));
        assert!(!typed.learn(&[]));
        assert_eq!(JoinedFile::read(&path).unwrap().unwrap().pins, pins(&[3]));
        // A disk that takes nothing: the pin is not known, so that the dispatcher counts on nothing.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(!typed.learn(&told(&[3, 4])));
        assert_eq!(typed.list(), pins(&[3]));
    }

    #[test]
    fn a_peer_whose_pins_were_typed_adds_one_while_it_runs_and_drops_none() {
        let known = KnownPins::new(pins(&[1, 9]), TokenSource::new("/nowhere".into()));
        assert!(!known.learn(&told(&[1, 2])));
        assert_eq!(known.list(), pins(&[1, 9, 2]));
        let plain = KnownPins::new(vec![], TokenSource::new("/nowhere".into()));
        assert!(!plain.learn(&told(&[1])) && plain.texts().is_empty());
        let many = KnownPins::new(pins(&[7; 100]), TokenSource::new("/nowhere".into()));
        assert_eq!(many.texts().len(), MAX_PINS);
    }
}
