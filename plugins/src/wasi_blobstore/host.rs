//! The host's side of `wasi:blobstore`: what a guest may name and how much it may move at a time. Which backend it is, is
//! not known here.

use std::{fmt::Display, sync::Arc, time::Duration};

use roadstead_config::{ObjectName, StoreName};
use roadstead_runtime::{InstanceState, LogText};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::{
    Bound,
    backend::{BlobError, Chunks},
    bindings::wasi::blobstore::{
        blobstore, container,
        types::{self, ContainerMetadata, ObjectId, ObjectMetadata},
    },
    handles::{Container, IncomingValue, ObjectNames, OutgoingValue},
    transfer::{Pipe, Range, Reader, Writer, Written},
};
use crate::store_call::CallTime;

/// Names of a page of a listing.
const NAMES_PER_PAGE_MAX: usize = 100;
/// Names that one call reads or leaves out.
const NAMES_PER_CALL_MAX: u64 = 1_000;
/// Objects that one call deletes.
const DELETES_PER_CALL_MAX: usize = 1_000;
/// Longest text of a guest's that an error repeats, in bytes.
const ECHO_BYTES_MAX: usize = 128;

type Answer<T> = wasmtime::Result<Result<T, String>>;

fn text(error: impl Display) -> String {
    error.to_string()
}

fn shown(named: &str) -> String {
    LogText::new(named, ECHO_BYTES_MAX).to_string()
}

fn container_name(named: &str) -> Result<StoreName, String> {
    named.parse().map_err(|error| format!("the container {:?} {error}", shown(named)))
}

fn object_name(named: &str) -> Result<ObjectName, String> {
    named.parse().map_err(|error| format!("the object {:?} {error}", shown(named)))
}

/// What was bound, and the time that a call may take.
struct Calling {
    bound: Arc<Bound>,
    time: CallTime,
    transfer_time: CallTime,
}

fn calling(state: &InstanceState) -> wasmtime::Result<Calling> {
    let bound = state.bound::<Bound>();
    // Without it nothing of this interface is linked.
    let bound = bound.ok_or_else(|| wasmtime::Error::msg("wasi:blobstore is not bound to this component"))?;
    let (time, transfer_time) = (CallTime::of(state, &bound.limits), CallTime::of_transfer(state));
    Ok(Calling { bound, time, transfer_time })
}

fn opened(state: &mut InstanceState, handle: &Resource<Container>) -> wasmtime::Result<(Calling, Container)> {
    let container = state.table().get(handle)?.clone();
    Ok((calling(state)?, container))
}

impl Calling {
    async fn wait<T>(&self, work: impl Future<Output = Result<T, BlobError>>) -> Result<T, String> {
        self.time.wait(work).await.map_err(text)?.map_err(text)
    }

    fn idle(&self) -> Duration {
        Duration::from_millis(self.bound.limits.blobstore_idle_ms)
    }

    /// The container of this name, there or not, in the backend that the name leads to.
    fn place(&self, named: &str) -> Result<Container, String> {
        let name = container_name(named)?;
        match self.bound.containers_of(&name) {
            Ok(containers) => Ok(Container { name, containers }),
            Err(error) => Err(format!("the container {name} {error}")),
        }
    }

    /// Refuses a container that is not there.
    async fn require(&self, container: &Container) -> Result<(), String> {
        match self.wait(container.containers.info(&container.name)).await? {
            Some(_) => Ok(()),
            None => Err(text(BlobError::NoContainer(container.name.clone()))),
        }
    }

    /// Copies an object in a task of its own: a call that ends leaves nothing half done.
    async fn copy(&self, source: &ObjectId, target: &ObjectId) -> Result<(), String> {
        let from = (self.place(&source.container)?, object_name(&source.object)?);
        let to = (self.place(&target.container)?, object_name(&target.object)?);
        let Ok(permit) = self.bound.transfers.clone().try_acquire_owned() else {
            return Err(self.bound.too_many_transfers());
        };
        let within = self.idle();
        let copying = tokio::spawn(self.transfer_time.traced(async move {
            let _permit = permit;
            let (info, inner) = from.0.containers.read(&from.0.name, &from.1).await?;
            let mut range = Range { inner, skip: 0, left: info.size, within };
            to.0.containers.write(&to.0.name, &to.1, &mut range).await
        }));
        let copied = self.transfer_time.wait(copying).await.map_err(text)?;
        copied.map_err(|_| "the copy was broken off".to_owned())?.map_err(text)
    }
}

