//! Files of a project that change while it is developed: its Python sources, and what is read when it starts.
//!
//! Each directory is watched by itself, so that those which hold no sources of the project cost nothing and are not heard
//! of. Invariant: a directory is watched before it is read, so that no file is missed between the two. When it is time
//! to reload is decided in `policy`, and whether there is anything to reload.

use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use config::Config;
use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use policy::FileChange;
use tokio::sync::mpsc;

use crate::explanation::Explanation;

/// Directories that are watched at most: a project with more holds something else than sources.
const DIRECTORIES_MAX: usize = 10_000;

/// Events that may wait; when there are more, everything is looked at again.
const EVENTS_MAX: usize = 4096;

/// Files in the project by which it is started.
const STARTED_BY: [&str; 3] = ["tierce.toml", "pyproject.toml", "requirements.txt"];

/// What the watch has to say.
#[derive(Debug)]
pub enum Noticed {
    /// Something has happened to a file.
    Changed(PathBuf, FileChange),
    /// Not everything is watched any more.
    Blind(Explanation),
}

/// Watches the files of a project as long as it lives.
#[derive(Debug)]
pub struct Watch {
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<Event>,
    filter: Arc<Filter>,
    /// The project, and the directories of `pythonpath`.
    roots: Vec<PathBuf>,
    /// Every directory of sources, and whether one was seen there.
    directories: HashMap<PathBuf, bool>,
    noticed: VecDeque<Noticed>,
    blind: bool,
}

/// What the thread that hears of events has to know.
#[derive(Debug, Default)]
struct Filter {
    /// Files that count wherever they are.
    files: RwLock<Vec<PathBuf>>,
    /// Something was not heard.
    lost: AtomicBool,
}

impl Watch {
    /// Watches what `config` names. What cannot be watched is the first thing that [`Watch::next`] says.
    pub fn start(config: &Config) -> Result<Self, Box<Explanation>> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let filter = Arc::new(Filter::default());
        let passes = Arc::clone(&filter);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            Ok(event) if passes.passes(&event) => {
                if sender.try_send(event).is_err() {
                    passes.lost.store(true, Relaxed);
                }
            }
            Ok(_) => {}
            Err(_) => passes.lost.store(true, Relaxed),
        });
        let watcher = watcher.map_err(|error| Box::new(cannot_begin(&error)))?;
        let (roots, directories) = (Vec::new(), HashMap::new());
        let mut watch = Self { watcher, events, filter, roots, directories, noticed: VecDeque::new(), blind: false };
        watch.follow(config);
        Ok(watch)
    }

    /// Watches what `config` names now; what was watched before still is.
    pub fn follow(&mut self, config: &Config) {
        let files = config.file.iter().chain(&config.env_file).cloned();
        let files: Vec<_> = files
            .chain(STARTED_BY.iter().map(|name| config.project.join(name)))
            .filter_map(|file| real(&file))
            .collect();
        for directory in files.iter().filter_map(|file| file.parent()) {
            self.watch(directory);
        }
        *self.filter.files.write().unwrap_or_else(std::sync::PoisonError::into_inner) = files;
        self.roots = std::iter::once(&config.project).chain(&config.pythonpath).filter_map(|root| real(root)).collect();
        for root in self.roots.clone() {
            self.enter(root);
        }
    }

    /// What happens next. Nothing is lost when this is dropped.
    pub async fn next(&mut self) -> Noticed {
        loop {
            if let Some(noticed) = self.noticed.pop_front() {
                return noticed;
            }
            match self.events.recv().await {
                Some(event) => self.take_in(&event),
                // The thread that hears of events has ended, which it does with its watcher only.
                None => std::future::pending().await,
            }
            if self.filter.lost.swap(false, Relaxed) {
                self.look_again();
            }
        }
    }

    fn take_in(&mut self, event: &Event) {
        for path in &event.paths {
            match event.kind {
                EventKind::Create(_) => self.came(path, FileChange::Made),
                // It may have taken the place of one that was there.
                EventKind::Modify(ModifyKind::Name(RenameMode::To)) => self.came(path, FileChange::Written),
                EventKind::Modify(ModifyKind::Name(_)) => self.went(path),
                // Its files have gone before, each with a word of its own.
                EventKind::Remove(_) if self.directories.remove(path).is_some() => {}
                EventKind::Remove(_) => self.note(path.clone(), FileChange::Removed),
                _ => self.note(path.clone(), FileChange::Written),
            }
        }
    }

    fn came(&mut self, path: &Path, how: FileChange) {
        let in_sources = path.parent().is_some_and(|parent| self.directories.contains_key(parent));
        if in_sources && is_directory(path) {
            if !is_passed_over(path) {
                for file in self.enter(path.to_owned()) {
                    self.note(file, FileChange::Made);
                }
            }
        } else {
            self.note(path.to_owned(), how);
        }
    }

    /// It has another name now, here or elsewhere; a directory took all that is below it along.
    fn went(&mut self, path: &Path) {
        if self.directories.contains_key(path) {
            let had_sources =
                self.directories.iter().any(|(directory, sources)| *sources && directory.starts_with(path));
            self.directories.retain(|directory, _| !directory.starts_with(path));
            if had_sources {
                self.noticed.push_back(Noticed::Changed(path.to_owned(), FileChange::Removed));
            }
        } else {
            self.note(path.to_owned(), FileChange::Removed);
        }
    }

    fn note(&mut self, path: PathBuf, change: FileChange) {
        let sources = path.parent().and_then(|parent| self.directories.get_mut(parent)).filter(|_| is_source(&path));
        let is_source = sources.map(|seen| *seen = true).is_some();
        if is_source || self.filter.names(&path) {
            self.noticed.push_back(Noticed::Changed(path, change));
        }
    }

    /// Watches a directory and all below it that may hold sources; returns those that are not known yet.
    fn enter(&mut self, root: PathBuf) -> Vec<PathBuf> {
        let mut found = Vec::new();
        // Those near the root first, should it be too many.
        let mut directories = VecDeque::from([root]);
        while let Some(directory) = directories.pop_front() {
            let known = self.directories.contains_key(&directory);
            if !known {
                if self.directories.len() == DIRECTORIES_MAX {
                    self.go_blind(too_many(&directory));
                    return found;
                }
                if !self.watch(&directory) {
                    continue;
                }
            }
            // One that cannot be read has nothing to import, and one that has gone again neither.
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            let mut sources = false;
            for entry in entries.filter_map(Result::ok) {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if !is_passed_over(&path) {
                        directories.push_back(path);
                    }
                } else if is_source(&path) {
                    sources = true;
                    if !known {
                        found.push(path);
                    }
                }
            }
            *self.directories.entry(directory).or_default() |= sources;
        }
        found
    }

    /// Whether the directory is watched now.
    fn watch(&mut self, directory: &Path) -> bool {
        match self.watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => true,
            Err(error) => {
                if matches!(error.kind, ErrorKind::MaxFilesWatch) {
                    self.go_blind(no_more_watches(directory));
                }
                // Any other has gone again, or cannot be read, by Python neither.
                false
            }
        }
    }

    fn go_blind(&mut self, why: Explanation) {
        // Said once: all that follows are for the same reason.
        if !std::mem::replace(&mut self.blind, true) {
            self.noticed.push_back(Noticed::Blind(why));
        }
    }

    /// Events were lost: what they were about is not known, only that there was something.
    fn look_again(&mut self) {
        for root in self.roots.clone() {
            self.enter(root);
        }
        if let Some(project) = self.roots.first() {
            self.noticed.push_back(Noticed::Changed(project.clone(), FileChange::Written));
        }
    }
}

