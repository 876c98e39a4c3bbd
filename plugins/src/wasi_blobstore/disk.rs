//! Objects on the host's own disk, in the folder of `--data-dir`: what was acknowledged is there after a crash of the host
//! or of the machine. The bytes of an object are a file; which objects there are is in an embedded store, so that an
//! object comes to be, is replaced or deleted at one moment.

mod files;
mod index;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use roadstead_config::{Limits, Namespace, ObjectName, StoreName};
use roadstead_runtime::PluginError;

use super::backend::{
    BlobBackend, BlobError, Chunks, ContainerInfo, Containers, OBJECT_OVERHEAD_BYTES, ObjectInfo, ObjectPage,
};
use crate::{
    data_dir::DataDir,
    embedded::{DiskError, Embedded},
};
use files::Files;
use index::{ContainerChange, What};

/// The file of the embedded store in the folder of `--data-dir`.
const INDEX_FILE: &str = "objects.redb";
/// The folder of the objects' bytes beside it.
const FILES_FOLDER: &str = "objects";

/// The backend.
pub struct DiskContainers {
    shared: Shared,
}

#[derive(Clone)]
struct Shared {
    index: Embedded<ContainerChange>,
    files: Files,
    /// Bytes of objects in the making, by container.
    making: Arc<Mutex<HashMap<(Namespace, StoreName), u64>>>,
}

impl DiskContainers {
    /// Opens what is kept in `folder`, or makes it, and removes what a crash left unfinished. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used, or the embedded store is damaged.
    pub fn open(folder: &Arc<DataDir>) -> Result<Self, DiskError> {
        let index = Embedded::open(folder, INDEX_FILE)?;
        let path = folder.join(FILES_FOLDER);
        let damaged = |error: BlobError| DiskError::Damaged { path: path.clone(), reason: error.to_string() };
        let kept: BTreeSet<_> = index.read_blocking(index::files).map_err(damaged)?.into_iter().collect();
        let opened = Files::open(path.clone(), &kept).and_then(|opened| folder.synchronise().map(|()| opened));
        let (files, missing) = opened.map_err(|source| DiskError::Io { path: path.clone(), source })?;
        if missing > 0 {
            tracing::error!(path = %path.display(), missing, "files of objects are not there; reading them fails");
        }
        Ok(Self { shared: Shared { index, files, making: Arc::default() } })
    }
}

#[async_trait]
impl BlobBackend for DiskContainers {
    fn name(&self) -> &'static str {
        "disk"
    }

    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Containers>, PluginError> {
        let (namespace, limits) = (namespace.clone(), limits.clone());
        Ok(Arc::new(Tenant { namespace, limits, shared: self.shared.clone() }))
    }

    fn readiness(&self) -> Result<(), String> {
        self.shared.index.readiness()
    }
}

/// One namespace's.
struct Tenant {
    namespace: Namespace,
    limits: Arc<Limits>,
    shared: Shared,
}

/// Room that an object in the making has taken, given back when this is dropped.
struct Room<'a> {
    tenant: &'a Tenant,
    container: &'a StoreName,
    /// Bytes of the container's objects when this was begun.
    stored: u64,
    bytes: u64,
}