impl types::Host for InstanceState {}

impl types::HostOutgoingValue for InstanceState {
    async fn new_outgoing_value(&mut self) -> wasmtime::Result<Resource<OutgoingValue>> {
        let limits = &calling(self)?.bound.limits;
        let pipe = Pipe::new(usize::try_from(limits.blobstore_buffer_bytes_max).unwrap_or(usize::MAX));
        Ok(self.table().push(OutgoingValue { pipe, body: None, upload: None })?)
    }

    async fn outgoing_value_write_body(
        &mut self,
        handle: Resource<OutgoingValue>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let transfers = calling(self)?.bound.transfers.clone();
        let value = self.table().get_mut(&handle)?;
        let Some(permit) = transfers.try_acquire_owned().ok().filter(|_| value.body.is_none()) else {
            return Ok(Err(()));
        };
        value.body = Some(permit);
        let stream: DynOutputStream = Box::new(Writer(value.pipe.clone()));
        Ok(self.table().push_child(stream, &handle).map_err(drop))
    }

    async fn finish(&mut self, handle: Resource<OutgoingValue>) -> Answer<()> {
        let calling = calling(self)?;
        let mut value = self.table().delete(handle)?;
        let Some(upload) = value.upload.take() else {
            return Ok(Err("nobody has said where the object goes; call container.write-data first".into()));
        };
        value.pipe.finish();
        let stored = match calling.transfer_time.wait(upload).await {
            Ok(Ok(stored)) => stored.map_err(text),
            Ok(Err(_)) => Err("the object was broken off".into()),
            Err(late) => Err(text(late)),
        };
        Ok(stored)
    }

    async fn drop(&mut self, handle: Resource<OutgoingValue>) -> wasmtime::Result<()> {
        self.table().delete(handle)?;
        Ok(())
    }
}

impl types::HostIncomingValue for InstanceState {
    async fn incoming_value_consume_sync(&mut self, handle: Resource<IncomingValue>) -> Answer<Vec<u8>> {
        let calling = calling(self)?;
        let mut range = self.table().delete(handle)?.range;
        let max = calling.bound.limits.hostcall_bytes_max;
        if range.left > max {
            let found = range.left;
            return Ok(Err(format!("{found} bytes at once, at most {max} are allowed; read them as a stream")));
        }
        let read = async {
            let mut bytes = Vec::with_capacity(usize::try_from(range.left).unwrap_or_default());
            while let Some(piece) = range.next().await? {
                bytes.extend_from_slice(&piece);
            }
            Ok::<_, BlobError>(bytes)
        };
        Ok(calling.transfer_time.wait(read).await.map_err(text).and_then(|read| read.map_err(text)))
    }

    async fn incoming_value_consume_async(
        &mut self,
        handle: Resource<IncomingValue>,
    ) -> Answer<Resource<DynInputStream>> {
        let range = self.table().delete(handle)?.range;
        let stream: DynInputStream = Box::new(Reader::new(range));
        Ok(self.table().push(stream).map_err(text))
    }

    async fn size(&mut self, handle: Resource<IncomingValue>) -> wasmtime::Result<u64> {
        Ok(self.table().get(&handle)?.range.left)
    }

    async fn drop(&mut self, handle: Resource<IncomingValue>) -> wasmtime::Result<()> {
        self.table().delete(handle)?;
        Ok(())
    }
}

impl container::Host for InstanceState {}

impl container::HostContainer for InstanceState {
    async fn name(&mut self, handle: Resource<Container>) -> Answer<String> {
        Ok(Ok(self.table().get(&handle)?.name.to_string()))
    }

    async fn info(&mut self, handle: Resource<Container>) -> Answer<ContainerMetadata> {
        let (calling, container) = opened(self, &handle)?;
        let info = calling.wait(container.containers.info(&container.name)).await;
        Ok(info.and_then(|info| match info {
            Some(info) => Ok(ContainerMetadata { name: container.name.to_string(), created_at: info.created_at }),
            None => Err(text(BlobError::NoContainer(container.name))),
        }))
    }

    async fn get_data(
        &mut self,
        handle: Resource<Container>,
        named: String,
        start: u64,
        end: u64,
    ) -> Answer<Resource<IncomingValue>> {
        let (calling, container) = opened(self, &handle)?;
        let object = match object_name(&named) {
            Ok(object) => object,
            Err(error) => return Ok(Err(error)),
        };
        if start > end {
            return Ok(Err(format!("the range from {start} to {end} ends before it begins")));
        }
        let within = calling.idle();
        let found = calling.wait(container.containers.read(&container.name, &object)).await;
        Ok(found.and_then(|(info, mut inner)| {
            let left = info.size.min(end.saturating_add(1)).saturating_sub(start);
            let before = start.min(info.size);
            let skip = before.saturating_sub(inner.skip(before));
            let range = Range { inner, skip, left, within };
            self.table().push(IncomingValue { range }).map_err(text)
        }))
    }

