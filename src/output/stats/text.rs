//! A report for people: a block for each connection, then what the measurement did not see.

use console::{Style, truncate_str};

use super::histogram::histogram;
use super::table;
use super::{place, request, title};
use crate::output::{Look, bytes, plain, time};
use crate::stats::tier::{Source, Tier};
use crate::stats::{Connection, Lost, Operation, Snapshot, Split};
use crate::sys::clock::{self, Local};

/// What a report shows beyond its tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Histograms of each operation.
    pub histogram: bool,
    /// How many callers and nodes; 0 for none.
    pub top: usize,
    /// The first report of several also says what the measurement has and lacks.
    pub first: bool,
}

/// The report on an interval.
pub fn text(interval: &Snapshot, tier: &Tier, view: &View, look: Look) -> String {
    report(interval, tier, view, look, clock::local(interval.wall))
}

/// What the machine lets be measured, and why not more.
pub fn tier_text(tier: &Tier) -> String {
    let split = match (tier.source, tier.split) {
        (Source::None, _) => "none",
        (_, Split::None) => "none: only the total",
        (_, known) => known.name(),
    };
    let rows = [("tier", tier.name()), ("counts", tier.source.name()), ("split", split)];
    let rows = rows.map(|(name, value)| format!("{:<11}{value}\n", format!("{name}:")));
    rows.concat() + &missing(tier).map(|what| format!("not there: {what}\n")).collect::<String>()
}

/// What is not there, a line each: what, why, and the cure.
fn missing(tier: &Tier) -> impl Iterator<Item = String> {
    tier.missing.iter().map(|missing| plain(&missing.to_string()))
}

fn report(interval: &Snapshot, tier: &Tier, view: &View, look: Look, at: Local) -> String {
    let mut text = format!("{:02}:{:02}:{:02}", at.hour, at.minute, at.second);
    if interval.covers_ns > 0 {
        text += &format!(", the last {}", time(interval.covers_ns));
    }
    text.push('\n');
    text += &measurement(interval, tier, view, look);
    if interval.connections.is_empty() {
        text += "no FUSE mount\n";
    }
    for connection in &interval.connections {
        text.push('\n');
        text += &block(connection, interval.covers_ns, tier, view, look);
    }
    let lost: String = lost(&interval.lost).iter().map(|line| wrap(line, look)).collect();
    if lost.is_empty() { text } else { text + "\n" + &lost }
}

/// What the numbers are. That there are none is said each time.
fn measurement(interval: &Snapshot, tier: &Tier, view: &View, look: Look) -> String {
    let mut text = String::new();
    if tier.source == Source::None {
        let nothing = "Nothing is counted: this is only what sysfs, mountinfo and /proc tell.";
        text += &wrap(nothing, look);
    } else if view.first {
        let split = match tier.split {
            Split::None => "queue and service time not told apart".to_string(),
            known => format!("queue and service time by {}", known.name()),
        };
        let (source, memory) = (tier.source.name(), bytes(interval.memory_bytes as f64));
        text += &wrap(&format!("Counted by {source}; {split}; kernel memory {memory}."), look);
    }
    if view.first && (tier.source == Source::None || tier.split == Split::None) {
        missing(tier).for_each(|what| text += &wrap(&format!("not there: {what}"), look));
    } else if view.first && !tier.missing.is_empty() {
        text += &wrap("More is possible on other machines: see 'fusex bpf-stats --probe'.", look);
    }
    text
}

fn block(of: &Connection, covers_ns: u64, tier: &Tier, view: &View, look: Look) -> String {
    let mut text = look.paint(Style::new().bold(), &title(of)) + "\n";
    facts(of).iter().for_each(|(name, value)| text += &row(name, value, look));
    if tier.source == Source::None {
        return text;
    }
    if of.operations.is_empty() {
        return text + "  no request was answered\n";
    }
    let mut sorted: Vec<&Operation> = of.operations.iter().collect();
    sorted.sort_by_key(|operation| (std::cmp::Reverse(operation.total.sum_ns()), operation.opcode));
    let split = of.split != Split::None;
    text += &table::operations(&sorted, covers_ns, split, look);
    if view.histogram {
        let drawn = sorted.iter().map(|operation| histogram(operation, split, look));
        drawn.filter(|drawn| !drawn.is_empty()).for_each(|drawn| text += &format!("\n{drawn}"));
    }
    let callers = &of.callers[..of.callers.len().min(view.top)];
    if !callers.is_empty() {
        text += &format!("\n{}", table::callers(callers, look));
    }
    let nodes = &of.nodes[..of.nodes.len().min(view.top)];
    if !nodes.is_empty() {
        text += &format!("\n{}", table::nodes(nodes, look));
    }
    text
}

