//! The file behind a scoreboard: made by the parent, opened by everybody else, mapped shared.
//!
//! Checked once when it is opened: what it is, its version, its size. Nobody makes a scoreboard smaller while it is in
//! use; the file may be unlinked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{fence, AtomicU64, Ordering};
use std::sync::Arc;

use super::layout::{header, Slot, HEADER_SIZE, MAGIC, SLOTS_MAX, SLOT_SIZE, SLOT_WORDS, VERSION};

/// Why there is no scoreboard.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    /// The file is none, or none of ours; a sentence.
    Unfit(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(crate) struct Map {
    base: NonNull<AtomicU64>,
    length: usize,
    slots: usize,
    path: PathBuf,
}

// SAFETY: the mapping is read and written through atomics only, and stays until the last owner is gone.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Makes the file, which must not exist yet, for its owner only. All slots are empty.
    pub(super) fn create(path: &Path, slots: usize) -> Result<Arc<Self>, Trouble> {
        if !(1..=SLOTS_MAX).contains(&slots) {
            return Err(Trouble::Unfit(format!("a scoreboard has 1 to {SLOTS_MAX} slots, not {slots}")));
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let made = Self::fill(&file, path, slots);
        if made.is_err() {
            // What is half made is nobody's.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    fn fill(file: &File, path: &Path, slots: usize) -> Result<Arc<Self>, Trouble> {
        // The process's umask may have taken even the owner's rights.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        let length = HEADER_SIZE + slots * SLOT_SIZE;
        file.set_len(length as u64)?;
        reserve(file, length)?;
        let map = Self::mapped(file, path, slots)?;
        let words = map.header();
        for (at, value) in
            [(header::VERSION, VERSION), (header::SLOTS, slots as u64), (header::SLOT_SIZE, SLOT_SIZE as u64)]
        {
            words[at].store(value.to_le(), Ordering::Relaxed);
        }
        // Last: what has the magic number is complete.
        fence(Ordering::Release);
        words[header::MAGIC].store(MAGIC.to_le(), Ordering::Relaxed);
        Ok(map)
    }

    /// Maps an existing scoreboard.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, Trouble> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        let unfit = |what: String| Err(Trouble::Unfit(format!("{}: {what}", path.display())));
        if !metadata.is_file() {
            return unfit("not a scoreboard: it is no regular file".into());
        }
        let length = metadata.len();
        if length < HEADER_SIZE as u64 {
            return unfit(format!("not a scoreboard, or truncated: it has {length} bytes"));
        }
        // The number of slots is in the header, and what is mapped depends on it.
        let first = Self::mapped(&file, path, 0)?;
        let [magic, version, slots, slot_size] = [header::MAGIC, header::VERSION, header::SLOTS, header::SLOT_SIZE]
            .map(|at| u64::from_le(first.header()[at].load(Ordering::Acquire)));
        if magic != MAGIC {
            return unfit("not a scoreboard: the file does not begin as one".into());
        }
        if version != VERSION {
            return unfit(format!("a scoreboard of version {version}; this Swell reads version {VERSION}"));
        }
        if slot_size != SLOT_SIZE as u64 || !(1..=SLOTS_MAX as u64).contains(&slots) {
            return unfit(format!("a damaged scoreboard: {slots} slots of {slot_size} bytes"));
        }
        let wanted = HEADER_SIZE as u64 + slots * SLOT_SIZE as u64;
        if length < wanted {
            return unfit(format!("a truncated scoreboard: {length} bytes, where {slots} slots take {wanted}"));
        }
        Ok(Self::mapped(&file, path, slots as usize)?)
    }

    fn mapped(file: &File, path: &Path, slots: usize) -> io::Result<Arc<Self>> {
        let length = HEADER_SIZE + slots * SLOT_SIZE;
        // SAFETY: a new mapping at an address that the system chooses, of a file that is open.
        let address = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        match NonNull::new(address.cast()) {
            Some(base) if address != libc::MAP_FAILED => {
                Ok(Arc::new(Self { base, length, slots, path: path.to_owned() }))
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn header(&self) -> &[AtomicU64; header::WORDS] {
        // SAFETY: every mapping begins with a whole header, aligned to a page.
        unsafe { &*self.base.as_ptr().cast() }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The words of a slot. None when there is no such slot.
    pub(super) fn slot(&self, index: usize) -> Option<&Slot> {
        if index >= self.slots {
            return None;
        }
        // SAFETY: the mapping has this many slots behind its header, and a slot is words and nothing else.
        Some(unsafe { &*self.base.as_ptr().add(HEADER_SIZE / 8 + index * SLOT_WORDS).cast() })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever refers to it holds this object.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// Takes the memory now: a full tmpfs is an error here, and a SIGBUS at the first write otherwise.
#[cfg(target_os = "linux")]
fn reserve(file: &File, length: usize) -> io::Result<()> {
    // SAFETY: no pointers are involved.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length as libc::off_t) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: usize) -> io::Result<()> {
    Ok(())
}

/// One slot, and the mapping that it is in.
pub(super) struct OwnSlot {
    map: Arc<Map>,
    slot: NonNull<Slot>,
}

// SAFETY: the slot is atomics, in a mapping that stays as long as this object.
unsafe impl Send for OwnSlot {}

impl OwnSlot {
    pub(super) fn new(map: &Arc<Map>, index: usize) -> Option<Self> {
        let slot = NonNull::from(map.slot(index)?);
        Some(Self { map: Arc::clone(map), slot })
    }

    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// For another thread.
    pub(super) fn again(&self) -> Self {
        Self { map: Arc::clone(&self.map), slot: self.slot }
    }
}

impl std::ops::Deref for OwnSlot {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        // SAFETY: it points into the mapping that `map` keeps.
        unsafe { self.slot.as_ref() }
    }
}
