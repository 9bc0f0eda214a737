//! The message buffer's memory: how it grows while bytes arrive, and what an idle connection keeps of it.
//!
//! Called by `connection` and `codec`.

/// A buffer of more bytes than this is given back after its message, so that an idle connection stays small.
const KEPT: usize = 4096;

/// Makes room for `more` bytes: at least doubling, so that a long message is not copied for each piece, but never
/// beyond `most` bytes in all, so that no more memory is taken than bytes can come.
#[inline]
pub(crate) fn grow(buffer: &mut Vec<u8>, more: usize, most: usize) {
    let need = buffer.len() + more;
    if need > buffer.capacity() {
        let target = buffer.capacity().saturating_mul(2).clamp(need, most.max(need));
        buffer.reserve_exact(target - buffer.len());
    }
}

/// Empties the buffer after a message.
#[inline]
pub(crate) fn forget(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}
