//! `cargo xtask compare`: ssd-llm beside llama.cpp, measured by `scripts/peers/compare.py speed`.
//!
//! Builds the release binary and hands all arguments on. The Python that `PYTHON` names, or `python3`, must have
//! llama-cpp-python; that is looked at first, since the build takes minutes.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Modules that the scripts import.
const MODULES: &str = "import numpy, llama_cpp";

/// True if everything was measured.
pub(crate) fn run(top: &Path, arguments: &[&str]) -> anyhow::Result<bool> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    need_modules(&python)?;
    let manifest = top.join("Cargo.toml");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let build = Command::new(&cargo)
        .args(["build", "--release", "--locked", "--package", "ssd-llm", "--manifest-path"])
        .arg(&manifest)
        .status()
        .with_context(|| format!("cannot run {cargo}"))?;
    if !build.success() {
        bail!("the release binary does not build");
    }
    let script = top.join("scripts/peers/compare.py");
    let done = Command::new(&python).arg(script).arg("speed").args(arguments).status();
    Ok(done.with_context(|| format!("cannot run {python}"))?.success())
}

/// Errors: the interpreter does not run, or lacks a module.
fn need_modules(python: &str) -> anyhow::Result<()> {
    let mut look = Command::new(python);
    let look = look.args(["-c", MODULES]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match look {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!(
            "{python} lacks llama-cpp-python or numpy: run `{python} -m pip install llama-cpp-python numpy`, \
             or name a Python that has them in PYTHON"
        ),
        Err(error) => bail!("cannot run {python}: {error}; name a Python with llama-cpp-python in PYTHON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_without_the_modules_is_told_what_to_install() {
        // A program that ends with status 1 whatever it is asked, as Python does when a module is missing.
        let error = need_modules("false").unwrap_err().to_string();
        assert!(error.contains("false -m pip install llama-cpp-python numpy") && error.contains("PYTHON"), "{error}");
        let error = need_modules("no-such-python").unwrap_err().to_string();
        assert!(error.contains("no-such-python") && error.contains("PYTHON"), "{error}");
    }
}
