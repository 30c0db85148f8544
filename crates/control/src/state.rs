//! What outlives the process: how many nodes there shall be.
//!
//! Invariant: the file is whole or not there; one that cannot be read counts as none.

use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::Place;

/// A `scale` that was made, and what the configuration said then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Version of this file's form.
    schema: u32,
    /// What `scale` asked for.
    pub nodes_wanted: u32,
    /// `nodes` of the configuration at that time.
    pub nodes_configured: u32,
}

impl Recorded {
    /// A record in today's form.
    fn new(nodes_wanted: u32, nodes_configured: u32) -> Self {
        Self { schema: 1, nodes_wanted, nodes_configured }
    }

    /// What was recorded; nothing when there is no record or none that can be read.
    pub fn read(place: &Place) -> Option<Self> {
        let text = fs::read_to_string(place.state_file()).ok()?;
        serde_json::from_str::<Self>(&text).ok().filter(|recorded| recorded.schema == 1)
    }

    /// Records that so many nodes run; nothing is recorded when that is what the configuration says.
    pub fn keep(place: &Place, nodes: u32, configured: u32) -> io::Result<()> {
        if nodes == configured {
            Self::clear(place);
            return Ok(());
        }
        Self::new(nodes, configured).write(place)
    }

    /// Records, whole or not at all.
    fn write(self, place: &Place) -> io::Result<()> {
        let file = place.state_file();
        let fresh = file.with_extension("json.new");
        fs::write(&fresh, serde_json::to_vec(&self)?)?;
        fs::rename(fresh, file)
    }

    /// Forgets.
    pub fn clear(place: &Place) {
        // No record is what is wanted.
        let _ = fs::remove_file(place.state_file());
    }
}

/// How many nodes to start: `--scale`, else what was recorded unless the configuration has changed since, else that.
pub fn wanted_nodes(flag: Option<u32>, recorded: Option<Recorded>, configured: u32) -> u32 {
    match (flag, recorded) {
        (Some(flag), _) => flag,
        (None, Some(recorded)) if recorded.nodes_configured == configured => recorded.nodes_wanted,
        (None, _) => configured,
    }
}

#[cfg(test)]
mod tests {
    use config::Environment;

    use super::*;

    #[test]
    fn a_recorded_scale_yields_to_a_flag_and_to_a_new_configuration() {
        let recorded = Some(Recorded::new(5, 1));
        for (flag, recorded, configured, wanted) in [
            (None, None, 1, 1),
            (None, recorded, 1, 5),
            (None, recorded, 2, 2),
            (None, recorded, 5, 5),
            (Some(3), recorded, 1, 3),
            (Some(3), recorded, 2, 3),
            (Some(1), recorded, 1, 1),
            (Some(0), None, 1, 0),
            (None, Some(Recorded::new(0, 1)), 1, 0),
            (None, None, 0, 0),
        ] {
            assert_eq!(wanted_nodes(flag, recorded, configured), wanted);
        }
    }

    #[test]
    fn a_record_is_read_back() {
        let project = tempfile::tempdir().unwrap();
        let place = Place::of(project.path(), &Environment::default());
        place.prepare().unwrap();
        assert_eq!(Recorded::read(&place), None);
        Recorded::new(5, 1).write(&place).unwrap();
        assert_eq!(Recorded::read(&place), Some(Recorded::new(5, 1)));
        for broken in ["", "{", "[]", "{\"schema\":1}", "{\"schema\":2,\"nodes_wanted\":5,\"nodes_configured\":1}"] {
            fs::write(place.state_file(), broken).unwrap();
            assert_eq!(Recorded::read(&place), None, "{broken}");
        }
        Recorded::clear(&place);
    }

    #[test]
    fn a_configuration_that_counts_leaves_no_record() {
        let project = tempfile::tempdir().unwrap();
        let place = Place::of(project.path(), &Environment::default());
        place.prepare().unwrap();
        Recorded::keep(&place, 4, 1).unwrap();
        assert_eq!(wanted_nodes(None, Recorded::read(&place), 1), 4);
        // The configuration changes, counts, and changes back.
        Recorded::keep(&place, 2, 2).unwrap();
        assert_eq!(wanted_nodes(None, Recorded::read(&place), 1), 1);
    }
}
