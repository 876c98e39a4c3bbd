//! The commands that encoders and passes of every kind have in common: marks for debuggers, and bind groups.

use super::wit;
use crate::webgpu::objects::cut;

/// The marks of `$type`, whose commands are `$op`s that `$send` sends.
macro_rules! debug_marks {
    ($type:ty, $send:ident, $op:ident) => {
        async fn push_debug_group(&mut self, this: Resource<$type>, group: String) -> wasmtime::Result<()> {
            let group = $crate::webgpu::v0_0_1::commands::mark(&group);
            $send(self, &this, $op::Debug(roadstead_gpu_wire::op::DebugOp::Push(group))).await
        }

        async fn pop_debug_group(&mut self, this: Resource<$type>) -> wasmtime::Result<()> {
            $send(self, &this, $op::Debug(roadstead_gpu_wire::op::DebugOp::Pop)).await
        }

        async fn insert_debug_marker(&mut self, this: Resource<$type>, marker: String) -> wasmtime::Result<()> {
            let marker = $crate::webgpu::v0_0_1::commands::mark(&marker);
            $send(self, &this, $op::Debug(roadstead_gpu_wire::op::DebugOp::Mark(marker))).await
        }
    };
}

/// How `$type`, whose commands are `$op`s that `$send` sends, is given a bind group.
macro_rules! binds_groups {
    ($type:ty, $send:ident, $op:ident) => {
        async fn set_bind_group(
            &mut self,
            this: Resource<$type>,
            index: u32,
            bind_group: Option<Resource<$crate::webgpu::v0_0_1::BindGroup>>,
            data: Option<Vec<u32>>,
            start: Option<u64>,
            length: Option<u32>,
        ) -> wasmtime::Result<Result<(), wit::SetBindGroupError>> {
            let (session, _) = self.named(&this)?;
            let group = bind_group.map(|group| self.of(&session, &group)).transpose()?;
            match $crate::webgpu::v0_0_1::commands::dynamic_offsets(data, start, length) {
                Ok(offsets) => $send(self, &this, $op::SetBindGroup { index, group, offsets }).await.map(Ok),
                Err(error) => Ok(Err(error)),
            }
        }
    };
}

pub(super) use {binds_groups, debug_marks};

/// A mark for debuggers, of bounded length.
pub(super) fn mark(text: &str) -> String {
    cut(text).to_owned()
}

/// The dynamic offsets that a call means; the reason when they are not all in its list.
pub(super) fn dynamic_offsets(
    data: Option<Vec<u32>>,
    start: Option<u64>,
    length: Option<u32>,
) -> Result<Vec<u32>, wit::SetBindGroupError> {
    let data = data.unwrap_or_default();
    if start.is_none() && length.is_none() {
        return Ok(data);
    }
    let from = usize::try_from(start.unwrap_or(0)).unwrap_or(usize::MAX);
    let count = length.map_or(data.len().saturating_sub(from), |length| length as usize);
    let offsets = from.checked_add(count).and_then(|to| data.get(from..to)).map(<[u32]>::to_vec);
    offsets.ok_or_else(|| wit::SetBindGroupError {
        kind: wit::SetBindGroupErrorKind::RangeError,
        message: format!("{count} offsets from {from} are not in a list of {}", data.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_offsets_are_a_part_of_their_list() {
        let of = |start, length| dynamic_offsets(Some(vec![1, 2, 3]), start, length).ok();
        assert_eq!(of(None, None), Some(vec![1, 2, 3]));
        assert_eq!(of(Some(1), Some(1)), Some(vec![2]));
        assert_eq!(of(Some(1), None), Some(vec![2, 3]));
        assert_eq!(of(Some(3), Some(0)), Some(vec![]));
        assert_eq!(of(Some(2), Some(2)), None);
        assert_eq!(of(Some(u64::MAX), Some(u32::MAX)), None);
        assert_eq!(dynamic_offsets(None, None, None).ok(), Some(vec![]));
    }
}
