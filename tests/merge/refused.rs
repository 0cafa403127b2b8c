//! Every kind of bad manifest, and its one line.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Place, finish};
use crate::need_mounts;

/// What `fusex mount -t merge` says, with `@` for the place, and `M` for the manifest.
fn said(place: &Place, arguments: &[&str], source: &str, code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
    command.args(["mount", "-t", "merge"]).args(arguments);
    let output = finish(command.arg(place.path(source)).arg(place.point()));
    let (root, manifest) = (place.path(""), place.path("m"));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty() && place.mounts().is_empty());
    let text = text.replace(manifest.to_str().unwrap(), "M");
    text.replace(root.to_str().unwrap(), "@/").trim_end().to_string()
}

fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[field] = new;
    value
}

fn good() -> Value {
    json!({ "schema": 1, "files": [
        { "path": "one", "segments": [
            { "file": "part" },
            { "source": "unix:/run/s", "name": "n", "length": 5 },
        ] },
        { "path": "dir/two", "segments": [ { "file": "part", "offset": 2 } ] },
    ] })
}

#[test]
fn what_the_json_says() {
    need_mounts!();
    let place = Place::new();
    fs::write(place.path("part"), "0123456789").unwrap();
    fs::write(place.path("empty"), "").unwrap();
    let (first, framed) = ("/files/0/segments/0", "/files/0/segments/1");
    let at = |parent: &str, field: &str| format!("{parent}/{field}");
    let long = "x".repeat(256);
    let cases = [
        ("/schema".into(), json!(2), "schema: 2: this fusex knows 1: update fusex"),
        ("/timeout".into(), json!(0), "timeout: give seconds above 0, such as 30 or 0.5"),
        ("/timeout".into(), json!(-1), "timeout: give seconds above 0, such as 30 or 0.5"),
        (
            "/files/0/path".into(),
            json!("dir/two"),
            "files[1].path: 'dir/two': is there already: rename one of them",
        ),
        (
            "/files/0/path".into(),
            json!("dir"),
            "files[1].path: 'dir/two': a directory above it is a file: rename one of them",
        ),
        (
            "/files/1/path".into(),
            json!("one/x/y"),
            "files[1].path: 'one/x/y': a directory above it is a file: rename one of them",
        ),
        (
            "/files/0/path".into(),
            json!("a/../b"),
            "files[0].path: 'a/../b': has '.' or '..': write it without",
        ),
        (
            "/files/0/path".into(),
            json!("/a"),
            "files[0].path: '/a': has an empty name: write it as 'dir/file'",
        ),
        (
            "/files/0/path".into(),
            json!("a\u{0}"),
            "files[0].path: 'a\\0': has a NUL: write it without",
        ),
        (
            "/files/0/mode".into(),
            json!("888"),
            "files[0].mode: '888': give permissions in octal, such as \"0644\"",
        ),
        (
            "/files/0/mode".into(),
            json!("4755"),
            "files[0].mode: '4755': give permissions in octal, such as \"0644\"",
        ),
        ("/files/0/segments".into(), json!([]), "files[0].segments: none: give one at the least"),
        (
            at(first, "length"),
            json!(0),
            "files[0].segments[0].length: 0: a segment has a byte at the least: remove it",
        ),
        (
            at(first, "length"),
            json!(11),
            "files[0].segments[0].length: ends behind the file's 10 bytes: correct it",
        ),
        (
            at(first, "offset"),
            json!(10),
            "files[0].segments[0]: nothing: the file has 10 bytes: remove it",
        ),
        (
            at(first, "file"),
            json!("empty"),
            "files[0].segments[0]: nothing: the file has 0 bytes: remove it",
        ),
        (
            at(first, "offset"),
            json!(u64::MAX),
            "files[0].segments[0].offset: offset and length go beyond 2^63 - 1 bytes: correct them",
        ),
        (
            at(framed, "length"),
            json!(i64::MAX),
            "files[0].segments[1]: the file gets longer than 2^63 - 1 bytes: correct the lengths",
        ),
        (
            at(first, "file"),
            json!("none"),
            "files[0].segments[0].file: @/none: No such file or directory: create it, or correct \
             the path",
        ),
        (
            at(first, "file"),
            json!("source"),
            "files[0].segments[0].file: @/source: Is a directory: give a regular file",
        ),
        (
            at(first, "file"),
            json!("/dev/null"),
            "files[0].segments[0].file: /dev/null: Invalid argument: give a regular file",
        ),
        (at(first, "file"), json!(""), "files[0].segments[0].file: no path: give that of a file"),
        (
            at(first, "source"),
            json!("unix:/s"),
            "files[0].segments[0]: both 'file' and 'source': give one",
        ),
        (
            at(first, "file"),
            Value::Null,
            "files[0].segments[0]: neither 'file' nor 'source': give one",
        ),
        (
            at(first, "name"),
            json!("x"),
            "files[0].segments[0].file: 'name', 'header', 'footer' and 'checksum' belong to a \
             'source': remove them",
        ),
        (
            at(framed, "source"),
            json!("http://x"),
            "files[0].segments[1].source: 'http://x': give unix:PATH or tcp:HOST:PORT",
        ),
        (
            at(framed, "source"),
            json!("tcp:host:99999"),
            "files[0].segments[1].source: 'tcp:host:99999': the port is 1 to 65535",
        ),
        (
            at(framed, "length"),
            Value::Null,
            "files[0].segments[1].length: missing: a framed segment needs one",
        ),
        (
            at(framed, "name"),
            json!(""),
            "files[0].segments[1].name: give the source's name of it, 1 to 1024 bytes",
        ),
        (at(framed, "header"), json!(31), "files[0].segments[1].header: 31: give 32 to 4096 bytes"),
        (
            at(framed, "footer"),
            json!(4097),
            "files[0].segments[1].footer: 4097: give 24 to 4096 bytes",
        ),
    ];
    for (pointer, new, line) in cases {
        fs::write(place.path("m"), with(good(), &pointer, new).to_string()).unwrap();
        assert_eq!(said(&place, &[], "m", 32), format!("fusex: manifest M: {line}"));
    }
    fs::write(place.path("m"), with(good(), "/files/0/path", json!(long)).to_string()).unwrap();
    let line = said(&place, &[], "m", 32);
    assert!(line.ends_with("': has a name of more than 255 bytes: shorten it"), "{line}");
}