    async fn write_data(
        &mut self,
        handle: Resource<Container>,
        named: String,
        data: Resource<OutgoingValue>,
    ) -> Answer<()> {
        let (calling, container) = opened(self, &handle)?;
        let object = match object_name(&named) {
            Ok(object) => object,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = calling.require(&container).await {
            return Ok(Err(error));
        }
        let value = self.table().get_mut(&data)?;
        if value.upload.is_some() {
            return Ok(Err("the value has a place already".into()));
        }
        let pipe = value.pipe.clone();
        let mut written = Written { pipe: pipe.clone(), idle: calling.idle() };
        pipe.place();
        value.upload = Some(tokio::spawn(calling.transfer_time.traced(async move {
            let stored = container.containers.write(&container.name, &object, &mut written).await;
            if let Err(error) = &stored {
                pipe.fail(error.clone());
            }
            stored
        })));
        Ok(Ok(()))
    }

    async fn list_objects(&mut self, handle: Resource<Container>) -> Answer<Resource<ObjectNames>> {
        let (calling, container) = opened(self, &handle)?;
        let page = calling.wait(container.containers.list(&container.name, 0, NAMES_PER_PAGE_MAX)).await;
        Ok(page.and_then(|page| {
            let names = ObjectNames { container, page: page.names.into(), next: page.next };
            self.table().push(names).map_err(text)
        }))
    }

    async fn delete_object(&mut self, handle: Resource<Container>, named: String) -> Answer<()> {
        let (calling, container) = opened(self, &handle)?;
        let object = match object_name(&named) {
            Ok(object) => object,
            Err(error) => return Ok(Err(error)),
        };
        Ok(calling.wait(container.containers.remove(&container.name, &object)).await)
    }

    async fn delete_objects(&mut self, handle: Resource<Container>, names: Vec<String>) -> Answer<()> {
        let (calling, container) = opened(self, &handle)?;
        if names.len() > DELETES_PER_CALL_MAX {
            let found = names.len();
            return Ok(Err(format!("{found} objects at once, at most {DELETES_PER_CALL_MAX} are allowed")));
        }
        let objects: Result<Vec<ObjectName>, String> = names.iter().map(|name| object_name(name)).collect();
        let objects = match objects {
            Ok(objects) => objects,
            Err(error) => return Ok(Err(error)),
        };
        let remove = async {
            for (done, object) in objects.iter().enumerate() {
                let removed = container.containers.remove(&container.name, object).await;
                removed.map_err(|error| format!("{done} of {} objects were deleted: {error}", objects.len()))?;
            }
            Ok(())
        };
        Ok(calling.time.wait(remove).await.map_err(text).and_then(|removed| removed))
    }

    async fn has_object(&mut self, handle: Resource<Container>, named: String) -> Answer<bool> {
        let (calling, container) = opened(self, &handle)?;
        let object = match object_name(&named) {
            Ok(object) => object,
            Err(error) => return Ok(Err(error)),
        };
        Ok(calling.wait(container.containers.object(&container.name, &object)).await.map(|found| found.is_some()))
    }

    async fn object_info(&mut self, handle: Resource<Container>, named: String) -> Answer<ObjectMetadata> {
        let (calling, container) = opened(self, &handle)?;
        let object = match object_name(&named) {
            Ok(object) => object,
            Err(error) => return Ok(Err(error)),
        };
        let found = calling.wait(container.containers.object(&container.name, &object)).await;
        Ok(found.and_then(|found| match found {
            Some(info) => Ok(ObjectMetadata {
                name: named,
                container: container.name.to_string(),
                created_at: info.created_at,
                size: info.size,
            }),
            None => Err(text(BlobError::NoObject(container.name))),
        }))
    }

    async fn clear(&mut self, handle: Resource<Container>) -> Answer<()> {
        let (calling, container) = opened(self, &handle)?;
        Ok(calling.wait(container.containers.clear(&container.name)).await)
    }

    async fn drop(&mut self, handle: Resource<Container>) -> wasmtime::Result<()> {
        self.table().delete(handle)?;
        Ok(())
    }
}

/// Takes at most `most` names off a listing, and tells whether they were the last.
async fn take_names(
    state: &mut InstanceState,
    handle: &Resource<ObjectNames>,
    most: u64,
) -> Answer<(Vec<ObjectName>, bool)> {
    let calling = calling(state)?;
    let most = usize::try_from(most.min(NAMES_PER_CALL_MAX)).unwrap_or_default();
    let mut taken = Vec::new();
    loop {
        let names = state.table().get_mut(handle)?;
        let now = names.page.len().min(most - taken.len());
        taken.extend(names.page.drain(..now));
        let Some(from) = names.next.filter(|_| names.page.is_empty()) else { break };
        if taken.len() == most {
            break;
        }
        let container = names.container.clone();
        let listed = calling.wait(container.containers.list(&container.name, from, NAMES_PER_PAGE_MAX)).await;
        let page = match listed {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        let names = state.table().get_mut(handle)?;
        (names.page, names.next) = (page.names.into(), page.next);
    }
    let names = state.table().get_mut(handle)?;
    Ok(Ok((taken, names.page.is_empty() && names.next.is_none())))
}

impl container::HostStreamObjectNames for InstanceState {
    async fn read_stream_object_names(
        &mut self,
        handle: Resource<ObjectNames>,
        len: u64,
    ) -> Answer<(Vec<String>, bool)> {
        let taken = take_names(self, &handle, len).await?;
        Ok(taken.map(|(names, end)| (names.iter().map(|name| name.as_str().to_owned()).collect(), end)))
    }

    async fn skip_stream_object_names(&mut self, handle: Resource<ObjectNames>, num: u64) -> Answer<(u64, bool)> {
        Ok(take_names(self, &handle, num).await?.map(|(names, end)| (names.len() as u64, end)))
    }

    async fn drop(&mut self, handle: Resource<ObjectNames>) -> wasmtime::Result<()> {
        self.table().delete(handle)?;
        Ok(())
    }
}

impl blobstore::Host for InstanceState {
    async fn create_container(&mut self, named: String) -> Answer<Resource<Container>> {
        let calling = calling(self)?;
        let container = match calling.place(&named) {
            Ok(container) => container,
            Err(error) => return Ok(Err(error)),
        };
        let made = calling.wait(container.containers.create(&container.name)).await;
        Ok(made.and_then(|()| self.table().push(container).map_err(text)))
    }

    async fn get_container(&mut self, named: String) -> Answer<Resource<Container>> {
        let calling = calling(self)?;
        let container = match calling.place(&named) {
            Ok(container) => container,
            Err(error) => return Ok(Err(error)),
        };
        let there = calling.require(&container).await;
        Ok(there.and_then(|()| self.table().push(container).map_err(text)))
    }

    async fn delete_container(&mut self, named: String) -> Answer<()> {
        let calling = calling(self)?;
        let container = match calling.place(&named) {
            Ok(container) => container,
            Err(error) => return Ok(Err(error)),
        };
        Ok(calling.wait(container.containers.delete(&container.name)).await)
    }

    async fn container_exists(&mut self, named: String) -> Answer<bool> {
        let calling = calling(self)?;
        let container = match calling.place(&named) {
            Ok(container) => container,
            Err(error) => return Ok(Err(error)),
        };
        Ok(calling.wait(container.containers.info(&container.name)).await.map(|info| info.is_some()))
    }

    async fn copy_object(&mut self, src: ObjectId, dest: ObjectId) -> Answer<()> {
        Ok(calling(self)?.copy(&src, &dest).await)
    }

    async fn move_object(&mut self, src: ObjectId, dest: ObjectId) -> Answer<()> {
        let calling = calling(self)?;
        if (&src.container, &src.object) == (&dest.container, &dest.object) {
            return Ok(Ok(()));
        }
        if let Err(error) = calling.copy(&src, &dest).await {
            return Ok(Err(error));
        }
        let from = calling.place(&src.container).and_then(|container| Ok((container, object_name(&src.object)?)));
        Ok(match from {
            Ok((container, object)) => calling.wait(container.containers.remove(&container.name, &object)).await,
            Err(error) => Err(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_of_a_bad_name_is_repeated() {
        let text = container_name(&".".repeat(ECHO_BYTES_MAX + 7)).unwrap_err();
        assert!(
            text.starts_with(&format!("the container \"{}... (7 bytes more)\" is", ".".repeat(ECHO_BYTES_MAX))),
            "{text}"
        );
    }
}
