//! Reading the log back: its last lines, and what is added, across rotations.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{lines::OWN, rotate};

/// A reader of a log directory.
#[derive(Debug)]
pub struct Tail {
    directory: PathBuf,
    node: Option<String>,
    reader: Option<BufReader<File>>,
    partial: Vec<u8>,
}

impl Tail {
    /// Reads the last `last` lines, of one node if it is named; returns them and a reader for what follows.
    pub fn open(directory: &Path, node: Option<&str>, last: usize) -> io::Result<(Vec<u8>, Self)> {
        let mut tail = Self {
            directory: directory.to_owned(),
            node: node.map(ToOwned::to_owned),
            reader: None,
            partial: Vec::new(),
        };
        let mut lines: VecDeque<Vec<u8>> = VecDeque::new();
        for path in rotate::files(directory) {
            let mut reader = BufReader::new(File::open(&path)?);
            loop {
                let mut line = Vec::new();
                if reader.read_until(b'\n', &mut line)? == 0 {
                    break;
                }
                if line.last() != Some(&b'\n') {
                    tail.partial = line;
                    break;
                }
                if tail.wants(&line) {
                    lines.push_back(line);
                    if last < lines.len() {
                        lines.pop_front();
                    }
                }
            }
            tail.reader = Some(reader);
        }
        Ok((lines.into_iter().flatten().collect(), tail))
    }

    /// Appends the lines that were added since; none when there is nothing new.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            if self.reader.is_none() {
                match File::open(rotate::path(&self.directory, 0)) {
                    Ok(file) => self.reader = Some(BufReader::new(file)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            let Some(reader) = &mut self.reader else { return Ok(()) };
            let mut fresh = Vec::new();
            reader.read_to_end(&mut fresh)?;
            for piece in fresh.split_inclusive(|byte| *byte == b'\n') {
                self.partial.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.partial);
                    if self.wants(&line) {
                        out.extend_from_slice(&line);
                    }
                }
            }
            // A file that was moved away has been read to its end: the next one follows.
            let Some(reader) = &self.reader else { return Ok(()) };
            let ours = reader.get_ref().metadata()?.ino();
            match rotate::path(&self.directory, 0).metadata() {
                Ok(now) if now.ino() != ours => self.reader = None,
                _ => return Ok(()),
            }
        }
    }

    /// Whether a line is of the node: `web.1 | …`, `web.1/12 | …`, `… web.1/12 served …`, `… tierce: web.1: …`, or the same
    /// in JSON.
    fn wants(&self, line: &[u8]) -> bool {
        let Some(node) = &self.node else { return true };
        let line = String::from_utf8_lossy(line);
        if line.starts_with('{') {
            return line.contains(&format!("\"tierce.node\":\"{node}\""));
        }
        let names = |rest: &str| rest.starts_with('/') || rest.starts_with(' ');
        let named =
            |text: &str| text.strip_prefix(node.as_str()).is_some_and(|rest| names(rest) || rest.starts_with(':'));
        let said = line.split_once(OWN).is_some_and(|(time, said)| !time.contains(' ') && named(said));
        said || line.strip_prefix(node.as_str()).is_some_and(names) || line.contains(&format!(" {node}/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotate::RotatingFile;

    #[test]
    fn the_last_lines_and_what_follows_across_a_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = RotatingFile::new(directory.path().to_owned(), 30);
        for nth in 0..4 {
            file.write(format!("web.{nth} | a line\n").as_bytes()).unwrap();
        }
        let (last, mut tail) = Tail::open(directory.path(), None, 2).unwrap();
        assert_eq!(String::from_utf8(last).unwrap(), "web.2 | a line\nweb.3 | a line\n");
        for nth in 4..6 {
            file.write(format!("web.{nth} | a line\n").as_bytes()).unwrap();
        }
        let mut out = Vec::new();
        tail.read(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "web.4 | a line\nweb.5 | a line\n");
    }

    #[test]
    fn lines_of_one_node() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = RotatingFile::new(directory.path().to_owned(), 1 << 20);
        let lines = "web.1/7 | a\nweb.10/7 | b\n12:00 1.1.1.1 GET / 200 web.1/7 served\n{\"tierce.node\":\"web.1\"}\nweb.1 | c\n\
                     12:00 tierce: web.1: a worker exited\n12:00 tierce: web.1 is ready\n12:00 tierce: web.10 is ready\n";
        file.write(lines.as_bytes()).unwrap();
        let (last, _) = Tail::open(directory.path(), Some("web.1"), 10).unwrap();
        assert_eq!(String::from_utf8(last).unwrap().lines().count(), 6);
    }
}
