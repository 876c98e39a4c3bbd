//! The error scopes of a device. wgpu's own belong to threads; these belong to the device, as WebGPU says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roadstead_gpu_wire::{
    op::ErrorFilter,
    reply::{ErrorKind, GpuError, Lost, NoScope},
};

use super::Session;

/// Error scopes of one device that are open at a time.
const ERROR_SCOPES_MAX: usize = 1_024;

/// Errors that no scope took and the host has not been told of yet; further ones are dropped.
const UNCAPTURED_MAX: usize = 16;

/// Longest text of an error, in bytes.
const ERROR_BYTES_MAX: usize = 8_192;

/// What has gone wrong on a device.
#[derive(Default)]
pub(super) struct Errors {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    scopes: Vec<Scope>,
    uncaptured: Vec<GpuError>,
    lost: Option<Lost>,
    closed: bool,
    /// Where errors go while one call's are kept apart.
    captured: Option<Option<GpuError>>,
}

struct Scope {
    filter: ErrorFilter,
    error: Option<GpuError>,
}

/// wgpu's error in WebGPU's terms.
pub(super) fn translate(error: wgpu::Error) -> GpuError {
    match error {
        wgpu::Error::Validation { description, .. } => GpuError::validation(description),
        wgpu::Error::Internal { description, .. } => GpuError::internal(description),
        wgpu::Error::OutOfMemory { source } => GpuError::out_of_memory(source.to_string()),
    }
}

impl Errors {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error, for the innermost scope that takes its kind. After the device is lost there are no errors.
    pub(super) fn raise(&self, mut error: GpuError) {
        error.message.truncate(error.message.floor_char_boundary(ERROR_BYTES_MAX));
        let mut state = self.state();
        if state.closed || state.lost.is_some() {
            return;
        }
        if let Some(captured) = &mut state.captured {
            captured.get_or_insert(error);
            return;
        }
        let filter = match error.kind {
            ErrorKind::Validation => ErrorFilter::Validation,
            ErrorKind::OutOfMemory => ErrorFilter::OutOfMemory,
            ErrorKind::Internal => ErrorFilter::Internal,
        };
        if let Some(scope) = state.scopes.iter_mut().rev().find(|scope| scope.filter == filter) {
            scope.error.get_or_insert(error);
        } else if state.uncaptured.len() < UNCAPTURED_MAX {
            state.uncaptured.push(error);
        }
    }

    /// The device is lost.
    pub(super) fn lose(&self, lost: Lost) {
        self.state().lost.get_or_insert(lost);
    }

    /// Whatever comes from now on is not told.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    /// What the host has not been told of yet.
    pub(super) fn take_events(&self) -> (Vec<GpuError>, Option<Lost>) {
        let mut state = self.state();
        if state.closed {
            return (Vec::new(), None);
        }
        (std::mem::take(&mut state.uncaptured), state.lost.clone())
    }

    /// Does something whose errors are its own and no scope's; the first of them comes back.
    pub(super) fn capture<T>(&self, work: impl FnOnce() -> T) -> (T, Option<GpuError>) {
        self.state().captured = Some(None);
        let value = work();
        (value, self.state().captured.take().flatten())
    }

    fn push(&self, filter: ErrorFilter) -> bool {
        let mut state = self.state();
        let room = state.scopes.len() < ERROR_SCOPES_MAX;
        if room {
            state.scopes.push(Scope { filter, error: None });
        }
        room
    }

    fn pop(&self) -> Result<Option<GpuError>, NoScope> {
        let mut state = self.state();
        let lost = state.lost.is_some() || state.closed;
        match state.scopes.pop() {
            Some(scope) => Ok(scope.error.filter(|_| !lost)),
            None if lost => Ok(None),
            None => Err(NoScope),
        }
    }
}

impl Session {
    pub(super) fn raise(&self, error: GpuError) {
        if let Some(device) = &self.device {
            device.errors.raise(error);
        }
    }

    pub(super) fn errors(&self) -> Option<&Arc<Errors>> {
        self.device.as_ref().map(|device| &device.errors)
    }

    pub(super) fn push_scope(&self, filter: ErrorFilter) {
        if self.errors().is_some_and(|errors| !errors.push(filter)) {
            self.raise(GpuError::internal(format!("more than {ERROR_SCOPES_MAX} error scopes are open")));
        }
    }

    pub(super) fn pop_scope(&self) -> Result<Option<GpuError>, NoScope> {
        self.errors().map_or(Ok(None), |errors| errors.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_scope_of_its_kind_takes_an_error() {
        let errors = Errors::default();
        assert!(errors.push(ErrorFilter::Validation));
        assert!(errors.push(ErrorFilter::OutOfMemory));
        errors.raise(GpuError::validation("first"));
        errors.raise(GpuError::validation("second"));
        errors.raise(GpuError::internal("nobody's"));
        assert_eq!(errors.pop(), Ok(None));
        assert_eq!(errors.pop(), Ok(Some(GpuError::validation("first"))));
        assert_eq!(errors.pop(), Err(NoScope));
        assert_eq!(errors.take_events(), (vec![GpuError::internal("nobody's")], None));
    }

    #[test]
    fn a_lost_device_has_no_errors() {
        let errors = Errors::default();
        assert!(errors.push(ErrorFilter::Validation));
        errors.raise(GpuError::validation("before"));
        errors.lose(Lost { destroyed: true, message: String::new() });
        assert_eq!(errors.pop(), Ok(None));
        assert_eq!(errors.pop(), Ok(None));
    }

    #[test]
    fn all_is_bounded() {
        let errors = Errors::default();
        for _ in 0..ERROR_SCOPES_MAX {
            assert!(errors.push(ErrorFilter::Internal));
        }
        assert!(!errors.push(ErrorFilter::Internal));
        for _ in 0..100 {
            errors.raise(GpuError::validation("x".repeat(3 * ERROR_BYTES_MAX)));
        }
        let (events, _) = errors.take_events();
        assert_eq!(events.len(), UNCAPTURED_MAX);
        assert!(events.iter().all(|event| event.message.len() == ERROR_BYTES_MAX));
    }
}
