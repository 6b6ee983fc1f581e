//! A runner that listens instead of dialling. A caller must first show the key from the runner's announcement; until
//! then it occupies one of a few threads for a bounded time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use subtle::ConstantTimeEq;

use super::limits::{ACCEPT_PAUSE, CALL, CALLERS, GREETING};
use crate::error_chain::chain;
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
            log::warn!("too many callers: the call of {} is refused", stream.peer());
            stream.close();
            continue;
        }
        waiting.fetch_add(1, Ordering::Relaxed);
        let (key, encrypt, taken) = (key.clone(), encrypt.clone(), taken.clone());
        let (count, caller) = (waiting.clone(), stream.clone());
        let greeter = threads::spawn("call", move || {
            hear_caller(caller, &key, &encrypt, &taken);
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

fn hear_caller(caller: Stream, key: &str, encrypt: &Encrypt, taken: &Sender<IncomingCall>) {
    let stream = match encrypt(&caller) {
        Ok(stream) => stream,
        Err(error) => {
            log::warn!("a call was refused: {}", chain(&error));
            return caller.close();
        }
    };
    let mut reader = FrameReader::new(stream.clone());
    let call = reader.set_timeout(Some(GREETING)).and_then(|()| reader.read::<Call>(MAX_HELLO_BYTES));
    match call {
        Ok(Some(Call::Dialled { callback_key })) if bool::from(callback_key.as_bytes().ct_eq(key.as_bytes())) => {
            if let Err(unwanted) = taken.try_send(IncomingCall { stream, reader }) {
                // Another accepted call is waiting already.
                unwanted.into_inner().stream.close();
            }
        }
        Ok(Some(Call::Dialled { .. })) => {
            log::warn!("{} called with a wrong key", stream.peer());
            stream.close();
        }
        Ok(None) | Err(_) => {
            log::warn!("{} called without saying who it is", stream.peer());
            stream.close();
        }
    }
}