impl Filter {
    /// Whether the event can be of interest; most are not: every file that is opened is told.
    fn passes(&self, event: &Event) -> bool {
        if event.need_rescan() {
            self.lost.store(true, Relaxed);
            return true;
        }
        let of_interest = |path: &PathBuf| is_source(path) || self.names(path);
        match event.kind {
            // Directories come and go so, too; a rename is told by both its ends.
            EventKind::Create(CreateKind::Folder) => true,
            EventKind::Modify(ModifyKind::Name(mode)) => matches!(mode, RenameMode::From | RenameMode::To),
            EventKind::Remove(_) => true,
            // Written is what is closed: while it is open, half of it may be there.
            EventKind::Create(_) | EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                event.paths.iter().any(of_interest)
            }
            _ => false,
        }
    }

    fn names(&self, path: &Path) -> bool {
        self.files.read().unwrap_or_else(std::sync::PoisonError::into_inner).iter().any(|file| file == path)
    }
}

/// The path by which the kernel's events are told, also of a file that is not there.
fn real(path: &Path) -> Option<PathBuf> {
    match fs::canonicalize(path) {
        Ok(real) if real.is_dir() => Some(real),
        // A link is watched where it is, as that is what is read.
        _ => Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?)),
    }
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// A file that Python imports. Hidden ones are of editors.
fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py") && !is_hidden(path)
}

/// Directories in which nothing of the project itself is.
fn is_passed_over(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default();
    is_hidden(directory)
        || ["__pycache__", "node_modules", "site-packages"].iter().any(|other| name == *other)
        || directory.join("pyvenv.cfg").exists()
}

fn cannot_begin(error: &notify::Error) -> Explanation {
    let explanation = Explanation::new("files cannot be watched").during("preparing --reload").cause(error.to_string());
    match &error.kind {
        ErrorKind::Io(cause) if cause.kind() != io::ErrorKind::Unsupported => {
            explanation.hint(raise("fs.inotify.max_user_instances", 1024))
        }
        _ => explanation.hint("start it without --reload; `tierce reload` takes new code"),
    }
}

fn no_more_watches(directory: &Path) -> Explanation {
    Explanation::new("not every directory is watched: a change in the others does not reload the application")
        .during("watching the project's files")
        .place(directory.display().to_string())
        .cause("this system allows no more inotify watches")
        .hint(raise("fs.inotify.max_user_watches", 524_288))
}

fn too_many(directory: &Path) -> Explanation {
    Explanation::new("not every directory is watched: a change in the others does not reload the application")
        .during("watching the project's files")
        .place(directory.display().to_string())
        .cause(format!("there are more than {DIRECTORIES_MAX} directories"))
        .hint("what holds no sources can be moved out of the project, or into a directory whose name begins with a dot")
}

/// `fs.inotify.max_user_watches is 8192 here: sudo sysctl -w fs.inotify.max_user_watches=524288`
fn raise(key: &str, to: u32) -> String {
    let now = fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap_or_default();
    let now = if now.trim().is_empty() { String::new() } else { format!(" (now {})", now.trim()) };
    format!("raise the limit{now}: sudo sysctl -w {key}={to}")
}

#[cfg(test)]
mod tests;
