//! What is in the lists: of a measurement of one interval, for all connections or for one.

use std::collections::BTreeMap;

use super::colors::Tone;
use super::history::{Id, id};
use super::table::{ALL, Cell, Column, Key, Kind, Row, Table};
use crate::output::stats::{self, errno_name, title};
use crate::output::time;
use crate::stats::{
    Caller, Connection, Histogram, Node, Operation, Request, Snapshot, opcode_name,
};

/// From which age on a request in flight is shown as something that is wrong, in ns.
const LATE_NS: u64 = 5_000_000_000;

const fn name(title: &'static str, least: usize, weight: u8) -> Column {
    Column { title, kind: Kind::Name(least), weight }
}

const fn path(title: &'static str, least: usize, weight: u8) -> Column {
    Column { title, kind: Kind::Path(least), weight }
}

const fn number(title: &'static str, usual: usize, weight: u8) -> Column {
    Column { title, kind: Kind::Number(usual), weight }
}

/// Where a request comes from, in the lists of all connections.
const MOUNT: Column = path("mount point", 14, 7);

/// The connections that a list is about: all, or one.
pub(super) fn scope(snapshot: &Snapshot, only: Option<Id>) -> impl Iterator<Item = &Connection> {
    let wanted = move |connection: &&Connection| only.is_none_or(|only| only == id(connection));
    snapshot.connections.iter().filter(wanted)
}

/// A connection as a key, and back.
pub(super) fn key_of(connection: &Connection) -> Key {
    (u64::from(connection.id), u64::from(connection.generation))
}

/// The connection that a row of [`connections`] is about; none for all.
pub(super) fn connection_of(key: Key) -> Option<Id> {
    let part = |part| u32::try_from(part).ok();
    (key != ALL).then_some((part(key.0)?, part(key.1)?))
}

/// All connections, and a row for all together where there is more than one.
pub(super) fn connections(snapshot: &Snapshot) -> Table {
    let columns = vec![
        path("mount point", 10, 0),
        name("type", 10, 8),
        number("id", 0, 12),
        number("pid", 0, 7),
        name("server", 12, 9),
        number("thr", 0, 13),
        number("flight", 0, 2),
        number("oldest", 6, 3),
        number("waiting", 0, 6),
        number("req/s", 5, 1),
        number("err/s", 5, 10),
        number("time", 6, 11),
        number("p99", 6, 4),
        number("queue p99", 0, 14),
        number("serve p99", 0, 15),
    ];
    let each = |connection: &Connection| {
        let server = connection.server.as_ref();
        let command = server.map_or("-", |server| &server.command);
        let waiting = match (connection.waiting, connection.max_background) {
            (Some(waiting), Some(most)) => format!("{waiting}/{most}"),
            (Some(waiting), None) => waiting.to_string(),
            (None, _) => "-".into(),
        };
        let words = Words {
            name: title(connection),
            fs_type: connection.fs_type.clone(),
            id: whole(Some(u64::from(connection.id))),
            pid: whole(server.map(|server| u64::from(server.pid))),
            command: command.to_owned(),
            threads: whole(server.and_then(|server| server.threads)),
            waiting: Cell::number(waiting, connection.waiting.map(|waiting| waiting as f64)),
        };
        row(key_of(connection), words, &[connection], snapshot.covers_ns)
    };
    let mut rows: Vec<Row> = snapshot.connections.iter().map(each).collect();
    if rows.len() > 1 {
        let every: Vec<&Connection> = snapshot.connections.iter().collect();
        let words = Words {
            name: format!("(all {})", rows.len()),
            fs_type: String::new(),
            id: Cell::name(""),
            pid: Cell::name(""),
            command: String::new(),
            threads: Cell::name(""),
            waiting: whole(sum(every.iter().map(|connection| connection.waiting))),
        };
        rows.push(row(ALL, words, &every, snapshot.covers_ns));
    }
    Table { columns, rows }
}

/// What a connection's row says that is no measurement.
struct Words {
    name: String,
    fs_type: String,
    id: Cell,
    pid: Cell,
    command: String,
    threads: Cell,
    waiting: Cell,
}