/// Of how many requests queue and service time are known, where it is not of all.
fn share(of: &Connection) -> String {
    let all: u64 = of.operations.iter().map(|operation| operation.count).sum();
    let known: u64 = of.operations.iter().map(|operation| operation.queue.count()).sum();
    // Those that were under way at the beginning or the end make a small difference.
    if known * 100 >= all * 99 {
        return String::new();
    }
    format!(", of {:.1} % of the requests", known as f64 * 100.0 / all as f64)
}

/// What is known of a connection, but for its operations.
fn facts(of: &Connection) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let kind = [&of.fs_type, &of.source].map(|text| plain(text));
    let [fs_type, source] = &kind;
    match (fs_type.is_empty(), source.is_empty()) {
        (true, true) => {}
        (false, false) => facts.push(("type", format!("{fs_type} of {source}"))),
        _ => facts.push(("type", kind.concat())),
    }
    let others = of.other_mount_points.iter().map(|path| plain(&path.to_string_lossy()));
    let others: String = others.map(|path| format!(", also at {path}")).collect();
    let elsewhere = if of.mount_point.is_none() { ", not mounted in this namespace" } else { "" };
    facts.push(("connection", format!("{}{elsewhere}{others}", of.id)));
    facts.push(("server", server(of)));
    facts.extend(waiting(of).map(|waiting| ("waiting", waiting)));
    facts.extend(in_flight(of).map(|in_flight| ("in flight", in_flight)));
    if of.split != Split::None {
        facts.push(("split", format!("{}{}", of.split.name(), share(of))));
    } else if !of.operations.is_empty() {
        facts.push(("split", "none: only the total is known".to_string()));
    }
    if of.unanswered > 0 {
        let why = "their callers were killed before the server read them";
        facts.push(("unanswered", format!("{} ({why})", of.unanswered)));
    }
    facts
}

fn server(of: &Connection) -> String {
    let Some(server) = &of.server else {
        return "not found".into();
    };
    let threads = match server.threads {
        None => String::new(),
        Some(1) => ", 1 thread".into(),
        Some(threads) => format!(", {threads} threads"),
    };
    format!("pid {}{threads}: {}", server.pid, plain(&server.command))
}

fn waiting(of: &Connection) -> Option<String> {
    let parts = [
        of.waiting.map(|waiting| format!("{waiting} with those being served")),
        of.max_background.map(|most| format!("background at most {most}")),
        of.congestion_threshold.map(|from| format!("congested from {from}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn in_flight(of: &Connection) -> Option<String> {
    let oldest = of.pending.first().map_or(String::new(), |oldest| {
        let least = if oldest.older { "at least " } else { "" };
        let (age, place) = (time(oldest.age_ns), place(oldest));
        let place = place.map_or(String::new(), |place| format!(" ({place})"));
        format!(", oldest {least}{age}{place}: {}", request(oldest))
    });
    of.in_flight.map(|in_flight| format!("{in_flight}{oldest}"))
}

/// What was not seen, a sentence each.
fn lost(lost: &Lost) -> Vec<String> {
    let Lost { operations, requests, earlier, events } = *lost;
    let sentences = [
        (operations, "answered and not counted: no room for the connection and operation"),
        (requests, "counted without a time: no room among those in flight"),
        (earlier, "sent before the measurement began and answered since: not counted"),
        (events, "slow and not reported: there were more than could be read in time"),
    ];
    let some = sentences.into_iter().filter(|(number, _)| *number > 0);
    some.map(|(number, what)| match number {
        1 => format!("1 request was {what}"),
        _ => format!("{number} requests were {what}"),
    })
    .collect()
}

fn row(name: &str, value: &str, look: Look) -> String {
    let line = format!("  {:<12}{value}", format!("{name}:"));
    truncate_str(&line, look.width, "…").into_owned() + "\n"
}

/// A sentence in lines that fit, the later ones indented; a longer word has a line of its own.
fn wrap(sentence: &str, look: Look) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in sentence.split(' ') {
        let width = console::measure_text_width(word);
        match column {
            0 => {}
            _ if column + 1 + width > look.width => {
                text += "\n  ";
                column = 2;
            }
            _ => {
                text.push(' ');
                column += 1;
            }
        }
        text += word;
        column += width;
    }
    text + "\n"
}

#[cfg(test)]
mod tests;
