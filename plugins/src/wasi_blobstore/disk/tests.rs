//! Objects on disk by themselves: what survives, what a crash leaves, what is removed.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;

use super::*;
use crate::data_dir::DataDirError;

/// Opens the folder, which the one before may just be closing.
fn open(path: &Path) -> DiskContainers {
    for _ in 0..2_000 {
        match DataDir::open(path) {
            Ok(folder) => return DiskContainers::open(&folder).unwrap(),
            Err(DataDirError::InUse { .. }) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the folder stays in use");
}

struct Given(Vec<Bytes>);

#[async_trait]
impl Chunks for Given {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        match self.0.pop() {
            Some(piece) if piece.is_empty() => Err(BlobError::GivenUp),
            piece => Ok(piece),
        }
    }
}

fn pieces(pieces: &[&'static str]) -> Given {
    Given(pieces.iter().rev().map(|piece| Bytes::from_static(piece.as_bytes())).collect())
}

async fn of(backend: &DiskContainers) -> Arc<dyn Containers> {
    backend.of(&Namespace::default(), &Arc::new(Limits::default())).await.unwrap()
}

async fn text(containers: &Arc<dyn Containers>, container: &StoreName, object: &ObjectName) -> String {
    let (_, mut chunks) = containers.read(container, object).await.unwrap();
    let mut text = String::new();
    while let Some(piece) = chunks.next().await.unwrap() {
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    text
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder.join(FILES_FOLDER)).unwrap().count()
}

#[tokio::test]
async fn objects_survive_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let container: StoreName = "one".parse().unwrap();
    let (kept, other): (ObjectName, ObjectName) = ("../../etc/passwd".parse().unwrap(), "other".parse().unwrap());
    let backend = open(folder.path());
    let containers = of(&backend).await;
    containers.create(&container).await.unwrap();
    containers.write(&container, &kept, &mut pieces(&["first"])).await.unwrap();
    containers.write(&container, &kept, &mut pieces(&["sec", "ond"])).await.unwrap();
    containers.write(&container, &other, &mut pieces(&["other"])).await.unwrap();
    let given_up = containers.write(&container, &other, &mut pieces(&["half", ""])).await;
    assert!(matches!(given_up, Err(BlobError::GivenUp)), "{given_up:?}");
    assert_eq!(files(folder.path()), 2, "what was replaced and what was given up is removed");
    // Who reads has all of what there was.
    let (_, mut reading) = containers.read(&container, &other).await.unwrap();
    containers.remove(&container, &other).await.unwrap();
    assert_eq!(reading.next().await.unwrap().unwrap(), "other");
    drop((containers, reading, backend));

    // What a crash leaves: one that was being written, and one that no object came to have.
    fs::write(folder.path().join("objects/00000000000000ff.part"), "half").unwrap();
    fs::write(folder.path().join("objects/00000000000000fe"), "whole").unwrap();
    let backend = open(folder.path());
    assert_eq!(files(folder.path()), 1);
    let containers = of(&backend).await;
    assert_eq!(text(&containers, &container, &kept).await, "second");
    containers.write(&container, &other, &mut pieces(&["new"])).await.unwrap();
    assert_eq!(text(&containers, &container, &kept).await, "second", "the new file has a name of its own");
    assert_eq!(containers.list(&container, 0, 10).await.unwrap().names, [kept, other]);
    containers.delete(&container).await.unwrap();
    assert_eq!(files(folder.path()), 0);
}

/// More than `files::STEP_BYTES` each, and more than `files::STEPS_AT_ONCE_MAX` of them; one more than
/// `files::UNSYNCHRONISED_BYTES_MAX`.
#[tokio::test]
async fn many_large_objects_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path());
    let containers = of(&backend).await;
    let container: StoreName = "one".parse().unwrap();
    containers.create(&container).await.unwrap();
    let object = |number: usize| format!("o{number}").parse::<ObjectName>().unwrap();
    let writing = (0..40).map(|number| {
        let (containers, container) = (containers.clone(), container.clone());
        async move {
            let mut given = Given((0..10).map(|_| Bytes::from(vec![b'a' + number as u8 % 26; 70_000])).collect());
            containers.write(&container, &object(number), &mut given).await
        }
    });
    futures::future::try_join_all(writing).await.unwrap();
    for number in 0..40 {
        let found = text(&containers, &container, &object(number)).await;
        assert!(found.len() == 700_000 && found.bytes().all(|byte| byte == b'a' + number as u8 % 26));
    }
    let mut large = Given((0..36).map(|_| Bytes::from(vec![b'l'; 1_000_000])).collect());
    containers.remove(&container, &object(1)).await.unwrap();
    containers.write(&container, &object(1), &mut large).await.unwrap();
    assert_eq!(containers.object(&container, &object(1)).await.unwrap().unwrap().size, 36_000_000);
    let (_, mut reading) = containers.read(&container, &object(0)).await.unwrap();
    assert_eq!(reading.skip(699_999), 699_999);
    assert_eq!(reading.next().await.unwrap().unwrap().len(), 1);
}
