//! The full-screen view of `fusex bpf-stats --live`: its state, what keys do to it, and how it is
//! drawn.
//!
//! Pure: no terminal, no clock. [`commands::bpf_stats::live`](crate::commands) brings measurements
//! ([`Live::take`]) and keys ([`Live::apply`]), and draws into the terminal ([`Live::draw`]).
//!
//! | file | what |
//! | --- | --- |
//! | `action` | keys, and what they ask for |
//! | `screen` | what is where on the screen, by its size |
//! | `rows` | what is in the lists |
//! | `table` | a list: sorted, scrolled, drawn |
//! | `history` | the last intervals |
//! | `heat` | the heat map of them |
//! | `colors` | what a terminal can show |

mod action;
mod colors;
mod heat;
mod history;
mod rows;
mod screen;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use action::{Action, action};
pub use colors::Colors;
pub use history::Part;

use history::{History, Id, Whose};
use table::{Table, View};

use crate::stats::Snapshot;
use crate::stats::tier::Tier;

/// The intervals that there are keys for, in ms.
const INTERVALS: [u64; 10] = [100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000];

/// How many callers and nodes of a connection are listed.
const TOP: usize = 100;

/// A list on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    /// All connections.
    Connections,
    /// The operations of the selected connection, like all that follow.
    Operations,
    /// Who asks.
    Callers,
    /// What they ask about.
    Nodes,
    /// What is not answered yet.
    InFlight,
}

impl Pane {
    pub(super) const ALL: [Pane; 5] =
        [Pane::Connections, Pane::Operations, Pane::Callers, Pane::Nodes, Pane::InFlight];

    fn name(self) -> &'static str {
        match self {
            Pane::Connections => "Connections",
            Pane::Operations => "Operations",
            Pane::Callers => "Callers",
            Pane::Nodes => "Nodes",
            Pane::InFlight => "In flight",
        }
    }

    /// By which column it is sorted at first.
    fn sorted_by(self) -> usize {
        match self {
            Pane::Connections | Pane::InFlight => 0,
            Pane::Operations | Pane::Callers | Pane::Nodes => 2,
        }
    }
}

/// What the loop has to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Draw.
    Draw,
    /// Clear the terminal, and draw.
    Redraw,
    /// End.
    Quit,
}

/// All that the view knows.
#[derive(Debug)]
pub struct Live {
    tier: Tier,
    colors: Colors,
    interval: Duration,
    /// Everything since the measurement began.
    since_start: Snapshot,
    /// What is shown: one interval. While it is paused, not the newest.
    shown: Snapshot,
    newest: Snapshot,
    paused: bool,
    /// Intervals that came while it is paused.
    behind: usize,
    history: History,
    focus: Pane,
    /// The list below the connections.
    detail: Pane,
    views: [View; Pane::ALL.len()],
    part: Part,
    /// The heat map has all the room.
    large_map: bool,
    /// How far the help is scrolled, while it is shown.
    help: Option<u16>,
}

impl Live {
    /// A view that begins with a first measurement, `first`: counts since the start of it all.
    pub fn new(tier: Tier, colors: Colors, interval: Duration, first: Snapshot) -> Live {
        let mut nothing = first.since(&first);
        nothing.keep_top(TOP);
        Live {
            tier,
            colors,
            interval,
            since_start: first,
            shown: nothing.clone(),
            newest: nothing,
            paused: false,
            behind: 0,
            history: History::default(),
            focus: Pane::Connections,
            detail: Pane::Operations,
            views: Pane::ALL.map(|pane| View::sorted_by(pane.sorted_by())),
            part: Part::default(),
            large_map: false,
            help: None,
        }
    }

    /// How long to wait from one measurement to the next.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The next measurement: counts since the start of it all.
    pub fn take(&mut self, since_start: Snapshot) {
        self.newest = since_start.since(&self.since_start);
        self.newest.keep_top(TOP);
        self.since_start = since_start;
        self.history.push(&self.newest);
        if self.paused {
            self.behind = (self.behind + 1).min(self.history.len());
        } else {
            self.shown = self.newest.clone();
        }
    }

