//! How good the alarms are, against windows in which somebody has said that the series is anomalous.
//!
//! * **recall** = found windows / labelled windows; a window is found if an alarm begins inside it.
//! * **precision** = alarms that begin inside a window / alarms.
//!
//! Both are strict: an alarm that began before the window and still lasts in it finds nothing.

use std::fmt;
use std::ops::AddAssign;

use crate::nab::Window;
use crate::watch::Alarm;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Score {
    pub(crate) labelled: u64,
    pub(crate) found: u64,
    pub(crate) alarms: u64,
    pub(crate) inside: u64,
}

impl Score {
    pub(crate) fn of(alarms: &[Alarm], windows: &[Window]) -> Self {
        let is_inside = |alarm: &&Alarm| windows.iter().any(|window| window.contains(alarm.began));
        let is_found = |window: &&Window| alarms.iter().any(|alarm| window.contains(alarm.began));
        Self {
            labelled: windows.len() as u64,
            found: windows.iter().filter(is_found).count() as u64,
            alarms: alarms.len() as u64,
            inside: alarms.iter().filter(is_inside).count() as u64,
        }
    }

    /// `-` where there is nothing to be found.
    pub(crate) fn recall(&self) -> String {
        share(self.found, self.labelled)
    }

    /// `-` where there is no alarm, or no label to compare with.
    pub(crate) fn precision(&self) -> String {
        share(self.inside, self.alarms)
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.labelled += other.labelled;
        self.found += other.found;
        self.alarms += other.alarms;
        self.inside += other.inside;
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { labelled, found, alarms, inside } = self;
        let (recall, precision) = (self.recall(), self.precision());
        write!(f, "{labelled:8} {found:5} {recall:>6} {alarms:6} {inside:6} {precision:>9}")
    }
}

fn share(part: u64, of: u64) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.2}", part as f64 / of as f64) }
}
