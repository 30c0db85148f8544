use super::*;

#[tokio::test]
async fn when_events_are_lost_everything_is_looked_at_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("tierce.toml"), "app = 'app:app'\n").unwrap();
    let current = directory.path().to_owned();
    let locate = config::Locate { directory: Some(current.clone()), file: None, current, cores: 1 };
    let config = config::load(&locate, &config::Environment::default(), &config::Overrides::default()).unwrap();
    let mut watch = Watch::start(&config).unwrap();
    watch.filter.lost.store(true, Relaxed);
    // It is found out with the next event, and told behind it.
    fs::write(directory.path().join("mark.py"), "").unwrap();
    loop {
        match watch.next().await {
            // That something has changed is all that is known.
            Noticed::Changed(path, FileChange::Written) if fs::canonicalize(directory.path()).unwrap() == path => break,
            Noticed::Changed(..) => {}
            blind @ Noticed::Blind(_) => panic!("{blind:?}"),
        }
    }
}

#[test]
fn limits_are_told_with_what_to_do() {
    let text = no_more_watches(Path::new("/project/a")).to_string();
    assert!(text.contains("sudo sysctl -w fs.inotify.max_user_watches=524288"), "{text}");
    let cause = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
    let text = cannot_begin(&notify::Error::io(cause)).to_string();
    assert!(text.contains("sudo sysctl -w fs.inotify.max_user_instances="), "{text}");
}
