//! What is where on the screen: a line on top, the connections, a list about the selected one,
//! the heat map, and the keys. Where there is little room, only the list where the keys go.

use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::action::KEYS;
use super::colors::{LEVELS, Tone};
use super::heat::{self, Map};
use super::rows::{quantity, scope};
use super::table::{cut_end, put};
use super::{Live, Pane, Part};
use crate::output::plain;
use crate::output::stats::title;
use crate::stats::Split;
use crate::stats::tier::{Missing, Source};

/// With less there is nothing that can be read.
const LEAST: (u16, u16) = (40, 10);
/// From how many lines on all lists and the heat map are shown together.
const ALL_TOGETHER: u16 = 16;

/// Where the parts are; those of no height are not shown.
#[derive(Debug, Default, PartialEq)]
struct Places {
    connections: Rect,
    detail: Rect,
    map: Rect,
}

impl Places {
    fn of(live: &Live, body: Rect) -> Places {
        let part = |y: u16, height: u16| Rect { y: body.y + y, height, ..body };
        if live.large_map {
            return Places { map: body, ..Places::default() };
        }
        if body.height < ALL_TOGETHER {
            return match live.focus {
                Pane::Connections => Places { connections: body, ..Places::default() },
                _ => Places { detail: body, ..Places::default() },
            };
        }
        let connections = live.shown.connections.len();
        let rows = u16::try_from(connections + usize::from(connections > 1)).unwrap_or(u16::MAX);
        let top = rows.saturating_add(2).clamp(3, body.height / 3);
        let map = (body.height * 35 / 100).clamp(6, 20);
        Places {
            connections: part(0, top),
            detail: part(top, body.height - top - map),
            map: part(body.height - map, map),
        }
    }
}

