//! The manifest: which files there are, and what they are made of.
//!
//! ```json
//! {
//!   "schema": 1,
//!   "timeout": 30,
//!   "files": [
//!     {
//!       "path": "data/all.bin", "mode": "0444", "uid": 0, "gid": 0, "mtime": 1700000000,
//!       "segments": [
//!         { "file": "part-1.bin" },
//!         { "file": "/srv/part-2.bin", "offset": 4096, "length": 65536 },
//!         { "source": "unix:/run/store.sock", "name": "part-3", "offset": 0, "length": 1048576,
//!           "header": 102, "footer": 102, "checksum": "header" }
//!       ]
//!     }
//!   ]
//! }
//! ```
//!
//! | where | field | meaning |
//! | --- | --- | --- |
//! | top | `schema` | 1 |
//! | top | `timeout` | seconds that a framed source may take for one step of an answer; 30 |
//! | file | `path` | where it appears; its directories are made up |
//! | file | `mode` | permissions, octal, as a string; `"0444"` |
//! | file | `uid`, `gid` | owner; who mounts |
//! | file | `mtime` | seconds since 1970; the newest of its local files, or 0 |
//! | file | `segments` | its contents, one behind the other; 1 or more |
//! | segment | `file` | a regular file of this machine |
//! | segment | `source` | or a framed server: `unix:PATH`, `tcp:HOST:PORT` |
//! | segment | `name` | what the framed server is asked for |
//! | segment | `offset` | where the segment begins there; 0 |
//! | segment | `length` | bytes, 1 or more; of a file: up to its end. A framed one needs it |
//! | segment | `header`, `footer` | bytes around each payload; the shortest, 32 and 24 |
//! | segment | `checksum` | `none`, `header`, `payload`: see [`Checksum`]; `header` |
//!
//! Paths of local files and sockets are relative to the manifest's directory. A field that is not
//! in this table is refused: most likely it is misspelt. `docs/merge-manifest.schema.json` says the
//! same as a JSON Schema.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::address::Address;
use super::frame::{Checksum, EDGE_MAX, FOOTER_MIN, HEADER_MIN, NAME_MAX, Shape};

/// The version of the format that is known.
pub const SCHEMA: u64 = 1;
/// Bytes of the longest manifest.
pub const SIZE_MAX: usize = 16 << 20;
/// How long a framed source may take for one step, unless the manifest says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// No file is longer.
const LENGTH_MAX: u64 = i64::MAX as u64;
/// Bytes of the longest name in a directory.
const COMPONENT_MAX: usize = 255;

/// What is wrong in a manifest, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Where, as `files[0].segments[1].offset`; empty: the text says it.
    pub at: String,
    /// What, and the cure.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.as_str() {
            "" => write!(f, "{}", self.what),
            at => write!(f, "{at}: {}", self.what),
        }
    }
}

impl std::error::Error for Wrong {}

pub(super) fn wrong<T>(at: impl Into<String>, what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { at: at.into(), what: what.into() })
}

/// A manifest, checked as far as its text goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// How long a framed source may take for one step.
    pub timeout: Duration,
    /// All files, each with a path of its own.
    pub files: Vec<File>,
    /// Local files, each once, and where it is named first.
    pub locals: List<PathBuf>,
    /// Framed sources, each once, and where it is named first.
    pub sources: List<Source>,
}

/// Things that a manifest names, each once.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T: Eq + Hash> {
    /// By number: the thing, and where it is named first.
    pub all: Vec<(T, String)>,
    numbers: HashMap<T, usize>,
}

impl<T: Eq + Hash> Default for List<T> {
    fn default() -> List<T> {
        List { all: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> List<T> {
    /// The number of a thing, which is added if it is new.
    fn number(&mut self, thing: T, at: &str) -> usize {
        let next = self.all.len();
        let number = *self.numbers.entry(thing.clone()).or_insert(next);
        if number == next {
            self.all.push((thing, at.to_string()));
        }
        number
    }
}

/// A file to be.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// The names of its directories, then its own.
    pub path: Vec<String>,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Seconds since 1970.
    pub mtime: Option<i64>,
    /// At least one.
    pub segments: Vec<Segment>,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Where its bytes are.
    pub place: Place,
    /// Where it begins there.
    pub offset: u64,
    /// Bytes, 1 or more; `None`: up to the end of a local file.
    pub length: Option<u64>,
}

/// Where bytes are, by the number in the manifest's lists.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// In a file of this machine.
    Local(usize),
    /// With a server, under a name.
    Framed(usize, String),
}

/// A framed server, and how its packets look.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Where.
    pub address: Address,
    /// How.
    pub shape: Shape,
}

