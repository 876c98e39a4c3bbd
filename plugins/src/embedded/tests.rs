//! The store on a disk that loses, at a power cut, what was not synchronised: any part of it, in any order.

use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use redb::{ReadableDatabase, StorageBackend, TableDefinition};

use super::{store::transact, *};

const NUMBERS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("numbers");

/// Puts a number, with so many bytes beside it.
struct Put(u64, usize);

impl Change for Put {
    type Answer = ();
    type Error = StoreFailure;

    fn bytes(&self) -> usize {
        self.1
    }

    fn apply(&self, write: &WriteTransaction) -> Result<Applied<Self>, redb::Error> {
        let bytes = vec![self.0 as u8; self.1];
        write.open_table(NUMBERS)?.insert("n", (self.0, &*bytes))?;
        Ok(Applied { answer: Ok(()), is_changed: true })
    }
}

fn number(database: &Database) -> u64 {
    let read = database.begin_read().unwrap();
    let Ok(numbers) = read.open_table(NUMBERS) else { return 0 };
    let Some(found) = numbers.get("n").unwrap() else { return 0 };
    let (number, bytes) = found.value();
    assert!(bytes.iter().all(|byte| *byte == number as u8), "the bytes are those of the number");
    number
}

/// A disk in memory.
#[derive(Debug, Default)]
struct Disk {
    now: Vec<u8>,
    synchronised: Vec<u8>,
    /// Written since, in this order.
    pending: Vec<(usize, Vec<u8>)>,
    /// Writes until the power is cut.
    left: usize,
}

#[derive(Debug, Clone)]
struct Power(Arc<Mutex<Disk>>);

impl Power {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// What is on the disk when the power is back: what was synchronised, and any of what was written since, whole or in
    /// part.
    fn cut(&self, random: &mut StdRng) -> Self {
        let mut disk = self.disk();
        let mut bytes = disk.synchronised.clone();
        if random.random_bool(0.5) {
            bytes.resize(disk.now.len().max(bytes.len()), 0);
        }
        for (offset, written) in std::mem::take(&mut disk.pending) {
            let kept = match random.random_range(0..3) {
                0 => 0,
                1 => written.len(),
                _ => random.random_range(0..=written.len()) / 512 * 512,
            };
            let end = (offset + kept).min(bytes.len());
            if end > offset {
                bytes[offset..end].copy_from_slice(&written[..end - offset]);
            }
        }
        // Whoever is left of the old writes no more.
        disk.left = 0;
        let next = Disk { now: bytes.clone(), synchronised: bytes, pending: Vec::new(), left: usize::MAX };
        Self(Arc::new(Mutex::new(next)))
    }
}

impl Disk {
    fn spend(&mut self) -> io::Result<()> {
        match self.left {
            0 => Err(io::Error::other("no power")),
            left => {
                self.left = left - 1;
                Ok(())
            }
        }
    }
}

impl StorageBackend for Power {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (disk, offset) = (self.disk(), usize::try_from(offset).unwrap());
        let found = disk.now.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        disk.spend()?;
        disk.now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.spend()?;
        let Disk { now, synchronised, pending, .. } = &mut *disk;
        synchronised.clone_from(now);
        pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.spend()?;
        let offset = usize::try_from(offset).unwrap();
        disk.now[offset..offset + data.len()].copy_from_slice(data);
        disk.pending.push((offset, data.to_vec()));
        Ok(())
    }
}

#[test]
fn what_was_acknowledged_outlasts_power_cuts() {
    const CUTS: u32 = 200;
    let mut random = StdRng::seed_from_u64(8);
    let mut power = Power(Arc::new(Mutex::new(Disk { left: usize::MAX, ..Disk::default() })));
    let (mut acknowledged, mut acknowledgements) = (0, 0);
    for cut in 0..CUTS {
        // Every second time all of the file is read, and its checksums compared.
        let mut builder = Database::builder();
        builder.set_cache_size(1 << 20).set_check_integrity_on_open(cut % 2 == 0);
        let database = builder.create_with_backend(power.clone()).unwrap();
        let found = number(&database);
        assert!((acknowledged..=acknowledged + 1).contains(&found), "cut {cut}: {found}, {acknowledged} were told");
        acknowledged = found;
        power.disk().left = random.random_range(0..120);
        loop {
            let bytes = random.random_range(0..20_000);
            match transact(&database, &[&Put(acknowledged + 1, bytes)]) {
                Ok(_) => (acknowledged, acknowledgements) = (acknowledged + 1, acknowledgements + 1),
                Err(_) => break,
            }
        }
        let next = power.cut(&mut random);
        drop(database);
        power = next;
    }
    assert!(acknowledgements > u64::from(CUTS), "{acknowledgements}");
}
