//! Objects in the memory of this process: they end with it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_config::{Limits, Namespace, ObjectName, StoreName};
use roadstead_runtime::PluginError;

use super::backend::{
    BlobBackend, BlobError, Chunks, ContainerInfo, Containers, OBJECT_OVERHEAD_BYTES, ObjectInfo, ObjectPage,
};

/// All namespaces' containers.
#[derive(Default)]
pub struct InMemoryContainers {
    by_namespace: Mutex<BTreeMap<Namespace, Arc<Tenant>>>,
}

#[async_trait]
impl BlobBackend for InMemoryContainers {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Containers>, PluginError> {
        let mut all = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Tenant { limits: limits.clone(), containers: Mutex::default() });
        Ok(all.entry(namespace.clone()).or_insert_with(new).clone())
    }
}

/// One namespace's.
struct Tenant {
    limits: Arc<Limits>,
    containers: Mutex<HashMap<StoreName, Container>>,
}

struct Container {
    created_at: u64,
    objects: HashMap<ObjectName, Object>,
    by_number: BTreeMap<u64, ObjectName>,
    /// That of the latest object.
    number: u64,
    /// Of all objects, and of those in the making.
    bytes: u64,
}

#[derive(Clone)]
struct Object {
    info: ObjectInfo,
    number: u64,
    pieces: Arc<Vec<Bytes>>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Tenant {
    fn containers(&self) -> MutexGuard<'_, HashMap<StoreName, Container>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, name: &StoreName, work: impl FnOnce(&mut Container) -> T) -> Result<T, BlobError> {
        let mut containers = self.containers();
        containers.get_mut(name).map(work).ok_or_else(|| BlobError::NoContainer(name.clone()))
    }

    fn take_room(&self, name: &StoreName, bytes: u64) -> Result<(), BlobError> {
        let max = self.limits.blobstore_container_bytes_max;
        self.with(name, |container| match container.bytes.saturating_add(bytes) {
            sum if sum > max => Err(BlobError::BytesFull(name.clone())),
            sum => {
                container.bytes = sum;
                Ok(())
            }
        })?
    }
}

impl Container {
    fn remove(&mut self, name: &ObjectName) {
        let Some(old) = self.objects.remove(name) else { return };
        self.by_number.remove(&old.number);
        self.bytes -= old.info.size + OBJECT_OVERHEAD_BYTES;
    }

    fn insert(&mut self, name: &ObjectName, pieces: Vec<Bytes>, size: u64) {
        self.remove(name);
        self.number += 1;
        self.by_number.insert(self.number, name.clone());
        let info = ObjectInfo { created_at: now(), size };
        self.objects.insert(name.clone(), Object { info, number: self.number, pieces: Arc::new(pieces) });
    }
}

/// Room that an object in the making has taken, given back unless the object comes to be.
struct Room<'a> {
    tenant: &'a Tenant,
    container: &'a StoreName,
    bytes: u64,
}

impl Room<'_> {
    fn grow(&mut self, bytes: u64) -> Result<(), BlobError> {
        self.tenant.take_room(self.container, bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        // A container that is gone has nothing to give back.
        let _ =
            self.tenant.with(self.container, |container| container.bytes = container.bytes.saturating_sub(self.bytes));
    }
}

/// Pieces that are there already.
struct Pieces {
    pieces: Arc<Vec<Bytes>>,
    next: usize,
}

#[async_trait]
impl Chunks for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let piece = self.pieces.get(self.next).cloned();
        self.next += 1;
        Ok(piece)
    }
}

#[async_trait]
impl Containers for Tenant {
    async fn create(&self, name: &StoreName) -> Result<(), BlobError> {
        let max = self.limits.blobstore_containers_max;
        let mut containers = self.containers();
        if containers.contains_key(name) {
            return Err(BlobError::ContainerExists(name.clone()));
        }
        if containers.len() as u64 >= max {
            return Err(BlobError::ContainersFull { max });
        }
        let new =
            Container { created_at: now(), objects: HashMap::new(), by_number: BTreeMap::new(), number: 0, bytes: 0 };
        containers.insert(name.clone(), new);
        Ok(())
    }

    async fn info(&self, name: &StoreName) -> Result<Option<ContainerInfo>, BlobError> {
        Ok(self.containers().get(name).map(|container| ContainerInfo { created_at: container.created_at }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), BlobError> {
        self.containers().remove(name).map(drop).ok_or_else(|| BlobError::NoContainer(name.clone()))
    }

    async fn object(&self, container: &StoreName, object: &ObjectName) -> Result<Option<ObjectInfo>, BlobError> {
        self.with(container, |container| container.objects.get(object).map(|object| object.info.clone()))
    }

    async fn read(
        &self,
        container: &StoreName,
        object: &ObjectName,
    ) -> Result<(ObjectInfo, Box<dyn Chunks>), BlobError> {
        let found = self.with(container, |container| container.objects.get(object).cloned())?;
        let found = found.ok_or_else(|| BlobError::NoObject(container.clone()))?;
        Ok((found.info, Box::new(Pieces { pieces: found.pieces, next: 0 })))
    }

    async fn write(
        &self,
        container: &StoreName,
        object: &ObjectName,
        source: &mut dyn Chunks,
    ) -> Result<(), BlobError> {
        let mut room = Room { tenant: self, container, bytes: 0 };
        room.grow(OBJECT_OVERHEAD_BYTES)?;
        let (mut pieces, mut size) = (Vec::new(), 0);
        while let Some(piece) = source.next().await? {
            room.grow(piece.len() as u64)?;
            size += piece.len() as u64;
            pieces.push(piece);
        }
        self.with(container, |container| container.insert(object, pieces, size))?;
        room.bytes = 0;
        Ok(())
    }

    async fn remove(&self, container: &StoreName, object: &ObjectName) -> Result<(), BlobError> {
        self.with(container, |container| container.remove(object))
    }

    async fn clear(&self, container: &StoreName) -> Result<(), BlobError> {
        self.with(container, |container| {
            let names: Vec<ObjectName> = container.objects.keys().cloned().collect();
            names.iter().for_each(|name| container.remove(name));
        })
    }

    async fn list(&self, container: &StoreName, from: u64, max: usize) -> Result<ObjectPage, BlobError> {
        self.with(container, |container| {
            let mut rest = container.by_number.range(from..);
            let names = rest.by_ref().take(max).map(|(_, name)| name.clone()).collect();
            ObjectPage { names, next: rest.next().map(|(number, _)| *number) }
        })
    }
}
