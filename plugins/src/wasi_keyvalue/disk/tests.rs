//! The store on disk by itself: what survives, what is refused, what a damaged file says.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::*;
use crate::data_dir::DataDirError;

/// Opens the folder, which the one before may just be closing.
fn open(path: &Path) -> DiskBuckets {
    for _ in 0..2_000 {
        match DataDir::open(path) {
            Ok(folder) => return DiskBuckets::open(&folder).unwrap(),
            Err(DataDirError::InUse { .. }) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the folder stays in use");
}

async fn of(backend: &DiskBuckets, limits: Limits) -> Arc<dyn Buckets> {
    backend.of(&Namespace::default(), &Arc::new(limits)).await.unwrap()
}

fn names() -> (StoreName, StoreKey) {
    ("one".parse().unwrap(), "k".parse().unwrap())
}

#[tokio::test]
async fn changes_and_numbers_survive() {
    let folder = tempfile::tempdir().unwrap();
    let (bucket, key) = names();
    for round in 1..=3_u64 {
        let backend = open(folder.path());
        let buckets = of(&backend, Limits::default()).await;
        assert_eq!(buckets.increment(&bucket, &key, 1).await.unwrap(), round);
        let found = buckets.get(&bucket, &key).await.unwrap().unwrap();
        assert_eq!((&*found.value, found.revision), (round.to_string().as_bytes(), round));
        let stale = buckets.put(&bucket, &key, "x".into(), Expected::Revision(round - 1)).await;
        assert!(matches!(stale, Err(KeyValueError::Changed)), "{stale:?}");
    }
}

#[tokio::test]
async fn quotas_are_kept_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let limits = || Limits { keyvalue_keys_max: 2, keyvalue_bytes_max: 10, ..Limits::default() };
    let (bucket, key) = names();
    let other: StoreKey = "o".parse().unwrap();
    let third: StoreKey = "t".parse().unwrap();
    let backend = open(folder.path());
    let buckets = of(&backend, limits()).await;
    buckets.put(&bucket, &key, "1234".into(), Expected::Anything).await.unwrap();
    buckets.put(&bucket, &other, "1234".into(), Expected::Anything).await.unwrap();
    drop((buckets, backend));
    let backend = open(folder.path());
    let buckets = of(&backend, limits()).await;
    let full = buckets.put(&bucket, &key, "12345".into(), Expected::Anything).await;
    assert!(matches!(full, Err(KeyValueError::BytesFull)), "{full:?}");
    let full = buckets.put(&bucket, &third, "".into(), Expected::Anything).await;
    assert!(matches!(full, Err(KeyValueError::KeysFull)), "{full:?}");
    buckets.delete(&bucket, &other).await.unwrap();
    buckets.put(&bucket, &third, "1234".into(), Expected::Anything).await.unwrap();
    let page = buckets.list(&bucket, 0, 10).await.unwrap();
    assert_eq!(page.keys, [key, third]);
}

/// More than `writer::QUEUE_CHANGES_MAX` changes, of which `writer::BATCH_CHANGES_MAX` are written at once; more readers than
/// `embedded::READS_AT_ONCE_MAX`.
#[tokio::test]
async fn many_at_once_share_what_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path());
    let buckets = of(&backend, Limits::default()).await;
    let (bucket, key) = names();
    let adding = (0..2_000).map(|_| buckets.increment(&bucket, &key, 1));
    let sums = futures::future::try_join_all(adding).await.unwrap();
    assert_eq!(sums.iter().max(), Some(&2_000));
    let reading = (0..200).map(|_| buckets.get(&bucket, &key));
    let found = futures::future::try_join_all(reading).await.unwrap();
    assert!(found.iter().all(|found| found.as_ref().is_some_and(|found| found.value == "2000")));
}

/// More bytes than `writer::QUEUE_UNITS_MAX` units, and more than `store::CACHE_BYTES_MAX`.
#[tokio::test]
async fn more_bytes_than_may_wait() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path());
    let buckets = of(&backend, Limits { keyvalue_bytes_max: 1 << 30, ..Limits::default() }).await;
    let bucket: StoreName = "one".parse().unwrap();
    let keys: Vec<StoreKey> = (0..80).map(|number| format!("k{number}").parse().unwrap()).collect();
    let value = |number: usize| Bytes::from(vec![number as u8; 1_000_000]);
    let putting = keys.iter().enumerate().map(|(n, key)| buckets.put(&bucket, key, value(n), Expected::Anything));
    futures::future::try_join_all(putting).await.unwrap();
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(buckets.get(&bucket, key).await.unwrap().unwrap().value, value(number));
    }
}

#[tokio::test]
async fn what_is_replaced_and_deleted_takes_no_room_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path());
    let buckets = of(&backend, Limits::default()).await;
    let bucket: StoreName = "one".parse().unwrap();
    let keys: Vec<StoreKey> = (0..20).map(|number| format!("k{number}").parse().unwrap()).collect();
    // 20 megabytes, of which there are 200 kilobytes at a time.
    for round in 0..100_u8 {
        let value = Bytes::from(vec![round; 10_000]);
        let putting = keys.iter().map(|key| buckets.put(&bucket, key, value.clone(), Expected::Anything));
        futures::future::try_join_all(putting).await.unwrap();
        if round % 10 == 9 {
            let deleting = keys.iter().map(|key| buckets.delete(&bucket, key));
            futures::future::try_join_all(deleting).await.unwrap();
        }
    }
    let bytes = fs::metadata(folder.path().join(FILE)).unwrap().len();
    assert!(bytes < 5 << 20, "{bytes}");
    assert_eq!(buckets.list(&bucket, 0, 10).await.unwrap(), KeyPage::default());
}