fn row(key: Key, words: Words, of: &[&Connection], covers_ns: u64) -> Row {
    let in_flight = sum(of.iter().map(|connection| connection.in_flight));
    let oldest = of.iter().flat_map(|connection| &connection.pending).map(|it| it.age_ns).max();
    let all = merged(of.iter().copied());
    let mut total = Operation::default();
    all.values().for_each(|operation| add(&mut total, operation));
    let errors = total.error_count();
    let cells = vec![
        Cell::name(&words.name),
        Cell::name(&words.fs_type),
        words.id,
        words.pid,
        Cell::name(&words.command),
        words.threads,
        whole(in_flight),
        age(oldest),
        words.waiting,
        rate(total.count, covers_ns),
        rate(errors, covers_ns).toned(if errors > 0 { Tone::Strong } else { Tone::Faint }),
        busy(total.total.sum_ns(), covers_ns),
        quantile(&total.total, 0.99),
        quantile(&total.queue, 0.99),
        quantile(&total.service, 0.99),
    ];
    Row { key, cells }
}

/// The operations of one connection or of all together.
pub(super) fn operations(snapshot: &Snapshot, only: Option<Id>) -> Table {
    let columns = vec![
        name("operation", 11, 0),
        number("req/s", 5, 1),
        number("time%", 5, 2),
        number("err/s", 5, 4),
        name("most", 6, 11),
        number("bytes/s", 0, 6),
        number("p50", 6, 5),
        number("p99", 6, 3),
        number("max", 6, 9),
        number("queue p99", 0, 8),
        number("serve p99", 0, 7),
        number("average", 0, 12),
        number("queue p50", 0, 13),
        number("serve p50", 0, 14),
    ];
    let merged = merged(scope(snapshot, only));
    let sum = |operation: &Operation| operation.total.sum_ns() as f64;
    let all: f64 = merged.values().map(sum).sum();
    let covers_ns = snapshot.covers_ns;
    let each = |operation: &Operation| {
        let share = if all > 0.0 { sum(operation) / all * 100.0 } else { 0.0 };
        let errors = operation.error_count();
        let most = operation.errors.iter().max_by_key(|(_, count)| **count);
        let average = operation.total.sum_ns() / operation.count.max(1);
        let cells = vec![
            Cell::name(&operation.name()),
            rate(operation.count, covers_ns),
            Cell::number(format!("{share:.1}"), Some(share)),
            rate(errors, covers_ns).toned(if errors > 0 { Tone::Strong } else { Tone::Faint }),
            Cell::name(&most.map_or(String::new(), |(errno, _)| errno_name(*errno))),
            rate(operation.bytes, covers_ns),
            quantile(&operation.total, 0.5),
            quantile(&operation.total, 0.99),
            duration((operation.count > 0).then(|| operation.total.max_ns())),
            quantile(&operation.queue, 0.99),
            quantile(&operation.service, 0.99),
            duration((operation.count > 0).then_some(average)),
            quantile(&operation.queue, 0.5),
            quantile(&operation.service, 0.5),
        ];
        Row { key: (u64::from(operation.opcode), 0), cells }
    };
    Table { columns, rows: merged.values().map(each).collect() }
}

/// Who caused the most requests.
pub(super) fn callers(snapshot: &Snapshot, only: Option<Id>) -> Table {
    let columns = vec![
        number("pid", 7, 1),
        name("command", 8, 0),
        number("req/s", 5, 2),
        number("time", 6, 3),
        number("average", 0, 4),
        MOUNT,
    ];
    each_of(
        columns,
        snapshot,
        only,
        |connection| &connection.callers,
        |caller: &Caller| {
            let [rate, busy, average] = load(caller.count, caller.total_ns, snapshot.covers_ns);
            let pid = u64::from(caller.pid);
            (pid, vec![whole(Some(pid)), Cell::name(&caller.command), rate, busy, average])
        },
    )
}

/// Which nodes most requests were about.
pub(super) fn nodes(snapshot: &Snapshot, only: Option<Id>) -> Table {
    let columns = vec![
        path("path", 12, 0),
        number("node", 6, 1),
        number("req/s", 5, 2),
        number("time", 6, 3),
        number("average", 0, 4),
        MOUNT,
    ];
    each_of(
        columns,
        snapshot,
        only,
        |connection| &connection.nodes,
        |node: &Node| {
            let [rate, busy, average] = load(node.count, node.total_ns, snapshot.covers_ns);
            let path = Cell::name(node.path.as_deref().unwrap_or("-"));
            (node.id, vec![path, whole(Some(node.id)), rate, busy, average])
        },
    )
}