impl Live {
    /// Draws the whole screen.
    pub fn draw(&mut self, frame: &mut Frame) {
        let area = frame.area();
        let buffer = frame.buffer_mut();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            let (width, height) = LEAST;
            let text =
                format!("{}x{} is too small: {width}x{height} is needed", area.width, area.height);
            return message(buffer, area, &[text]);
        }
        let body = Rect { y: area.y + 1, height: area.height - 2, ..area };
        self.header(buffer, Rect { height: 1, ..area });
        self.footer(buffer, Rect { y: area.bottom() - 1, height: 1, ..area });
        if let Some(scrolled) = self.help {
            return self.draw_help(buffer, body, scrolled);
        }
        // Which connection is selected decides what the other parts show: it is known first.
        self.arranged(Pane::Connections);
        let places = Places::of(self, body);
        if places.connections.height > 0 {
            self.rule(buffer, places.connections, &[Pane::Connections], "");
            self.list(buffer, places.connections, Pane::Connections);
        }
        if places.detail.height > 0 {
            let of = format!("of {}", self.whose_name());
            self.rule(buffer, places.detail, &Pane::ALL[1..], &of);
            self.list(buffer, places.detail, self.detail);
        }
        if places.map.height > 0 {
            self.arranged(Pane::Operations);
            self.map(buffer, places.map);
        }
    }

    /// What is measured, and how; what matters less is left out first.
    fn header(&self, buffer: &mut Buffer, area: Rect) {
        let lost = self.since_start.lost;
        let lost = lost.operations.saturating_add(lost.requests).saturating_add(lost.events);
        let source = match (self.tier.source, self.tier.split) {
            (Source::None, _) => "requests not counted".to_string(),
            (source, Split::None) => format!("{}, total time only", source.name()),
            (source, split) => format!("{}, split by {}", source.name(), split.name()),
        };
        let connections = match self.shown.connections.len() {
            1 => "1 connection".to_string(),
            more => format!("{more} connections"),
        };
        let mut parts = vec![
            ("fusex bpf-stats".to_string(), Tone::Strong),
            (connections, Tone::Plain),
            (format!("every {}", seconds(self.interval)), Tone::Plain),
            (source, Tone::Plain),
        ];
        match lost {
            0 => parts.push(("nothing lost".into(), Tone::Plain)),
            lost => parts.insert(1, (format!("{lost} LOST"), Tone::Bad)),
        }
        if self.paused {
            parts.insert(1, ("PAUSED".into(), Tone::Bad));
        }
        if self.shown.memory_bytes > 0 {
            let memory = quantity(self.shown.memory_bytes as f64);
            parts.push((format!("{memory}B of maps"), Tone::Plain));
        }
        let mut at = 0;
        for (text, tone) in parts {
            if at + text.chars().count() > usize::from(area.width) {
                break;
            }
            put(buffer, area, at, 0, &text, self.colors.style(tone));
            at += text.chars().count() + 2;
        }
    }

    /// The keys, as many as there is room for.
    fn footer(&self, buffer: &mut Buffer, area: Rect) {
        let mut at = 0;
        for (key, label, _) in KEYS.iter().filter(|(_, label, _)| !label.is_empty()) {
            let (key_width, width) = (key.chars().count(), label.chars().count());
            if at + key_width + 1 + width > usize::from(area.width) {
                break;
            }
            put(buffer, area, at, 0, key, self.colors.style(Tone::Strong));
            put(buffer, area, at + key_width + 1, 0, label, self.colors.style(Tone::Key));
            at += key_width + width + 3;
        }
    }

    /// The line above a list: which lists there are here, and what the shown one is about.
    fn rule(&self, buffer: &mut Buffer, area: Rect, panes: &[Pane], about: &str) {
        let line = "─".repeat(usize::from(area.width));
        put(buffer, area, 0, 0, &line, self.colors.style(Tone::Faint));
        let mut at = 2;
        for pane in panes {
            let focused = *pane == self.focus;
            let shown = focused || *pane == self.detail || *pane == Pane::Connections;
            let mut style = self.colors.style(if shown { Tone::Strong } else { Tone::Faint });
            if focused {
                style = style.add_modifier(Modifier::UNDERLINED);
            }
            let text = format!("{} {}", *pane as usize + 1, pane.name());
            // Where there is little room, only those that are shown are named.
            if !shown && area.width < 60 {
                continue;
            }
            put(buffer, area, at - 1, 0, &format!(" {text} "), self.colors.style(Tone::Plain));
            put(buffer, area, at, 0, &text, style);
            at += text.chars().count() + 3;
        }
        let room = usize::from(area.width).saturating_sub(at + 9);
        if room >= 8 && !about.is_empty() {
            let about = format!(" {} ", cut_end(about, room));
            put(buffer, area, at - 1, 0, &about, self.colors.style(Tone::Plain));
        }
    }

    /// A list below its line.
    fn list(&mut self, buffer: &mut Buffer, area: Rect, pane: Pane) {
        let inner = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        let table = self.arranged(pane);
        if table.rows.is_empty() {
            return message(buffer, inner, &self.why_empty(pane));
        }
        let (focused, colors) = (pane == self.focus, self.colors);
        let view = &mut self.views[pane as usize];
        let place = format!(" {} ", view.place(&table));
        let at = usize::from(area.width).saturating_sub(place.chars().count() + 1);
        put(buffer, area, at, 0, &place, colors.style(Tone::Faint));
        view.draw(&table, focused, inner, buffer, colors);
    }

    fn why_empty(&self, pane: Pane) -> Vec<String> {
        let shown = &self.shown;
        match pane {
            Pane::Connections => vec!["no FUSE file system is mounted".into()],
            Pane::InFlight
                if scope(shown, self.selected_connection()).any(|c| c.in_flight > Some(0)) =>
            {
                vec!["requests are in flight, but none was looked at".into()]
            }
            _ if self.tier.source == Source::None => self.missing("requests are not counted here"),
            Pane::InFlight => vec!["no request is in flight".into()],
            Pane::Operations if self.history.len() == 0 => {
                vec!["the first interval is not over".into()]
            }
            _ => vec!["no requests in this interval".into()],
        }
    }

    /// What stands in the way of something.
    fn missing(&self, of_what: &str) -> Vec<String> {
        let why = |missing: &Missing| plain(&missing.to_string());
        std::iter::once(of_what.to_string()).chain(self.tier.missing.iter().map(why)).collect()
    }

    /// What is selected in the list of connections.
    fn whose_name(&self) -> String {
        match self.selected_connection() {
            None => "all connections".into(),
            only => {
                let name = scope(&self.shown, only).next().map(title);
                plain(&name.unwrap_or_default())
            }
        }
    }

    fn map(&self, buffer: &mut Buffer, area: Rect) {
        let whose = self.selected();
        let operation = whose.opcode.map_or("requests".into(), crate::stats::opcode_name);
        let title = format!("{} time of {operation} of {}", self.part.name(), self.whose_name());
        let line = "─".repeat(usize::from(area.width));
        put(buffer, area, 0, 0, &line, self.colors.style(Tone::Faint));
        let inner = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        let map = Map { whose, part: self.part, behind: self.behind };
        let drawn = heat::draw(map, &self.history, inner, buffer, self.colors);
        let mut room = usize::from(area.width).saturating_sub(4);
        match drawn {
            Some(most) => room -= self.legend(buffer, area, most),
            None => message(buffer, inner, &self.why_no_map()),
        }
        let title = format!(" {} ", cut_end(&title, room));
        put(buffer, area, 1, 0, &title, self.colors.style(Tone::Strong));
    }

    /// What the densities stand for, at the right of the line; returns how much room that took.
    fn legend(&self, buffer: &mut Buffer, area: Rect, most: f64) -> usize {
        let text = format!(" to {}/s ", quantity(most));
        let width = text.chars().count() + LEVELS + 1;
        let Some(at) = usize::from(area.width).checked_sub(width + 1).filter(|at| *at > 40) else {
            return 0;
        };
        put(buffer, area, at, 0, " ", self.colors.style(Tone::Plain));
        for level in 1..=LEVELS {
            let (mark, style) = self.colors.heat(level);
            put(buffer, area, at + level, 0, &mark.to_string(), style);
        }
        put(buffer, area, at + LEVELS + 1, 0, &text, self.colors.style(Tone::Plain));
        width + 2
    }

    fn why_no_map(&self) -> Vec<String> {
        let split_known =
            scope(&self.shown, self.selected_connection()).any(|c| c.split != Split::None);
        match self.part {
            _ if self.tier.source == Source::None => self.missing("requests are not counted here"),
            Part::Queue | Part::Service if !split_known => {
                self.missing("queue and service time cannot be told apart here")
            }
            _ if self.history.len() == 0 => vec!["the first interval is not over".into()],
            _ => vec!["no requests in the time that is shown".into()],
        }
    }

    fn draw_help(&self, buffer: &mut Buffer, area: Rect, scrolled: u16) {
        let key = |(key, _, long): &(&str, &str, &str)| format!("  {key:<4} {long}");
        let mut lines: Vec<String> = vec!["Keys (esc closes this, ↓ scrolls it):".into()];
        lines.extend(KEYS.iter().map(key));
        lines.extend(EXPLAINED.iter().map(|line| line.to_string()));
        let rows: Vec<String> = lines.iter().flat_map(|line| wrapped(line, area.width)).collect();
        // The last page is a full one.
        let most = rows.len().saturating_sub(usize::from(area.height));
        let rows = rows.iter().skip(usize::from(scrolled).min(most)).take(area.height.into());
        for (y, row) in rows.enumerate() {
            put(buffer, area, 0, y as u16, row, self.colors.style(Tone::Plain));
        }
    }
}

