//! The one file with unsafe code: starts a command's process in a session of its own, leaves namespaces, and returns
//! memory to the system.
//!
//! The kernel executes exactly what `launch` prepared. The C library's execvp is not used, because it hands a file that
//! the kernel refuses to the shell: a program for another machine would "run" and fail with a syntax error. Nor is the
//! standard library's `pre_exec`, which forks: posix_spawn(3) borrows this process's memory until the program executes.
//! Decides nothing.
#![expect(unsafe_code, reason = "there is no safe interface to posix_spawn, nor around namespaces and memory")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// The program to execute, in the form that the kernel takes.
pub(super) struct Image {
    /// Paths that are tried in order, until one can be executed.
    pub candidates: Vec<CString>,
    pub arguments: Strings,
    pub environment: Strings,
}

/// Strings, and an array of pointers to them that ends in a null pointer.
pub(super) struct Strings {
    pointers: Vec<*mut c_char>,
    /// The memory that the pointers point into. Never changed.
    _strings: Vec<CString>,
}

impl Strings {
    pub(super) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect();
        Self { pointers, _strings: strings }
    }
}

/// Starts a process that leads a session of its own in `directory`, with `output` as its stdout and stderr and this
/// process's (empty) stdin. It has no signal blocked, and ignores none that this process handles. Returns once it
/// executes its program, or with the kernel's error. Tries the next candidate in the cases in which execvp(3) does.
/// `confine` is called in the new process. It takes a fork, so it takes longer.
pub(super) fn start(
    image: &Image,
    directory: &Path,
    output: &OwnedFd,
    confine: Option<&dyn Fn() -> io::Result<()>>,
) -> Result<Pid, Errno> {
    let setup = SpawnSetup::new(directory, output)?;
    let start = |program: &CStr| match confine {
        None => setup.spawn(program, image),
        Some(confine) => fork(program, image, directory, output, confine),
    };
    let mut reason = Errno::NOENT;
    for candidate in &image.candidates {
        // Checking is faster than starting a process that finds no program.
        let path = directory.join(std::ffi::OsStr::from_bytes(candidate.to_bytes()));
        let found = rustix::fs::access(&path, Access::EXISTS);
        match found.and_then(|()| start(candidate)) {
            // As in execvp(3): a later candidate may work; if none does, this error says more than "not found".
            Err(Errno::ACCESS) => reason = Errno::ACCESS,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            other => return other,
        }
    }
    Err(reason)
}

/// Starts a process as [`start`] does, in the root directory, and with `input` as its stdin.
pub(super) fn start_with_input(image: &Image, input: &OwnedFd, output: &OwnedFd) -> Result<Pid, Errno> {
    let mut setup = SpawnSetup::new(Path::new("/"), output)?;
    // SAFETY: the actions are initialised, and nothing else uses them.
    check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut setup.actions, input.as_raw_fd(), 0) })?;
    let program = image.candidates.first().ok_or(Errno::NOENT)?;
    setup.spawn(program, image)
}

/// The steps of posix_spawn(3) between the new process's start and its program's.
struct SpawnSetup {
    actions: libc::posix_spawn_file_actions_t,
    attributes: libc::posix_spawnattr_t,
}

impl SpawnSetup {
    fn new(directory: &Path, output: &OwnedFd) -> Result<Self, Errno> {
        let directory = CString::new(directory.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        let (mut actions, mut attributes) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: both are initialised by the calls that are for that, and neither is read if its call fails.
        let mut setup = unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            if let Err(errno) = check(libc::posix_spawnattr_init(attributes.as_mut_ptr())) {
                libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
                return Err(errno);
            }
            Self { actions: actions.assume_init(), attributes: attributes.assume_init() }
        };
        let (actions, attributes) = (&raw mut setup.actions, &raw mut setup.attributes);
        let flags = c_int::from(libc::POSIX_SPAWN_SETSID) | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `actions` and `attributes` are initialised, and nothing else uses them. Sets of signals are made
        // empty before their use. The called functions copy the sets and the path.
        unsafe {
            check(libc::posix_spawn_file_actions_adddup2(actions, output.as_raw_fd(), 1))?;
            check(libc::posix_spawn_file_actions_adddup2(actions, output.as_raw_fd(), 2))?;
            check(libc::posix_spawn_file_actions_addchdir_np(actions, directory.as_ptr()))?;
            check(libc::posix_spawnattr_setflags(attributes, flags as libc::c_short))?;
            libc::sigemptyset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(attributes, signals.as_ptr()))?;
            // The standard library's start-up ignores the signal of broken pipes, and what started the runner may have
            // ignored others. For a signal that is not named here, the library first asks for its action.
            libc::sigfillset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigdefault(attributes, signals.as_ptr()))?;
        }
        Ok(setup)
    }

    fn spawn(&self, program: &CStr, image: &Image) -> Result<Pid, Errno> {
        let mut pid = 0;
        // SAFETY: the path and every string end in a NUL, both arrays in a null pointer, and all of it is alive until
        // this returns, which is when the new process has left this memory.
        let error = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                program.as_ptr(),
                &raw const self.actions,
                &raw const self.attributes,
                image.arguments.pointers.as_ptr(),
                image.environment.pointers.as_ptr(),
            )
        };
        check(error)?;
        Pid::from_raw(pid).ok_or(Errno::SRCH)
    }
}