/// The requests that are not answered yet.
pub(super) fn in_flight(snapshot: &Snapshot, only: Option<Id>) -> Table {
    let columns = vec![
        number("age", 6, 1),
        name("operation", 9, 0),
        number("pid", 6, 2),
        name("command", 8, 3),
        name("is", 6, 4),
        number("queued", 6, 8),
        path("path", 12, 5),
        number("node", 0, 6),
        MOUNT,
    ];
    each_of(
        columns,
        snapshot,
        only,
        |connection| &connection.pending,
        |request: &Request| {
            let cells = vec![
                since(request),
                Cell::name(&opcode_name(request.opcode)),
                whole(Some(u64::from(request.caller.pid))),
                Cell::name(&request.caller.command),
                Cell::name(whereabouts(request)),
                duration(request.queue_ns),
                Cell::name(request.path.as_deref().unwrap_or("-")),
                whole(Some(request.node)),
            ];
            (request.unique, cells)
        },
    )
}

/// A row for each thing that a connection has, by its key, with the connection's name at its end.
fn each_of<T>(
    columns: Vec<Column>,
    snapshot: &Snapshot,
    only: Option<Id>,
    things: fn(&Connection) -> &Vec<T>,
    row: impl Fn(&T) -> (u64, Vec<Cell>),
) -> Table {
    let each = |connection: &Connection| {
        let of = title(connection);
        let row = |thing: &T| {
            let (key, mut cells) = row(thing);
            cells.push(Cell::name(&of));
            Row { key: (u64::from(connection.id), key), cells }
        };
        things(connection).iter().map(row).collect::<Vec<Row>>()
    };
    Table { columns, rows: scope(snapshot, only).flat_map(each).collect() }
}

/// Requests a second, their time in each second, and the time of one.
fn load(count: u64, total_ns: u64, covers_ns: u64) -> [Cell; 3] {
    let average = duration(Some(total_ns / count.max(1)));
    [rate(count, covers_ns), busy(total_ns, covers_ns), average]
}

/// Where a request is now.
fn whereabouts(request: &Request) -> &'static str {
    match request.read {
        Some(true) => "served",
        Some(false) => "queued",
        None => "-",
    }
}

/// How long a request has been under way; one from before the measurement, at least.
fn since(request: &Request) -> Cell {
    let least = if request.older { ">" } else { "" };
    let tone = if request.age_ns >= LATE_NS { Tone::Bad } else { Tone::Plain };
    let text = format!("{least}{}", short(request.age_ns));
    Cell::number(text, Some(request.age_ns as f64)).toned(tone)
}

/// By opcode, over several connections.
fn merged<'a>(of: impl Iterator<Item = &'a Connection>) -> BTreeMap<u32, Operation> {
    let mut sums: BTreeMap<u32, Operation> = BTreeMap::new();
    for operation in of.flat_map(|connection| &connection.operations) {
        add(sums.entry(operation.opcode).or_default(), operation);
    }
    sums
}

fn add(sum: &mut Operation, operation: &Operation) {
    sum.opcode = operation.opcode;
    sum.count = sum.count.saturating_add(operation.count);
    sum.bytes = sum.bytes.saturating_add(operation.bytes);
    for (errno, count) in &operation.errors {
        let sum = sum.errors.entry(*errno).or_default();
        *sum = sum.saturating_add(*count);
    }
    sum.queue.merge(&operation.queue);
    sum.service.merge(&operation.service);
    sum.total.merge(&operation.total);
}

/// The sum of what is known.
fn sum(values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.flatten().reduce(u64::saturating_add)
}

fn whole(value: Option<u64>) -> Cell {
    let text = value.map_or("-".into(), |value| value.to_string());
    Cell::number(text, value.map(|value| value as f64))
}

/// A time without the blank before its unit.
pub(super) fn short(ns: u64) -> String {
    time(ns).replace(' ', "")
}

fn duration(ns: Option<u64>) -> Cell {
    Cell::number(ns.map_or("-".into(), short), ns.map(|ns| ns as f64))
}

fn age(ns: Option<u64>) -> Cell {
    let late = ns.is_some_and(|ns| ns >= LATE_NS);
    duration(ns).toned(if late { Tone::Bad } else { Tone::Plain })
}

fn quantile(times: &Histogram, fraction: f64) -> Cell {
    duration((times.count() > 0).then(|| times.quantile(fraction)))
}

