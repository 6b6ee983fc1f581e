//! Joining a dispatcher: a join token is turned into a credential of the peer's own, before its role starts.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use crossbeam_channel::Receiver;

use super::CliError;
use super::session::unreachable;
use crate::config::{ConfigError, JoinedFile, TokenSource, default_runner_name, joined_file};
use crate::model::{Address, Pin};
use crate::protocol::hello::{Greeting, Hello, JoinRequest, JoinedAs, Opening, Role};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::token::{Token, TokenKind};
use crate::shutdown::Stop;
use crate::transport::{Backoff, Frame, FrameReader, Stream, write_frame};

/// Time for a connection, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause between two tries to reach the dispatcher.
const LONGEST_PAUSE_MS: u64 = 5_000;
/// The most bytes of a file with a join token.
const MAX_TOKEN_BYTES: u64 = 4096;

/// The join token.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct JoinFlags {
    /// Join the dispatcher with this token of `surveil token create`, or with one from standard input if it is `-`
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["join_file", "token_file"])]
    join: Option<String>,
    /// Join the dispatcher with the token in this file
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    join_file: Option<PathBuf>,
}

/// The peer that joins.
pub(crate) struct Newcomer<'a> {
    pub(crate) role: Role,
    /// Its role in the name of the file.
    pub(crate) word: &'a str,
    /// The directory with its credentials.
    pub(crate) directory: &'a Path,
    pub(crate) dispatch: &'a [Address],
    /// The pins that were typed. Those of the token are used if there are none.
    pub(crate) pins: &'a [Pin],
    /// The name that was typed.
    pub(crate) name: Option<&'a str>,
    pub(crate) default_name: String,
}

/// The credential of a peer that has joined.
pub(crate) struct Membership {
    pub(crate) token: TokenSource,
    /// The pins of the dispatcher.
    pub(crate) pins: Vec<Pin>,
    /// The name that belongs to the credential.
    pub(crate) name: String,
}

impl JoinFlags {
    /// Whether a join token was given.
    fn is_given(&self) -> bool {
        self.join.is_some() || self.join_file.is_some()
    }

    /// The flags of a command that declares them itself.
    pub(crate) fn new(join: Option<String>, join_file: Option<PathBuf>) -> Self {
        Self { join, join_file }
    }

    /// Whether that credential came from the given token.
    pub(crate) fn is_of(&self, file: &JoinedFile) -> Result<bool, CliError> {
        Ok(self.join.as_deref() != Some("-") && self.token()?.id == file.token)
    }

    fn token(&self) -> Result<Token, CliError> {
        let (text, from) = match (&self.join, &self.join_file) {
            (Some(text), _) if text != "-" => (text.clone(), "--join".to_owned()),
            (Some(_), _) => (read_all(&mut io::stdin(), Path::new("standard input"))?, "standard input".to_owned()),
            (None, Some(path)) => {
                let failed = |source| ConfigError::Read { path: path.clone(), source };
                (read_all(&mut File::open(path).map_err(failed)?, path)?, path.display().to_string())
            }
            (None, None) => return Err(CliError::Usage("give a token with --join or --join-file".into())),
        };
        let usage = |error: String| CliError::Usage(format!("the token from {from} cannot be used: {error}"));
        let token = Token::parse(text.trim()).map_err(|error| usage(error.to_string()))?;
        match token.kind {
            TokenKind::Join => Ok(token),
            TokenKind::Credential => Err(usage("it is the credential of a peer, and no join token".into())),
        }
    }
}

