//! A split model equals the model before it was split; files that do not belong together give an error.
//!
//! `testkit` splits models like llama.cpp's gguf-split and uses its file names. Whichever part is opened, names, metadata
//! and every byte must come back; each kind of invalid set of parts has a message that names the file and says what to do.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use model::ModelSpec;
use model::gguf::{FileStamp, Gguf, Metadata, Value};
use tempfile::TempDir;
use testkit::{GgufWriter, TinyModel, ggml_type, write_parts};

/// The files of one model, until a test has harmed them.
struct Parts {
    folder: TempDir,
    paths: Vec<PathBuf>,
}

impl Parts {
    fn write(parts: &[GgufWriter]) -> Parts {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let paths = write_parts(folder.path(), "tiny", parts);
        Parts { folder, paths }
    }

    /// Replaces part `no` of the files.
    fn replace(self, no: usize, part: &GgufWriter) -> Parts {
        part.write(&self.paths[no]).expect("the file can be written");
        self
    }

    /// Opens the model by each of its files and asserts that the message has all `words`.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        for path in self.paths.iter().filter(|path| path.exists()) {
            refused(path, words);
        }
    }
}

#[track_caller]
fn refused(path: &Path, words: &[&str]) {
    let message = Gguf::open(path).expect_err("the model should be refused").to_string();
    assert!(!message.contains(char::is_control), "not one plain line: {message:?}");
    for word in words {
        assert!(message.contains(word), "no \"{word}\" by {} in: {message}", path.display());
    }
}

/// A file with metadata and five tensors, `t0` to `t4`.
fn small() -> GgufWriter {
    let file = GgufWriter::new().kv("general.architecture", "llama").kv("general.name", "small");
    (0..5u8).fold(file, |file, i| file.tensor(&format!("t{i}"), &[3], ggml_type::F32, [i; 12]))
}

/// Three parts: none, two and three tensors.
fn three() -> Vec<GgufWriter> {
    small().split_at(&[0, 2])
}

/// A part of three with these keys and one tensor, in the place of an honest one.
fn part(no: u16, count: u16, n_tensors: i32, tensor: &str) -> GgufWriter {
    let keys = GgufWriter::new().kv("split.no", no).kv("split.count", count).kv("split.tensors.count", n_tensors);
    keys.tensor(tensor, &[3], ggml_type::F32, [9; 12])
}

fn tensor_bytes(gguf: &Gguf, name: &str) -> Vec<u8> {
    let tensor = gguf.tensor(name).expect("the tensor is there");
    let file = fs::read(&gguf.files()[usize::from(tensor.file)].path).expect("the file can be read");
    file[tensor.offset as usize..][..tensor.len as usize].to_vec()
}

fn without_split_keys(metadata: &Metadata) -> Vec<(&str, &Value)> {
    metadata.iter().filter(|(key, _)| !key.starts_with("split.")).collect()
}

// Right models.

/// Compares a split model, opened by each of its files, with the same model in one.
#[track_caller]
fn same_as_whole(whole: &GgufWriter, cuts: &[usize]) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let whole_path = folder.path().join("whole.gguf");
    whole.write(&whole_path).expect("the file can be written");
    let expected = Gguf::open(&whole_path).expect("the whole model is right");
    let paths = write_parts(folder.path(), "tiny", &whole.split_at(cuts));
    for path in &paths {
        let gguf = Gguf::open(path).expect("the split model is right");
        assert_eq!(without_split_keys(gguf.metadata()), without_split_keys(expected.metadata()));
        assert_eq!(gguf.files().iter().map(|file| &file.path).collect::<Vec<_>>(), paths.iter().collect::<Vec<_>>());
        let lens: Vec<_> = paths.iter().map(|path| fs::metadata(path).expect("it is there").len()).collect();
        assert_eq!(gguf.files().iter().map(|file| file.len).collect::<Vec<_>>(), lens);
        assert_eq!(gguf.file_len(), lens.iter().sum::<u64>());

        assert_eq!(gguf.tensors().len(), expected.tensors().len());
        for (index, (found, wanted)) in gguf.tensors().iter().zip(expected.tensors()).enumerate() {
            let file = cuts.iter().filter(|&&cut| cut <= index).count();
            assert_eq!((&found.name, usize::from(found.file)), (&wanted.name, file));
            assert_eq!((found.quant, &found.shape, found.len), (wanted.quant, &wanted.shape, wanted.len));
            assert_eq!(gguf.tensor(&found.name), Some(found));
            assert_eq!(tensor_bytes(&gguf, &found.name), tensor_bytes(&expected, &wanted.name));
        }
    }
}

