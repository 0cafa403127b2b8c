//! Keys, and what they ask for.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::Pane;

/// What the user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ends the program.
    Quit,
    /// The pane after the focused one gets the focus.
    NextPane,
    /// The pane before it.
    PreviousPane,
    /// This pane.
    Pane(Pane),
    /// Moves the selection by so many rows.
    Rows(i32),
    /// Moves the selection by so many heights of the list.
    Pages(i32),
    /// Selects the first row.
    First,
    /// Selects the last row.
    Last,
    /// Sorts by the column that is so many further right.
    Sort(i32),
    /// Sorts the other way round.
    Reverse,
    /// Stops what is shown, or lets it go on.
    Pause,
    /// The heat map shows the next of total, queue and service time.
    Time,
    /// The heat map takes all the room, or gives it back.
    Map,
    /// The next longer interval.
    Slower,
    /// The next shorter one.
    Faster,
    /// Shows or hides what the keys do.
    Help,
    /// Hides it.
    Close,
    /// Draws everything anew: something else has written to the terminal.
    Redraw,
}

/// Keys as they are told to the user: key, short, long; the most important first.
pub(super) const KEYS: &[(&str, &str, &str)] = &[
    ("q", "Quit", "quit (also ctrl-c)"),
    ("?", "Help", "this help (also F1); esc closes it"),
    ("Tab", "Pane", "the next pane; shift-tab the one before, 1 to 5 one of them"),
    ("↑↓", "Row", "another row (also j k, page up and down, home, end)"),
    ("sS", "Sort", "sort by the next or previous column (also < > ← →)"),
    ("h", "Time", "the heat map of total, queue or service time"),
    ("m", "Map", "the heat map in all the room, and back"),
    ("p", "Pause", "stop what is shown; measuring goes on"),
    ("+-", "Interval", "a longer or a shorter interval"),
    ("r", "Reverse", "sort the other way round"),
    ("^L", "", "draw everything anew"),
];

/// What a key asks for; none for one that means nothing.
pub fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('l') => Some(Action::Redraw),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q' | 'Q') | KeyCode::F(10) => Action::Quit,
        KeyCode::Char('?') | KeyCode::F(1) => Action::Help,
        KeyCode::Esc => Action::Close,
        KeyCode::Tab => Action::NextPane,
        KeyCode::BackTab => Action::PreviousPane,
        KeyCode::Char(digit @ '1'..='5') => {
            Action::Pane(Pane::ALL[(digit as usize) - ('1' as usize)])
        }
        KeyCode::Up | KeyCode::Char('k') => Action::Rows(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Rows(1),
        KeyCode::PageUp => Action::Pages(-1),
        KeyCode::PageDown => Action::Pages(1),
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        KeyCode::Right | KeyCode::Char('s' | '>') => Action::Sort(1),
        KeyCode::Left | KeyCode::Char('S' | '<') => Action::Sort(-1),
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('h') => Action::Time,
        KeyCode::Char('m') => Action::Map,
        KeyCode::Char('+' | '=') => Action::Slower,
        KeyCode::Char('-') => Action::Faster,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_kind() {
        let expected = [
            (KeyCode::Char('q'), Some(Action::Quit)),
            (KeyCode::Char('5'), Some(Action::Pane(Pane::InFlight))),
            (KeyCode::Char('6'), None),
            (KeyCode::Char('k'), Some(Action::Rows(-1))),
            (KeyCode::PageDown, Some(Action::Pages(1))),
            (KeyCode::Char('<'), Some(Action::Sort(-1))),
            (KeyCode::BackTab, Some(Action::PreviousPane)),
            (KeyCode::Insert, None),
        ];
        for (code, asked) in expected {
            assert_eq!(action(KeyEvent::from(code)), asked, "{code:?}");
        }
    }

    #[test]
    fn control_and_release() {
        let with_control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(action(with_control('c')), Some(Action::Quit));
        assert_eq!(action(with_control('q')), None);
        let released =
            KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(action(released), None);
    }
}
