//! README.md against the program: every opcode has its row, every mount option in it exists, and
//! the exit codes are those of `--help`.

use fusex::exit::{BPF_LOAD_STATUS, BPF_STATS_STATUS, CRASH_TEST_STATUS, EXIT_STATUS};
use fusex::mount::options;
use fusex::wire::opcode::TABLE;

const README: &str = include_str!("../README.md");

/// The lines below a heading, up to the next one.
fn section(heading: &str) -> impl Iterator<Item = &'static str> {
    let lines = README.lines().skip_while(move |line| *line != heading).skip(1);
    lines.take_while(|line| !line.starts_with('#'))
}

/// A table's rows: the first cell and the whole line.
fn rows(heading: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = section(heading).filter(|line| line.starts_with("| "));
    lines.skip(2).map(|line| (line.split('|').nth(1).expect("a cell").trim(), line))
}

#[test]
fn every_opcode_has_its_row() {
    let mut listed: Vec<&str> =
        rows("## What is served").flat_map(|(names, _)| names.split(", ")).collect();
    let mut expected: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

#[test]
fn every_option_exists() {
    let mut count = 0;
    for option in rows("### Options in short").flat_map(|(names, _)| names.split('`')) {
        let name = option.split('=').next().expect("a first part").trim();
        if name.is_empty() || name == "…" {
            continue;
        }
        count += 1;
        let known = options::help().lines().any(|line| {
            line.strip_prefix("  ").is_some_and(|rest| rest.split([' ', '=']).next() == Some(name))
        });
        assert!(known, "{name}");
    }
    assert!(count > 30, "only {count} options found");
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let sections = [
        ("### Exit codes", EXIT_STATUS),
        ("### In scripts and bug reports", CRASH_TEST_STATUS),
        ("### Exit codes of bpf-load", BPF_LOAD_STATUS),
        ("### Exit codes of bpf-stats", BPF_STATS_STATUS),
    ];
    for (heading, status) in sections {
        let codes: Vec<String> = rows(heading)
            .map(|(code, line)| {
                let meaning = line.split('|').nth(2).expect("a second cell").trim();
                format!("  {code:<4}{meaning}")
            })
            .collect();
        let expected: Vec<&str> = status.lines().skip(1).collect();
        assert_eq!(codes, expected, "{heading}");
    }
}
