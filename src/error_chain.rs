//! An error and its causes on one line: for a log line, a message to a peer, or the terminal. Used by every role.

use std::error::Error;

/// Returns the error and all its causes, joined by colons. A cause that its effect already quotes is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let quoted = next.to_string();
        if !text.ends_with(&quoted) {
            text.push_str(": ");
            text.push_str(&quoted);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("could not read /x")]
        Silent(#[source] io::Error),
        #[error("could not read /x: {0}")]
        Quoting(#[source] io::Error),
    }

    #[test]
    fn the_chain_names_each_cause_once() {
        let cause = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        assert_eq!(chain(&Sample::Silent(cause())), "could not read /x: no such file");
        assert_eq!(chain(&Sample::Quoting(cause())), "could not read /x: no such file");
    }
}
