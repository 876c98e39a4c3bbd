//! One bound over all memories and tables of a store.

use wasmtime::ResourceLimiter;

/// Bytes that one table element takes in the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Adds up what a store's memories and tables take, and refuses growth past the workload's bound.
#[derive(Debug)]
pub(crate) struct StoreLimiter {
    used_bytes: usize,
    max_bytes: usize,
    instances_max: usize,
    refused: bool,
}

impl StoreLimiter {
    pub(crate) fn new(max_bytes: usize, instances_max: usize) -> Self {
        Self { used_bytes: 0, max_bytes, instances_max, refused: false }
    }

    /// Whether a growth was refused: a trap after that is told as a memory fault.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    /// What memories and tables take; they never shrink.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    fn grow(&mut self, current: usize, desired: usize, element_bytes: usize) -> bool {
        let more = desired.saturating_sub(current).saturating_mul(element_bytes);
        let total = self.used_bytes.saturating_add(more);
        if total > self.max_bytes {
            self.refused = true;
            return false;
        }
        self.used_bytes = total;
        true
    }
}

impl ResourceLimiter for StoreLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let within_own_maximum = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(within_own_maximum && self.grow(current, desired, 1))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let within_own_maximum = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(within_own_maximum && self.grow(current, desired, TABLE_ELEMENT_BYTES))
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn memories(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.instances_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_bound() {
        let mut limiter = StoreLimiter::new(1_000, 4);
        assert!(limiter.memory_growing(0, 600, None).is_ok_and(|granted| granted));
        assert!(limiter.table_growing(0, 40, None).is_ok_and(|granted| granted));
        assert!(!limiter.refused());
        assert!(limiter.memory_growing(0, 200, None).is_ok_and(|granted| !granted));
        assert!(limiter.refused());
        assert!(limiter.memory_growing(600, 680, None).is_ok_and(|granted| granted));
    }
}