#[test]
fn what_is_no_manifest() {
    need_mounts!();
    let place = Place::new();
    fs::write(place.path("part"), "0123456789").unwrap();
    for (text, line) in [
        ("", "EOF while parsing a value at line 1 column 0: correct it there"),
        ("{\n\"files\": []}", "missing field `schema` at line 2 column 12: correct it there"),
        ("{\"schema\": 1}", "missing field `files` at line 1 column 13: correct it there"),
        (
            "{\"schema\": 1, \"files\": [{\"path\": 5}]}",
            "invalid type: integer `5`, expected a string at line 1 column 34: correct it there",
        ),
        (
            "{\"schema\": 1, \"files\": [\n{\"path\": \"a\", \"segments\": [{\"fil\": \"x\"}]}]}",
            "unknown field `fil`, expected one of `file`, `source`, `name`, `offset`, `length`, \
             `header`, `footer`, `checksum` at line 2 column 33: correct it there",
        ),
        (
            "{\"schema\": 1, \"files\": []} x",
            "trailing characters at line 1 column 28: correct it there",
        ),
    ] {
        fs::write(place.path("m"), text).unwrap();
        assert_eq!(said(&place, &[], "m", 32), format!("fusex: manifest M: {line}"));
    }
    let text = with(good(), "/files/0/segments/1/source", json!("tcp:host.invalid:1")).to_string();
    fs::write(place.path("m"), text).unwrap();
    let line = said(&place, &[], "m", 32);
    let start = "fusex: manifest M: files[0].segments[1].source: tcp:host.invalid:1: ";
    assert!(line.starts_with(start) && line.ends_with(": correct the host"), "{line}");
}

#[test]
fn the_command_line() {
    need_mounts!();
    let place = Place::new();
    let line = "fusex: source @/none: No such file or directory: create it, or correct the path";
    assert_eq!(said(&place, &[], "none", 32), line);
    let line = "fusex: source @/source: Is a directory: with '-t merge' give the manifest, a \
                regular file";
    assert_eq!(said(&place, &[], "source", 32), line);
    fs::write(place.path("m"), good().to_string()).unwrap();
    let line = "fusex: --sandbox: not with '-t merge', whose workers connect to servers: leave it \
                out";
    assert_eq!(said(&place, &["--sandbox"], "m", 1), line);
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusex"));
    let output = finish(command.args(["mount", "-t", "merge"]).arg(place.point()));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("fusex: no source: "), "{text}");
}

#[test]
fn more_local_files_than_may_be_open() {
    need_mounts!();
    let place = Place::new();
    let segments: Vec<Value> = (0..200).map(|n| json!({ "file": format!("part{n}") })).collect();
    (0..200).for_each(|n| fs::write(place.path(&format!("part{n}")), "x").unwrap());
    let manifest = json!({ "schema": 1, "files": [{ "path": "all", "segments": segments }] });
    fs::write(place.path("m"), manifest.to_string()).unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -n 400 && exec \"$0\" mount -t merge \"$1\" \"$2\"");
    command.arg(env!("CARGO_BIN_EXE_fusex"));
    let output = finish(command.arg(place.path("m")).arg(place.point()));
    let text = String::from_utf8(output.stderr).unwrap();
    let line = "200 local files, 256 descriptors for the mount itself, and no more than 400 may be \
                open: raise it with 'ulimit -Hn'\n";
    assert!(text.ends_with(line) && output.status.code() == Some(32), "{text}");
}
