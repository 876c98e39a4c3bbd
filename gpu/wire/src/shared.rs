//! Memory that the host and the GPU process both see, one file of it for each session: a lane of bytes towards the GPU
//! and one towards the host.
//!
//! This is the one place with `unsafe`: mapping a file, and copying from and to it. Neither side trusts what it finds
//! there: bytes are copied out before they are looked at, and no reference into the memory is ever made.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr,
};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::LANE_BYTES;

/// One of the two lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// From the host to the GPU process.
    Up,
    /// From the GPU process to the host.
    Down,
}

/// The memory of a session. Dropping it unmaps it.
#[derive(Debug)]
pub struct SharedMemory {
    map: MmapRaw,
    file: OwnedFd,
}

/// A range lies beyond its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes {offset} to {offset}+{len} are not in a lane of {LANE_BYTES}")]
pub struct OutOfLane {
    offset: usize,
    len: usize,
}

impl SharedMemory {
    /// New memory, for both sides. Its size is fixed for ever: the other side cannot take pages away.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new() -> io::Result<Self> {
        let file = memfd_create("roadstead-gpu", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, (2 * LANE_BYTES) as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::open(file)
    }

    /// Memory that the other side has made.
    ///
    /// # Errors
    /// When it cannot be mapped, or has not the size that it must have.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let size = rustix::fs::fstat(&file)?.st_size;
        if usize::try_from(size).ok() != Some(2 * LANE_BYTES) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the shared memory has another size"));
        }
        let map = MmapOptions::new().len(2 * LANE_BYTES).map_raw(&file)?;
        Ok(Self { map, file })
    }

    /// The file, to be given to the other side.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn range(&self, lane: Lane, offset: usize, len: usize) -> Result<*mut u8, OutOfLane> {
        if offset.checked_add(len).is_none_or(|end| end > LANE_BYTES) {
            return Err(OutOfLane { offset, len });
        }
        let base = if lane == Lane::Up { 0 } else { LANE_BYTES };
        // SAFETY: the map has both lanes, and the range is within one of them.
        Ok(unsafe { self.map.as_mut_ptr().add(base + offset) })
    }

    /// Copies `bytes` into a lane.
    ///
    /// # Errors
    /// When they do not fit there.
    pub fn write(&self, lane: Lane, offset: usize, bytes: &[u8]) -> Result<(), OutOfLane> {
        let to = self.range(lane, offset, bytes.len())?;
        // SAFETY: the range was checked, is mapped as long as `self` lives, and no reference to it exists.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Copies `len` bytes out of a lane, to the end of `to`.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn read(&self, lane: Lane, offset: usize, len: usize, to: &mut Vec<u8>) -> Result<(), OutOfLane> {
        let from = self.range(lane, offset, len)?;
        to.reserve(len);
        // SAFETY: the range was checked and is mapped; `to` has room for `len` more bytes, all of which are written.
        unsafe {
            ptr::copy_nonoverlapping(from.cast_const(), to.as_mut_ptr().add(to.len()), len);
            to.set_len(to.len() + len);
        }
        Ok(())
    }
}

// SAFETY: the memory is reached by copying alone, and is anybody's to write at any time as it is.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_lanes() {
        let host = SharedMemory::new().unwrap();
        let process = SharedMemory::open(host.file().try_clone_to_owned().unwrap()).unwrap();
        host.write(Lane::Up, LANE_BYTES - 2, b"up").unwrap();
        process.write(Lane::Down, 0, b"down").unwrap();
        let mut seen = Vec::new();
        process.read(Lane::Up, LANE_BYTES - 2, 2, &mut seen).unwrap();
        host.read(Lane::Down, 0, 4, &mut seen).unwrap();
        assert_eq!(seen, b"updown");
    }

    #[test]
    fn nothing_lies_beyond_a_lane() {
        let memory = SharedMemory::new().unwrap();
        assert!(memory.write(Lane::Up, LANE_BYTES, b"x").is_err());
        assert!(memory.write(Lane::Down, usize::MAX, b"x").is_err());
        assert!(memory.read(Lane::Up, 1, LANE_BYTES, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_file_of_another_size_is_refused() {
        let file = memfd_create("small", MemfdFlags::CLOEXEC).unwrap();
        assert!(SharedMemory::open(file).is_err());
    }
}
