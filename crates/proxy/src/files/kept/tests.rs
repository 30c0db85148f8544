use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::PathBuf,
};

use rustix::io::pread;
use tempfile::TempDir;

use super::*;

/// Everything has come to rest by then.
const LATER: u64 = 1 << 40;

struct Place {
    place: TempDir,
    kept: KeptFiles,
}

impl Place {
    /// A directory `root` with a file `css/a.css`, which is kept.
    fn new() -> Self {
        let new = Self { place: tempfile::tempdir().unwrap(), kept: KeptFiles::new(0) };
        new.write("root/css/a.css", "first");
        assert_eq!(new.content("css/a.css"), "first");
        assert_eq!(new.count(), 1);
        new
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn open_at(&self, now: u64, name: &str) -> Opened {
        self.kept.below(&self.path("root"), now).open(name.as_bytes())
    }

    fn open(&self, name: &str) -> Opened {
        self.open_at(LATER, name)
    }

    fn descriptor(&self, name: &str) -> Rc<OwnedFd> {
        match self.open(name) {
            Opened::File(file) => file.descriptor,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// As much as is said to be there.
    fn content(&self, name: &str) -> String {
        let Opened::File(file) = self.open(name) else { return "none".to_owned() };
        let mut content = vec![0; 100];
        let read = pread(&file.descriptor, &mut content, 0).unwrap();
        assert_eq!(file.length, read as u64, "{name}");
        String::from_utf8(content[..read].to_vec()).unwrap()
    }

    fn count(&self) -> usize {
        self.kept.files.borrow().len()
    }
}

#[test]
fn who_asks_again_gets_the_same_file_until_nobody_has_asked_for_a_while() {
    let place = Place::new();
    assert!(Rc::ptr_eq(&place.descriptor("css/a.css"), &place.descriptor("css/a.css")));
    place.kept.tidy();
    assert_eq!(place.count(), 1, "it was asked for");
    place.kept.tidy();
    assert_eq!(place.count(), 0, "now it was not");
}

#[test]
fn whatever_changes_of_a_file_is_seen_at_once() {
    let place = Place::new();
    let first = place.descriptor("css/a.css");
    place.write("root/css/a.css", "longer than before");
    assert_eq!(place.content("css/a.css"), "longer than before");
    place.write("root/css/new", "another");
    fs::rename(place.path("root/css/new"), place.path("root/css/a.css")).unwrap();
    assert_eq!(place.content("css/a.css"), "another");
    let second = place.descriptor("css/a.css");
    assert!(!Rc::ptr_eq(&first, &second));
    fs::set_permissions(place.path("root/css/a.css"), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(!Rc::ptr_eq(&second, &place.descriptor("css/a.css")), "it may be that it can no longer be read");
    fs::remove_file(place.path("root/css/a.css")).unwrap();
    assert!(matches!(place.open("css/a.css"), Opened::Nothing));
    fs::create_dir(place.path("root/css/a.css")).unwrap();
    assert!(matches!(place.open("css/a.css"), Opened::Directory));
}

#[test]
fn a_directory_that_is_exchanged_by_a_link_is_seen_at_once() {
    let place = Place::new();
    fs::rename(place.path("root"), place.path("one")).unwrap();
    place.write("two/css/a.css", "second");
    for (release, content) in [("one", "first"), ("two", "second"), ("one", "first")] {
        symlink(release, place.path("next")).unwrap();
        fs::rename(place.path("next"), place.path("root")).unwrap();
        assert_eq!(place.content("css/a.css"), content);
    }
}

#[test]
fn nothing_is_sent_that_has_left_the_directory() {
    let place = Place::new();
    // The very file that is kept, by the very path.
    fs::rename(place.path("root/css"), place.path("outside")).unwrap();
    symlink("../outside", place.path("root/css")).unwrap();
    assert_eq!(fs::read(place.path("root/css/a.css")).unwrap(), b"first");
    assert!(matches!(place.open("css/a.css"), Opened::Nothing));
    // The same with a link in place of the file.
    fs::remove_file(place.path("root/css")).unwrap();
    fs::create_dir(place.path("root/css")).unwrap();
    symlink("../../outside/a.css", place.path("root/css/a.css")).unwrap();
    assert!(matches!(place.open("css/a.css"), Opened::Nothing));
}

#[test]
fn a_path_that_goes_up_is_not_the_same_below_another_directory() {
    let place = Place::new();
    fs::create_dir(place.path("root/up")).unwrap();
    assert_eq!(place.content("up/../css/a.css"), "first", "it stays below");
    let root = place.path("root/up");
    for name in ["../css/a.css", "/../css/a.css", "./../css/a.css", ".."] {
        let opened = place.kept.below(&root, LATER).open(name.as_bytes());
        assert!(matches!(opened, Opened::Nothing), "{name}: {opened:?}");
    }
}

#[test]
fn links_that_stay_below_are_followed_and_nothing_is_kept_of_them() {
    let place = Place::new();
    symlink("css", place.path("root/styles")).unwrap();
    symlink("css/a.css", place.path("root/a.css")).unwrap();
    for name in ["a.css", "styles/a.css"] {
        assert_eq!(place.content(name), "first");
        assert!(!Rc::ptr_eq(&place.descriptor(name), &place.descriptor(name)), "{name}");
        assert_eq!(place.count(), 1, "{name}");
    }
    assert!(matches!(place.open("css/none"), Opened::Nothing));
    assert!(matches!(place.open("css/a.css/none"), Opened::Nothing));
    assert!(matches!(place.open("css"), Opened::Directory));
}

#[test]
fn what_changes_now_and_what_others_can_change_is_not_kept() {
    let place = Place::new();
    place.write("root/new", "new");
    let changed = u64::try_from(fs::metadata(place.path("root/new")).unwrap().ctime()).unwrap();
    for now in [0, changed, changed + 2] {
        assert!(matches!(place.open_at(now, "new"), Opened::File(_)));
        assert_eq!(place.count(), 1, "{now}");
    }
    assert!(matches!(place.open_at(changed + 3, "new"), Opened::File(_)));
    assert_eq!(place.count(), 2);
    let foreign = place.kept.below(Path::new("/proc/self"), LATER);
    assert!(matches!(foreign.open(b"stat"), Opened::File(_)));
    assert_eq!(place.count(), 2, "nobody knows when such a file changes");
}

#[test]
fn there_are_no_more_than_so_many() {
    let place = Place::new();
    for at in 0..20 {
        place.write(&format!("root/{at}"), "one of many");
        assert_eq!(place.content(&at.to_string()), "one of many");
    }
    assert_eq!(place.count(), 8);
}