impl Drop for SpawnSetup {
    fn drop(&mut self) {
        // SAFETY: both were initialised, and are not used again. These calls free memory and cannot fail.
        unsafe {
            libc::posix_spawn_file_actions_destroy(&raw mut self.actions);
            libc::posix_spawnattr_destroy(&raw mut self.attributes);
        }
    }
}

/// Starts a process as [`start`] does, by a fork, so that it can change itself before it executes the program.
fn fork(
    program: &CStr,
    image: &Image,
    directory: &Path,
    output: &OwnedFd,
    confine: &dyn Fn() -> io::Result<()>,
) -> Result<Pid, Errno> {
    let (mut failure, report) = io::pipe().map_err(|error| errno_of(&error))?;
    // SAFETY: the supervising process has no other thread that could hold a lock, so the new process may call anything.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let failed = |error: &io::Error| -> ! {
            let errno = errno_of(error).raw_os_error();
            // SAFETY: the descriptor is open, and the number has this length. The old process loses nothing.
            unsafe {
                libc::write(report.as_raw_fd(), (&raw const errno).cast(), size_of::<c_int>());
                libc::_exit(127)
            }
        };
        let entered = rustix::process::setsid().map_err(io::Error::from);
        let entered = entered.and_then(|_| Ok(rustix::stdio::dup2_stdout(output)?));
        let entered = entered.and_then(|()| Ok(rustix::stdio::dup2_stderr(output)?));
        if let Err(error) = entered.and_then(|()| Ok(rustix::process::chdir(directory)?)).and_then(|()| confine()) {
            failed(&error);
        }
        let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is made empty before its use; the strings and arrays are as execve(2) wants them.
        unsafe {
            libc::sigemptyset(signals.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, signals.as_ptr(), ptr::null_mut());
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            let (words, variables) = (image.arguments.pointers.as_ptr(), image.environment.pointers.as_ptr());
            libc::execve(program.as_ptr(), words.cast(), variables.cast());
        }
        failed(&io::Error::last_os_error());
    }
    let pid = Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(|| errno_of(&io::Error::last_os_error()))?;
    drop(report);
    let mut errno = [0; size_of::<c_int>()];
    // The end of the pipe is closed by the execution of the program.
    if io::Read::read_exact(&mut failure, &mut errno).is_err() {
        return Ok(pid);
    }
    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    Err(Errno::from_raw_os_error(c_int::from_ne_bytes(errno)))
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Turns the result of these functions, an error number or 0, into a `Result`.
fn check(error: c_int) -> Result<(), Errno> {
    if error == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(error)) }
}

/// A child that has ended and was waited for.
pub(super) struct Reaped {
    pub pid: Pid,
    /// As wait4(2) tells it.
    pub status: c_int,
    /// The most memory of the child, or of one of the processes for which it has waited.
    pub memory_bytes: u64,
    /// Their processor time together.
    pub cpu: Duration,
}

/// Waits for any child that has ended already. Returns `None` if there are children and none has ended.
pub(super) fn wait_any() -> Result<Option<Reaped>, Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for the call, and a usage of zeros is one.
    let (pid, usage) = unsafe {
        let pid = libc::wait4(-1, &raw mut status, libc::WNOHANG, usage.as_mut_ptr());
        (pid, usage.assume_init())
    };
    if pid < 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::CHILD));
    }
    let time = |time: libc::timeval| {
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
        seconds + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Ok(Pid::from_raw(pid).map(|pid| Reaped {
        pid,
        status,
        // In units of 1024 bytes, getrusage(2).
        memory_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
    }))
}

/// Marks every descriptor to be closed on exec, so that commands inherit none that the runner's parent left open.
pub(super) fn close_all_on_exec() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()).filter(|number: &i32| *number > 2) else {
            continue;
        };
        // SAFETY: it is used for this one call only. If it is closed by now, the call fails, and the error is ignored.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
    }
    Ok(())
}

/// Puts the children that this thread starts from now on into a new PID namespace, the first one as its PID 1. The
/// thread can start no other thread after this.
pub(super) fn unshare_pids() -> io::Result<()> {
    // SAFETY: descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }.map_err(io::Error::from)
}