#[test]
fn a_tiny_model_in_three_files_opens_by_each_of_them() {
    let model = TinyModel::llama().build();
    same_as_whole(&model.gguf(), &[0, 7]);
    same_as_whole(&model.gguf(), &[3, 12]);
    let parts = Parts::write(&model.gguf().split_at(&[0, 7]));
    let spec = ModelSpec::from_gguf(&Gguf::open(&parts.paths[2]).unwrap()).unwrap();
    let whole = model.gguf_bytes();
    let whole = ModelSpec::from_gguf(&Gguf::parse(&whole[..], whole.len() as u64).unwrap()).unwrap();
    assert!(spec.walk().eq(whole.walk()));
}

#[test]
fn parts_may_have_no_tensors_and_the_first_an_alignment_of_its_own() {
    same_as_whole(&small(), &[0, 0, 2, 2, 5]);
    let aligned = GgufWriter::new().alignment(256).kv("general.name", "aligned");
    let aligned = aligned.tensor("a", &[1], ggml_type::F32, [1; 4]).tensor("b", &[1], ggml_type::F32, [2; 4]);
    let aligned = aligned.tensor("c", &[1], ggml_type::F32, [3; 4]).tensor("d", &[1], ggml_type::F32, [4; 4]);
    same_as_whole(&aligned, &[2]);
}

#[test]
fn a_thousand_parts_are_read() {
    let cuts = [[0].repeat(996), vec![1, 2, 3]].concat();
    let parts = Parts::write(&small().split_at(&cuts));
    let gguf = Gguf::open(&parts.paths[999]).unwrap();
    assert_eq!((gguf.files().len(), gguf.tensors()[4].file), (1000, 999));
}

#[test]
fn the_number_of_tensors_may_be_left_unsaid() {
    let no = |no: u16, file: GgufWriter| file.kv("split.no", no).kv("split.count", 2u16);
    let parts = Parts::write(&[no(0, small()), no(1, GgufWriter::new().tensor("u", &[1], ggml_type::F32, [0; 4]))]);
    assert_eq!(Gguf::open(&parts.paths[1]).unwrap().tensors().len(), 6);
}

#[cfg(unix)]
#[test]
fn parts_are_found_beside_a_link_and_not_beside_what_it_points_to() {
    let parts = Parts::write(&three());
    let links = parts.folder.path().join("links");
    fs::create_dir(&links).unwrap();
    for (i, path) in parts.paths.iter().enumerate() {
        let blob = parts.folder.path().join(format!("blob{i}"));
        fs::rename(path, &blob).unwrap();
        std::os::unix::fs::symlink(blob, links.join(path.file_name().unwrap())).unwrap();
    }
    let gguf = Gguf::open(&links.join("tiny-00002-of-00003.gguf")).unwrap();
    assert_eq!(gguf.tensors().len(), 5);
}

#[test]
fn each_file_has_the_stamp_that_it_had_when_it_was_read() {
    let parts = Parts::write(&three());
    let stamp = |path: &Path| FileStamp::of(&File::open(path).unwrap()).unwrap();
    let gguf = Gguf::open(&parts.paths[0]).unwrap();
    for file in gguf.files() {
        assert_eq!(file.stamp, Some(stamp(&file.path)));
    }
    let longer = three()[2].clone().tensor("t5", &[1], ggml_type::F32, [5; 4]);
    let parts = parts.replace(2, &longer);
    assert_ne!(gguf.files()[2].stamp, Some(stamp(&parts.paths[2])));
    assert_eq!(gguf.files()[1].stamp, Some(stamp(&parts.paths[1])));
}

