//! `fusex splice-bench`: its command line and its exit codes. What it measures is the matter of
//! `tests/splice_bench.rs`.

use crate::{Place, fusex};

#[test]
fn what_is_wrong_is_said_in_a_line() {
    let place = Place::new();
    let help = "try 'fusex splice-bench --help'";
    let sizes = "give a multiple of 4K from 4K to 1M";
    for (arguments, what) in [
        ("--nonsense", "unexpected argument '--nonsense' found".to_string()),
        ("--size 2K", format!("invalid value '2K' for '--size <SIZE>': {sizes}")),
        ("--size 4K,5000", format!("invalid value '5000' for '--size <SIZE>': {sizes}")),
        ("--bytes 1", "invalid value '1' for '--bytes <SIZE>': give 4K to 1024M".into()),
        ("--rounds 0", "invalid value '0' for '--rounds <N>': 0 is not in 1..=1000".into()),
        (
            "--source disk",
            "invalid value 'disk' for '--source <NAME>' [possible values: file, unix, tcp]".into(),
        ),
        (
            "--mode existing",
            "invalid value 'existing' for '--mode <NAME>' [possible values: copy, iovec, splice, \
             fallback, passthrough, uring]"
                .into(),
        ),
        (
            "--sink disk",
            "invalid value 'disk' for '--sink <NAME>' [possible values: null, pipe, file, \
             mount-direct, mount-cached]"
                .into(),
        ),
        ("--json --csv", "the argument '--json' cannot be used with '--csv'".into()),
    ] {
        let words: Vec<&str> =
            std::iter::once("splice-bench").chain(arguments.split(' ')).collect();
        place.refused(&words, 2, &format!("{what}: {help}"));
    }
}

#[test]
fn places_that_will_not_do() {
    let place = Place::new();
    let refused = |arguments: &str, line: &str| {
        let words: Vec<&str> =
            std::iter::once("splice-bench").chain(arguments.split(' ')).collect();
        place.refused(&words, 2, line);
    };
    refused("--dir @/none", "--dir: @/none: entity not found");
    refused("--dir @/file", "--dir: @/file: not a directory: give one");
    let quick = "--quick --mount";
    refused(&format!("{quick} @/none"), "--mount: @/none: No such file or directory");
    let line = "--mount: @/point: not on a FUSE mount: give a path on one";
    refused(&format!("{quick} @/point"), line);
    let line = "--mount: no sink reads it: give --sink mount-direct,mount-cached";
    refused(&format!("{quick} @/point --sink pipe,null"), line);
}

#[test]
fn help_says_how_it_ends() {
    let expected = predicates::str::contains("a wrong byte has arrived");
    fusex(&["splice-bench", "--help"]).assert().code(0).stdout(expected).stderr("");
}
