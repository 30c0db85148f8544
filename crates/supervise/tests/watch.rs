//! What is noticed of a project's files. A program of its own: where other tests start processes, a child holds files open
//! for a moment longer, and a file counts as written when nobody has it open any more.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use config::Config;
use policy::FileChange::{self, Made, Removed, Written};
use supervise::{Noticed, Watch};

/// A project that is watched.
struct Scene {
    directory: tempfile::TempDir,
    watch: Watch,
    marks: u32,
}

fn config(project: &Path, keys: &str) -> Config {
    fs::write(project.join("tierce.toml"), format!("app = 'app:app'\n{keys}\n")).unwrap();
    let locate =
        config::Locate { directory: Some(project.to_owned()), file: None, current: project.to_owned(), cores: 1 };
    config::load(&locate, &config::Environment::default(), &config::Overrides::default()).unwrap()
}

impl Scene {
    /// With these files, which are there before it is watched.
    fn new(keys: &str, files: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            write(directory.path(), file);
        }
        let watch = Watch::start(&config(directory.path(), keys)).unwrap();
        Self { directory, watch, marks: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str) {
        write(self.directory.path(), name);
    }

    /// What was noticed until now, by paths within the project.
    async fn noticed(&mut self) -> Vec<(String, FileChange)> {
        self.marks += 1;
        let mark = format!("mark{}.py", self.marks);
        self.write(&mark);
        let project = fs::canonicalize(self.directory.path()).unwrap();
        let mut noticed = Vec::new();
        loop {
            let (path, change) = self.next().await;
            let name = path.strip_prefix(&project).unwrap().display().to_string();
            if name == mark {
                return noticed;
            }
            // What is left of the mark before.
            if !name.starts_with("mark") {
                noticed.push((name, change));
            }
        }
    }

    async fn next(&mut self) -> (PathBuf, FileChange) {
        match tokio::time::timeout(Duration::from_secs(60), self.watch.next()).await.unwrap() {
            Noticed::Changed(path, change) => (path, change),
            blind @ Noticed::Blind(_) => panic!("{blind:?}"),
        }
    }

    /// The next that is noticed outside of the project.
    async fn elsewhere(&mut self) -> PathBuf {
        let project = fs::canonicalize(self.directory.path()).unwrap();
        loop {
            let (path, _) = self.next().await;
            if !path.starts_with(&project) {
                return path;
            }
        }
    }

    /// The same, without order and repetition.
    async fn files(&mut self) -> Vec<String> {
        let all: BTreeSet<_> = self.noticed().await.into_iter().map(|(name, _)| name).collect();
        all.into_iter().collect()
    }
}

fn write(project: &Path, name: &str) {
    let path = project.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x = 1\n").unwrap();
}

#[tokio::test]
async fn what_happens_to_a_source_is_noticed() {
    let mut scene = Scene::new("", &["app.py", "package/deep/module.py"]);
    assert_eq!(scene.noticed().await, []);
    scene.write("package/deep/module.py");
    assert!(scene.noticed().await.iter().all(|seen| *seen == ("package/deep/module.py".to_owned(), Written)));
    // Not before it is whole.
    let mut open = fs::File::create(scene.path("app.py")).unwrap();
    std::io::Write::write_all(&mut open, b"x = ").unwrap();
    assert_eq!(scene.noticed().await, []);
    drop(open);
    assert_eq!(scene.noticed().await, [("app.py".to_owned(), Written)]);
    scene.write("new.py");
    assert_eq!(scene.noticed().await[0], ("new.py".to_owned(), Made));
    fs::rename(scene.path("new.py"), scene.path("app.py")).unwrap();
    assert_eq!(scene.noticed().await, [("new.py".to_owned(), Removed), ("app.py".to_owned(), Written)]);
    fs::remove_file(scene.path("app.py")).unwrap();
    assert_eq!(scene.noticed().await, [("app.py".to_owned(), Removed)]);
    // Read, and made readable: no change.
    fs::read(scene.path("package/deep/module.py")).unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(scene.path("package/deep/module.py"), readable).unwrap();
    assert_eq!(scene.noticed().await, []);
}