/// What the titles of the columns mean.
const EXPLAINED: &[&str] = &[
    "",
    "Connections:",
    "  flight     requests that were sent and not answered; oldest: how long ago",
    "  waiting    requests of all kinds that the kernel has / most in the background",
    "  time       how many requests were under way at once, on the average",
    "  queue p99  99 of 100 were read by the server within that time",
    "  serve p99  and answered within that time after",
    "Operations:",
    "  time%      share of the time of all requests",
    "  most       the error that came most often",
    "Heat map: a column for each interval, a line for each power of two of time;",
    "the more requests a second took so long, the brighter.",
];

/// An interval as it is told.
fn seconds(interval: Duration) -> String {
    format!("{}s", interval.as_millis() as f64 / 1000.0)
}

/// Lines of text in an area, as many as there is room for.
fn message(buffer: &mut Buffer, area: Rect, lines: &[String]) {
    let rows = lines.iter().flat_map(|line| wrapped(line, area.width));
    for (y, row) in rows.take(area.height.into()).enumerate() {
        put(buffer, area, 0, y as u16, &row, ratatui::style::Style::new());
    }
}

/// A text in lines of at most so many columns, broken between words; what goes on is indented.
fn wrapped(text: &str, width: u16) -> Vec<String> {
    let (measure, width) = (console::measure_text_width, usize::from(width));
    if measure(text) <= width {
        return vec![text.to_string()];
    }
    let indent = text.len() - text.trim_start().len();
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    for word in text.split_whitespace() {
        if !line.trim().is_empty() {
            if measure(&line) + 1 + measure(word) > width {
                lines.push(std::mem::replace(&mut line, " ".repeat(indent + 2)));
            } else {
                line.push(' ');
            }
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}
