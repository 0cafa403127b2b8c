//! What fusex has to reach, beside what was measured.

use serde_json::{Value, json};

use crate::common::pin::Pin;
use crate::common::spread::Spread;
use crate::contestants::{NATIVE, UNSUPERVISED_DEV, UNSUPERVISED_URING};
use crate::results::Results;
use crate::rows::Row;
use crate::scenes::Scene;
use crate::tables;

const STORMS: &[Row] = &[Row::Create, Row::StatUncached, Row::Unlink];
const SMALL: &[Row] = &[Row::Create, Row::StatUncached, Row::Unlink, Row::RandomRead];
const DATA: &[Row] =
    &[Row::Write128K, Row::Read128K, Row::Write1M, Row::Read1M, Row::RandomRead, Row::RandomWrite];

/// Whom it is to be compared with.
enum Peer {
    Named(&'static str),
    /// The fastest mount of another program, whichever that is.
    Best,
}

struct Goal {
    ours: &'static str,
    peer: Peer,
    rows: &'static [Row],
    /// In which scenes.
    pins: &'static [Pin],
    /// At least so many times the peer's throughput.
    least: f64,
}

const GOALS: &[Goal] = &[
    Goal {
        ours: "fusex",
        peer: Peer::Named("passthrough_ll"),
        rows: STORMS,
        pins: &[Pin::None],
        least: 2.5,
    },
    Goal {
        ours: "fusex",
        peer: Peer::Named("passthrough_ll -s"),
        rows: STORMS,
        pins: &[Pin::Same],
        least: 1.0,
    },
    Goal {
        ours: "fusex",
        peer: Peer::Best,
        rows: STORMS,
        pins: &[Pin::None, Pin::Same],
        least: 1.0,
    },
    Goal {
        ours: "fusex nopassthrough",
        peer: Peer::Named("passthrough_ll"),
        rows: &[Row::RandomRead],
        pins: &[Pin::None],
        least: 2.0,
    },
    Goal {
        ours: "fusex nopassthrough",
        peer: Peer::Named("passthrough_ll"),
        rows: &[Row::Read128K],
        pins: &[Pin::None],
        least: 1.5,
    },
    Goal { ours: "fusex", peer: Peer::Named(NATIVE), rows: DATA, pins: &[Pin::None], least: 0.95 },
    Goal {
        ours: UNSUPERVISED_URING,
        peer: Peer::Named(UNSUPERVISED_DEV),
        rows: SMALL,
        pins: &[Pin::None, Pin::Same],
        least: 1.3,
    },
];

/// One goal for one row in one scene.
struct Outcome {
    goal: &'static Goal,
    row: Row,
    /// Who it was compared with, and the ratio; `None` where one of them has no samples.
    measured: Option<(&'static str, Spread)>,
}

impl Outcome {
    fn met(&self) -> Option<bool> {
        self.measured.map(|(_, ratio)| ratio.median >= self.goal.least)
    }

    fn show(&self) -> String {
        let Some((peer, ratio)) = self.measured else { return "not measured".into() };
        let missed = if self.met() == Some(true) { "" } else { "missed: " };
        let whose = match self.goal.peer {
            Peer::Named(_) => String::new(),
            Peer::Best => format!(" {peer}"),
        };
        format!("{missed}{}{whose}", tables::ratio(Some(ratio)))
    }
}

impl Goal {
    fn title(&self, row: Row) -> String {
        let peer = match self.peer {
            Peer::Named(name) => name,
            Peer::Best => "the best other mount",
        };
        format!("{}: {} / {peer}", row.title(), self.ours)
    }

    /// `None` where the scene is not for it.
    fn outcome(&'static self, row: Row, scene: &Scene, results: &Results) -> Option<Outcome> {
        if !self.pins.contains(&scene.pin) || !scene.rows.contains(&row) {
            return None;
        }
        let peer = match self.peer {
            Peer::Named(name) => Some(name),
            Peer::Best => results.best(row, |name| name != NATIVE && !name.starts_with("fusex")),
        };
        let measured = peer.and_then(|peer| Some((peer, results.ratio(row, self.ours, peer)?)));
        Some(Outcome { goal: self, row, measured })
    }
}

fn rows() -> impl Iterator<Item = (&'static Goal, Row)> {
    GOALS.iter().flat_map(|goal| goal.rows.iter().map(move |row| (goal, *row)))
}

/// One table: a line for each goal and row, a column for each scene.
pub(crate) fn markdown(measured: &[(Scene, Results)]) -> String {
    let in_scenes = |(goal, row): (&'static Goal, Row)| {
        let outcome = |(scene, results): &(Scene, Results)| goal.outcome(row, scene, results);
        (goal, row, measured.iter().map(outcome).collect::<Vec<Option<Outcome>>>())
    };
    let mut lines: Vec<_> = rows().map(in_scenes).collect();
    lines.retain(|(_, _, outcomes)| outcomes.iter().any(Option::is_some));
    let count = |met| {
        let outcomes = lines.iter().flat_map(|(_, _, outcomes)| outcomes).flatten();
        outcomes.filter(|outcome| outcome.met() == Some(met)).count()
    };
    let (met, missed) = (count(true), count(false));
    let show = |outcome: &Option<Outcome>| outcome.as_ref().map_or_else(String::new, Outcome::show);
    let cells = lines.iter().map(|(goal, row, outcomes)| {
        let least = goal.least.to_string();
        (goal.title(*row), [least].into_iter().chain(outcomes.iter().map(show)).collect())
    });
    let scenes = measured.iter().map(|(scene, _)| scene.title());
    let table = tables::table(["at least".to_string()].into_iter().chain(scenes), cells);
    format!("\n**Goals** (median, least to greatest): {met} met, {missed} missed\n\n{table}")
}

/// The same for programs.
pub(crate) fn document(measured: &[(Scene, Results)]) -> Vec<Value> {
    let in_scene = |(scene, results): &(Scene, Results)| {
        rows()
            .filter_map(|(goal, row)| goal.outcome(row, scene, results))
            .map(|outcome| {
                json!({
                    "goal": outcome.goal.title(outcome.row),
                    "scene": scene.title(),
                    "row": outcome.row.name(),
                    "contestant": outcome.goal.ours,
                    "peer": outcome.measured.map(|(peer, _)| peer),
                    "least": outcome.goal.least,
                    "ratio": outcome.measured.map(|(_, ratio)| ratio),
                    "met": outcome.met(),
                })
            })
            .collect::<Vec<Value>>()
    };
    measured.iter().flat_map(in_scene).collect()
}