#[tokio::test]
async fn what_is_not_the_projects_own_source_is_not_noticed() {
    let beside = [
        ".tierce/x.py",
        ".git/hooks/x.py",
        "__pycache__/x.py",
        "package/__pycache__/x.py",
        "node_modules/gyp/x.py",
        "environment/lib/x.py",
        "lib/site-packages/x.py",
        ".hidden.py",
        "app.pyc",
        "app.py~",
        "templates/index.html",
        "data.db",
    ];
    let mut scene = Scene::new("", &[&["environment/pyvenv.cfg"], &beside[..]].concat());
    beside.iter().for_each(|name| scene.write(name));
    assert_eq!(scene.noticed().await, []);
    // The same when they come later.
    let mut scene = Scene::new("", &["package/module.py"]);
    scene.write("environment/pyvenv.cfg");
    assert_eq!(scene.noticed().await, []);
    beside.iter().filter(|name| !name.starts_with("environment")).for_each(|name| scene.write(name));
    assert_eq!(scene.noticed().await, []);
}

#[tokio::test]
async fn files_by_which_it_is_started_are_noticed_wherever_they_are() {
    let elsewhere = tempfile::tempdir().unwrap();
    write(elsewhere.path(), "module.py");
    fs::write(elsewhere.path().join("settings"), "A=b\n").unwrap();
    let settings = elsewhere.path().join("settings");
    let mut scene = Scene::new(&format!("env_file = {settings:?}"), &[]);
    scene.write("tierce.toml");
    scene.write("requirements.txt");
    scene.write("pyproject.toml");
    scene.write("package/requirements.txt");
    assert_eq!(scene.files().await, ["pyproject.toml", "requirements.txt", "tierce.toml"]);
    // Of another directory only the file counts.
    write(elsewhere.path(), "module.py");
    fs::write(&settings, "A=c\n").unwrap();
    assert_eq!(scene.elsewhere().await, fs::canonicalize(&settings).unwrap());
}

#[tokio::test]
async fn directories_come_and_go_with_what_is_in_them() {
    let mut scene = Scene::new("", &[]);
    scene.write("package/deep/module.py");
    assert_eq!(scene.files().await, ["package/deep/module.py"]);
    scene.write("package/deep/module.py");
    assert_eq!(scene.files().await, ["package/deep/module.py"], "it is watched now");
    let elsewhere = tempfile::tempdir_in(scene.directory.path().parent().unwrap()).unwrap();
    fs::rename(scene.path("package"), elsewhere.path().join("package")).unwrap();
    assert_eq!(scene.noticed().await, [("package".to_owned(), Removed)]);
    write(elsewhere.path(), "package/deep/module.py");
    assert_eq!(scene.noticed().await, [], "it is no part of the project any more");
    fs::rename(elsewhere.path().join("package"), scene.path("package")).unwrap();
    assert_eq!(scene.files().await, ["package/deep/module.py"]);
    fs::create_dir(scene.path("empty")).unwrap();
    fs::remove_dir(scene.path("empty")).unwrap();
    assert_eq!(scene.noticed().await, []);
}

#[tokio::test]
async fn a_new_configuration_is_followed() {
    let library = tempfile::tempdir().unwrap();
    write(library.path(), "inner/module.py");
    let mut scene = Scene::new("", &[]);
    write(library.path(), "inner/module.py");
    assert_eq!(scene.noticed().await, []);
    let config = config(scene.directory.path(), &format!("pythonpath = [{:?}]", library.path()));
    scene.noticed().await;
    scene.watch.follow(&config);
    write(library.path(), "inner/module.py");
    assert_eq!(scene.elsewhere().await, fs::canonicalize(library.path()).unwrap().join("inner/module.py"));
}
