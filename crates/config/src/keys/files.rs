//! Files that the edge sends, and routes.

use super::{Group, key};

pub(super) const GROUP: Group = Group {
    keys: &[
        key(
            "static",
            "table of directories",
            "none",
            "",
            "Files that the edge sends itself, as `{ \"/static\" = \"static/\" }`: below the path `/static` those of the directory, of several paths the longest. Where there is no such file the application is asked. Names that begin with a dot and symbolic links that lead out of the directory are no files here.",
        ),
        key(
            "internal",
            "table of directories",
            "none",
            "",
            "Files that the edge sends when the application names one in its response, in place of a body: `X-Accel-Redirect: /protected/a.pdf` with `{ \"/protected\" = \"files/\" }`, or `X-Sendfile` with the file's absolute path. Clients cannot ask for them.",
        ),
        key(
            "route",
            "tables",
            "none",
            "",
            "What becomes of some requests, as `[[route]]` with the keys below. The first that fits counts, in the order of the file; what fits none goes to `app`, or to `upstream`; where there is neither, as routes have upstreams of their own, it is answered with 404 (`no_route`).",
        ),
    ],
    foreign: &[],
};