// Missing and misnamed.

#[test]
fn a_missing_part_is_named() {
    let parts = Parts::write(&three());
    fs::remove_file(&parts.paths[1]).unwrap();
    parts.refused(&["of 3 of a model", "tiny-00002-of-00003.gguf is not beside it", "1 missing", "fetch"]);
    fs::remove_file(&parts.paths[0]).unwrap();
    parts.refused(&["part 3 of 3", "tiny-00001-of-00003.gguf is not beside it", "2 missing", "fetch"]);
}

#[test]
fn a_name_that_the_others_cannot_be_found_from_is_refused() {
    let parts = Parts::write(&three());
    let names = ["model.gguf", "tiny-00001-of-00003.GGUF", "tiny-1-of-3.gguf", "tiny-00001-of-00004.gguf", "-of-.gguf"];
    for name in names {
        let path = parts.folder.path().join(name);
        fs::copy(&parts.paths[0], &path).unwrap();
        refused(&path, &[name, "part 1 of 3", "must be UTF-8 and end in -00001-of-00003.gguf"]);
    }
    // The number in the name is that of another part.
    fs::copy(&parts.paths[2], &parts.paths[1]).unwrap();
    refused(&parts.paths[1], &["part 3 of 3", "end in -00003-of-00003.gguf"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let parts = Parts::write(&three());
    let path = parts.folder.path().join(std::ffi::OsStr::from_bytes(b"\xff-00001-of-00003.gguf"));
    fs::rename(&parts.paths[0], &path).unwrap();
    refused(&path, &["must be UTF-8"]);
}

#[test]
fn a_folder_in_the_place_of_a_part_is_named() {
    let parts = Parts::write(&three());
    fs::remove_file(&parts.paths[1]).unwrap();
    fs::create_dir(&parts.paths[1]).unwrap();
    refused(&parts.paths[0], &["tiny-00002-of-00003.gguf: this is a directory"]);
}

// Parts that do not belong together.

#[test]
fn parts_under_each_others_names_are_refused() {
    let [first, second, third] = &three()[..] else { panic!("three parts") };
    let swapped = Parts::write(&[first.clone(), third.clone(), second.clone()]);
    refused(
        &swapped.paths[0],
        &["tiny-00002-of-00003.gguf: its name says part 2 of 3, but it is part 3 of 3", "fetch"],
    );
    refused(&swapped.paths[1], &["part 3 of 3", "end in -00003-of-00003.gguf"]);
    let twice = Parts::write(&[first.clone(), second.clone(), second.clone()]);
    refused(&twice.paths[0], &["tiny-00003-of-00003.gguf: its name says part 3 of 3, but it is part 2 of 3"]);
}

#[test]
fn a_part_of_a_model_with_another_number_of_parts_is_refused() {
    let parts = Parts::write(&three()).replace(1, &part(1, 4, 5, "u"));
    for path in [&parts.paths[0], &parts.paths[2]] {
        refused(path, &["tiny-00002-of-00003.gguf: its name says part 2 of 3, but it is part 2 of 4", "another model"]);
    }
    let parts = parts.replace(1, &three()[1]).replace(0, &part(0, 2, 5, "u"));
    refused(&parts.paths[1], &["tiny-00001-of-00003.gguf", "part 1 of 2"]);
}

#[test]
fn a_whole_model_in_the_place_of_a_part_is_refused() {
    let parts = Parts::write(&three()).replace(2, &small());
    refused(&parts.paths[0], &["tiny-00003-of-00003.gguf", "says part 3 of 3", "a whole model", "fetch"]);
}

#[test]
fn a_part_of_a_model_with_another_number_of_tensors_is_refused() {
    let parts = Parts::write(&three()).replace(2, &part(2, 3, 6, "u"));
    refused(&parts.paths[0], &["tiny-00003-of-00003.gguf", "split.tensors.count", "is 6 here and 5 in another part"]);
    refused(&parts.paths[2], &["tiny-00001-of-00003.gguf", "split.tensors.count", "is 5 here and 6 in another part"]);
}

#[test]
fn parts_that_lack_tensors_or_have_some_too_many_are_refused() {
    let parts = Parts::write(&three()).replace(2, &part(2, 3, 5, "t2"));
    parts.refused(&["split.tensors.count", "is 5", "the 3 parts hold 3 tensors", "fetch"]);
    let more = three()[2].clone().tensor("t5", &[1], ggml_type::F32, [0; 4]);
    parts.replace(2, &more).refused(&["split.tensors.count", "is 5", "the 3 parts hold 6 tensors"]);
}

#[test]
fn a_tensor_in_two_parts_is_refused() {
    let parts = Parts::write(&three()).replace(2, &part(2, 3, 5, "t1"));
    parts.refused(&["tiny-00003-of-00003.gguf", "tensor t1", "already in part 2 of the model", "fetch"]);
}

// Made to hurt.

#[test]
fn impossible_numbers_of_parts_are_refused_before_anything_is_looked_for() {
    for (no, count, words) in [
        (0, u16::MAX, ["split.count", "is 65535"]),
        (0, 1001, ["split.count", "is 1001"]),
        (3, 3, ["split.no", "is 3"]),
        (u16::MAX, 3, ["split.no", "is 65535"]),
    ] {
        let parts = Parts::write(&three()).replace(0, &part(no, count, 5, "u"));
        parts.refused(&["tiny-00001-of-00003.gguf", "damaged", words[0], words[1]]);
    }
    let countless = GgufWriter::new().kv("split.count", 3u16);
    Parts::write(&three()).replace(0, &countless).refused(&["tiny-00001-of-00003.gguf", "split.no", "is missing"]);
}

#[test]
fn each_part_is_held_against_its_own_length() {
    let parts = Parts::write(&three());
    let len = fs::metadata(&parts.paths[1]).unwrap().len();
    File::options().write(true).open(&parts.paths[1]).unwrap().set_len(len - 1).unwrap();
    let ends = format!("the file ends at byte {}", len - 1);
    parts.refused(&["tiny-00002-of-00003.gguf", "tensor t1", &ends, "incomplete"]);

    let parts = Parts::write(&three()).replace(1, &three()[1].clone().claim_tensor_count(1 << 40));
    parts.refused(&["tiny-00002-of-00003.gguf", "tensors", "damaged"]);
    let parts = parts.replace(1, &three()[1].clone().claim_offset(1 << 40));
    parts.refused(&["tiny-00002-of-00003.gguf", "tensor t1", "the file ends at byte"]);
}

#[test]
fn all_parts_together_meet_the_limit_of_tensors() {
    let many = |start: usize| {
        let name = |i: usize| format!("t{}", start + i);
        let keys = GgufWriter::new().kv("split.no", u16::from(start > 0)).kv("split.count", 2u16);
        (0..66_000).fold(keys, |file, i| file.tensor(&name(i), &[1], ggml_type::F32, [0; 4]))
    };
    let parts = Parts::write(&[many(0), many(66_000)]);
    parts.refused(&["tiny-00002-of-00002.gguf", "132000 tensors", "more than 131072"]);
}

#[test]
fn no_damaged_byte_of_any_part_panics() {
    let honest = three();
    let parts = Parts::write(&honest);
    for (writer, path) in honest.iter().zip(&parts.paths) {
        // Written in place: some file systems wait for the disk when a truncated file is closed.
        let mut file = File::options().write(true).open(path).unwrap();
        let mut put = |place: usize, byte: u8| {
            file.seek(SeekFrom::Start(place as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for (place, byte) in writer.header().into_iter().enumerate() {
            for damage in [0x01, 0x80, 0xff] {
                put(place, byte ^ damage);
                if let Err(error) = Gguf::open(&parts.paths[0]) {
                    assert!(!error.to_string().contains(char::is_control), "{error:?}");
                }
            }
            put(place, byte);
        }
    }
    assert!(Gguf::open(&parts.paths[0]).is_ok());
}
