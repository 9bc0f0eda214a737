//! Wakers that only note whom to look at.
//!
//! The `h2` crate wakes a stream's waker when data, window or a reset has come for it, always inside a call that this
//! engine makes. The waker notes the slot of the stream's connection in a list of the thread; whoever made the call
//! works the list off before anybody else can use the thread. A waker that outlives its slot notes a slot that is free or
//! somebody else's, which then is looked at in vain.

use std::cell::RefCell;
use std::task::{RawWaker, RawWakerVTable, Waker};

thread_local! {
    static WOKEN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// The waker's data is the slot itself, so that wakers cost no memory.
static TABLE: RawWakerVTable = RawWakerVTable::new(|slot| RawWaker::new(slot, &TABLE), note, note, |_| {});

fn note(slot: *const ()) {
    let slot = slot.addr() as u32;
    WOKEN.with(|woken| {
        let mut woken = woken.borrow_mut();
        if woken.last() != Some(&slot) {
            woken.push(slot);
        }
    });
}

/// A waker that notes `slot`.
pub(super) fn waker(slot: u32) -> Waker {
    let data = std::ptr::without_provenance(slot as usize);
    // SAFETY: the table's functions take the data as a number, own nothing, and are safe to call from any thread.
    unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
}

/// Takes the slots noted on this thread.
pub(super) fn take() -> Vec<u32> {
    WOKEN.with(|woken| std::mem::take(&mut *woken.borrow_mut()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_woken_is_noted_once_in_a_row_and_taken() {
        let (first, second) = (waker(7), waker(u32::MAX));
        first.wake_by_ref();
        let copy = first.clone();
        copy.wake();
        second.wake();
        first.wake();
        assert_eq!(take(), [7, u32::MAX, 7]);
        assert!(take().is_empty());
    }
}
