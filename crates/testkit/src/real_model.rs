//! Where the real model for end-to-end tests is, and what happens to those tests without it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Once;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/SmolLM2-135M-Instruct.Q4_1.gguf");

/// Returns the path of SmolLM2-135M-Instruct: the file that `SSD_LLM_TEST_MODEL` names, else the one that
/// `scripts/get-model.sh` fetched. Without it, says once on stderr that tests are skipped.
///
/// Panics if the file that is named, or that `SSD_LLM_REQUIRE_MODEL` asks for, does not exist.
pub fn real_model() -> Option<String> {
    static TOLD: Once = Once::new();
    let named = std::env::var_os("SSD_LLM_TEST_MODEL").map(PathBuf::from);
    let is_required = named.is_some() || std::env::var_os("SSD_LLM_REQUIRE_MODEL").is_some();
    let path = named.as_deref().unwrap_or(Path::new(MODEL));
    if path.is_file() {
        return Some(path.to_str().expect("the model's path is UTF-8").to_owned());
    }
    assert!(!is_required, "no model at {}: run scripts/get-model.sh", path.display());
    // Past the capture of a test's output, which nobody sees when it passes.
    let line = b"skipped: tests on the real model; run scripts/get-model.sh to get it\n";
    TOLD.call_once(|| drop(std::io::stderr().write_all(line)));
    None
}

/// The path of the real model; a test ends here without it.
#[macro_export]
macro_rules! real_model {
    () => {
        match $crate::real_model() {
            Some(path) => path,
            None => return,
        }
    };
}
