//! The body of a session's thread: hello is read and answered, then the file of the role serves the peer.

use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

use super::connection::{NO_THREAD, REFUSAL_WAIT, Session};
use super::error::{SessionError, explain};
use super::gate::Entrance;
use super::shared::Shared;
use super::{observer, operator, runner};
use crate::dispatcher::session::credentials::{Access, Denied, Joiner};
use crate::dispatcher::translate;
use crate::error_chain::chain;
use crate::model::{Address, RunnerName, SessionId};
use crate::protocol::hello::{
    Call, ErrorCode, Greeting, Hello, JoinRequest, JoinedAs, Opening, Refusal, Role, Welcome,
};
use crate::protocol::limits::MAX_HELLO_BYTES;
use crate::protocol::token::{SECRET_DIGITS, Token, TokenKind, is_secret};
use crate::protocol::{MIN_VERSION, VERSION};
use crate::transport::{Frame, FrameReader, Stream, TransportError, write_frame};
use crate::{clock, threads};

/// Time that dialling a listening runner may take.
const DIAL_WAIT: Duration = Duration::from_secs(5);

impl Shared {
    /// Gives a new connection a thread of its own. Waits for no peer, because others wait to be accepted.
    pub(crate) fn take_in(self: Arc<Self>, stream: Stream) {
        let id = self.sessions.next_id();
        if !self.sessions.admit(id, &stream) {
            return stream.close();
        }
        let shared = self.clone();
        let peer = stream.clone();
        let started = threads::spawn(&format!("s{}-read", id.0 % 1_000_000), move || shared.serve(id, &peer));
        match started {
            Ok(thread) => self.sessions.add_thread(id, thread),
            Err(error) => {
                if self.short.is_due(clock::now()) {
                    log::warn!("session {id} refused, and others like it: no thread for it: {error}");
                }
                let refusal = Refusal::new(ErrorCode::Busy, NO_THREAD);
                // The refusal fits into a fresh socket. If it is lost, the peer tries again anyway.
                stream.write_at_once(&Frame::new(&Greeting::Error(refusal)).line).ok();
                stream.close();
                self.sessions.withdraw(id);
            }
        }
    }

    /// Serves a connection until it ends.
    fn serve(self: Arc<Self>, id: SessionId, accepted: &Stream) {
        let _leaving = Leaving { shared: self.clone(), id, stream: accepted.clone() };
        // From the handshake on, the encrypted connection takes its place.
        let mut stream = accepted.clone();
        match self.clone().open(id, &mut stream) {
            Ok(Some(session)) => {
                let (role, name) = (session.hello.role, Refusal::quote(&session.hello.name));
                log::debug!("session {id} open: {role:?} {name} at {}", stream.peer());
                let end = match role {
                    Role::Runner => runner::serve(session),
                    Role::Observer => observer::serve(session),
                    Role::Operator => operator::serve(session),
                };
                match end {
                    Ok(()) => log::debug!("session {id} closed by its peer"),
                    Err(SessionError::Refused(refusal)) => {
                        log::warn!("session {id} of {name} ended: {}", refusal.line());
                        refuse(&stream, &refusal);
                    }
                    Err(SessionError::Transport(error)) => log::debug!("session {id} of {name} ended: {error}"),
                }
            }
            Ok(None) => {}
            Err(SessionError::Refused(refusal)) => {
                if self.refused.is_due(clock::now()) {
                    log::warn!("connection from {} refused: {}", stream.peer(), refusal.line());
                }
                refuse(&stream, &refusal);
            }
            Err(SessionError::Transport(error @ TransportError::Tls { .. })) => {
                if self.refused.is_due(clock::now()) {
                    log::warn!("connection refused: {}", chain(&error));
                }
                // The alert that tells the peer why must not be overtaken by a reset.
                stream.hang_up(REFUSAL_WAIT);
            }
            Err(SessionError::Transport(error)) => {
                log::debug!("connection from {} ended before hello: {error}", stream.peer());
            }
        }
        // An encrypted connection says that it ends.
        stream.close();
    }

