//! How many connections the process's file descriptors are enough for.

use roadstead_config::Limits;
use rustix::process::{Resource, getrlimit};

/// Connections that there may be: `connections_max`, or fewer where the process may not have so many descriptors open.
pub(crate) fn connections_max(limits: &Limits) -> u64 {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let places = bounded(limits, descriptors);
    if places < limits.connections_max {
        tracing::warn!(
            connections = places,
            connections_max = limits.connections_max,
            descriptors,
            reserved = limits.descriptors_reserved,
            "fewer connections than connections_max: the process may not open as many files"
        );
    }
    places
}

/// A connection is one descriptor. Where there are hardly more than are reserved, connections get half of them.
fn bounded(limits: &Limits, descriptors: u64) -> u64 {
    let left = descriptors.saturating_sub(limits.descriptors_reserved).max(descriptors / 2);
    limits.connections_max.min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_left_for_the_rest() {
        let limits = Limits { connections_max: 10_000, descriptors_reserved: 256, ..Limits::default() };
        for (descriptors, connections) in
            [(u64::MAX, 10_000), (20_000, 10_000), (4096, 3840), (1024, 768), (300, 150), (64, 32)]
        {
            assert_eq!(bounded(&limits, descriptors), connections, "{descriptors}");
        }
        assert_eq!(bounded(&Limits { descriptors_reserved: 0, ..limits }, 1024), 1024);
    }
}
