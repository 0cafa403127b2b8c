//! What `fusex bpf-load` prints: lines for people, or one JSON object, schema 1.
//!
//! ```text
//! schema tier what missing[{ what why cure }]                                     --probe
//! schema loaded[{ connection mount_point pins
//!   handlers[{ opcode ttl_ns negative_ttl_ns }] counts[{ opcode served passed_up }] }]
//! schema kept[{ node kind name to mode size value opcode errno left_ns }]          --dump
//! ```
//!
//! What is not known or does not apply is null: a time to live as long as the server says, a name that
//! is not there (`to`), an answer that may not be given any more (`left_ns`).

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::stats::errno_name;
use super::stats::json::line;
use super::{plain, time};
use crate::bpf::extfuse::{Answered, Count, Kept, Tier, What};
use crate::stats::opcode_name;
use crate::stats::tier::Missing;

const SCHEMA: u32 = 1;

/// What is loaded for a connection.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub connection: u32,
    /// Where it is mounted; none when it is gone, or in another mount namespace.
    pub mount_point: Option<PathBuf>,
    /// Where the pins are.
    pub pins: PathBuf,
    /// Operations that are answered, and for how long.
    pub handlers: Vec<Answered>,
    /// How often.
    pub counts: Vec<Count>,
}

/// What the kernel can do.
pub fn probe(tier: Tier, missing: &[Missing], as_json: bool) -> String {
    if as_json {
        let rows: Vec<Value> = missing
            .iter()
            .map(|it| json!({ "what": it.what, "why": it.why, "cure": it.cure }))
            .collect();
        let (name, what) = (tier.name(), tier.what());
        return line(&json!({ "schema": SCHEMA, "tier": name, "what": what, "missing": rows }));
    }
    let mut text = format!("tier:      {}: {}\n", tier.name(), tier.what());
    for missing in missing {
        let _ = writeln!(text, "not there: {}", plain(&missing.to_string()));
    }
    text
}

/// What was loaded.
pub fn loaded(loaded: &Listed, as_json: bool) -> String {
    if as_json {
        return list(std::slice::from_ref(loaded), true);
    }
    format!("{}: answered in the kernel: {}\n", title(loaded), policy(loaded))
}

/// All that is loaded.
pub fn list(all: &[Listed], as_json: bool) -> String {
    if as_json {
        let rows: Vec<Value> = all.iter().map(row).collect();
        return line(&json!({ "schema": SCHEMA, "loaded": rows }));
    }
    if all.is_empty() {
        return "nothing is loaded\n".to_string();
    }
    let mut text = String::new();
    for loaded in all {
        let _ = writeln!(text, "{}: connection {}", title(loaded), loaded.connection);
        let _ = writeln!(text, "  policy: {}", policy(loaded));
        for count in &loaded.counts {
            let (name, all) = (opcode_name(count.opcode), count.served + count.passed_up);
            let percent = count.served * 100 / all.max(1);
            let _ = writeln!(
                text,
                "  {name:<16} {:>10} in the kernel {:>10} by the server {percent:>4} %",
                count.served, count.passed_up
            );
        }
    }
    text
}

/// What the maps hold.
pub fn dump(kept: &[Kept], as_json: bool) -> String {
    if as_json {
        let rows: Vec<Value> = kept.iter().map(kept_row).collect();
        return line(&json!({ "schema": SCHEMA, "kept": rows }));
    }
    let mut text = String::new();
    for kept in kept {
        let what = match &kept.what {
            What::Entry { name, to: Some(to) } => format!("name  {} -> {to}", text_of(name)),
            What::Entry { name, to: None } => format!("name  {} -> none", text_of(name)),
            What::Attr { mode, size } => format!("attr  mode {mode:o}, {size} bytes"),
            What::Xattr { name, value } => {
                let name = if name.is_empty() { "(list)".into() } else { text_of(name) };
                let bytes = value.as_ref().map(|value| format!("{} bytes", value.len()));
                format!("xattr {name}: {}", bytes.unwrap_or("none".into()))
            }
            What::Other { opcode, errno: 0 } => format!("reply {}", opcode_name(*opcode)),
            What::Other { opcode, errno } => {
                format!("reply {}: {}", opcode_name(*opcode), errno_name(*errno))
            }
        };
        let left = kept.left_ns.map_or("void".to_string(), |left| format!("{} left", time(left)));
        let _ = writeln!(text, "{} {what} ({left})", kept.node);
    }
    text
}

fn row(loaded: &Listed) -> Value {
    let handlers: Vec<Value> = loaded
        .handlers
        .iter()
        .map(|it| {
            let name = it.opcode.info().name;
            json!({ "opcode": name, "ttl_ns": it.ttl_ns, "negative_ttl_ns": it.negative_ttl_ns })
        })
        .collect();
    let counts: Vec<Value> = loaded
        .counts
        .iter()
        .map(|count| {
            let name = opcode_name(count.opcode);
            json!({ "opcode": name, "served": count.served, "passed_up": count.passed_up })
        })
        .collect();
    json!({
        "connection": loaded.connection,
        "mount_point": loaded.mount_point.as_ref().map(|path| path.to_string_lossy()),
        "pins": loaded.pins.to_string_lossy(),
        "handlers": handlers,
        "counts": counts,
    })
}