    /// Reads hello and answers it. Returns `None` for a peer that has left, or that asked to be dialled.
    ///
    /// Not inlined: [`serve`](Self::serve) would keep the room for it on the stack as long as the session lasts.
    #[inline(never)]
    fn open(self: Arc<Self>, id: SessionId, stream: &mut Stream) -> Result<Option<Session>, SessionError> {
        let lost = SessionError::Transport;
        let Some((hello, mut reader)) = self.read_hello(id, stream)? else { return Ok(None) };
        check_version(&hello)?;
        let (access, joined) = match &hello.join {
            Some(join) => (Access::default(), Some(self.join(&hello, join)?)),
            None => (self.admit(&hello)?, None),
        };
        let callback = callback(&hello)?.filter(|_| joined.is_none());
        let is_encrypted = stream.is_encrypted();
        if let Some((address, _)) = &callback
            && !is_encrypted
        {
            self.gate.check_plain_call(address)?;
        }
        self.sessions.authenticate(id)?;
        if let Some(credential) = access.id() {
            self.credentials.enter(id, credential, stream).map_err(|denied| denied.refusal())?;
            self.gate.authority.note(credential, &hello.pins);
        }
        // An operator hears of the pins at its next command.
        if hello.role != Role::Operator && !hello.pins.is_empty() {
            self.gate.authority.enter(id, stream);
        }
        let is_over = joined.is_some();
        let welcome = Welcome {
            version: VERSION.min(hello.version),
            session: id.0,
            incarnation: self.incarnation,
            ping_interval_ms: self.ping_interval_ms,
            timeout_ms: self.timeout_ms,
            takes_refs: hello.takes_refs,
            takes_entries: hello.role == Role::Runner && self.caches.max_entry_bytes() > 0,
            // After `enter`: a rotation in between ends the session, so the peer hears of it in any case.
            pins: self.gate.authority.news_for(&hello.pins),
            joined,
        };
        write_frame(stream, &Frame::new(&Greeting::Welcome(welcome))).map_err(lost)?;
        if let Some((address, key)) = callback {
            self.clone().call_back(address, key, is_encrypted);
            stream.hang_up(REFUSAL_WAIT);
            return Ok(None);
        }
        if is_over {
            stream.hang_up(REFUSAL_WAIT);
            return Ok(None);
        }
        reader.set_timeout(Some(Duration::from_millis(2 * self.timeout_ms))).map_err(lost)?;
        Ok(Some(Session { id, shared: self, hello, access, stream: stream.clone(), reader }))
    }

    /// Reads hello, behind the handshake of an encrypted connection. Returns `None` for a peer that has left, or that
    /// speaks another protocol.
    #[inline(never)]
    fn read_hello(
        &self,
        id: SessionId,
        stream: &mut Stream,
    ) -> Result<Option<(Box<Hello>, FrameReader)>, SessionError> {
        let mut reader = match self.gate.enter(stream, || self.sessions.begin_handshake(id))? {
            Entrance::Protocol(reader) => reader,
            Entrance::Foreign(name) => {
                if self.refused.is_due(clock::now()) {
                    log::warn!("connection from {} refused: it speaks {name}", stream.peer());
                }
                stream.hang_up(REFUSAL_WAIT);
                return Ok(None);
            }
            Entrance::Left => return Ok(None),
        };
        let Some(Opening::Hello(hello)) = reader.read(MAX_HELLO_BYTES).map_err(explain)? else { return Ok(None) };
        Ok(Some((Box::new(hello), reader)))
    }

    /// Returns the rights of a peer that has a credential, or the secret of its role.
    #[inline(never)]
    fn admit(&self, hello: &Hello) -> Result<Access, Refusal> {
        let credential = match Token::parse(&hello.token) {
            Ok(Token { kind: TokenKind::Join, id, .. }) => {
                let text = format!("{id} is a join token: join with it first, with --join or --join-file");
                return Err(Refusal::new(ErrorCode::Token, text).because("token_join"));
            }
            Ok(token) => {
                let admitted = self.credentials.admit(&token, hello.role, &hello.name);
                Some(admitted.map_err(|denied| denied.refusal())?)
            }
            Err(_) if bool::from(self.gate.tokens.of(hello.role).as_bytes().ct_eq(hello.token.as_bytes())) => None,
            Err(_) => {
                let text = "the token is not the one of this dispatcher: use the file of that role in its tokens \
                            directory, or join with `surveil token create`";
                return Err(Refusal::new(ErrorCode::Token, text).because("token_unknown"));
            }
        };
        if hello.role == Role::Runner && RunnerName::new(&hello.name).is_err() {
            let name = Refusal::quote(&hello.name);
            let text = format!(
                "`{name}` cannot name a runner: use 1 to 100 of A-Z a-z 0-9 . _ - and start with a letter or digit"
            );
            return Err(Refusal::new(ErrorCode::Malformed, text));
        }
        Ok(Access::of(credential, hello.user.as_deref()))
    }

