//! Words of uWSGI, gunicorn and others: not understood, but translated.

const TRANSLATIONS: &[(&str, &str)] = &[
    ("--harakiri", "the time limit of a request is -t/--timeout, or limits.time in tierce.toml"),
    ("--processes", "processes per node are -w/--workers"),
    ("-p", "processes per node are -w/--workers"),
    ("--http-socket", "the address is -b/--bind HOST:PORT"),
    ("--http", "the address is -b/--bind HOST:PORT"),
    ("--socket", "the address is -b/--bind unix:PATH"),
    ("--port", "the address is -b/--bind :PORT"),
    ("--host", "the address is -b/--bind HOST:PORT"),
    ("-k", "there are no worker classes: concurrency adapts by itself"),
    ("--worker-class", "there are no worker classes: concurrency adapts by itself"),
    ("--worker-connections", "the most requests in flight in one worker are --threads"),
    ("--max-requests", "this version does not replace workers after a number of requests"),
    ("--graceful-timeout", "the time for requests in flight is limits.drain in tierce.toml"),
    ("--keep-alive", "connections are kept for 75 s"),
    ("--preload", "not needed: each node imports the application once and forks its workers"),
    ("--lazy-apps", "not needed: each node imports the application once and forks its workers"),
    ("--master", "not needed: there is always a supervisor"),
    ("--enable-threads", "not needed: threads always work"),
    ("--module", "the application is the argument: tierce up module:callable"),
    ("--wsgi-file", "the application is the argument: tierce up module:callable"),
    ("--callable", "the application is the argument: tierce up module:callable"),
    ("--chdir", "the project's directory is -C, before the command"),
    ("--venv", "the interpreter is --python PATH, or `python` in tierce.toml"),
    ("--virtualenv", "the interpreter is --python PATH, or `python` in tierce.toml"),
    ("--daemon", "in the background is -d"),
    ("--build", "requirements are installed by up when they have changed; tierce build does it alone"),
    ("--interface", "the application's interface is recognised"),
];

/// What to write instead of the first foreign word of the command line.
pub(crate) fn translate(words: &[String]) -> Option<String> {
    for word in words.iter().skip(1) {
        let option = word.split('=').next().unwrap_or(word);
        if let Some((_, meaning)) = TRANSLATIONS.iter().find(|(foreign, _)| *foreign == option) {
            return Some(format!("error: tierce has no {option}\n  hint: {meaning}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_are_translated_and_ours_are_not_among_them() {
        let words = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        assert!(translate(&words("tierce up --harakiri 30")).unwrap().contains("--timeout"));
        assert!(translate(&words("tierce up --processes=4")).unwrap().contains("--workers"));
        assert_eq!(translate(&words("tierce up --nonsense")), None);
        for (foreign, _) in TRANSLATIONS {
            let ours = crate::args::parse(words(&format!("tierce up {foreign} 1")).into_iter().map(Into::into));
            assert!(ours.is_err(), "{foreign}");
        }
    }
}
