//! Manifests, what they are made of, and what has to come out.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use fusex::crash::workload::Random;
use fusex::fs::merge::address::Address;
use fusex::fs::merge::frame::{Checksum, Shape};
use fusex::fs::merge::server::{Server, ServerConfig, pattern, pattern_file};
use serde_json::{Value, json};

use crate::common::{Mount, Place};

/// Bytes of what the servers have as `one` and as `two`.
pub(crate) const ONE: u64 = 500_000;
pub(crate) const TWO: u64 = 70_000;

/// A place with local files and a server.
pub(crate) struct World {
    pub(crate) place: Option<Place>,
    pub(crate) server: Server,
    shape: Shape,
    /// The local files, by name.
    locals: Vec<(&'static str, Vec<u8>)>,
}

/// A file of the manifest: its JSON, and what it has.
pub(crate) struct Made {
    pub(crate) json: Value,
    pub(crate) expected: Vec<u8>,
}

pub(crate) fn shape(checksum: Checksum) -> Shape {
    Shape { header: 102, footer: 102, checksum }
}

impl World {
    /// With a server on a unix socket.
    pub(crate) fn new(config: ServerConfig) -> World {
        let place = Place::new();
        let address = Address::Unix(place.path("socket"));
        World::at(place, &address, config)
    }

    /// With a server on a TCP port.
    pub(crate) fn tcp(config: ServerConfig) -> World {
        World::at(Place::new(), &Address::Tcp("127.0.0.1".into(), 0), config)
    }

    fn at(place: Place, address: &Address, config: ServerConfig) -> World {
        let mut random = Random::new(1);
        let locals: Vec<_> = [("a", 10_000), ("b", 300_000), ("c", 1)]
            .into_iter()
            .map(|(name, size)| (name, random.bytes(size)))
            .collect();
        for (name, bytes) in &locals {
            std::fs::write(place.path(name), bytes).unwrap();
        }
        let server = Server::start(address, config).unwrap();
        server.add("one", pattern_file(1, ONE).unwrap());
        server.add("two", pattern_file(2, TWO).unwrap());
        World { place: Some(place), server, shape: config.shape, locals }
    }

    pub(crate) fn local(&self, name: &str, offset: usize, length: Option<usize>) -> Made {
        let (_, bytes) = self.locals.iter().find(|(known, _)| *known == name).unwrap();
        let end = length.map_or(bytes.len(), |length| offset + length);
        let mut json = json!({ "file": name, "offset": offset });
        if let Some(length) = length {
            json["length"] = length.into();
        }
        Made { json, expected: bytes[offset..end].to_vec() }
    }

    pub(crate) fn framed(&self, name: &str, offset: u64, length: u64) -> Made {
        let Shape { header, footer, checksum } = self.shape;
        let json = json!({
            "source": self.server.address().to_string(), "name": name, "offset": offset,
            "length": length, "header": header, "footer": footer, "checksum": checksum,
        });
        let mut expected = vec![0; length as usize];
        pattern(if name == "one" { 1 } else { 2 }, offset, &mut expected);
        Made { json, expected }
    }

    /// One of pieces of every kind.
    pub(crate) fn mixed(&self) -> Made {
        file(
            "deep/dir/mixed",
            [
                self.local("a", 0, None),
                self.framed("one", 1000, 200_000),
                self.local("b", 4096, Some(100_001)),
                self.local("c", 0, None),
                self.framed("two", 0, TWO),
                self.framed("one", ONE - 1, 1),
                self.local("a", 9_999, None),
            ],
        )
    }

    /// Mounts these files; a source that is silent for a second has failed.
    pub(crate) fn mount(&mut self, files: &[&Made], mode: &[&str]) -> Mount {
        let place = self.place.take().unwrap();
        write_manifest(&place.path("manifest.json"), files);
        let mode = [&["-t", "merge"], mode].concat();
        Mount::of(place, "manifest.json", &mode, None)
    }
}

/// A file of several pieces.
pub(crate) fn file(path: &str, pieces: impl IntoIterator<Item = Made>) -> Made {
    let (mut segments, mut expected) = (Vec::new(), Vec::new());
    for piece in pieces {
        segments.push(piece.json);
        expected.extend(piece.expected);
    }
    Made { json: json!({ "path": path, "segments": segments }), expected }
}

pub(crate) fn write_manifest(path: &Path, files: &[&Made]) {
    let files: Vec<&Value> = files.iter().map(|made| &made.json).collect();
    let text = json!({ "schema": 1, "timeout": 1, "files": files }).to_string();
    std::fs::write(path, text).unwrap();
}

/// Opens a file; `direct`: each read of it is asked of the server as it is.
pub(crate) fn open(path: &Path, direct: bool) -> File {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    OpenOptions::new().read(true).custom_flags(flags).open(path).unwrap()
}

/// What is from `offset` on, up to `size` bytes.
pub(crate) fn read(file: &File, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let (mut bytes, mut done) = (vec![0; size], 0);
    while done < size {
        match file.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            length => done += length,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Reads here and there, through each of the files: it must be what is expected.
pub(crate) fn compare(files: &[File], expected: &[u8], times: usize, seed: u64) {
    let mut random = Random::new(seed);
    for turn in 0..times {
        let offset = random.below(expected.len() + 10);
        let size = match random.below(4) {
            0 => 1 + random.below(100),
            1 => 4096,
            _ => 1 + random.below(300_000),
        };
        let seen = read(&files[turn % files.len()], offset as u64, size).unwrap();
        let start = offset.min(expected.len());
        let end = (offset + size).min(expected.len());
        assert_eq!(seen.len(), end - start, "{size} bytes from {offset}");
        assert!(seen == expected[start..end], "{size} bytes from {offset}");
    }
}
