//! The whole screen, at several sizes and after keys.
//!
//! What it looks like is in `screens/`; `FUSEX_REGENERATE=1` writes it anew.

use std::path::Path;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::*;
use crate::output::live::testing::{machine, operation, tier};
use crate::stats::tier::{Missing, Source};
use crate::stats::{Caller, Connection, Lost, Node, Operation, Process, Request, Server, Split};

fn live() -> Live {
    let mut live = Live::new(tier(), Colors::None, Duration::from_secs(1), machine(0));
    (1..=20).for_each(|second| live.take(machine(second)));
    live
}

fn press(live: &mut Live, keys: &str) -> After {
    let pressed = keys.chars().map(|key| KeyEvent::from(KeyCode::Char(key)));
    let asked = pressed.map(|key| action(key).unwrap());
    asked.map(|asked| live.apply(asked)).last().unwrap()
}

/// What is on the screen, without blanks at the ends of lines.
fn screen(live: &mut Live, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| live.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_string() + "\n").collect()
}

/// Compares with what was looked at and found good.
fn same(name: &str, seen: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/output/live/screens");
    let file = dir.join(name).with_extension("txt");
    if std::env::var_os("FUSEX_REGENERATE").is_some() {
        std::fs::write(&file, seen).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(seen == expected, "{name}: expected\n{expected}\nseen\n{seen}");
}

#[test]
fn a_usual_screen() {
    same("80x24", &screen(&mut live(), 80, 24));
}

#[test]
fn a_large_screen() {
    let mut live = live();
    press(&mut live, "2");
    same("200x50", &screen(&mut live, 200, 50));
}

#[test]
fn a_small_screen_has_one_list() {
    let mut live = live();
    same("40x10", &screen(&mut live, 40, 10));
    press(&mut live, "5");
    same("40x10-in-flight", &screen(&mut live, 40, 10));
    press(&mut live, "m");
    same("40x10-map", &screen(&mut live, 40, 10));
}

#[test]
fn help() {
    let mut live = live();
    press(&mut live, "?");
    same("80x24-help", &screen(&mut live, 80, 24));
    let first = screen(&mut live, 40, 10);
    press(&mut live, "jjj");
    assert_ne!(screen(&mut live, 40, 10), first);
    live.apply(Action::Close);
    same("80x24", &screen(&mut live, 80, 24));
}

#[test]
fn less_than_that_is_too_small() {
    let said = "39x10 is too small: 40x10 is needed";
    assert_eq!(screen(&mut live(), 39, 10).trim_end(), said);
    assert_eq!(screen(&mut live(), 12, 2), "12x2 is too\n  small:\n");
}

#[test]
fn the_selected_connection_decides_what_is_below() {
    let mut live = live();
    // The row of all connections, then /mnt/far, the idle one, and the one that hangs.
    press(&mut live, "j");
    assert_eq!(live.selected(), Whose { connection: Some((41, 0)), opcode: None });
    press(&mut live, "2j");
    assert_eq!(live.selected(), Whose { connection: Some((41, 0)), opcode: Some(1) });
    assert!(screen(&mut live, 80, 24).contains("total time of LOOKUP of /mnt/far"));
    press(&mut live, "1G5");
    let hanging = screen(&mut live, 120, 24);
    assert!(hanging.contains("dir\\u{1b}[31m/name\\n"), "{hanging}");
    press(&mut live, "1k5");
    assert!(screen(&mut live, 80, 24).contains("no request is in flight"));
}

#[test]
fn panes_take_turns() {
    let mut live = live();
    live.apply(Action::PreviousPane);
    assert_eq!((live.focus, live.detail), (Pane::InFlight, Pane::InFlight));
    live.apply(Action::NextPane);
    assert_eq!((live.focus, live.detail), (Pane::Connections, Pane::InFlight));
    live.apply(Action::NextPane);
    assert_eq!((live.focus, live.detail), (Pane::Operations, Pane::Operations));
}

#[test]
fn sorting() {
    let mut live = live();
    let first = |live: &mut Live| {
        let screen = screen(live, 80, 24);
        let below = screen.lines().skip_while(|line| !line.starts_with("operation"));
        below.skip(1).take(1).map(|line| line[..7].trim().to_string()).collect::<String>()
    };
    press(&mut live, "2");
    assert_eq!(first(&mut live), "READ", "it takes most of the time");
    press(&mut live, "r");
    assert_eq!(first(&mut live), "GETATTR");
    press(&mut live, "S");
    assert_eq!(first(&mut live), "LOOKUP", "by rate");
    press(&mut live, "<");
    assert_eq!(first(&mut live), "GETATTR", "by name");
}

#[test]
fn a_pause_stops_what_is_shown() {
    let mut live = live();
    press(&mut live, "p");
    let paused = screen(&mut live, 80, 24);
    assert!(paused.starts_with("fusex bpf-stats  PAUSED"), "{paused}");
    let mut more = machine(21);
    more.connections.truncate(1);
    live.take(more);
    assert_eq!(screen(&mut live, 80, 24), paused);
    press(&mut live, "p");
    let on = screen(&mut live, 80, 24);
    assert!(on.contains("1 connection ") && !on.contains("PAUSED"), "{on}");
    assert_eq!(live.history.len(), 21, "nothing is missing in the heat map");
}

#[test]
fn intervals() {
    let mut live = live();
    press(&mut live, "+");
    assert_eq!(live.interval(), Duration::from_secs(2));
    press(&mut live, "---");
    assert_eq!(live.interval(), Duration::from_millis(200));
    press(&mut live, "---");
    assert_eq!(live.interval(), Duration::from_millis(100));
    live.interval = Duration::from_secs(100);
    press(&mut live, "+");
    assert_eq!(live.interval(), Duration::from_secs(100));
    assert_eq!(press(&mut live, "q"), After::Quit);
}

#[test]
fn what_is_lost_or_missing_is_said() {
    let missing = vec![Missing {
        what: "requests",
        why: "bpf(2): EPERM".into(),
        cure: "run it as root".into(),
    }];
    let mut blind = machine(0);
    blind.lost = Lost { requests: 3, ..Lost::default() };
    blind.connections.iter_mut().for_each(|connection| connection.operations.clear());
    let tier = Tier { missing, ..Tier::default() };
    let mut live = Live::new(tier, Colors::None, Duration::from_secs(1), blind);
    let seen = screen(&mut live, 80, 24);
    assert!(seen.starts_with("fusex bpf-stats  3 LOST"), "{seen}");
    assert_eq!(seen.matches("requests: bpf(2): EPERM: run it as root").count(), 2, "{seen}");
}

#[test]
fn times_that_nobody_knows() {
    let mut only_total = machine(20);
    only_total.connections.iter_mut().for_each(|connection| connection.split = Split::None);
    for operation in &mut only_total.connections[0].operations {
        (operation.queue, operation.service) = Default::default();
    }
    let tier = Tier { source: Source::Functions, ..Tier::default() };
    let mut live = Live::new(tier, Colors::None, Duration::from_secs(1), machine(0));
    live.take(only_total);
    press(&mut live, "h");
    let seen = screen(&mut live, 80, 24);
    assert!(seen.contains("queue and service time cannot be told apart here"), "{seen}");
    press(&mut live, "hh");
    assert!(screen(&mut live, 80, 24).contains("total time of requests"));
}

#[test]
fn sizes_where_something_changes() {
    let mut live = live();
    for keys in ["1", "2", "5", "m", "?"] {
        press(&mut live, keys);
        for width in [1, 2, 39, 40, 41, 59, 60, 79, 80, 81, 250] {
            for height in (1..=26).chain([49, 80]) {
                screen(&mut live, width, height);
            }
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/]{0,60}", "\\PC{0,20}", any::<String>()]
}

prop_compose! {
    fn operations()(
        list in prop::collection::vec((0u32..60, 1u64..4, any::<u64>(), any::<u64>()), 0..12)
    ) -> Vec<Operation> {
        let made = |(opcode, count, ns, bytes)| {
            let errors = [(bytes as i32, bytes)].into();
            Operation { bytes, errors, ..operation(opcode, count, ns) }
        };
        list.into_iter().map(made).collect()
    }
}

prop_compose! {
    fn connection()(
        id in any::<u32>(),
        names in (text(), text(), text(), text()),
        numbers in any::<[u64; 6]>(),
        known in any::<bool>(),
        operations in operations(),
        pending in 0usize..20,
    ) -> Connection {
        let caller = Process { pid: id, tid: id, command: names.2.clone() };
        let path = known.then(|| names.0.clone());
        let request = |n: usize| Request {
            unique: n as u64,
            opcode: id,
            node: numbers[0],
            path: path.clone(),
            caller: caller.clone(),
            age_ns: numbers[1],
            queue_ns: known.then_some(numbers[2]),
            read: known.then_some(numbers[3] > numbers[2]),
            older: known,
        };
        let server = Server { pid: id, command: names.1, threads: Some(numbers[0]) };
        let (count, total_ns) = (numbers[4], numbers[5]);
        Connection {
            id,
            mount_point: path.clone().map(Into::into),
            fs_type: names.3,
            server: known.then_some(server),
            waiting: known.then_some(numbers[2]),
            max_background: known.then_some(numbers[3]),
            in_flight: Some(numbers[4]),
            pending: (0..pending).map(request).collect(),
            operations,
            callers: vec![Caller { pid: id, command: names.2, count, total_ns }],
            nodes: vec![Node { id: numbers[0], path: path.clone(), count, total_ns }],
            ..Connection::default()
        }
    }
}

prop_compose! {
    fn any_machine()(
        taken_ns in any::<u64>(),
        connections in prop::collection::vec(connection(), 0..6),
        lost in any::<[u64; 4]>(),
    ) -> Snapshot {
        let [operations, requests, earlier, events] = lost;
        let lost = Lost { operations, requests, earlier, events };
        Snapshot { taken_ns, lost, memory_bytes: taken_ns, ..testing::snapshot(0, connections) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_machine_on_any_screen_after_any_keys(
        machines in prop::collection::vec(any_machine(), 1..4),
        keys in "[1-5jkgGsSrphm+?-]{0,12}",
        sizes in prop::collection::vec((1u16..=250, 1u16..=80), 1..4),
        colors in prop::sample::select(vec![Colors::None, Colors::Sixteen, Colors::All]),
    ) {
        let interval = Duration::from_secs(1);
        let mut machines = machines.into_iter();
        let mut live = Live::new(tier(), colors, interval, machines.next().unwrap());
        machines.for_each(|machine| live.take(machine));
        for (width, height) in sizes {
            for key in keys.chars() {
                press(&mut live, &key.to_string());
            }
            let seen = screen(&mut live, width, height);
            prop_assert!(!seen.chars().any(|c| c.is_control() && c != '\n'), "{seen:?}");
        }
    }
}
