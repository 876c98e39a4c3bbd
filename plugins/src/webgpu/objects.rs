//! What a guest's handles stand for: an object of a session, and as much of it as can be told without asking. The same
//! for every version of the interface.
#![expect(unreachable_pub, reason = "the generated bindings name these types publicly")]

use std::sync::Arc;

use roadstead_gpu_wire::{
    Id, LABEL_BYTES_MAX, Op,
    control::AdapterFacts,
    op::{Create, QueryKind, TextureDesc},
    reply::{CompilationMessage, GpuError, Lost},
    wgt,
};

use super::{owner::GpuOwner, session::Session};

/// Entries of one record of names and values that a guest fills.
const RECORD_ENTRIES_MAX: usize = 256;

/// Bytes of a name in such a record.
const RECORD_KEY_BYTES_MAX: usize = 256;

/// The way to adapters: `gpu`.
pub struct Gateway {
    pub(super) owner: Arc<GpuOwner>,
}

/// An adapter.
pub struct Adapter {
    pub(super) owner: Arc<GpuOwner>,
}

/// A device, which is a session.
pub struct Device {
    pub(super) session: Arc<Session>,
    pub(super) label: String,
    pub(super) queue_label: String,
    pub(super) features: wgt::Features,
    pub(super) limits: Arc<wgt::Limits>,
}

/// The queue of a device.
pub struct Queue {
    pub(super) session: Arc<Session>,
    pub(super) label: String,
}

/// An object of a session, of which nothing need be known but its number. Dropping it drops what it stands for.
pub(super) struct Object {
    pub(super) session: Arc<Session>,
    pub(super) id: Id,
    pub(super) label: String,
}

impl Object {
    /// Makes an object.
    pub(super) async fn create(session: &Arc<Session>, label: Option<&str>, what: Create) -> Self {
        let id = session.new_id();
        session.send(Op::Create { id, what: Box::new(what) }).await;
        Self::numbered(session, id, label)
    }

    /// An object whose making is on its way.
    pub(super) fn numbered(session: &Arc<Session>, id: Id, label: Option<&str>) -> Self {
        Self { session: session.clone(), id, label: cut(label.unwrap_or_default()).to_owned() }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.session.add_later(&Op::Drop { id: self.id });
    }
}

/// A label of bounded length.
pub(super) fn cut(label: &str) -> &str {
    label.get(..label.floor_char_boundary(LABEL_BYTES_MAX)).unwrap_or_default()
}

/// The same for one that may be missing.
pub(super) fn cut_label(label: Option<&String>) -> Option<String> {
    label.map(|label| cut(label).to_owned())
}

/// A buffer.
pub struct Buffer {
    pub(super) object: Object,
    pub(super) size: u64,
    pub(super) usage: u32,
    pub(super) mapped: Option<MappedRange>,
}

/// The range of a buffer that is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MappedRange {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) write: bool,
}

/// Why a range is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RangeError {
    Operation(String),
    Range(String),
}

impl Buffer {
    /// The range of the buffer that a call means, checked as WebGPU says.
    pub(super) fn range(&self, offset: Option<u64>, size: Option<u64>) -> Result<(u64, u64), RangeError> {
        let Some(mapped) = self.mapped else { return Err(RangeError::Operation("the buffer is not mapped".into())) };
        let offset = offset.unwrap_or(0);
        let size = size.unwrap_or(self.size.saturating_sub(offset));
        if !offset.is_multiple_of(8) || !size.is_multiple_of(4) {
            return Err(RangeError::Operation(format!(
                "offset {offset} is no multiple of 8, or size {size} none of 4"
            )));
        }
        let end = offset.checked_add(size).filter(|end| *end <= mapped.offset + mapped.size);
        if end.is_none() || offset < mapped.offset {
            let MappedRange { offset: from, size: bytes, .. } = mapped;
            let text = format!("{size} bytes from {offset} are not in what is mapped, {bytes} bytes from {from}");
            return Err(RangeError::Operation(text));
        }
        Ok((offset, size))
    }
}

/// A texture.
pub struct Texture {
    pub(super) object: Object,
    pub(super) desc: TextureDesc,
}

/// A query set.
pub struct QuerySet {
    pub(super) object: Object,
    pub(super) kind: QueryKind,
    pub(super) count: u32,
}

/// Limits of an adapter or a device.
pub struct Limits(pub(super) Arc<wgt::Limits>);

/// Features of an adapter or a device.
pub struct Features(pub(super) wgt::Features);

/// What an adapter says of itself.
pub struct AdapterInfo(pub(super) Arc<AdapterFacts>);

/// The language extensions of WGSL that are known.
pub struct LanguageFeatures(pub(super) Arc<AdapterFacts>);

/// An error that the guest was given.
pub struct ErrorObject(pub(super) GpuError);

/// How a device was lost.
pub struct LostInfo(pub(super) Lost);

/// What the compiler said.
pub struct CompilationInfo(pub(super) Vec<CompilationMessage>);

/// Names and values, in the order in which they came.
pub struct Record<T> {
    entries: Vec<(String, T)>,
}

impl<T> Default for Record<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T: Copy> Record<T> {
    /// Sets a value; an error when there are too many, or the name is too long.
    pub(super) fn set(&mut self, key: String, value: T) -> Result<(), String> {
        if key.len() > RECORD_KEY_BYTES_MAX {
            return Err(format!("a name in a record is longer than {RECORD_KEY_BYTES_MAX} bytes"));
        }
        if let Some(entry) = self.entries.iter_mut().find(|(name, _)| *name == key) {
            entry.1 = value;
            return Ok(());
        }
        if self.entries.len() >= RECORD_ENTRIES_MAX {
            return Err(format!("a record has {RECORD_ENTRIES_MAX} entries already"));
        }
        self.entries.push((key, value));
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Option<T> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.entries.retain(|(name, _)| name != key);
    }

    pub(super) fn entries(&self) -> &[(String, T)] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_its_order_and_its_bounds() {
        let mut record = Record::default();
        for index in 0..RECORD_ENTRIES_MAX {
            assert_eq!(record.set(format!("k{index}"), index), Ok(()));
        }
        assert!(record.set("one more".into(), 0).is_err());
        assert_eq!(record.set("k0".into(), 7), Ok(()));
        assert_eq!((record.get("k0"), record.entries()[1].0.as_str()), (Some(7), "k1"));
        record.remove("k0");
        assert_eq!(record.get("k0"), None);
        assert!(record.set("x".repeat(RECORD_KEY_BYTES_MAX + 1), 0).is_err());
    }

    #[test]
    fn a_label_is_cut_between_characters() {
        let label = format!("{}\u{e9}", "x".repeat(LABEL_BYTES_MAX - 1));
        assert_eq!(cut(&label).len(), LABEL_BYTES_MAX - 1);
        assert_eq!(cut("short"), "short");
    }
}
