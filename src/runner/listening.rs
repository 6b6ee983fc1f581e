//! A runner that listens instead of dialling. A caller must first show the key from the runner's announcement; until
//! then it occupies one of a few threads for a bounded time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use subtle::ConstantTimeEq;

use super::limits::{ACCEPT_PAUSE, CALL, CALLERS, GREETING, REFUSED_LINES};
use crate::clock;
use crate::error_chain::chain;
use crate::log_limiter::LogLimiter;
use crate::protocol::hello::Call;
use crate::protocol::limits::MAX_HELLO_BYTES;
use crate::threads::{self, Thread};
use crate::transport::{FrameReader, Listener, Stream, TransportError};

/// Makes an accepted connection what it is to be, within a bounded time.
pub(super) type Encrypt = Arc<dyn Fn(&Stream) -> Result<Stream, TransportError> + Send + Sync>;

/// A connection whose caller has shown the key.
pub(super) struct IncomingCall {
    pub(super) stream: Stream,
    pub(super) reader: FrameReader,
}

/// The calls of the dispatcher. Dropping this value stops listening.
pub(super) struct Callers {
    listener: Arc<Listener>,
    calls: Receiver<IncomingCall>,
    _accept: Thread<()>,
}

impl Callers {
    /// Starts to accept calls that show `key`. `encrypt` makes an accepted connection what it is to be: encrypted, if
    /// the runner has the dispatcher's pin.
    pub(super) fn start(listener: Listener, key: String, encrypt: Encrypt) -> std::io::Result<Self> {
        let listener = Arc::new(listener);
        let (taken, calls) = bounded(1);
        let accepting = listener.clone();
        let accept = threads::spawn("accept", move || accept(&accepting, &key.into(), &encrypt, &taken))?;
        Ok(Self { listener, calls, _accept: accept })
    }

    /// Waits for the next call, as long as the dispatcher may take to dial. Returns `None` if none came or the runner
    /// ends.
    pub(super) fn next_call(&self, closing: &Receiver<()>) -> Option<IncomingCall> {
        select! {
            recv(self.calls) -> call => call.ok(),
            recv(closing) -> _ => None,
            default(CALL) => {
                log::warn!("the dispatcher did not call back within {} s", CALL.as_secs());
                None
            }
        }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.listener.close();
    }
}

fn accept(listener: &Listener, key: &Arc<str>, encrypt: &Encrypt, taken: &Sender<IncomingCall>) {
    let waiting = Arc::new(AtomicUsize::new(0));
    let mut greeters: Vec<(Stream, Thread<()>)> = Vec::new();
    // Whoever reaches the port can call, as often as they like.
    let lines = Arc::new(LogLimiter::new(REFUSED_LINES));
    loop {
        let stream = match listener.accept() {
            Ok(Some(stream)) => stream,
            Ok(None) => break,
            Err(error) => {
                // For instance too many open files. The state passes, or the error comes again a second later.
                log::error!("could not accept a call: {}", chain(&error));
                let _ = after(ACCEPT_PAUSE).recv();
                continue;
            }
        };
        greeters.retain(|(_, greeter)| !greeter.is_finished());
        if waiting.load(Ordering::Relaxed) >= CALLERS {
            if lines.is_due(clock::now()) {
                log::warn!("too many callers: the call of {} is refused", stream.peer());
            }
            stream.close();
            continue;
        }
        waiting.fetch_add(1, Ordering::Relaxed);
        let (key, encrypt, taken) = (key.clone(), encrypt.clone(), taken.clone());
        let (count, caller, lines) = (waiting.clone(), stream.clone(), lines.clone());
        let greeter = threads::spawn("call", move || {
            if let Err(why) = hear_caller(&caller, &key, &encrypt, &taken) {
                if lines.is_due(clock::now()) {
                    log::warn!("a call was refused: {why}");
                }
                caller.close();
            }
            count.fetch_sub(1, Ordering::Relaxed);
        });
        match greeter {
            Ok(greeter) => greeters.push((stream, greeter)),
            Err(error) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                log::error!("could not take a call: {error}");
                stream.close();
            }
        }
    }
    // Callers that have not shown the key are not waited for. The accepted call is closed by the hang-up.
    for (stream, _) in &greeters {
        stream.close();
    }
}

/// Passes the call on if the caller shows the key. Fails with the reason why not.
fn hear_caller(caller: &Stream, key: &str, encrypt: &Encrypt, taken: &Sender<IncomingCall>) -> Result<(), String> {
    let stream = encrypt(caller).map_err(|error| chain(&error))?;
    let mut reader = FrameReader::new(stream.clone());
    let call = reader.set_timeout(Some(GREETING)).and_then(|()| reader.read::<Call>(MAX_HELLO_BYTES));
    match call {
        Ok(Some(Call::Dialled { callback_key })) if bool::from(callback_key.as_bytes().ct_eq(key.as_bytes())) => {
            if let Err(unwanted) = taken.try_send(IncomingCall { stream, reader }) {
                // Another accepted call is waiting already.
                unwanted.into_inner().stream.close();
            }
            Ok(())
        }
        Ok(Some(Call::Dialled { .. })) => Err(format!("{} shows a wrong key", stream.peer())),
        Ok(None) | Err(_) => Err(format!("{} does not say who it is, so it is no dispatcher", stream.peer())),
    }
}
