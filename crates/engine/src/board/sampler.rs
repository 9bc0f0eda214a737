//! A thread that looks at the event loop's thread from time to time: does it wait for events, or is it busy?
//!
//! It needs no GIL, so it also sees a loop that a C call blocks. What the loop's thread is doing comes from the kernel
//! (`/proc/self/task/<tid>/syscall`): it waits when it is inside of the poll that event loops rest in; running, ready to
//! run, blocked in a sleep, a read, a lock or on the GIL is busy. Where there is no such file, the thread's CPU time is
//! the measure, and a loop that sleeps counts as waiting.
//!
//! 20 looks a second while the loop works, 4 when it is idle: 5 µs each. So a burst is seen in its first quarter of a
//! second. With each look comes the process's CPU time, once a second its memory. With turns to be watched
//! (`slow.rs`) there are more looks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::layout::Word;
use super::map::OwnSlot;
use super::slow::Slow;
use crate::io::clock;
use crate::io::thread::{block_signals, leave_descriptors};

const ACTIVE: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_millis(250);
const MEASURE_MEMORY: u64 = 1_000_000_000;
/// The share of busy samples is that of about the last second, in nanoseconds.
const MEMORY: f64 = 1e9;

pub(super) struct Sampler {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
    /// The process that the thread runs in: a fork has none.
    process: u32,
}

#[derive(Default)]
struct Shared {
    closing: Mutex<bool>,
    changed: Condvar,
}

impl Sampler {
    /// Watches the calling thread, until it is dropped.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(slot: OwnSlot, slow: Option<Slow>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let (file, clock) = (calls_file(), clock::thread_cpu_clock());
        let thread = thread::Builder::new().name("swell sampler".into()).spawn(move || {
            block_signals();
            leave_descriptors(&slow.as_ref().map_or_else(Vec::new, Slow::descriptors));
            run(&theirs, &slot, Watched::open(&file, clock), slow);
        })?;
        Ok(Self { shared, thread: Some(thread), process: std::process::id() })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.process != std::process::id() {
            // A forked child: the thread, and perhaps the lock, exist in the parent only.
            std::mem::forget(thread);
            return;
        }
        *self.shared.closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.changed.notify_all();
        // It never waits for anything but this; a panic in it was its own.
        let _ = thread.join();
    }
}

fn run(shared: &Shared, slot: &OwnSlot, mut watched: Watched, mut slow: Option<Slow>) {
    let memory = Memory::open();
    let (active, idle) = slow.as_ref().map_or((ACTIVE, IDLE), |slow| slow.rests(ACTIVE, IDLE));
    let (mut turns, mut busy_before, mut sampled, mut measured) = (0, false, clock::precise_ns(), 0);
    let (mut samples, mut busy_samples, mut share) = (0, 0, 0.0);
    loop {
        let now = clock::precise_ns();
        slot.set(Word::CpuNs, clock::process_cpu_ns());
        if measured == 0 || now - measured >= MEASURE_MEMORY {
            measured = now;
            slot.set(Word::RssBytes, memory.resident());
        }
        // Beats are turns without any work.
        let seen = slot.get(Word::Turns).wrapping_sub(slot.get(Word::Beats));
        let rest = if busy_before || seen != turns { active } else { idle };
        turns = seen;
        let closing = shared.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = shared.changed.wait_timeout_while(closing, rest, |closing| !*closing);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
        let busy = watched.is_busy();
        let now = clock::precise_ns();
        let weight = (now - sampled) as f64;
        share += (f64::from(u8::from(busy)) - share) * weight / (weight + MEMORY);
        sampled = now;
        busy_before = busy;
        samples += 1;
        busy_samples += u64::from(busy);
        slot.set(Word::Samples, samples);
        slot.set(Word::BusySamples, busy_samples);
        slot.set(Word::Busy, (share * 1000.0) as u64);
        if let Some(slow) = &mut slow {
            slow.look(slot, now, busy);
        }
    }
}

/// The event loop's thread.
enum Watched {
    /// `rested`: the CPU time that the thread had used when it was seen waiting.
    Calls {
        file: File,
        epolls: bool,
        clock: libc::clockid_t,
        rested: Option<u64>,
    },
    Clock(CpuShare),
}

impl Watched {
    /// `path`: the file that says in which system call the thread is. Some systems have none, or none for us: a process
    /// that has changed its user may not look at itself.
    fn open(path: &str, clock: libc::clockid_t) -> Self {
        match File::open(path) {
            Ok(file) if file.read_at(&mut [0; 8], 0).is_ok_and(|length| length > 0) => {
                Self::Calls { file, epolls: false, clock, rested: None }
            }
            _ => Self::Clock(CpuShare::new(clock)),
        }
    }

    fn is_busy(&mut self) -> bool {
        match self {
            Self::Clock(share) => share.is_busy(),
            Self::Calls { file, epolls, clock, rested } => {
                // Who has used no time since then is still there. The file costs nine times as much as the clock.
                let used = clock::read_ns(*clock);
                if *rested == Some(used) {
                    return false;
                }
                let mut line = [0; 128];
                let busy = match file.read_at(&mut line, 0) {
                    Ok(length) => busy_by(&line[..length], epolls),
                    // The thread has ended.
                    Err(_) => false,
                };
                *rested = (!busy).then_some(used);
                busy
            }
        }
    }
}

