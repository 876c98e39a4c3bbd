//! Which containers and objects there are, and in which file the bytes of each lie, as tables of the embedded store. What
//! is in the files, and how they come to be, is not known here.

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError, WriteTransaction,
};
use roadstead_config::{Namespace, ObjectName, StoreName};

use crate::{
    embedded::{Applied, Change, table_of},
    wasi_blobstore::backend::{BlobError, ContainerInfo, OBJECT_OVERHEAD_BYTES, ObjectInfo, ObjectPage},
};

type ObjectKey<'k> = (&'k str, &'k str, &'k str);
type ObjectRow = (u64, u64, u64, u64);

/// By namespace and container: when it was made, the number of its latest object, the bytes of all.
const CONTAINERS: TableDefinition<'_, (&str, &str), (u64, u64, u64)> = TableDefinition::new("containers");
/// By namespace, container and object: its number, when it was made, its size, its file.
const OBJECTS: TableDefinition<'_, ObjectKey<'_>, ObjectRow> = TableDefinition::new("objects");
/// By namespace, container and number: the object's name. One for each object.
const ORDER: TableDefinition<'_, (&str, &str, u64), &str> = TableDefinition::new("order");

/// The name of a file with the bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u64);

/// An object that was found.
pub(super) struct Found {
    pub(super) info: ObjectInfo,
    pub(super) file: FileId,
}

/// The container is not there.
pub(super) struct NoContainer;

/// Something to be done with a container.
pub(super) struct ContainerChange {
    pub(super) namespace: Namespace,
    pub(super) container: StoreName,
    pub(super) what: What,
}

/// What is to be done.
pub(super) enum What {
    Create { created_at: u64, containers_max: u64 },
    Delete,
    Clear,
    Place { object: ObjectName, info: ObjectInfo, file: FileId, bytes_max: u64 },
    Remove { object: ObjectName },
}

type Answer = Result<Vec<FileId>, BlobError>;
type Containers<'t> = Table<'t, (&'static str, &'static str), (u64, u64, u64)>;

/// The files that are not needed any more.
impl Change for ContainerChange {
    type Answer = Vec<FileId>;
    type Error = BlobError;

    fn bytes(&self) -> usize {
        0
    }

    fn apply(&self, write: &WriteTransaction) -> Result<Applied<Self>, redb::Error> {
        let mut containers = write.open_table(CONTAINERS)?;
        let id = (self.namespace.as_str(), self.container.as_str());
        let found = containers.get(id)?.map(|found| found.value());
        let refused = |error| Ok(Applied { answer: Err(error), is_changed: false });
        if let What::Create { created_at, containers_max } = self.what {
            return self.create(&mut containers, found.is_some(), created_at, containers_max);
        }
        let Some((created_at, number, bytes)) = found else {
            return refused(BlobError::NoContainer(self.container.clone()));
        };
        let mut objects = Objects::open(write, id)?;
        match &self.what {
            What::Create { .. } => refused(BlobError::ContainerExists(self.container.clone())),
            What::Delete => {
                let files = objects.remove_all()?;
                containers.remove(id)?;
                Ok(Applied { answer: Ok(files), is_changed: true })
            }
            What::Clear => {
                let files = objects.remove_all()?;
                containers.insert(id, (created_at, number, 0))?;
                Ok(Applied { answer: Ok(files), is_changed: true })
            }
            What::Remove { object } => {
                let Some((size, file)) = objects.remove(object)? else {
                    return Ok(Applied { answer: Ok(Vec::new()), is_changed: false });
                };
                containers.insert(id, (created_at, number, bytes.saturating_sub(size + OBJECT_OVERHEAD_BYTES)))?;
                Ok(Applied { answer: Ok(vec![file]), is_changed: true })
            }
            What::Place { object, info, file, bytes_max } => {
                let old = objects.size_of(object)?.map_or(0, |size| size + OBJECT_OVERHEAD_BYTES);
                let bytes = bytes.saturating_sub(old).saturating_add(info.size + OBJECT_OVERHEAD_BYTES);
                if bytes > *bytes_max {
                    return refused(BlobError::BytesFull(self.container.clone()));
                }
                let replaced = objects.remove(object)?;
                objects.insert(object, number + 1, info, *file)?;
                containers.insert(id, (created_at, number + 1, bytes))?;
                Ok(Applied { answer: Ok(replaced.map(|(_, file)| file).into_iter().collect()), is_changed: true })
            }
        }
    }
}

impl ContainerChange {
    fn create(
        &self,
        containers: &mut Containers<'_>,
        is_there: bool,
        created_at: u64,
        max: u64,
    ) -> Result<Applied<Self>, redb::Error> {
        let refused = |error| Ok(Applied { answer: Err(error), is_changed: false });
        if is_there {
            return refused(BlobError::ContainerExists(self.container.clone()));
        }
        let namespace = self.namespace.as_str();
        // The names of containers have letters below this one alone.
        let of_namespace = containers.range((namespace, "")..(namespace, "\u{7f}"))?.count() as u64;
        if of_namespace >= max {
            return refused(BlobError::ContainersFull { max });
        }
        containers.insert((namespace, self.container.as_str()), (created_at, 0, 0))?;
        let none: Answer = Ok(Vec::new());
        Ok(Applied { answer: none, is_changed: true })
    }
}