    /// Gives a peer that has a join token a credential. It is durable when this returns.
    #[inline(never)]
    fn join(&self, hello: &Hello, join: &JoinRequest) -> Result<JoinedAs, Refusal> {
        let malformed = |text: String| Refusal::new(ErrorCode::Malformed, text);
        let token = Token::parse(&hello.token).ok().filter(|token| token.kind == TokenKind::Join);
        let token = token.ok_or_else(|| Denied::Unknown.refusal())?;
        if !is_secret(&join.secret) {
            return Err(malformed(format!("`secret` has {SECRET_DIGITS} lower-case hexadecimal digits")));
        }
        let joiner = Joiner {
            token,
            role: hello.role,
            name: hello.name.clone(),
            default_name: join.default_name.clone(),
            hostname: join.hostname.clone(),
            secret: join.secret.clone(),
        };
        let joined = self.credentials.join(joiner).map_err(|denied| denied.refusal())?;
        let name = joined.name.unwrap_or_default();
        log::info!("the {} {name} has joined: credential {}", joined.role.word(), joined.id);
        Ok(JoinedAs { id: joined.id.to_string(), name, role: joined.role.word().to_owned() })
    }

    /// Dials a listening runner. The new connection becomes a session like any other. It is encrypted if that was on
    /// which the runner asked for it.
    #[inline(never)]
    fn call_back(self: Arc<Self>, address: Address, callback_key: String, is_encrypted: bool) {
        let id = self.sessions.next_id();
        let shared = self.clone();
        let thread = threads::spawn(&format!("s{}-dial", id.0 % 1_000_000), move || {
            let dialled = Stream::dial(&address, DIAL_WAIT).and_then(|stream| {
                let stream = if is_encrypted { shared.gate.encrypt(&stream, Vec::new())? } else { stream };
                write_frame(&stream, &Frame::new(&Call::Dialled { callback_key }))?;
                Ok(stream)
            });
            match dialled {
                Ok(stream) if shared.sessions.admit(id, &stream) => return shared.serve(id, &stream),
                Ok(stream) => stream.close(),
                Err(error) => log::warn!("the runner that listens at {address} cannot be reached: {}", chain(&error)),
            }
            shared.leave(id);
        });
        match thread {
            Ok(thread) => self.sessions.add_thread(id, thread),
            Err(error) => log::warn!("session {id} not dialled: no thread for it: {error}"),
        }
    }
}

fn check_version(hello: &Hello) -> Result<(), Refusal> {
    if hello.min_version <= VERSION && hello.version >= MIN_VERSION {
        return Ok(());
    }
    let text = format!(
        "no common protocol version: this dispatcher speaks {MIN_VERSION} to {VERSION}, the peer {} to {}: run one version \
         of surveil at both",
        hello.min_version, hello.version
    );
    Err(Refusal::new(ErrorCode::Version, text))
}

/// Returns the address and the key of a runner that asks to be dialled.
fn callback(hello: &Hello) -> Result<Option<(Address, String)>, Refusal> {
    let Some(listens_at) = &hello.listens_at else { return Ok(None) };
    let (Role::Runner, Some(key)) = (hello.role, hello.callback_key.clone()) else {
        let text = "`listens_at` is for runners, and comes with a `callback_key`";
        return Err(Refusal::new(ErrorCode::NotAllowed, text));
    };
    Ok(Some((listens_at.parse().map_err(translate::malformed)?, key)))
}

/// Ends a session when its thread ends, also by a panic: a session must not keep its place.
struct Leaving {
    shared: Arc<Shared>,
    id: SessionId,
    stream: Stream,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.stream.close();
        self.shared.leave(self.id);
    }
}

#[inline(never)]
fn refuse(stream: &Stream, refusal: &Refusal) {
    // The peer may be gone already, so an error means nothing.
    if write_frame(stream, &Frame::new(&Greeting::Error(refusal.clone()))).is_ok() {
        stream.hang_up(REFUSAL_WAIT);
    }
    stream.close();
}
