//! Reads definitions from a file or from a directory of files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::document::Definitions;
use super::problem::{DefinitionsError, Problems};

/// The largest file that is read. A queue takes some hundred bytes, so this is a million of them; what is
/// larger is something else.
pub const DEFINITIONS_BYTES_MAX: u64 = 256 << 20;

/// Reads a file; of a directory, all files in the order of their names but those whose names begin with a
/// dot, and where two speak of one thing the later one counts. `default_vhost` is as in
/// [`Definitions::from_json`].
///
/// # Errors
/// Everything that is not allowed in any of them, and every file that cannot be read.
pub fn load(path: &Path, default_vhost: &str) -> Result<Definitions, DefinitionsError> {
    let mut problems = Problems::default();
    let mut all = Definitions::default();
    let files = files(path).unwrap_or_else(|error| {
        problems.add(path.display(), format!("cannot be read: {error}"));
        Vec::new()
    });
    for file in files {
        match read(&file) {
            Err(error) => problems.add(file.display(), format!("cannot be read: {error}")),
            Ok(text) => match Definitions::from_json(&text, default_vhost) {
                Ok(read) => all.add(read),
                Err(error) => problems.add_of_file(&file, error),
            },
        }
    }
    problems.verdict()?;
    Ok(all)
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && fs::metadata(entry.path())?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> io::Result<String> {
    if fs::metadata(file)?.len() > DEFINITIONS_BYTES_MAX {
        let text = format!("it has more than {DEFINITIONS_BYTES_MAX} bytes");
        return Err(io::Error::other(text));
    }
    fs::read_to_string(file)
}

impl Problems {
    fn add_of_file(&mut self, file: &Path, error: DefinitionsError) {
        for problem in error.problems {
            let at = format!("{}: {}", file.display(), problem.at);
            self.add(at, problem.text);
        }
        self.add_uncounted(error.more);
    }
}
