//! The log file: when it is full it becomes `.1`, `.1` becomes `.2`, and the oldest goes.

use std::{
    fs::{DirBuilder, File, OpenOptions, rename},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// Files kept beside the one that is written.
const OLD_FILES: u32 = 3;

/// The file's name in the log directory.
pub(crate) const NAME: &str = "tierce.log";

/// The path of the n-th old file; 0 is the one that is written.
pub(crate) fn path(directory: &Path, nth: u32) -> PathBuf {
    match nth {
        0 => directory.join(NAME),
        nth => directory.join(format!("{NAME}.{nth}")),
    }
}

/// Makes the directory: what applications print is for nobody else.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// All files that there are, oldest first.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    (0..=OLD_FILES).rev().map(|nth| path(directory, nth)).filter(|path| path.is_file()).collect()
}

/// Writes blocks of whole lines.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    directory: PathBuf,
    size_max: u64,
    open: Option<(File, u64)>,
}

impl RotatingFile {
    pub(crate) fn new(directory: PathBuf, size_max: u64) -> Self {
        Self { directory, size_max, open: None }
    }

    /// Appends a block; what came before a failure stays. The file is opened again after one.
    pub(crate) fn write(&mut self, block: &[u8]) -> io::Result<()> {
        let result = self.try_write(block);
        if result.is_err() {
            self.open = None;
        }
        result
    }

    fn try_write(&mut self, block: &[u8]) -> io::Result<()> {
        let (file, size) = match self.open.take() {
            Some((file, size)) if size + block.len() as u64 <= self.size_max || size == 0 => (file, size),
            Some(_) => {
                self.rotate()?;
                self.open_file()?
            }
            None => self.open_file()?,
        };
        let (file, size) = self.open.insert((file, size));
        file.write_all(block)?;
        *size += block.len() as u64;
        Ok(())
    }

    fn open_file(&self) -> io::Result<(File, u64)> {
        make(&self.directory)?;
        let file = OpenOptions::new().create(true).append(true).open(path(&self.directory, 0))?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    fn rotate(&self) -> io::Result<()> {
        for nth in (0..OLD_FILES).rev() {
            match rename(path(&self.directory, nth), path(&self.directory, nth + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn all_files_together_stay_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut file = RotatingFile::new(log.clone(), 100);
        for nth in 0..1000 {
            file.write(format!("line {nth:04}\n").as_bytes()).unwrap();
        }
        assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o700, "it is for nobody else");
        let files = files(&log);
        assert_eq!(files.len(), 4);
        let sizes: Vec<_> = files.iter().map(|path| path.metadata().unwrap().len()).collect();
        assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
        let last = std::fs::read_to_string(path(&log, 0)).unwrap();
        assert!(last.ends_with("line 0999\n"));
    }
}