#[derive(Deserialize)]
struct Version {
    schema: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    #[serde(rename = "schema")]
    _schema: u64,
    timeout: Option<f64>,
    files: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    path: String,
    mode: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<i64>,
    segments: Vec<RawSegment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSegment {
    file: Option<PathBuf>,
    source: Option<String>,
    name: Option<String>,
    #[serde(default)]
    offset: u64,
    length: Option<u64>,
    header: Option<usize>,
    footer: Option<usize>,
    checksum: Option<Checksum>,
}

impl Manifest {
    /// Reads the text of a manifest; `dir`, absolute, is what its paths are relative to.
    ///
    /// # Errors
    /// The first thing that is wrong in it.
    pub fn parse(text: &[u8], dir: &Path) -> Result<Manifest, Wrong> {
        let json = |error: serde_json::Error| {
            let what = format!("{error}: correct it there");
            Wrong { at: String::new(), what }
        };
        if text.len() > SIZE_MAX {
            return wrong("", format!("longer than {SIZE_MAX} bytes: use several mounts"));
        }
        let version: Version = serde_json::from_slice(text).map_err(json)?;
        if version.schema != SCHEMA {
            let what = format!("{}: this fusex knows {SCHEMA}: update fusex", version.schema);
            return wrong("schema", what);
        }
        let raw: RawManifest = serde_json::from_slice(text).map_err(json)?;
        let timeout = match raw.timeout.map(Duration::try_from_secs_f64) {
            None => TIMEOUT,
            Some(Ok(timeout)) if !timeout.is_zero() => timeout,
            Some(_) => return wrong("timeout", "give seconds above 0, such as 30 or 0.5"),
        };
        let (locals, sources) = (List::default(), List::default());
        let mut manifest = Manifest { timeout, files: Vec::new(), locals, sources };
        for (index, file) in raw.files.into_iter().enumerate() {
            let at = format!("files[{index}]");
            let file = manifest.file(file, &at, dir)?;
            manifest.files.push(file);
        }
        Ok(manifest)
    }

    fn file(&mut self, raw: RawFile, at: &str, dir: &Path) -> Result<File, Wrong> {
        let path = components(&raw.path, &format!("{at}.path"))?;
        let mode = match raw.mode.as_deref() {
            None => 0o444,
            Some(text) => match u32::from_str_radix(text, 8) {
                Ok(mode @ 0..=0o777) if !text.starts_with('+') => mode,
                _ => {
                    let what = format!("'{text}': give permissions in octal, such as \"0644\"");
                    return wrong(format!("{at}.mode"), what);
                }
            },
        };
        if raw.segments.is_empty() {
            return wrong(format!("{at}.segments"), "none: give one at the least");
        }
        let mut total = 0_u64;
        let mut segments = Vec::with_capacity(raw.segments.len());
        for (index, segment) in raw.segments.into_iter().enumerate() {
            let at = format!("{at}.segments[{index}]");
            let segment = self.segment(segment, &at, dir)?;
            total = add(total, segment.length.unwrap_or(0), &at)?;
            segments.push(segment);
        }
        let RawFile { uid, gid, mtime, .. } = raw;
        Ok(File { path, mode, uid, gid, mtime, segments })
    }

    fn segment(&mut self, raw: RawSegment, at: &str, dir: &Path) -> Result<Segment, Wrong> {
        let RawSegment { offset, length, .. } = raw;
        if length == Some(0) {
            return wrong(
                format!("{at}.length"),
                "0: a segment has a byte at the least: remove it",
            );
        }
        let end = offset.checked_add(length.unwrap_or(0));
        if end.is_none_or(|end| end > LENGTH_MAX) {
            let what = "offset and length go beyond 2^63 - 1 bytes: correct them";
            return wrong(format!("{at}.offset"), what);
        }
        let place = match (&raw.file, &raw.source) {
            (Some(file), None) => {
                Place::Local(self.local(file, &raw, &format!("{at}.file"), dir)?)
            }
            (None, Some(source)) => self.framed(source, &raw, at, dir)?,
            (Some(_), Some(_)) => return wrong(at, "both 'file' and 'source': give one"),
            (None, None) => return wrong(at, "neither 'file' nor 'source': give one"),
        };
        Ok(Segment { place, offset, length })
    }

    fn local(
        &mut self,
        file: &Path,
        raw: &RawSegment,
        at: &str,
        dir: &Path,
    ) -> Result<usize, Wrong> {
        let edges = raw.header.is_some() || raw.footer.is_some() || raw.checksum.is_some();
        if raw.name.is_some() || edges {
            let what =
                "'name', 'header', 'footer' and 'checksum' belong to a 'source': remove them";
            return wrong(at, what);
        }
        if file.as_os_str().is_empty() || file.as_os_str().as_encoded_bytes().contains(&0) {
            return wrong(at, "no path: give that of a file");
        }
        Ok(self.locals.number(dir.join(file), at))
    }

