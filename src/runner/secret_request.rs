//! The request of a slot for the secrets of its attempt, when that is about to start.

use std::path::Path;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::assignment::Assignment;
use super::routes::Piece;
use super::secrets::{AttemptSecrets, SecretValues};
use super::slot_common::{Common, SlotReport, SlotWork};
use crate::model::{AttemptId, Outcome};

/// Returns the secrets of an attempt whose task asks for some. They come only now, and go with the attempt.
pub(super) fn secrets_of(common: &Common, work: &SlotWork, beside: &Path) -> Result<Option<AttemptSecrets>, Outcome> {
    let Assignment { attempt, recipe, .. } = &*work.assignment;
    if recipe.secrets.is_empty() {
        return Ok(None);
    }
    let values = ask(*attempt, &common.reports, &work.cancelled)?;
    let placed = AttemptSecrets::place(&recipe.secrets, values, beside);
    placed.map(Some).map_err(|error| Outcome::Lost(format!("could not keep the attempt's secrets: {error}").into()))
}

/// Asks for the secrets of an attempt and waits for them. A connection that ends meanwhile is no answer: the slot asks
/// again. Returns the outcome of an attempt that gets none.
fn ask(attempt: AttemptId, reports: &Sender<SlotReport>, cancelled: &Receiver<()>) -> Result<SecretValues, Outcome> {
    loop {
        let (answer, arriving) = bounded(1);
        // If the core is gone, the cancel that follows ends the attempt.
        drop(reports.send(SlotReport::SecretsWanted { attempt, answer }));
        let piece = select! {
            recv(arriving) -> piece => piece,
            recv(cancelled) -> _ => return Err(Outcome::Cancelled),
        };
        match piece {
            Ok(Piece::Secrets(values)) => return Ok(values),
            Ok(Piece::NoSecrets { reason, denied: true }) => return Err(Outcome::CouldNotStart(reason)),
            Ok(Piece::NoSecrets { reason, denied: false }) => {
                return Err(Outcome::Lost(format!("the dispatcher gave no secrets: {reason}").into()));
            }
            Ok(Piece::Bytes { .. } | Piece::Missing(_)) => {
                return Err(Outcome::Lost("the dispatcher answered a question for secrets with source".into()));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads;

    /// Asks, and answers each request with the next of these; `None` is a session that ended.
    fn asked(answers: Vec<Option<Piece>>) -> Result<SecretValues, Outcome> {
        let (reports, requests) = bounded(1);
        let (_cancel, cancelled) = bounded(1);
        let dispatcher = threads::spawn("answers", move || {
            for piece in answers {
                let Ok(SlotReport::SecretsWanted { attempt: AttemptId(7), answer }) = requests.recv() else { return };
                piece.into_iter().for_each(|piece| answer.send(piece).unwrap());
            }
        });
        let got = ask(AttemptId(7), &reports, &cancelled);
        drop(reports);
        dispatcher.unwrap().join().unwrap();
        got
    }

    #[test]
    fn an_attempt_waits_for_its_secrets_over_lost_connections() {
        let values = || SecretValues(vec![("A".into(), b"x".to_vec())]);
        assert_eq!(asked(vec![None, Some(Piece::Secrets(values()))]), Ok(values()));
        let none = |denied| Some(Piece::NoSecrets { reason: "no".into(), denied });
        assert_eq!(asked(vec![none(true)]), Err(Outcome::CouldNotStart("no".into())));
        assert!(matches!(asked(vec![none(false)]), Err(Outcome::Lost(_))));
    }
}
