//! Notices that a plugin's files were written anew, and waits until whoever writes them is done.

use std::path::Path;
use std::time::SystemTime;

use crate::author::project::Project;

/// When the files were written, and how long they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    component: (SystemTime, u64),
    manifest: (SystemTime, u64),
}

impl Stamp {
    /// Of the files as they are now; none while one of them is not there. Blocks for a moment.
    pub fn of(project: &Project) -> Option<Self> {
        let stamp = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Some(Self { component: stamp(&project.component)?, manifest: stamp(&project.manifest)? })
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Watch {
    /// The files that were taken, or refused, last.
    settled: Option<Stamp>,
    /// Others, seen once.
    candidate: Option<Stamp>,
}

impl Watch {
    /// Takes these files as known.
    pub const fn from(stamp: Option<Stamp>) -> Self {
        Self { settled: stamp, candidate: None }
    }

    /// Looks again: whether there are new files that did not change since the last look.
    pub fn look(&mut self, now: Option<Stamp>) -> bool {
        let Some(now) = now.filter(|now| self.settled != Some(*now)) else {
            self.candidate = None;
            return false;
        };
        let stood_still = self.candidate == Some(now);
        self.candidate = Some(now);
        stood_still
    }

    /// Whether what was read after [`Watch::look`] is what was looked at; if so, it is known from now on.
    pub fn settle(&mut self, after: Option<Stamp>) -> bool {
        let same = after.is_some() && after == self.candidate;
        if same {
            self.settled = self.candidate.take();
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stamp(seconds: u64, len: u64) -> Option<Stamp> {
        let manifest = (SystemTime::UNIX_EPOCH, 1);
        Some(Stamp { component: (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), len), manifest })
    }

    #[test]
    fn new_files_are_taken_once_and_only_after_they_stood_still() {
        let mut watch = Watch::from(stamp(1, 10));
        assert!(!watch.look(stamp(1, 10)) && !watch.look(stamp(1, 10)), "known");
        assert!(!watch.look(stamp(2, 3)) && !watch.look(stamp(2, 7)) && !watch.look(stamp(3, 10)), "being written");
        assert!(watch.look(stamp(3, 10)));
        assert!(!watch.settle(stamp(4, 10)), "written again while it was read");
        assert!(!watch.look(stamp(4, 10)) && watch.look(stamp(4, 10)));
        assert!(watch.settle(stamp(4, 10)));
        assert!(!watch.look(stamp(4, 10)) && !watch.look(stamp(4, 10)), "known");
    }

    #[test]
    fn files_that_are_gone_are_no_version_and_come_back_as_one() {
        let mut watch = Watch::from(stamp(1, 10));
        assert!(!watch.look(None) && !watch.settle(None));
        assert!(!watch.look(stamp(2, 10)) && !watch.look(None) && !watch.look(stamp(2, 10)), "seen once since");
        assert!(watch.look(stamp(2, 10)));
    }
}
