//! `[log]`.

use super::{Group, key};

pub(super) const GROUP: Group = Group {
    keys: &[key(
        "log.access",
        "`\"auto\"`, `\"text\"`, `\"json\"`, `\"combined\"` or `\"off\"`",
        "`\"auto\"`",
        "`--access-log`",
        "The access log; `auto` is text on a terminal and JSON otherwise, `combined` the format of Apache and nginx.",
    )],
    foreign: &[],
};
