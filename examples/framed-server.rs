//! A server of the framed protocol, for `fusex mount -t merge`: it serves the files of a directory.
//!
//! `cargo run --example framed-server -- unix:/tmp/store.sock DIRECTORY`, then a manifest with
//!
//! ```json
//! { "schema": 1, "files": [ { "path": "file", "segments": [
//!     { "source": "unix:/tmp/store.sock", "name": "NAME", "length": 1000,
//!       "header": 102, "footer": 102, "checksum": "header" } ] } ] }
//! ```
//!
//! `fusex::fs::merge::frame` has the protocol.

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use fusex::fs::merge::address::Address;
use fusex::fs::merge::frame::{Checksum, EDGE_MAX, FOOTER_MIN, HEADER_MIN, PAYLOAD_MAX, Shape};
use fusex::fs::merge::server::{Sending, Server, ServerConfig};

/// Serve the files of a directory over the framed protocol
#[derive(Parser)]
struct Args {
    /// unix:PATH or tcp:HOST:PORT
    address: String,

    /// Directory whose regular files are served by name
    directory: PathBuf,

    /// Bytes of a header
    #[arg(long, default_value_t = 102, value_parser = size(HEADER_MIN, EDGE_MAX))]
    header: usize,

    /// Bytes of a footer
    #[arg(long, default_value_t = 102, value_parser = size(FOOTER_MIN, EDGE_MAX))]
    footer: usize,

    /// What the checksum is of
    #[arg(long, value_enum, default_value_t = Checksum::Header)]
    checksum: Checksum,

    /// Bytes of payload in a packet
    #[arg(long, default_value_t = 128 << 10, value_parser = size(1, PAYLOAD_MAX))]
    packet: usize,

    /// Answer with whole blocks of so many bytes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    align: u64,

    /// How payload is sent
    #[arg(long, value_enum, default_value_t = Sending::Sendfile)]
    sending: Sending,
}

/// A number of bytes in a range.
fn size(least: usize, most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or(format!("give {least} to {most} bytes"))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let address: Address = args.address.parse().map_err(|cure| format!("address: {cure}"))?;
    let shape = Shape { header: args.header, footer: args.footer, checksum: args.checksum };
    let Args { packet, align, sending, .. } = args;
    let config = ServerConfig { shape, packet, align, sending, fragment: 0 };
    let server = Server::start(&address, config).map_err(|error| format!("{address}: {error}"))?;
    let directory = args.directory.display();
    let files = server.add_directory(&args.directory);
    let files = files.map_err(|error| format!("{directory}: {error}"))?;
    println!("{files} files of {directory} at {}", server.address());
    server.wait();
    Ok(())
}
