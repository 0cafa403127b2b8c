//! What is shown while a test runs.

use super::counted;
use crate::crash::report::{Cell, Verdict};
use crate::crash::storm::{self, Kills, StormConfig};
pub use crate::output::progress::Bar;
use crate::output::progress::STEPS;

impl Bar {
    /// How far a storm is.
    pub fn storm(&self, config: &StormConfig, progress: &storm::Progress) {
        self.0.set_position((share(config, progress) * STEPS as f64) as u64);
        self.0.set_message(message(progress));
    }

    /// How far a matrix is; `bad`: cells so far that are not ok.
    pub fn matrix(&self, cell: &Cell, bad: u64, done: u64, total: u64) {
        let cells = format!("{done}/{total} cells, {bad} not ok");
        self.at(done, total, &format!("{cells}: {} at {}", cell.operation, cell.point));
    }
}

/// Whether a cell counts as bad.
pub fn is_bad(cell: &Cell) -> bool {
    cell.verdict != Verdict::Ok
}

/// How much of a storm is over: of its time or of its deaths, whatever ends it.
fn share(config: &StormConfig, progress: &storm::Progress) -> f64 {
    let of = |done: u64, kills: Kills| match kills {
        Kills::Times(times) => Some(done as f64 / times.max(1) as f64),
        Kills::Never | Kills::UntilTheEnd => None,
    };
    let deaths = [
        of(progress.worker_deaths, config.kill_worker),
        of(progress.supervisor_deaths, config.kill_supervisor),
    ];
    // All of the deaths, or the end of the time.
    let deaths = deaths.into_iter().flatten().reduce(f64::min);
    let limit = config.duration.or(deaths.is_none().then_some(storm::DURATION));
    let time = limit.map(|limit| progress.elapsed.as_secs_f64() / limit.as_secs_f64().max(1e-9));
    deaths.into_iter().chain(time).fold(0.0, f64::max).min(1.0)
}

fn message(progress: &storm::Progress) -> String {
    let rate = progress.operations as f64 / progress.elapsed.as_secs_f64().max(1e-3);
    let deaths = progress.worker_deaths + progress.supervisor_deaths;
    format!(
        "{rate:.0} ops/s, {}, {}",
        counted(deaths, "death", "deaths"),
        counted(progress.anomalies, "anomaly", "anomalies")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::crash::storm::MountKind;
    use crate::crash::target::FsKind;

    fn config() -> StormConfig {
        StormConfig::new(MountKind::Own { kind: FsKind::Mem, arguments: Vec::new() }, 1)
    }

    fn progress(worker_deaths: u64, supervisor_deaths: u64, seconds: u64) -> storm::Progress {
        storm::Progress {
            operations: 5000,
            worker_deaths,
            supervisor_deaths,
            anomalies: 1,
            elapsed: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_storm_ends_by_time_or_by_deaths() {
        let time = StormConfig { duration: Some(Duration::from_secs(20)), ..config() };
        assert_eq!(share(&time, &progress(7, 0, 5)), 0.25);
        assert_eq!(share(&config(), &progress(7, 0, 5)), 0.5, "10 s where nothing else is said");
        let deaths = StormConfig {
            kill_worker: Kills::Times(100),
            kill_supervisor: Kills::Times(10),
            ..config()
        };
        assert_eq!(share(&deaths, &progress(50, 2, 500)), 0.2, "both have to be done");
        let both = StormConfig { duration: Some(Duration::from_secs(10)), ..deaths };
        assert_eq!(share(&both, &progress(50, 2, 5)), 0.5);
        assert_eq!(share(&both, &progress(500, 20, 50)), 1.0);
    }

    #[test]
    fn what_stands_beside_the_bar() {
        assert_eq!(message(&progress(1, 0, 2)), "2500 ops/s, 1 death, 1 anomaly");
    }
}