/// Starts the program with one argument as the first process of a new PID namespace, in a user namespace of its own, in
/// which it is its own user and has every capability. It leads a process group, and has this process's environment.
/// `unshare` cannot do this in a process with threads. `input` and `output` are its stdin and stdout.
pub(super) fn start_in_user_namespace(
    program: &Path,
    argument: &str,
    input: &OwnedFd,
    output: &OwnedFd,
) -> io::Result<Pid> {
    let string = |bytes: &[u8]| CString::new(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let program = string(program.as_os_str().as_bytes())?;
    let arguments = Strings::new(vec![program.clone(), string(argument.as_bytes())?]);
    let variables = std::env::vars_os();
    let variables = variables.map(|(name, value)| string(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
    let environment = Strings::new(variables.collect::<io::Result<_>>()?);
    let identity = |id: u32| format!("{id} {id} 1").into_bytes();
    let maps = [
        (c"/proc/self/uid_map", identity(rustix::process::geteuid().as_raw())),
        // Without this the kernel refuses the map of groups.
        (c"/proc/self/setgroups", b"deny".to_vec()),
        (c"/proc/self/gid_map", identity(rustix::process::getegid().as_raw())),
    ];
    let (mut failure, report) = io::pipe()?;
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::SIGCHLD;
    // SAFETY: without a stack and without shared memory it is a fork. The new process makes only system calls, with
    // memory that was prepared before, and ends in one of them.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
        if pid == 0 {
            let errno =
                become_program(&program, &arguments, &environment, &maps, input.as_raw_fd(), output.as_raw_fd());
            libc::write(report.as_raw_fd(), (&raw const errno).cast(), size_of::<c_int>());
            libc::_exit(127);
        }
        pid
    };
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(io::Error::last_os_error)?;
    drop(report);
    let mut errno = [0; size_of::<c_int>()];
    // The end of the pipe is closed by the execution of the program.
    if io::Read::read_exact(&mut failure, &mut errno).is_err() {
        return Ok(pid);
    }
    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    Err(io::Error::from_raw_os_error(c_int::from_ne_bytes(errno)))
}

/// Maps the user, keeps the capabilities over the execution, and executes the program. Returns only the number of an
/// error. It runs between fork and exec, so it allocates nothing.
///
/// # Safety
///
/// The strings and arrays are as execve(2) wants them, and the descriptors are open.
unsafe fn become_program(
    program: &CStr,
    arguments: &Strings,
    environment: &Strings,
    maps: &[(&CStr, Vec<u8>)],
    input: c_int,
    output: c_int,
) -> c_int {
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    // SAFETY: every pointer is to memory of this function or its caller, and of the length that is told.
    unsafe {
        for (path, text) in maps {
            let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if file < 0 || libc::write(file, text.as_ptr().cast(), text.len()) < 0 {
                return errno();
            }
            libc::close(file);
        }
        // Version 3 of capget(2): a header, and twice three words.
        let mut header = [0x2008_0522_u32, 0];
        let mut sets = [0_u32; 6];
        if libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) < 0 {
            return errno();
        }
        (sets[2], sets[5]) = (sets[1], sets[4]);
        if libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) < 0 {
            return errno();
        }
        for capability in 0..64 {
            // Those that the kernel does not know are refused.
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0);
        }
        libc::setpgid(0, 0);
        let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, signals.as_ptr(), ptr::null_mut());
        if libc::dup2(input, 0) < 0 || libc::dup2(output, 1) < 0 {
            return errno();
        }
        libc::execve(program.as_ptr(), arguments.pointers.as_ptr().cast(), environment.pointers.as_ptr().cast());
        errno()
    }
}

/// Gives this process a network of its own, with a loopback interface that is up.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: an interface's request is plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from as c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the kernel reads a request of this type, which is alive.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives this thread a mount namespace of its own.
pub(super) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(io::Error::from)
}

/// Returns the unused memory of the allocator to the system, and the pages of the program and its libraries that are
/// never written: code and constants. Pages that are needed again are mapped again from their files, which are mostly
/// in the page cache.
pub(super) fn give_back_memory() -> io::Result<()> {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) touches only what was freed, and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
    // SAFETY: dl_iterate_phdr(3) may be called from any thread, and the callback calls nothing of the loader.
    match unsafe { libc::dl_iterate_phdr(Some(give_back_object), ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Unmaps the pages of an object's read-only segments; elf(5) says what a segment is. Returns 0, or the error's number,
/// which ends the iteration.
unsafe extern "C" fn give_back_object(object: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> c_int {
    // SAFETY: the loader calls with a description that is valid until this returns.
    let (object, segments) = unsafe {
        let object = &*object;
        (object, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    let page = rustix::param::page_size();
    for segment in segments {
        if segment.p_type != libc::PT_LOAD || segment.p_flags & libc::PF_W != 0 {
            continue;
        }
        let address = object.dlpi_addr as usize + segment.p_vaddr as usize;
        let start = address / page * page;
        let length = address + segment.p_memsz as usize - start;
        // SAFETY: it is a private mapping of a file, and nothing ever writes to it: a segment that relocations change
        // is writable here, even if the loader protects it afterwards. So what is in it is in the file.
        if unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) } != 0 {
            return io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_there_when_it_is_wanted() {
        for _ in 0..3 {
            give_back_memory().unwrap();
        }
    }
}