/// So many in a second.
fn rate(count: u64, covers_ns: u64) -> Cell {
    let rate = stats::rate(count, covers_ns).unwrap_or(0.0);
    Cell::number(quantity(rate), Some(rate))
}

/// How many requests were under way at once, on the average: their time in each second.
fn busy(total_ns: u64, covers_ns: u64) -> Cell {
    let busy = if covers_ns == 0 { 0.0 } else { total_ns as f64 / covers_ns as f64 };
    Cell::number(format!("{}x", quantity(busy)), Some(busy))
}

/// Three digits that say something, and a letter for thousands.
pub(super) fn quantity(value: f64) -> String {
    let steps = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let step = steps.into_iter().find(|(step, _)| value >= step * 0.9995);
    let (value, unit) = step.map_or((value, ""), |(step, unit)| (value / step, unit));
    let decimals = match value {
        _ if unit.is_empty() && value.fract() == 0.0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::live::table::View;
    use crate::output::live::testing::{connection, machine, operation, snapshot};

    #[test]
    fn quantities() {
        let expected = [
            (0.0, "0"),
            (0.333, "0.33"),
            (7.0, "7"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (131_072.0 * 100.0, "13.1M"),
            (2e18, "2000P"),
        ];
        for (value, text) in expected {
            assert_eq!(quantity(value), text);
        }
    }

    /// A row as it is drawn on a wide screen.
    fn lines(mut table: Table) -> Vec<String> {
        use ratatui::buffer::Buffer;
        use ratatui::layout::Rect;
        let area = Rect::new(0, 0, 250, table.rows.len() as u16 + 1);
        let mut buffer = Buffer::empty(area);
        let mut view = View::sorted_by(0);
        view.arrange(&mut table);
        let colors = crate::output::live::colors::Colors::None;
        view.draw(&table, true, area, &mut buffer, colors);
        let line = |y| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        let words = |y| line(y).split_whitespace().collect::<Vec<_>>().join(" ");
        (0..area.height).map(words).collect()
    }

    #[test]
    fn operations_of_all_connections_are_added_up() {
        let mut failing = operation(1, 3, 1_000_000);
        failing.errors = [(libc::ENOENT, 2), (libc::EIO, 1)].into();
        failing.bytes = 4000;
        let first = connection(1, "/a", vec![failing, operation(15, 1, 4_000_000)]);
        let second = connection(2, "/b", vec![operation(1, 1, 1_000_000)]);
        let mut seen = snapshot(9, vec![first, second]);
        seen.covers_ns = 2_000_000_000;
        let both = lines(operations(&seen, None));
        let lookup = "LOOKUP 2 50.0 1.50 ENOENT 2.00k 1.00ms 1.00ms 1.00ms 250us 750us \
                      1.00ms 250us 750us";
        assert_eq!(both[1], lookup);
        assert_eq!(both.len(), 3);
        let one = lines(operations(&seen, Some((2, 0))));
        assert!(one[1].starts_with("LOOKUP 0.50 100.0 0 0 1.00ms"), "{}", one[1]);
        assert_eq!(lines(operations(&seen, Some((2, 1)))).len(), 1, "another generation");
    }

    #[test]
    fn connections_and_all_of_them() {
        let lines = lines(connections(&machine(1)));
        assert!(lines[1].starts_with("(all 3) 5 13.0s 5 491 25 0.10x"), "{}", lines[1]);
        let far = "/mnt/far fuse.test";
        assert!(!lines.iter().any(|line| line.starts_with(far)));
        let far = lines.iter().find(|line| line.starts_with("/mnt/far")).unwrap();
        let begins = "/mnt/far fuse.sshfs 41 812 sshfs far:/ /mnt/far - 2 - 2/12 491 25 0.10x";
        assert!(far.starts_with(begins), "{far}");
    }

    #[test]
    fn requests_in_flight() {
        let lines = lines(in_flight(&machine(1), None));
        assert_eq!(
            lines[1],
            "13.0s READDIR 4321 ls served 20.0us dir\\u{1b}[31m/name\\n 5 \
             /srv/data/with/a/long/name/that/ends/here"
        );
        assert_eq!(in_flight(&machine(1), Some((41, 0))).rows.len(), 0);
        let of = |read| whereabouts(&Request { read, ..Request::default() });
        assert_eq!([Some(true), Some(false), None].map(of), ["served", "queued", "-"]);
    }
}
