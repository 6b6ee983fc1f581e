//! The one file with unsafe code: starts a command's process in a session of its own, and leaves namespaces.
//!
//! The kernel executes exactly what `launch` prepared. The C library's execvp is not used, because it hands a file that
//! the kernel refuses to the shell: a program for another machine would "run" and fail with a syntax error.
//! Decides nothing.
#![expect(unsafe_code, reason = "between fork and exec, and around namespaces, there is no safe interface")]

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

unsafe extern "C" {
    /// execve(2).
    fn execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
}

/// What to execute, in the shape that the kernel takes it.
pub(super) struct Image {
    /// Tried in order; the first that can be executed is.
    pub candidates: Vec<CString>,
    pub arguments: Strings,
    pub environment: Strings,
}

/// Strings, and the array of pointers to them that ends in a null pointer.
pub(super) struct Strings {
    pointers: Vec<*const c_char>,
    /// What the pointers point into. Never changed.
    _strings: Vec<CString>,
}

// SAFETY: the pointers lead to memory on the heap that the same value owns and that nobody writes to.
unsafe impl Send for Strings {}
// SAFETY: as above.
unsafe impl Sync for Strings {}

impl Strings {
    pub(super) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, _strings: strings }
    }
}

/// Starts a process that leads a session of its own in `directory`, with `output` as its stdout and stderr and nothing
/// to read. Returns once it executes its program, or with the kernel's reason. It has no signal blocked, and none
/// ignored that this process handles.
pub(super) fn start(image: &Arc<Image>, directory: &Path, output: &OwnedFd) -> io::Result<Child> {
    let image = Arc::clone(image);
    // The name is never executed: the closure below does not return without an error.
    let mut command = Command::new("/proc/self/exe");
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?).current_dir(directory);
    let body = move || {
        rustix::process::setsid()?;
        Err(execute(&image))
    };
    // SAFETY: the forking process has one thread, so no lock is held by a thread that is missing in the child; and the
    // closure only makes system calls, on memory that was prepared before.
    unsafe { command.pre_exec(body) };
    command.spawn()
}

/// Becomes the first candidate that can be executed. Goes on to the next as execvp(3) does.
fn execute(image: &Image) -> io::Error {
    let mut reason = Errno::NOENT;
    for candidate in &image.candidates {
        // SAFETY: the path and every string end in a NUL, both arrays in a null pointer, and all of it is alive.
        unsafe {
            execve(candidate.as_ptr(), image.arguments.pointers.as_ptr(), image.environment.pointers.as_ptr());
        }
        match Errno::from_io_error(&io::Error::last_os_error()) {
            Some(Errno::ACCESS) => reason = Errno::ACCESS,
            Some(Errno::NOENT | Errno::NOTDIR) => {}
            other => return other.unwrap_or(Errno::NOEXEC).into(),
        }
    }
    reason.into()
}

/// Descriptors that whoever started the runner left open are not inherited by commands.
pub(super) fn close_all_on_exec() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()).filter(|number: &i32| *number > 2) else {
            continue;
        };
        // SAFETY: it is used for this one call only. It may be closed by now, which is then an error to ignore.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
    }
    Ok(())
}

/// Children that this thread starts from now on are in a new PID namespace, the first one as its PID 1. The thread can
/// start no other thread after this.
pub(super) fn unshare_pids() -> io::Result<()> {
    // SAFETY: descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }.map_err(io::Error::from)
}

/// This thread sees mounts of its own from now on.
pub(super) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(io::Error::from)
}