fn kept_row(kept: &Kept) -> Value {
    let mut row = match &kept.what {
        What::Entry { name, to } => json!({ "kind": "name", "name": lossy(name), "to": to }),
        What::Attr { mode, size } => json!({ "kind": "attr", "mode": mode, "size": size }),
        What::Xattr { name, value } => {
            let value = value.as_ref().map(|value| String::from_utf8_lossy(value));
            json!({ "kind": "xattr", "name": lossy(name), "value": value })
        }
        What::Other { opcode, errno } => {
            json!({ "kind": "reply", "opcode": opcode_name(*opcode), "errno": errno })
        }
    };
    row["node"] = kept.node.into();
    row["left_ns"] = kept.left_ns.into();
    row
}

fn title(loaded: &Listed) -> String {
    match &loaded.mount_point {
        Some(path) => plain(&path.to_string_lossy()),
        None => format!("connection {}, which is not mounted here", loaded.connection),
    }
}

/// `LOOKUP 5 s, GETATTR as the server says`, and in brackets for what is not there.
fn policy(loaded: &Listed) -> String {
    let of = |ttl: Option<u64>| ttl.map_or("as the server says".to_string(), time);
    let rows = loaded.handlers.iter().map(|it| match it.ttl_ns == it.negative_ttl_ns {
        true => format!("{} {}", it.opcode, of(it.ttl_ns)),
        false => format!("{} {} (absent: {})", it.opcode, of(it.ttl_ns), of(it.negative_ttl_ns)),
    });
    rows.collect::<Vec<_>>().join(", ")
}

fn lossy(name: &std::ffi::OsStr) -> String {
    String::from_utf8_lossy(name.as_bytes()).into_owned()
}

fn text_of(name: &std::ffi::OsStr) -> String {
    plain(&lossy(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::opcode::Opcode;

    fn example() -> Listed {
        Listed {
            connection: 40,
            mount_point: Some("/m\n".into()),
            pins: "/p/40".into(),
            handlers: vec![
                Answered {
                    opcode: Opcode::FUSE_LOOKUP,
                    ttl_ns: Some(5_000_000_000),
                    negative_ttl_ns: Some(1_000_000_000),
                },
                Answered { opcode: Opcode::FUSE_GETATTR, ttl_ns: None, negative_ttl_ns: None },
            ],
            counts: vec![Count { opcode: 1, served: 3, passed_up: 1 }],
        }
    }

    #[test]
    fn what_is_loaded() {
        let text = list(&[example()], false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "/m\\n: connection 40");
        let policy = "LOOKUP 5.00 s (absent: 1.00 s), GETATTR as the server says";
        assert_eq!(lines[1], format!("  policy: {policy}"));
        assert!(lines[2].starts_with("  LOOKUP ") && lines[2].ends_with(" 75 %"), "{}", lines[2]);
        assert_eq!(list(&[], false), "nothing is loaded\n");
        let value: Value = serde_json::from_str(&list(&[example()], true)).unwrap();
        let row = &value["loaded"][0];
        assert_eq!(row["counts"][0], json!({ "opcode": "LOOKUP", "served": 3, "passed_up": 1 }));
        assert_eq!(row["handlers"][1]["ttl_ns"], Value::Null);
        assert_eq!(row["mount_point"], "/m\n");
        let gone = Listed { mount_point: None, ..example() };
        assert!(loaded(&gone, false).starts_with("connection 40, which is not mounted here: "));
    }

    #[test]
    fn what_is_kept() {
        let kept = |what, left_ns| Kept { node: 2, what, left_ns };
        let all = [
            kept(What::Entry { name: "a".into(), to: Some(10) }, Some(1500)),
            kept(What::Entry { name: "b\t".into(), to: None }, None),
            kept(What::Attr { mode: 0o100644, size: 7 }, None),
            kept(What::Xattr { name: "user.x".into(), value: Some(b"v".to_vec()) }, None),
            kept(What::Xattr { name: "".into(), value: None }, None),
            kept(What::Other { opcode: 34, errno: libc::EACCES }, None),
        ];
        let expected = [
            "2 name  a -> 10 (1.50 us left)",
            "2 name  b\\t -> none (void)",
            "2 attr  mode 100644, 7 bytes (void)",
            "2 xattr user.x: 1 bytes (void)",
            "2 xattr (list): none (void)",
            "2 reply ACCESS: EACCES (void)",
        ];
        assert_eq!(dump(&all, false).lines().collect::<Vec<_>>(), expected);
        let value: Value = serde_json::from_str(&dump(&all, true)).unwrap();
        assert_eq!(value["kept"].as_array().map(Vec::len), Some(6));
        assert_eq!(value["kept"][3]["value"], "v");
    }

    #[test]
    fn the_tier() {
        let missing = [Missing { what: "tier hook", why: "none".into(), cure: "load it".into() }];
        let text = probe(Tier::Trace, &missing, false);
        assert!(text.starts_with("tier:      trace: ") && text.ends_with("none: load it\n"));
        let value: Value = serde_json::from_str(&probe(Tier::Trace, &missing, true)).unwrap();
        assert_eq!([&value["tier"], &value["missing"][0]["cure"]], ["trace", "load it"]);
    }
}
