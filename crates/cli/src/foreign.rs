//! Words of uWSGI, gunicorn and others: not understood, but translated.

const TRANSLATIONS: &[(&str, &str)] = &[
    ("--harakiri", "the time limit of a request is -t/--timeout, or limits.time in tierce.toml"),
    ("--processes", "processes per node are -w/--workers"),
    ("--cheaper", "the number of workers adapts between bounds with -w 2..8 or -w auto"),
    ("-p", "processes per node are -w/--workers"),
    ("--http-socket", "the address is -b/--bind HOST:PORT"),
    ("--http", "the address is -b/--bind HOST:PORT"),
    ("--socket", "the address, for nginx's uwsgi_pass, is -b/--bind uwsgi://HOST:PORT or uwsgi:PATH"),
    ("--uwsgi-socket", "the address, for nginx's uwsgi_pass, is -b/--bind uwsgi://HOST:PORT or uwsgi:PATH"),
    ("--chmod-socket", "the mode of the Unix sockets is `socket_mode` in tierce.toml"),
    (
        "--umask",
        "the mode of the Unix sockets is `socket_mode` in tierce.toml; files have the umask of whoever starts Tierce",
    ),
    ("--forwarded-allow-ips", "proxies that are believed are `trusted_proxies` in tierce.toml"),
    ("--proxy-headers", "proxies that are believed are `trusted_proxies` in tierce.toml"),
    ("--port", "the address is -b/--bind :PORT"),
    ("--host", "the address is -b/--bind HOST:PORT"),
    ("-k", "there are no worker classes: concurrency adapts by itself"),
    ("--worker-class", "there are no worker classes: concurrency adapts by itself"),
    ("--worker-connections", "the most requests in flight in one worker are --threads"),
    ("--max-requests", "workers are replaced after so many requests by limits.requests in tierce.toml"),
    ("--graceful-timeout", "the time for requests in flight is limits.drain in tierce.toml"),
    ("--keep-alive", "connections are kept for 75 s"),
    ("--preload", "not needed: each node imports the application once and forks its workers"),
    ("--lazy-apps", "not needed: each node imports the application once and forks its workers"),
    ("--master", "not needed: there is always a supervisor"),
    ("--enable-threads", "not needed: threads always work"),
    ("--module", "the application is the argument: `tierce up module:callable`"),
    ("--wsgi-file", "the application is the argument: `tierce up module:callable`"),
    ("--callable", "the application is the argument: `tierce up module:callable`"),
    ("--chdir", "the project's directory is -C, before the command"),
    ("--venv", "the interpreter is --python PATH, or `python` in tierce.toml"),
    ("--virtualenv", "the interpreter is --python PATH, or `python` in tierce.toml"),
    ("--daemon", "in the background is -d"),
    ("--build", "requirements are installed by up when they have changed; `tierce build` does it alone"),
    ("--interface", "the application's interface is recognised"),
    ("--wsgi", "the application is the argument: `tierce up module:callable`"),
    ("--mount", "the application is the argument: `tierce up module:callable`"),
    ("--factory", "a factory is named like this: `tierce up 'module:create_app()'`"),
    ("--app-dir", "the project's directory is -C, before the command"),
    ("--uds", "the address is -b/--bind unix:PATH"),
    ("--pidfile", "not needed: `tierce ps` and `tierce down` find what runs by its directory"),
    ("--pid", "not needed: `tierce ps` and `tierce down` find what runs by its directory"),
    ("--daemonize", "in the background is -d"),
    ("--logto", "the log is read with `tierce logs`"),
    ("--log-level", "less is --quiet, more is -v, before the command"),
    ("--access-logfile", "the access log is --access-log auto, text, json or off"),
    ("--disable-logging", "the access log is --access-log auto, text, json or off"),
    ("--uid", "the application's user is `user` in tierce.toml"),
    ("--user", "the application's user is `user` in tierce.toml"),
    ("--pythonpath", "directories for sys.path are `pythonpath` in tierce.toml"),
    ("--env", "variables of the application are `env` in tierce.toml"),
    ("--env-file", "variables of the application are `env_file` in tierce.toml"),
    ("--py-autoreload", "for development, --reload reloads when a file changes"),
    (
        "--touch-reload",
        "tierce reload takes new code, without losing a request; for development, --reload watches the files",
    ),
    ("--reload-engine", "--reload needs no engine: the kernel tells of changes"),
    (
        "--reload-extra-file",
        "--reload watches Python files, tierce.toml, pyproject.toml, requirements.txt and `env_file`",
    ),
    ("--reload-dir", "--reload watches the project and the directories of `pythonpath`"),
    ("--backlog", "the backlog is as long as this system allows, at most 4096"),
    ("--vacuum", "not needed: sockets are removed at the end"),
    ("--die-on-term", "not needed: SIGTERM finishes what was accepted, then stops"),
    ("--need-app", "not needed: an application that cannot be imported is an error"),
    ("--thunder-lock", "not needed: requests are handed to workers one by one"),
    ("--buffer-size", "the head of a request may have 32 KiB"),
];

/// What to write instead of the first foreign word of the command line.
pub(crate) fn translate(words: &[String]) -> Option<String> {
    // What stands behind `--` is no option.
    words.iter().skip(1).take_while(|word| *word != "--").find_map(|word| {
        let (option, meaning) = TRANSLATIONS.iter().find(|(foreign, _)| is_option(word, foreign))?;
        Some(format!("error: tierce has no {option}\n  hint: {meaning}"))
    })
}

/// `--processes`, `--processes=4`, `-p`, `-p4`.
fn is_option(word: &str, foreign: &str) -> bool {
    match word.strip_prefix(foreign) {
        Some(rest) if foreign.starts_with("--") => rest.is_empty() || rest.starts_with('='),
        Some(_) => true,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_are_translated_and_ours_are_not_among_them() {
        let words = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        assert!(translate(&words("tierce up --harakiri 30")).unwrap().contains("--timeout"));
        assert!(translate(&words("tierce up --processes=4")).unwrap().contains("--workers"));
        assert!(translate(&words("tierce up -p4")).unwrap().contains("no -p\n"));
        assert!(translate(&words("tierce up -kgevent")).unwrap().contains("concurrency adapts"));
        for ours in ["tierce up --nonsense", "tierce up --processes-of-mine", "tierce logs -- -k", "tierce --port up-p"]
        {
            let expected = ours.contains("--port");
            assert_eq!(translate(&words(ours)).is_some(), expected, "{ours}");
        }
        for (foreign, _) in TRANSLATIONS {
            let ours = crate::args::parse(words(&format!("tierce up {foreign} 1")).into_iter().map(Into::into));
            assert!(ours.is_err(), "{foreign}");
        }
    }
}
