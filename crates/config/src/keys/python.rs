//! How the application is run.

use super::{Group, key};

pub(super) const GROUP: Group = Group {
    keys: &[
        key(
            "python",
            "path",
            "searched for",
            "`--python`",
            "The interpreter. Otherwise `$VIRTUAL_ENV` and `.venv` are tried, if they have the packages that the project requires, `.tierce/venv`, which is made when there are requirements, and `python3`.",
        ),
        key("pythonpath", "list of paths", "none", "", "Directories for `sys.path`, behind the project's own."),
        key("env", "table of texts", "none", "", "Variables for the application."),
        key(
            "env_file",
            "path",
            "none",
            "",
            "A file of `KEY=VALUE` lines for the application's environment; `env` wins.",
        ),
        key(
            "user",
            "text",
            "the one who starts Tierce",
            "",
            "The user as whom the application runs; `HOME`, `USER` and `LOGNAME` are that user's, unless `env` says otherwise.",
        ),
    ],
    foreign: &[
        ("reload", "watching files is for development, not for a file that goes to production: tierce up --reload"),
        ("py-autoreload", "watching files is for development: tierce up --reload"),
        ("touch-reload", "tierce reload takes new code; for development, tierce up --reload watches the files"),
        ("venv", "`python` is the path of the interpreter, for example `.venv/bin/python`"),
        ("virtualenv", "`python` is the path of the interpreter, for example `.venv/bin/python`"),
        ("home", "`python` is the path of the interpreter, for example `.venv/bin/python`"),
        ("uid", "write `user`"),
    ],
};
