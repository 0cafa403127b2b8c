//! What is mounted with `-t merge` for a test: a manifest, the local files and framed servers that its
//! files are made of, and what has to come out.
//!
//! Each file has the same bytes: pieces of local files, and between them pieces of one server. They
//! differ in the server, of which there are two, in this process: one whose payload travels without
//! being looked at, and one that answers with whole blocks, with a checksum of all of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::CrashError;
use crate::fs::merge::address::Address;
use crate::fs::merge::frame::{Checksum, Shape};
use crate::fs::merge::server::{Fault, Sending, Server, ServerConfig, pattern, pattern_file};

/// A file that nobody but a step's caller reads, of whose payload nothing is looked at.
pub const PLAIN: &str = "plain";
/// The same with a checksum of the payload.
pub const CHECKED: &str = "checked";
/// As [`CHECKED`], for others that read meanwhile.
pub const SHARED: &str = "shared";

/// Bytes of each local file, and of what the servers have.
const LOCAL: u64 = 30_000;
const FRAMED: u64 = 300_000;
/// What the servers call it.
const NAME: &str = "one";
/// Whose pattern it has; a local file's is its place in [`LOCALS`].
const FRAMED_SEED: u64 = 7;
const LOCALS: [&str; 2] = ["a", "b"];

/// A piece: of a local file, or of what a server has (`None`); from where on, how many bytes.
type Piece = (Option<usize>, u64, usize);
const PIECES: [Piece; 5] = [
    (Some(0), 100, 20_000),
    (None, 1000, 70_000),
    (Some(1), 0, 5000),
    (None, 200_000, 50_000),
    (Some(0), LOCAL - 1, 1),
];

/// The manifest, and the servers.
pub struct Pieces {
    manifest: PathBuf,
    plain: Server,
    // It serves as long as it is there.
    _checked: Server,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pieces").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

impl Pieces {
    /// Local files in `dir/source`, a manifest and two sockets in `dir`.
    pub(super) fn new(dir: &Path) -> Result<Pieces, CrashError> {
        for (seed, name) in LOCALS.iter().enumerate() {
            let mut bytes = vec![0; LOCAL as usize];
            pattern(seed as u64, 0, &mut bytes);
            let path = dir.join("source").join(name);
            std::fs::write(path, bytes).map_err(CrashError::io(*name))?;
        }
        let plain = ServerConfig {
            shape: shape(Checksum::Header),
            packet: 20_000,
            sending: Sending::Sendfile,
            ..ServerConfig::default()
        };
        let checked = ServerConfig { shape: shape(Checksum::Payload), align: 4096, ..plain };
        let (plain, checked) = (serve(dir, PLAIN, plain)?, serve(dir, CHECKED, checked)?);
        let file = |path, server: &Server, checksum| {
            let pieces: Vec<Value> =
                PIECES.iter().map(|piece| segment(piece, server, checksum)).collect();
            json!({ "path": path, "segments": pieces })
        };
        let files = [
            file(PLAIN, &plain, Checksum::Header),
            file(CHECKED, &checked, Checksum::Payload),
            file(SHARED, &checked, Checksum::Payload),
        ];
        let manifest = dir.join("manifest.json");
        let text = json!({ "schema": 1, "timeout": 10, "files": files }).to_string();
        std::fs::write(&manifest, text).map_err(CrashError::io("the manifest"))?;
        Ok(Pieces { manifest, plain, _checked: checked })
    }

    /// For `fusex mount -t merge`.
    pub(super) fn manifest(&self) -> &Path {
        &self.manifest
    }

    /// Closes all connections to the server of [`PLAIN`]; new ones are welcome.
    pub fn hang_up(&self) {
        self.plain.hang_up();
    }

    /// The server of [`PLAIN`] waits before each packet, or does no more.
    pub fn slow_down(&self, pause: Option<Duration>) {
        self.plain.set_fault(pause.map(Fault::Slow), 1);
    }
}

/// The bytes of each file.
pub fn expected() -> Vec<u8> {
    let bytes = |(local, offset, length): &Piece| {
        let mut bytes = vec![0; *length];
        pattern(local.map_or(FRAMED_SEED, |local| local as u64), *offset, &mut bytes);
        bytes
    };
    PIECES.iter().flat_map(bytes).collect()
}

fn shape(checksum: Checksum) -> Shape {
    Shape { header: 102, footer: 102, checksum }
}

fn serve(dir: &Path, socket: &str, config: ServerConfig) -> Result<Server, CrashError> {
    let server = Server::start(&Address::Unix(dir.join(socket)), config);
    let server = server.map_err(CrashError::io("a framed server"))?;
    let file = pattern_file(FRAMED_SEED, FRAMED).map_err(CrashError::io("memfd_create(2)"))?;
    server.add(NAME, file);
    Ok(server)
}

fn segment((local, offset, length): &Piece, server: &Server, checksum: Checksum) -> Value {
    match local {
        Some(local) => {
            let file = format!("source/{}", LOCALS[*local]);
            json!({ "file": file, "offset": offset, "length": length })
        }
        None => {
            let Shape { header, footer, checksum } = shape(checksum);
            json!({
                "source": server.address().to_string(), "name": NAME, "offset": offset,
                "length": length, "header": header, "footer": footer, "checksum": checksum,
            })
        }
    }
}