/// The objects of one container, in one write.
struct Objects<'t, 'c> {
    container: (&'c str, &'c str),
    objects: Table<'t, ObjectKey<'static>, ObjectRow>,
    order: Table<'t, (&'static str, &'static str, u64), &'static str>,
}

impl<'t, 'c> Objects<'t, 'c> {
    fn open(write: &'t WriteTransaction, container: (&'c str, &'c str)) -> Result<Self, TableError> {
        Ok(Self { container, objects: write.open_table(OBJECTS)?, order: write.open_table(ORDER)? })
    }

    fn size_of(&self, object: &ObjectName) -> Result<Option<u64>, redb::Error> {
        let (namespace, container) = self.container;
        let found = self.objects.get((namespace, container, object.as_str()))?;
        Ok(found.map(|found| found.value().2))
    }

    fn insert(&mut self, object: &ObjectName, number: u64, info: &ObjectInfo, file: FileId) -> Result<(), redb::Error> {
        let (namespace, container) = self.container;
        let row = (number, info.created_at, info.size, file.0);
        self.objects.insert((namespace, container, object.as_str()), row)?;
        self.order.insert((namespace, container, number), object.as_str())?;
        Ok(())
    }

    /// Its size and its file.
    fn remove(&mut self, object: &ObjectName) -> Result<Option<(u64, FileId)>, redb::Error> {
        let (namespace, container) = self.container;
        let removed = self.objects.remove((namespace, container, object.as_str()))?.map(|old| old.value());
        let Some((number, _, size, file)) = removed else { return Ok(None) };
        self.order.remove((namespace, container, number))?;
        Ok(Some((size, FileId(file))))
    }

    fn remove_all(&mut self) -> Result<Vec<FileId>, redb::Error> {
        let (namespace, container) = self.container;
        let all = (namespace, container, 0)..=(namespace, container, u64::MAX);
        let mut names = Vec::new();
        for entry in self.order.range(all.clone())? {
            names.push(entry?.1.value().to_owned());
        }
        let mut files = Vec::with_capacity(names.len());
        for name in &names {
            let removed = self.objects.remove((namespace, container, &**name))?;
            files.extend(removed.map(|old| FileId(old.value().3)));
        }
        self.order.retain_in(all, |_, _| false)?;
        Ok(files)
    }
}

/// What is known of a container, and the bytes of its objects.
pub(super) fn container(
    database: &Database,
    namespace: &Namespace,
    container: &StoreName,
) -> Result<Option<(ContainerInfo, u64)>, redb::Error> {
    let read = database.begin_read()?;
    let Some(containers) = table_of(&read, CONTAINERS)? else { return Ok(None) };
    let found = containers.get((namespace.as_str(), container.as_str()))?.map(|found| found.value());
    Ok(found.map(|(created_at, _, bytes)| (ContainerInfo { created_at }, bytes)))
}

/// Whether a container is there, in a read that goes on.
fn has_container(read: &ReadTransaction, container: (&str, &str)) -> Result<bool, redb::Error> {
    Ok(match table_of(read, CONTAINERS)? {
        Some(containers) => containers.get(container)?.is_some(),
        None => false,
    })
}

/// An object of a container, where it is there; [`NoContainer`] where the container is not.
pub(super) fn object(
    database: &Database,
    namespace: &Namespace,
    container: &StoreName,
    object: &ObjectName,
) -> Result<Result<Option<Found>, NoContainer>, redb::Error> {
    let (namespace, container) = (namespace.as_str(), container.as_str());
    let read = database.begin_read()?;
    if !has_container(&read, (namespace, container))? {
        return Ok(Err(NoContainer));
    }
    let Some(objects) = table_of(&read, OBJECTS)? else { return Ok(Ok(None)) };
    let found = objects.get((namespace, container, object.as_str()))?.map(|found| found.value());
    let found = found.map(|(_, created_at, size, file)| (ObjectInfo { created_at, size }, FileId(file)));
    Ok(Ok(found.map(|(info, file)| Found { info, file })))
}

/// Names in the order of writing; [`NoContainer`] where the container is not there.
pub(super) fn list(
    database: &Database,
    namespace: &Namespace,
    container: &StoreName,
    from: u64,
    max: usize,
) -> Result<Result<ObjectPage, NoContainer>, redb::Error> {
    let (namespace, container) = (namespace.as_str(), container.as_str());
    let read = database.begin_read()?;
    if !has_container(&read, (namespace, container))? {
        return Ok(Err(NoContainer));
    }
    let mut page = ObjectPage::default();
    let Some(order) = table_of(&read, ORDER)? else { return Ok(Ok(page)) };
    for found in order.range((namespace, container, from)..=(namespace, container, u64::MAX))? {
        let (number, name) = found?;
        if page.names.len() == max {
            page.next = Some(number.value().2);
            break;
        }
        // Nothing else than checked names was ever put there.
        page.names.extend(name.value().parse::<ObjectName>().ok());
    }
    Ok(Ok(page))
}

/// The files of all objects.
pub(super) fn files(database: &Database) -> Result<Vec<FileId>, redb::Error> {
    let read = database.begin_read()?;
    let Some(objects) = table_of(&read, OBJECTS)? else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for found in objects.iter()? {
        files.push(FileId(found?.1.value().3));
    }
    Ok(files)
}