impl Newcomer<'_> {
    /// Joins, if a token is given and the peer has not joined with it before. Returns the credential, or `None` for a
    /// peer that has none and shall not join. Waits for a dispatcher that is away, until `stop` has a message.
    pub(crate) fn join(&self, flags: &JoinFlags, stop: &Receiver<Stop>) -> Result<Option<Membership>, CliError> {
        let Some(first) = self.dispatch.first() else { return Ok(None) };
        let path = joined_file(self.directory, self.word, first);
        if flags.is_given() {
            return self.join_in(&path, flags, Some(stop));
        }
        Ok(JoinedFile::read(&path)?.and_then(|file| self.membership(&path, &file)))
    }

    /// Joins with the token of the flags, and keeps the credential in that file. Without `stop` a dispatcher that is
    /// away is an error.
    pub(crate) fn join_in(
        &self,
        path: &Path,
        flags: &JoinFlags,
        stop: Option<&Receiver<Stop>>,
    ) -> Result<Option<Membership>, CliError> {
        let known = JoinedFile::read(path)?;
        let token = flags.token()?;
        let file = match known.filter(|file| file.token == token.id) {
            // The pins of a try that failed may have been wrong. The secret stays: the dispatcher may know it already.
            Some(file) if file.joined.is_none() => {
                let pins = if self.pins.is_empty() { pins(&token)? } else { self.pins.to_vec() };
                let file = JoinedFile { pins, ..file };
                file.write(path)?;
                file
            }
            Some(file) => file,
            None => {
                let pins = if self.pins.is_empty() { pins(&token)? } else { self.pins.to_vec() };
                let (secret, dispatch) = (draw_secret()?, self.dispatch.to_vec());
                let file = JoinedFile { token: token.id.clone(), secret, pins, dispatch, role: None, joined: None };
                // It must outlast this process: the secret is what makes a second try the same as the first.
                file.write(path)?;
                file
            }
        };
        if let Some(membership) = self.membership(path, &file) {
            log::info!("joined before as {}, so the join token is not needed", membership.name);
            return Ok(Some(membership));
        }
        let JoinedAs { id, name, role } = match stop {
            Some(stop) => self.ask_until_answered(&token, &file, stop)?,
            None => self.ask_in_turn(&token, &file)?,
        };
        let file = JoinedFile { joined: Some((id.clone(), name.clone())), role: Some(role.clone()), ..file };
        file.write(path)?;
        log::info!("joined as {role} {name}, credential {id}, which is kept in {}", path.display());
        Ok(self.membership(path, &file))
    }

    fn membership(&self, path: &Path, file: &JoinedFile) -> Option<Membership> {
        let (_, name) = file.joined.clone()?;
        Some(Membership { token: TokenSource::joined(path.to_owned()), pins: self.pins_of(file), name })
    }

    fn pins_of(&self, file: &JoinedFile) -> Vec<Pin> {
        if self.pins.is_empty() { file.pins.clone() } else { self.pins.to_vec() }
    }

    fn ask_until_answered(
        &self,
        token: &Token,
        file: &JoinedFile,
        stop: &Receiver<Stop>,
    ) -> Result<JoinedAs, CliError> {
        let mut backoff = Backoff::new(500, LONGEST_PAUSE_MS, u64::from(std::process::id()));
        let mut is_told = false;
        loop {
            match self.ask_in_turn(token, file) {
                Err(error) if error.passes() => {
                    if !std::mem::replace(&mut is_told, true) {
                        log::warn!("could not join: {}; trying again", super::chain(&error));
                    }
                }
                result => return result,
            }
            if stop.recv_timeout(backoff.next_delay()).is_ok() {
                return Err(CliError::NotJoined);
            }
        }
    }

    /// Asks at each address until one answers.
    fn ask_in_turn(&self, token: &Token, file: &JoinedFile) -> Result<JoinedAs, CliError> {
        let mut failure = None;
        for address in self.dispatch {
            match self.ask(address, token, file) {
                Err(error) if error.passes() => {
                    failure.get_or_insert(error);
                }
                result => return result,
            }
        }
        Err(failure.unwrap_or(CliError::NotJoined))
    }

    fn ask(&self, address: &Address, token: &Token, file: &JoinedFile) -> Result<JoinedAs, CliError> {
        let lost = |error| CliError::Disconnected(Some(error));
        let stream = Stream::dial_pinned(address, TIMEOUT, &self.pins_of(file)).map_err(unreachable)?;
        let mut reader = FrameReader::new(stream.clone());
        reader.set_timeout(Some(TIMEOUT)).map_err(lost)?;
        let name = self.name.unwrap_or_default().to_owned();
        let hello = Hello::new(self.role, name, u64::from(std::process::id()), token.text());
        let hostname = (self.role == Role::Runner).then(|| default_runner_name().to_string());
        let join = JoinRequest { secret: file.secret.clone(), default_name: self.default_name.clone(), hostname };
        let hello = Hello { join: Some(join), ..hello };
        let answer = write_frame(&stream, &Frame::new(&Opening::Hello(hello)))
            .map_err(lost)
            .and_then(|()| reader.read::<Greeting>(MAX_LINE_BYTES).map_err(lost));
        stream.close();
        match answer? {
            Some(Greeting::Welcome(welcome)) => welcome.joined.ok_or(CliError::Unexpected("a join token")),
            Some(Greeting::Error(refusal)) => Err(CliError::Refused(refusal)),
            None => Err(CliError::Disconnected(None)),
        }
    }
}

/// Returns the pins of the dispatcher that the token names.
fn pins(token: &Token) -> Result<Vec<Pin>, CliError> {
    let pins = token.pins.iter().map(|pin| pin.parse());
    pins.collect::<Result<_, _>>()
        .map_err(|_| CliError::Usage("the pin in the token is not one: copy all of it".into()))
}

fn draw_secret() -> Result<String, CliError> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| CliError::machine("draw a secret")(io::Error::other(error)))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn read_all(from: &mut impl Read, path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = from.take(MAX_TOKEN_BYTES).read_to_string(&mut text);
    read.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    Ok(text)
}