    fn framed(
        &mut self,
        source: &str,
        raw: &RawSegment,
        at: &str,
        dir: &Path,
    ) -> Result<Place, Wrong> {
        let source_at = format!("{at}.source");
        let mut address: Address =
            source.parse().or_else(|cure| wrong(&source_at, format!("'{source}': {cure}")))?;
        if let Address::Unix(path) = &address
            && path.is_relative()
        {
            let whole = format!("unix:{}", dir.join(path).display());
            address =
                whole.parse().or_else(|cure| wrong(&source_at, format!("{whole}: {cure}")))?;
        }
        if raw.length.is_none() {
            return wrong(format!("{at}.length"), "missing: a framed segment needs one");
        }
        let name = raw.name.clone().filter(|name| (1..=NAME_MAX).contains(&name.len()));
        let Some(name) = name else {
            let what = format!("give the source's name of it, 1 to {NAME_MAX} bytes");
            return wrong(format!("{at}.name"), what);
        };
        let edge = |field, given: Option<usize>, least: usize| match given.unwrap_or(least) {
            size if (least..=EDGE_MAX).contains(&size) => Ok(size),
            size => {
                let what = format!("{size}: give {least} to {EDGE_MAX} bytes");
                wrong(format!("{at}.{field}"), what)
            }
        };
        let shape = Shape {
            header: edge("header", raw.header, HEADER_MIN)?,
            footer: edge("footer", raw.footer, FOOTER_MIN)?,
            checksum: raw.checksum.unwrap_or_default(),
        };
        Ok(Place::Framed(self.sources.number(Source { address, shape }, &source_at), name))
    }
}

/// The length of a file with one more segment.
pub(super) fn add(total: u64, length: u64, at: &str) -> Result<u64, Wrong> {
    match total.checked_add(length) {
        Some(total) if total <= LENGTH_MAX => Ok(total),
        _ => wrong(at, "the file gets longer than 2^63 - 1 bytes: correct the lengths"),
    }
}

fn components(path: &str, at: &str) -> Result<Vec<String>, Wrong> {
    let names: Vec<String> = path.split('/').map(str::to_string).collect();
    for name in &names {
        let what = match name.as_str() {
            "" => "has an empty name: write it as 'dir/file'",
            "." | ".." => "has '.' or '..': write it without",
            name if name.contains('\0') => "has a NUL: write it without",
            name if name.len() > COMPONENT_MAX => "has a name of more than 255 bytes: shorten it",
            _ => continue,
        };
        return wrong(at, format!("'{}': {what}", path.escape_debug()));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(value: &Value) -> Result<Manifest, Wrong> {
        Manifest::parse(value.to_string().as_bytes(), Path::new("/dir"))
    }

    #[test]
    fn defaults_and_numbers() {
        let framed = json!({ "source": "unix:s", "name": "n", "length": 3 });
        let file = |path| json!({ "path": path, "segments": [{ "file": "a" }, framed] });
        let manifest = parse(&json!({ "schema": 1, "files": [file("x/y"), file("z")] })).unwrap();
        assert_eq!(manifest.timeout, Duration::from_secs(30));
        let first = (PathBuf::from("/dir/a"), "files[0].segments[0].file".to_string());
        assert_eq!(manifest.locals.all, [first]);
        let address = Address::Unix("/dir/s".into());
        let source = Source { address, shape: Shape::default() };
        assert_eq!(manifest.sources.all, [(source, "files[0].segments[1].source".to_string())]);
        let [one, two] = &manifest.files[..] else { panic!("{manifest:?}") };
        assert_eq!((&one.segments, one.mode), (&two.segments, 0o444));
        assert_eq!(one.path, ["x", "y"]);
        assert_eq!(one.segments[1].place, Place::Framed(0, "n".into()));
    }

    /// The names that serde knows, from what it says to one that it does not know.
    fn known(value: &Value) -> Vec<String> {
        let said = parse(value).unwrap_err().what;
        let (_, names) = said.split_once("expected one of ").unwrap();
        let (names, _) = names.split_once(" at line").unwrap();
        let mut names: Vec<_> =
            names.split(", ").map(|name| name.trim_matches('`').to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_schema_in_the_docs_has_the_same_fields() {
        let text = include_str!("../../../docs/merge-manifest.schema.json");
        let schema: Value = serde_json::from_str(text).unwrap();
        let segment = json!({ "wrong": 1 });
        for (pointer, value) in [
            ("", json!({ "schema": 1, "wrong": 1 })),
            ("/$defs/file", json!({ "schema": 1, "files": [{ "wrong": 1 }] })),
            (
                "/$defs/segment",
                json!({ "schema": 1, "files": [{ "path": "a", "segments": [segment] }] }),
            ),
        ] {
            let properties = schema.pointer(pointer).unwrap()["properties"].as_object().unwrap();
            let mut names: Vec<_> = properties.keys().cloned().collect();
            names.sort();
            assert_eq!(names, known(&value), "{pointer}");
        }
    }
}
