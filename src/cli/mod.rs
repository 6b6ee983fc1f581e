//! The command line: flags exactly as typed, then settings, then a role or a question to the dispatcher.