    /// Does what a key asks for.
    pub fn apply(&mut self, action: Action) -> After {
        match action {
            Action::Quit => return After::Quit,
            Action::Redraw => return After::Redraw,
            Action::Help => self.help = if self.help.is_some() { None } else { Some(0) },
            Action::Close => self.help = None,
            Action::Rows(by) => self.go(i64::from(by)),
            Action::Pages(by) => {
                let page = self.view().page();
                self.go(i64::from(by) * page);
            }
            Action::First => self.go(i64::MIN),
            Action::Last => self.go(i64::MAX),
            Action::Pane(pane) => self.look_at(pane),
            Action::NextPane => self.look_at(self.neighbour(1)),
            Action::PreviousPane => self.look_at(self.neighbour(Pane::ALL.len() - 1)),
            Action::Sort(by) => {
                let columns = self.table(self.focus).columns.len();
                self.view().sort(by, columns);
            }
            Action::Reverse => self.view().reverse(),
            Action::Pause => self.pause(),
            Action::Time => self.part = self.part.next(),
            Action::Map => self.large_map = !self.large_map,
            Action::Slower => self.set_interval(INTERVALS.iter().find(|ms| **ms > self.millis())),
            Action::Faster => self.set_interval(INTERVALS.iter().rfind(|ms| **ms < self.millis())),
        }
        After::Draw
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        self.behind = 0;
        self.shown = self.newest.clone();
    }

    fn millis(&self) -> u64 {
        self.interval.as_millis() as u64
    }

    fn set_interval(&mut self, millis: Option<&u64>) {
        if let Some(millis) = millis {
            self.interval = Duration::from_millis(*millis);
        }
    }

    fn neighbour(&self, by: usize) -> Pane {
        Pane::ALL[(self.focus as usize + by) % Pane::ALL.len()]
    }

    fn look_at(&mut self, pane: Pane) {
        self.focus = pane;
        if pane != Pane::Connections {
            self.detail = pane;
        }
    }

    /// Moves the selection, or scrolls the help while it is shown.
    fn go(&mut self, by: i64) {
        if let Some(scrolled) = self.help {
            let last = action::KEYS.len() as i64;
            self.help = Some(i64::from(scrolled).saturating_add(by).clamp(0, last) as u16);
            return;
        }
        let table = self.arranged(self.focus);
        self.view().go(&table, by);
    }

    fn view(&mut self) -> &mut View {
        &mut self.views[self.focus as usize]
    }

    /// What a list holds now.
    fn table(&self, pane: Pane) -> Table {
        let only = self.selected_connection();
        match pane {
            Pane::Connections => rows::connections(&self.shown),
            Pane::Operations => rows::operations(&self.shown, only),
            Pane::Callers => rows::callers(&self.shown, only),
            Pane::Nodes => rows::nodes(&self.shown, only),
            Pane::InFlight => rows::in_flight(&self.shown, only),
        }
    }

    /// The same in the order in which it is shown.
    fn arranged(&mut self, pane: Pane) -> Table {
        let mut table = self.table(pane);
        self.views[pane as usize].arrange(&mut table);
        table
    }

    /// The connection whose row is selected; none for all.
    fn selected_connection(&self) -> Option<Id> {
        self.views[Pane::Connections as usize].selected().and_then(rows::connection_of)
    }

    /// Whose times the heat map shows: those of the row that is selected where the keys go.
    fn selected(&self) -> Whose {
        let opcode = match self.focus {
            Pane::Operations => self.views[Pane::Operations as usize].selected(),
            _ => None,
        };
        Whose {
            connection: self.selected_connection(),
            opcode: opcode.and_then(|(opcode, _)| u32::try_from(opcode).ok()),
        }
    }
}
