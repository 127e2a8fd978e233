//! The store on files: whatever the order and the reader, slabs have the bytes of the file, and a ledger holds two stores.

use std::path::{Path, PathBuf};

use model::gguf::Gguf;
use testkit::{TensorType, TinyModel};

use super::*;
use crate::plan::{Budget, CachePolicy, PlanOptions, plan};

/// A model of some dozen slabs, split so that its matrices lie in two files.
struct Files {
    folder: tempfile::TempDir,
    header: Gguf,
    spec: ModelSpec,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().expect("a folder");
        let model = TinyModel::llama().with_super_blocks(TensorType::Q4_0).build();
        let paths = testkit::write_parts(folder.path(), "tiny", &model.gguf().split_at(&[8]));
        let header = Gguf::open(&paths[0]).expect("testkit writes GGUF");
        let spec = ModelSpec::from_gguf(&header).expect("it is complete");
        Files { folder, header, spec }
    }

    /// A store with as little memory as works, or what `ledger` has left if that is less.
    fn open(&self, io: IoMode, limit_bytes: u64, ledger: &Ledger) -> Result<WeightStore, StoreError> {
        let table = SlabTable::new(&self.spec).expect("tiny");
        let budget = |limit_bytes| Budget { limit_bytes, kv_bytes: 0, fixed_bytes: 0, lent_bytes: 0 };
        let options = PlanOptions { policy: CachePolicy::Pin, depth: None };
        let least = plan(&table, budget(1 << 40), options).expect("it fits").minimum_budget_bytes;
        let plan = plan(&table, budget(limit_bytes.max(least)), options).expect("the least that works");
        let options = StoreOptions { io, max_read_rate: None };
        WeightStore::open(self.header.files(), &self.spec, &plan, options, ledger)
    }

    /// Takes slabs and compares them to the files.
    fn check(&self, store: &WeightStore, ids: &[SlabId]) {
        for id in ids {
            let slab = store.table.get(*id);
            let guards = store.slabs(&[*id]).expect("the file can be read");
            let paths: Vec<PathBuf> = self.header.files().iter().map(|file| file.path.clone()).collect();
            assert!(guards[0].bytes() == bytes(&paths[slab.file], slab.offset, slab.len), "{id:?}");
        }
    }
}

fn bytes(path: &Path, offset: u64, len: usize) -> Vec<u8> {
    let all = std::fs::read(path).expect("the file is there");
    all[offset as usize..][..len].to_vec()
}

#[test]
fn every_reader_brings_the_bytes_of_every_file_in_every_order() {
    let files = Files::new();
    for io in [IoMode::Auto, IoMode::Buffered, IoMode::Mmap] {
        let store = files.open(io, 0, &Ledger::new(1 << 30)).unwrap();
        let ids: Vec<SlabId> = store.table.ids().collect();
        assert!(ids.len() > 8 && ids.iter().any(|id| store.table.get(*id).file > 0));
        (0..2).for_each(|_| files.check(&store, &ids));
        // The output head first, announced.
        let backwards: Vec<SlabId> = ids.iter().rev().copied().collect();
        store.expect(&backwards);
        files.check(&store, &backwards);
        // The first half in a loop, announced each time, as a measurement does it.
        for _ in 0..3 {
            store.expect(&ids[..ids.len() / 2]);
            files.check(&store, &ids[..ids.len() / 2]);
        }
        store.set_cycle(ids.iter().step_by(2).copied().collect());
        (0..2).for_each(|_| files.check(&store, &ids));
        assert!(files.folder.path().exists());
    }
}

#[test]
fn two_stores_share_a_ledger() {
    let files = Files::new();
    let ledger = Ledger::new(1 << 20);
    let first = files.open(IoMode::Buffered, 0, &ledger).unwrap();
    let used = ledger.used_bytes();
    assert!(used > 0 && ledger.left_bytes() == (1 << 20) - used);
    let second = files.open(IoMode::Buffered, ledger.left_bytes(), &ledger).unwrap();
    assert!(ledger.used_bytes() > used);
    let ids: Vec<SlabId> = first.table.ids().collect();
    for _ in 0..2 {
        files.check(&first, &ids);
        files.check(&second, &ids);
    }
    second.lend(0).unwrap();
    let rest = ledger.reserve("program", ledger.left_bytes()).unwrap();
    let error = files.open(IoMode::Buffered, 0, &ledger).err().expect("nothing is left").to_string();
    assert!(
        error.contains("weights needs") && error.contains("held: program") && error.contains(", weights"),
        "{error}"
    );
    drop(rest);
    drop(second);
    assert_eq!(ledger.used_bytes(), used);
    files.check(&first, &ids);
    drop(first);
    assert_eq!(ledger.used_bytes(), 0);
}
