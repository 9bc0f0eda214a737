//! What the engine's own threads do first. They are native, need no GIL and run beside the event loop's.

use std::os::fd::RawFd;

/// Blocks all signals for the calling thread: they are the main thread's.
pub(crate) fn block_signals() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set; the mask is this thread's own.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
    }
}

/// Gives the calling thread a table of descriptors of its own, empty but for those in `keep`. While threads share one,
/// the kernel takes and gives back a reference in each system call on a descriptor: 1.3 % of the processor time of a
/// plain GET. Where it cannot be done the table stays shared.
pub(crate) fn leave_descriptors(keep: &[RawFd]) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: no pointers are involved. Other threads keep the table that they have.
        if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
            return;
        }
        let mut kept: Vec<libc::c_uint> = keep.iter().filter_map(|fd| libc::c_uint::try_from(*fd).ok()).collect();
        kept.sort_unstable();
        let mut from = 0;
        for fd in kept.into_iter().chain([libc::c_uint::MAX]) {
            if fd > from {
                // SAFETY: no pointers are involved, and these descriptors are this thread's alone.
                unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
            }
            from = fd.saturating_add(1);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = keep;
}
