//! What a terminal can show, and how the parts of the screen look there.

use ratatui::style::{Color, Modifier, Style};

/// Densities from a little to the most, where colours cannot tell them.
const MARKS: [char; LEVELS] = ['.', ':', '-', '=', '+', '*', '#', '%', '@'];
/// The same in the palette of 256 colours.
const PALETTE: [u8; LEVELS] = [54, 90, 126, 161, 197, 202, 208, 214, 229];
/// The same in red, green and blue.
const SHADES: [(u8, u8, u8); LEVELS] = [
    (49, 10, 92),
    (87, 16, 110),
    (120, 28, 109),
    (158, 42, 99),
    (191, 58, 82),
    (221, 81, 58),
    (243, 120, 25),
    (250, 182, 36),
    (252, 255, 164),
];

/// How many densities a heat map tells apart, besides none.
pub(super) const LEVELS: usize = 9;

/// How many colours a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Colors {
    /// None, or none are wanted.
    None,
    /// The eight of old, and their bright ones.
    Sixteen,
    /// The palette of 256.
    Palette,
    /// Red, green and blue.
    All,
}

/// What a text says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    /// Of less interest.
    Faint,
    /// Stands out.
    Strong,
    /// Something is wrong.
    Bad,
    /// The names of the columns where keys go.
    Head,
    /// The names of the columns elsewhere.
    OtherHead,
    /// What a key does.
    Key,
    /// The selected row where keys go.
    Selected,
    /// The selected row elsewhere.
    OtherSelected,
}

impl Colors {
    /// By the environment: `TERM`, `COLORTERM`, and whether `NO_COLOR` is set to anything.
    pub fn of(term: &str, colorterm: &str, no_color: bool) -> Colors {
        let direct = matches!(colorterm, "truecolor" | "24bit") || term.ends_with("-direct");
        match term {
            _ if no_color => Colors::None,
            _ if direct => Colors::All,
            _ if term.contains("256color") => Colors::Palette,
            _ if term.starts_with("vt1") || term.starts_with("vt2") => Colors::None,
            _ => Colors::Sixteen,
        }
    }

    pub(super) fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        let colored = self != Colors::None;
        match tone {
            Tone::Plain => plain,
            Tone::Faint if colored => plain.fg(Color::DarkGray),
            Tone::Faint => plain,
            Tone::Strong => plain.add_modifier(Modifier::BOLD),
            Tone::Bad if colored => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Bad => plain.add_modifier(Modifier::BOLD),
            Tone::Head if colored => plain.fg(Color::Black).bg(Color::Green),
            Tone::Head => plain.add_modifier(Modifier::REVERSED),
            Tone::Key if colored => plain.fg(Color::Black).bg(Color::Cyan),
            Tone::Key => plain.add_modifier(Modifier::REVERSED),
            Tone::OtherHead if colored => plain.fg(Color::Green).add_modifier(Modifier::UNDERLINED),
            Tone::OtherHead => plain.add_modifier(Modifier::UNDERLINED),
            Tone::Selected if colored => plain.fg(Color::Black).bg(Color::Cyan),
            Tone::Selected => plain.add_modifier(Modifier::REVERSED),
            Tone::OtherSelected if colored => plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            Tone::OtherSelected => plain.add_modifier(Modifier::BOLD),
        }
    }

    /// A cell of the heat map: 0 for nothing, [`LEVELS`] for the most.
    pub(super) fn heat(self, level: usize) -> (char, Style) {
        let plain = Style::new();
        let Some(step) = level.checked_sub(1).map(|step| step.min(LEVELS - 1)) else {
            return (' ', plain);
        };
        let (red, green, blue) = SHADES[step];
        match self {
            Colors::None => (MARKS[step], plain),
            Colors::Sixteen => (MARKS[step], plain.fg(sixteen(step))),
            Colors::Palette => (' ', plain.bg(Color::Indexed(PALETTE[step]))),
            Colors::All => (' ', plain.bg(Color::Rgb(red, green, blue))),
        }
    }
}

/// The colour of a mark where there are few.
fn sixteen(step: usize) -> Color {
    match step {
        0..3 => Color::Blue,
        3..6 => Color::Magenta,
        6..8 => Color::LightRed,
        _ => Color::LightYellow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals() {
        let expected = [
            (("xterm-256color", "truecolor", true), Colors::None),
            (("xterm-256color", "truecolor", false), Colors::All),
            (("tmux-256color", "", false), Colors::Palette),
            (("linux", "", false), Colors::Sixteen),
            (("vt100", "", false), Colors::None),
            (("xterm-direct", "", false), Colors::All),
        ];
        for ((term, colorterm, no_color), colors) in expected {
            assert_eq!(Colors::of(term, colorterm, no_color), colors, "{term} {colorterm}");
        }
    }

    #[test]
    fn densities_are_marks_where_colours_are_few() {
        assert_eq!(Colors::None.heat(0), (' ', Style::new()));
        assert_eq!(Colors::None.heat(1), ('.', Style::new()));
        assert_eq!(Colors::Sixteen.heat(99).0, '@');
        assert_eq!(Colors::Palette.heat(9), (' ', Style::new().bg(Color::Indexed(229))));
        assert_eq!(Colors::None.style(Tone::Bad).fg, None);
    }
}
