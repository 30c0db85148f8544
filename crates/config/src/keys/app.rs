//! What is run.

use super::{Group, key};

pub(super) const GROUP: Group = Group {
    keys: &[key(
        "app",
        "`\"module:callable\"`",
        "found in app.py, wsgi.py, asgi.py, main.py or manage.py",
        "`APP`",
        "What to run. `create_app()` calls a factory.",
    )],
    foreign: &[
        ("module", "write `app = \"module:callable\"`"),
        ("wsgi-file", "write `app = \"module:callable\"`"),
        ("callable", "write `app = \"module:callable\"`"),
        ("wsgi_app", "write `app = \"module:callable\"`"),
        ("chdir", "the project is the directory of the file; see `-C`"),
        ("lazy-apps", "not needed: each node imports the application once and forks its workers"),
    ],
};
