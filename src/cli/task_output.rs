//! The output of a task of `surveil run` on its way to standard output.

use std::io::{self, Read};
use std::time::Duration;

use crossbeam_channel::Sender;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{CliError, Output};
use crate::runner::Masker;
use crate::threads::{self, Thread};

/// Largest piece of a task's output that is copied at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Starts a thread that copies a pipe to standard output, without secrets, until all its writers are gone. If nothing
/// comes for the time `quiet`, the thread sends a message to `end`, once, and returns true in the end. The time in
/// which nobody reads standard output does not count.
pub(crate) fn pass_on(
    mut reader: io::PipeReader,
    quiet: Option<Duration>,
    end: Sender<()>,
    mut masker: Option<Masker>,
) -> Result<Thread<Result<bool, CliError>>, CliError> {
    threads::spawn("output", move || {
        let mut out = Output::stdout();
        // A task does not notice that its output is read no more, as under a runner.
        out.outlive_reader();
        let (mut chunk, mut masked) = (vec![0; CHUNK_BYTES], Vec::new());
        let (mut is_line_open, mut was_quiet) = (false, false);
        loop {
            if let Some(quiet) = quiet.filter(|_| !was_quiet)
                && is_quiet_for(&reader, quiet)
            {
                was_quiet = true;
                // Without a receiver the command has ended.
                let _ = end.send(());
            }
            match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(len) => {
                    is_line_open = chunk.get(len - 1) != Some(&b'\n');
                    // If standard output cannot be written, this thread ends and closes the pipe, so that the task
                    // gets the error in turn.
                    match &mut masker {
                        Some(masker) => {
                            masked.clear();
                            masker.mask(&chunk[..len], &mut masked);
                            out.bytes(&masked)?;
                        }
                        None => out.bytes(&chunk[..len])?,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CliError::machine("read a task's output")(error)),
            }
        }
        if let Some(masker) = &mut masker {
            masked.clear();
            masker.finish(&mut masked);
            out.bytes(&masked)?;
        }
        if is_line_open {
            out.bytes(b"\n")?;
        }
        Ok(was_quiet)
    })
    .map_err(CliError::machine("start a thread"))
}

/// Whether nothing can be read for this long. A pipe that is closed can be read.
fn is_quiet_for(reader: &io::PipeReader, quiet: Duration) -> bool {
    let Ok(quiet) = Timespec::try_from(quiet) else { return false };
    matches!(poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&quiet)), Ok(0))
}