#[tokio::test]
async fn a_file_that_is_damaged_or_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (bucket, _) = names();
    {
        let backend = open(folder.path());
        let buckets = of(&backend, Limits::default()).await;
        for number in 0..200 {
            let key = format!("k{number}").parse().unwrap();
            buckets.put(&bucket, &key, vec![b'v'; 1_000].into(), Expected::Anything).await.unwrap();
        }
    }
    drop(open(folder.path()));
    let file = folder.path().join("keys.redb");
    let whole = loop {
        if let Ok(_folder) = DataDir::open(folder.path()) {
            break fs::read(&file).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let refusal = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let folder = DataDir::open(folder.path()).unwrap();
        match DiskBuckets::open(&folder) {
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        }
    };
    let in_the_middle = whole.windows(1_000).position(|window| window.iter().all(|byte| *byte == b'v')).unwrap();
    let mut changed = whole.clone();
    changed[in_the_middle + 17] = b'w';
    for bad in [&b"once upon a time, there was another file"[..], &whole[..whole.len() / 2], &changed] {
        let text = refusal(bad).expect("a refusal");
        assert!(text.contains("keys.redb is damaged") && text.contains("move it away"), "{text}");
    }
    assert_eq!(refusal(&whole), None);
}

/// Where the process that is to be killed has its folder.
const KILLED_FOLDER: &str = "ROADSTEAD_TEST_KILLED_FOLDER";

/// Begun by the test below, in a process of its own: says what it finds, then adds and says so, without end.
#[tokio::test]
#[ignore = "runs until it is killed; the test below begins it"]
async fn adds_until_it_is_killed() {
    let folder = std::env::var_os(KILLED_FOLDER).expect("a folder");
    let backend = open(Path::new(&folder));
    let buckets = of(&backend, Limits::default()).await;
    let (bucket, key) = names();
    let found = buckets.get(&bucket, &key).await.unwrap();
    let found: u64 = found.map_or(0, |found| std::str::from_utf8(&found.value).unwrap().parse().unwrap());
    // Each number has a key beside it, with a value as large as any.
    let page = buckets.list(&bucket, 0, 1_000_000).await.unwrap();
    let beside = page.keys.iter().filter(|key| key.as_str().len() > 1).count() as u64;
    let counter: StoreKey = "c".parse().unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "found {found} {beside}").unwrap();
    for number in found + 1.. {
        let value = vec![b'v'; number as usize * 7_919 % 60_000];
        let other = format!("k{number}").parse().unwrap();
        let (counted, put) = tokio::join!(
            buckets.increment(&bucket, &counter, 1),
            buckets.put(&bucket, &other, value.into(), Expected::Anything)
        );
        counted.unwrap();
        put.unwrap();
        assert_eq!(buckets.increment(&bucket, &key, 1).await.unwrap(), number);
        if number > 40 {
            buckets.delete(&bucket, &format!("k{}", number - 40).parse().unwrap()).await.unwrap();
        }
        writeln!(out, "added {number}").unwrap();
    }
}

#[test]
fn what_was_acknowledged_outlasts_kills() {
    const KILLS: u64 = 200;
    let folder = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut acknowledgements) = (0_u64, 0);
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "wasi_keyvalue::disk::tests::adds_until_it_is_killed", "--ignored", "--nocapture"])
            .env(KILLED_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let begun = lines.find_map(|line| Some(line.split_once("found ")?.1.to_owned())).expect("what it found");
        let (found, beside) = begun.split_once(' ').unwrap();
        let (found, beside): (u64, u64) = (found.parse().unwrap(), beside.parse().unwrap());
        assert!((acknowledged..=acknowledged + 1).contains(&found), "kill {kill}: {found}, {acknowledged} were told");
        // Each kill may have come before something was deleted.
        assert!((found.min(40)..=found.min(40) + 2 + kill).contains(&beside), "kill {kill}: {beside} beside {found}");
        acknowledged = found;
        let until = found + kill % 7;
        while acknowledged < until {
            let line = lines.next().expect("it goes on");
            if let Some(number) = line.strip_prefix("added ") {
                acknowledged = number.parse().unwrap();
                acknowledgements += 1;
            }
        }
        // Somewhere in the next one.
        std::thread::sleep(Duration::from_micros(kill * 131 % 4_000));
        child.kill().unwrap();
        // What it said before it was killed counts as well.
        for line in lines {
            acknowledged = line.strip_prefix("added ").map_or(acknowledged, |number| number.parse().unwrap());
        }
        child.wait().unwrap();
    }
    assert!(acknowledgements > KILLS, "{acknowledgements}");
    // What the store says of its size is what is there.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let backend = open(folder.path());
        let (bucket, key) = names();
        let counted = of(&backend, Limits::default()).await;
        let keys = counted.list(&bucket, 0, 1_000_000).await.unwrap().keys;
        let mut bytes = 0;
        for key in &keys {
            bytes += key.as_str().len() + counted.get(&bucket, key).await.unwrap().unwrap().value.len();
        }
        let exactly =
            Limits { keyvalue_keys_max: keys.len() as u64, keyvalue_bytes_max: bytes as u64, ..Limits::default() };
        let full = of(&backend, exactly).await;
        let value = full.get(&bucket, &key).await.unwrap().unwrap().value;
        full.put(&bucket, &key, value.clone(), Expected::Anything).await.unwrap();
        let more = [&*value, b"0"].concat().into();
        assert!(matches!(full.put(&bucket, &key, more, Expected::Anything).await, Err(KeyValueError::BytesFull)));
        let other = "other".parse().unwrap();
        assert!(matches!(full.put(&bucket, &other, "".into(), Expected::Anything).await, Err(KeyValueError::KeysFull)));
    });
}