impl Room<'_> {
    fn grow(&mut self, bytes: u64) -> Result<(), BlobError> {
        let max = self.tenant.limits.blobstore_container_bytes_max;
        let mut making = self.tenant.making();
        let all = making.entry(self.tenant.id(self.container)).or_default();
        if self.stored.saturating_add(*all).saturating_add(bytes) > max {
            return Err(BlobError::BytesFull(self.container.clone()));
        }
        *all += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut making = self.tenant.making();
        let id = self.tenant.id(self.container);
        let left = making.get(&id).map_or(0, |all| all.saturating_sub(self.bytes));
        if left == 0 {
            making.remove(&id);
        } else {
            making.insert(id, left);
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Tenant {
    fn id(&self, container: &StoreName) -> (Namespace, StoreName) {
        (self.namespace.clone(), container.clone())
    }

    fn making(&self) -> MutexGuard<'_, HashMap<(Namespace, StoreName), u64>> {
        self.shared.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a change of the index made, and removes the files that are not needed any more.
    async fn change(&self, container: &StoreName, what: What) -> Result<(), BlobError> {
        let change = ContainerChange { namespace: self.namespace.clone(), container: container.clone(), what };
        let Shared { index, files, .. } = self.shared.clone();
        // In a task of its own: also where nobody waits any more, what is not needed is removed.
        let changing = tokio::spawn(async move {
            let unneeded = index.make(change).await?;
            files.remove(unneeded).await;
            Ok(())
        });
        changing.await.map_err(|_| BlobError::Failed("it was broken off".into()))?
    }

    async fn container(&self, container: &StoreName) -> Result<Option<(ContainerInfo, u64)>, BlobError> {
        let (namespace, container) = self.id(container);
        self.shared.index.read(move |database| index::container(database, &namespace, &container)).await
    }

    async fn require(&self, container: &StoreName) -> Result<u64, BlobError> {
        let found = self.container(container).await?;
        found.map(|(_, bytes)| bytes).ok_or_else(|| BlobError::NoContainer(container.clone()))
    }

    async fn find(&self, container: &StoreName, object: &ObjectName) -> Result<Option<index::Found>, BlobError> {
        let ((namespace, name), object) = (self.id(container), object.clone());
        let looked = self.shared.index.read(move |database| index::object(database, &namespace, &name, &object));
        looked.await?.map_err(|_| BlobError::NoContainer(container.clone()))
    }
}

#[async_trait]
impl Containers for Tenant {
    async fn create(&self, container: &StoreName) -> Result<(), BlobError> {
        let containers_max = self.limits.blobstore_containers_max;
        self.change(container, What::Create { created_at: now(), containers_max }).await
    }

    async fn info(&self, container: &StoreName) -> Result<Option<ContainerInfo>, BlobError> {
        Ok(self.container(container).await?.map(|(info, _)| info))
    }

    async fn delete(&self, container: &StoreName) -> Result<(), BlobError> {
        self.change(container, What::Delete).await
    }

    async fn object(&self, container: &StoreName, object: &ObjectName) -> Result<Option<ObjectInfo>, BlobError> {
        Ok(self.find(container, object).await?.map(|found| found.info))
    }

    async fn read(
        &self,
        container: &StoreName,
        object: &ObjectName,
    ) -> Result<(ObjectInfo, Box<dyn Chunks>), BlobError> {
        let none = || BlobError::NoObject(container.clone());
        let found = self.find(container, object).await?.ok_or_else(none)?;
        if let Some(chunks) = self.shared.files.read(found.file).await? {
            return Ok((found.info, Box::new(chunks)));
        }
        // Between the look into the index and the opening of the file it was replaced, or somebody took the file away.
        let again = self.find(container, object).await?.ok_or_else(none)?;
        match self.shared.files.read(again.file).await? {
            Some(chunks) => Ok((again.info, Box::new(chunks))),
            None if again.file == found.file => {
                Err(BlobError::Failed("the file with the object's bytes is not there".into()))
            }
            None => Err(BlobError::Gone),
        }
    }

    async fn write(
        &self,
        container: &StoreName,
        object: &ObjectName,
        source: &mut dyn Chunks,
    ) -> Result<(), BlobError> {
        let stored = self.require(container).await?;
        let mut room = Room { tenant: self, container, stored, bytes: 0 };
        room.grow(OBJECT_OVERHEAD_BYTES)?;
        let mut part = self.shared.files.create().await?;
        let mut size = 0;
        while let Some(piece) = source.next().await? {
            room.grow(piece.len() as u64)?;
            size += piece.len() as u64;
            part.write(&piece).await?;
        }
        // An object may have the file although its writer is told of a failure, or waits for nothing any more.
        let Some(file) = part.finish().await?.keep() else { return Err(BlobError::GivenUp) };
        let (info, bytes_max) = (ObjectInfo { created_at: now(), size }, self.limits.blobstore_container_bytes_max);
        let placed = self.change(container, What::Place { object: object.clone(), info, file, bytes_max }).await;
        if let Err(BlobError::BytesFull(_) | BlobError::NoContainer(_) | BlobError::DiskFull) = &placed {
            self.shared.files.remove(vec![file]).await;
        }
        placed
    }

    async fn remove(&self, container: &StoreName, object: &ObjectName) -> Result<(), BlobError> {
        self.change(container, What::Remove { object: object.clone() }).await
    }

    async fn clear(&self, container: &StoreName) -> Result<(), BlobError> {
        self.change(container, What::Clear).await
    }

    async fn list(&self, container: &StoreName, from: u64, max: usize) -> Result<ObjectPage, BlobError> {
        let (namespace, name) = self.id(container);
        let listed = self.shared.index.read(move |database| index::list(database, &namespace, &name, from, max));
        listed.await?.map_err(|_| BlobError::NoContainer(container.clone()))
    }
}

#[cfg(test)]
mod tests;
