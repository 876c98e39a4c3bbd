//! What a guest holds of `wasi:blobstore`: containers, objects in the making, objects to be read, lists of names.
#![expect(unreachable_pub, reason = "the generated bindings re-export them")]

use std::{collections::VecDeque, sync::Arc};

use roadstead_config::{ObjectName, StoreName};
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

use super::{
    backend::{BlobError, Containers},
    transfer::{Pipe, Range},
};

/// A container that a guest has opened.
#[derive(Clone)]
pub struct Container {
    pub(super) name: StoreName,
    /// Those of the backend that its name led to.
    pub(super) containers: Arc<dyn Containers>,
}

/// Names of objects, of which one page is here.
pub struct ObjectNames {
    pub(super) container: Container,
    pub(super) page: VecDeque<ObjectName>,
    /// Where the rest begins.
    pub(super) next: Option<u64>,
}

/// An object, or a part of one, to be read.
pub struct IncomingValue {
    pub(super) range: Range,
}

/// An object in the making. It is given up where it is dropped before it is finished.
pub struct OutgoingValue {
    pub(super) pipe: Arc<Pipe>,
    /// One of the component's transfers, from when its stream was given out.
    pub(super) body: Option<OwnedSemaphorePermit>,
    /// What takes the bytes, once its place is known.
    pub(super) upload: Option<JoinHandle<Result<(), BlobError>>>,
}

impl Drop for OutgoingValue {
    fn drop(&mut self) {
        self.pipe.give_up();
    }
}
