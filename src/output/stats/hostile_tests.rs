//! Names come from other programs and other users: whatever is in them, every form stays what it
//! is, and a terminal that shows it does nothing but show it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use console::measure_text_width;
use proptest::prelude::*;

use super::{View, json, line, openmetrics, testing, text};
use crate::output::{Look, is_command};
use crate::stats::{Server, Snapshot};

/// What may be in a mount table, a command line, or the name of a thread or file.
fn name() -> impl Strategy<Value = String> {
    let nasty = proptest::sample::select(vec![
        "\"",
        "\\",
        "\n",
        "\r",
        "\t",
        "\x1b[2J",
        "\x1b]0;x\x07",
        "\u{7f}",
        "\u{9b}31m",
        "\u{202e}",
        "\u{2066}",
        "\u{2028}",
        "猫",
        "e\u{301}",
        "👩‍👩‍👧",
        "{",
        "}",
        "=",
        ",",
        "#",
        " # EOF",
        "\\n",
    ]);
    let piece = prop_oneof![3 => nasty.prop_map(String::from), 1 => any::<String>()];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn path() -> impl Strategy<Value = PathBuf> {
    let bytes = proptest::collection::vec(1u8.., 0..40).prop_map(OsString::from_vec);
    prop_oneof![name().prop_map(PathBuf::from), bytes.prop_map(PathBuf::from)]
}

/// A measurement of a machine on which everything has such a name.
fn snapshot() -> impl Strategy<Value = Snapshot> {
    (path(), path(), proptest::collection::vec(name(), 7)).prop_map(|(point, other, names)| {
        let mut snapshot = testing::snapshot();
        let of = &mut snapshot.connections[0];
        let mut names = names.into_iter();
        let mut next = || names.next().unwrap();
        of.mount_point = Some(point);
        of.other_mount_points = vec![other];
        (of.fs_type, of.source) = (next(), next());
        of.server = Some(Server { pid: 1, command: next(), threads: Some(3) });
        of.pending[0].path = Some(next());
        of.pending[0].caller.command = next();
        of.callers[0].command = next();
        of.nodes[0].path = Some(next());
        snapshot
    })
}

/// Nothing but lines of text.
fn is_shown(text: &str) -> bool {
    text.split('\n').all(|line| !line.contains(is_command))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn text_for_a_terminal(snapshot in snapshot(), width in 40..150_usize) {
        let look = Look { width, color: false };
        let view = View { histogram: true, top: 10, first: true };
        let text = text(&snapshot, &testing::tier(), &view, look);
        prop_assert!(is_shown(&text), "{text:?}");
        let harmless = super::text(&testing::snapshot(), &testing::tier(), &view, look);
        // An empty type is not said; nothing can add a line.
        prop_assert!(text.lines().count() <= harmless.lines().count(), "{text}");
        // Only where a mount is is never cut.
        let title = super::title(&snapshot.connections[0]);
        for line in text.lines().filter(|line| *line != title) {
            prop_assert!(measure_text_width(line) <= width, "{line:?}");
        }
    }

    #[test]
    fn lines_for_a_terminal(snapshot in snapshot()) {
        let (of, look) = (&snapshot.connections[0], Look { width: 80, color: false });
        let slow = crate::stats::Slow { request: of.pending[0].clone(), ..testing::slow() };
        for text in [
            line::slow(&slow, &snapshot, look),
            line::stuck(&of.pending[0], of, &snapshot, look),
            line::slow_json(&slow, &snapshot),
            line::stuck_json(&of.pending[0], of, &snapshot),
        ] {
            prop_assert!(is_shown(&text) && text.ends_with('\n'), "{text:?}");
            prop_assert_eq!(text.matches('\n').count(), 1);
        }
    }

    #[test]
    fn json_has_the_names_themselves(snapshot in snapshot()) {
        let text = json::report(&snapshot, &testing::tier(), true);
        prop_assert!(is_shown(&text) && text.matches('\n').count() == 1, "{text:?}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let (seen, of) = (&value["connections"][0], &snapshot.connections[0]);
        let server = of.server.as_ref().map(|server| server.command.as_str());
        prop_assert_eq!(seen["server_command"].as_str(), server);
        prop_assert_eq!(seen["callers"][0]["command"].as_str(), Some(&*of.callers[0].command));
        prop_assert_eq!(seen["nodes"][0]["path"].as_str(), of.nodes[0].path.as_deref());
        prop_assert_eq!(seen["source"].as_str().unwrap_or(""), &of.source);
        let point = of.mount_point.as_ref().map(|path| path.to_string_lossy());
        prop_assert_eq!(seen["mount_point"].as_str(), point.as_deref());
        prop_assert_eq!(seen["operations"][0]["count"].as_u64(), Some(4));
    }

    #[test]
    fn openmetrics_keeps_its_lines(snapshot in snapshot()) {
        let text = openmetrics::exposition(&snapshot, &testing::tier());
        prop_assert!(is_shown(&text), "{text:?}");
        let harmless = openmetrics::exposition(&testing::snapshot(), &testing::tier());
        prop_assert_eq!(text.lines().count(), harmless.lines().count());
        for (line, harmless) in text.lines().zip(harmless.lines()) {
            let ends = |line: &str| {
                let name = line.split('{').next().unwrap_or("").to_string();
                (name, line.rsplit('}').next().unwrap_or("").to_string())
            };
            prop_assert_eq!(ends(line), ends(harmless));
            // Without what is escaped, quotes open and close values only.
            let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
            prop_assert_eq!(quotes, harmless.matches('"').count());
        }
    }
}