/// The file that says in which system call the calling thread is; empty where there is none.
fn calls_file() -> String {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: no pointers are involved.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        format!("/proc/self/task/{thread}/syscall")
    }
    #[cfg(not(target_os = "linux"))]
    String::new()
}

/// Judges a line of the kernel's: `running`, or a call's number and arguments, or -1 outside of any call. `poll` and
/// `select` are the resting place of loops that never were seen in an epoll; otherwise they are the application's.
fn busy_by(line: &[u8], epolls: &mut bool) -> bool {
    let number = line.split(|byte| *byte == b' ').next().and_then(|word| std::str::from_utf8(word).ok());
    let Some(number) = number.and_then(|word| word.trim_end().parse::<i64>().ok()) else { return true };
    if calls::EPOLL.contains(&number) {
        *epolls = true;
        return false;
    }
    *epolls || !calls::POLL.contains(&number)
}

mod calls {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    mod known {
        pub(crate) const EPOLL: [i64; 3] = [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
        pub(crate) const POLL: [i64; 4] = [libc::SYS_poll, libc::SYS_ppoll, libc::SYS_select, libc::SYS_pselect6];
    }
    /// Newer architectures have no others.
    #[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
    mod known {
        pub(crate) const EPOLL: [i64; 2] = [libc::SYS_epoll_pwait as i64, libc::SYS_epoll_pwait2 as i64];
        pub(crate) const POLL: [i64; 2] = [libc::SYS_ppoll as i64, libc::SYS_pselect6 as i64];
    }
    #[cfg(not(target_os = "linux"))]
    mod known {
        pub(crate) const EPOLL: [i64; 0] = [];
        pub(crate) const POLL: [i64; 0] = [];
    }
    pub(super) use known::{EPOLL, POLL};
}

/// Busy as often as the thread had the processor: of samples in a row, the share that is its share of the time.
struct CpuShare {
    clock: libc::clockid_t,
    used: u64,
    at: u64,
    owed: f64,
}

impl CpuShare {
    fn new(clock: libc::clockid_t) -> Self {
        Self { clock, used: clock::read_ns(clock), at: clock::precise_ns(), owed: 0.0 }
    }

    fn is_busy(&mut self) -> bool {
        let (used, at) = (clock::read_ns(self.clock), clock::precise_ns());
        let (worked, passed) = (used.saturating_sub(self.used), at.saturating_sub(self.at).max(1));
        (self.used, self.at) = (used, at);
        self.owed += (worked as f64 / passed as f64).min(1.0);
        let busy = self.owed >= 0.5;
        if busy {
            self.owed -= 1.0;
        }
        busy
    }
}

/// The process's resident memory.
struct Memory {
    file: Option<File>,
    page: u64,
}

impl Memory {
    fn open() -> Self {
        // SAFETY: no pointers are involved.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Self { file: File::open("/proc/self/statm").ok(), page: u64::try_from(page).unwrap_or(4096) }
    }

    /// In bytes; 0 where the system does not say.
    fn resident(&self) -> u64 {
        let mut line = [0; 128];
        let length = self.file.as_ref().and_then(|file| file.read_at(&mut line, 0).ok()).unwrap_or(0);
        let pages = line[..length].split(|byte| *byte == b' ').nth(1).and_then(|word| std::str::from_utf8(word).ok());
        pages.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn a_loop_waits_in_its_poll_and_nowhere_else() {
        let mut epolls = false;
        assert!(busy_by(b"running\n", &mut epolls));
        assert!(busy_by(b"-1 0x7ffc 0x7f12\n", &mut epolls));
        assert!(busy_by(b"", &mut epolls));
        assert!(busy_by(b"230 0x0 0x0\n", &mut epolls), "clock_nanosleep");
        for poll in [&b"7 0x7f 0x1"[..], b"23 0x8", b"270 0x8", b"271 0x8"] {
            assert!(!busy_by(poll, &mut epolls));
        }
        for epoll in [&b"232 0x5 0x7f\n"[..], b"281 0x5", b"441 0x5"] {
            assert!(!busy_by(epoll, &mut epolls));
        }
        assert!(busy_by(b"7 0x7f 0x1", &mut epolls), "a blocking call of the application's");
    }

    #[test]
    fn the_clock_tells_work_from_rest() {
        let mut share = CpuShare::new(clock::thread_cpu_clock());
        thread::sleep(Duration::from_millis(20));
        assert!(!share.is_busy());
        let begin = clock::thread_cpu_clock();
        let until = clock::read_ns(begin) + 20_000_000;
        let mut share = CpuShare::new(begin);
        // By the thread's own clock, and judged by it: another's work on this processor does not count.
        while clock::read_ns(begin) < until {
            std::hint::spin_loop();
        }
        share.at = clock::precise_ns() - 20_000_000;
        assert!(share.is_busy());
    }

    #[test]
    fn this_process_has_memory() {
        #[cfg(target_os = "linux")]
        assert!(Memory::open().resident() > 100_000);
    }
}
