//! Decodes arbitrary bytes: once as they are, once as the body of a request whose header is right.
//!
//! Run with `cargo +nightly fuzz run decode` from the package's directory. No corpus is needed: the
//! first bytes choose protocol, opcode and extensions, so that every decoder is reached at once.

#![no_main]

use fusex::wire::flags::InitFlags;
use fusex::wire::opcode::TABLE;
use fusex::wire::{Extensions, Operation, Protocol, decode};
use libfuzzer_sys::fuzz_target;

const NEGOTIATED: [InitFlags; 4] = [
    InitFlags::empty(),
    InitFlags::FUSE_SETXATTR_EXT,
    InitFlags::FUSE_SECURITY_CTX,
    InitFlags::all(),
];

fuzz_target!(|data: &[u8]| {
    let &[protocol, opcode, extlen, ref body @ ..] = data else { return };
    let p = Protocol { minor: 45, flags: NEGOTIATED[usize::from(protocol) % NEGOTIATED.len()] };
    walk(data, &p);

    let mut bytes = vec![0; 40];
    bytes[..4].copy_from_slice(&(40 + body.len() as u32).to_ne_bytes());
    let row = &TABLE[usize::from(opcode) % TABLE.len()];
    bytes[4..8].copy_from_slice(&(row.opcode as u32).to_ne_bytes());
    bytes[36] = extlen;
    bytes.extend_from_slice(body);
    walk(&bytes, &p);
});

/// Decodes, prints, and walks the lists.
fn walk(bytes: &[u8], p: &Protocol) {
    let Ok(request) = decode(bytes, p) else { return };
    let _ = std::hint::black_box(format!("{request:?}"));
    let ext = |ext: &Extensions<'_>| ext.security_contexts().count() + ext.groups.iter().count();
    let items = match &request.operation {
        Operation::BatchForget(batch) => batch.iter().count(),
        Operation::Removemapping(parts) => parts.iter().count(),
        Operation::Create(create) => ext(&create.ext),
        Operation::Tmpfile(tmpfile) => ext(&tmpfile.ext),
        Operation::Mkdir(mkdir) => ext(&mkdir.ext),
        Operation::Mknod(mknod) => ext(&mknod.ext),
        Operation::Symlink(symlink) => ext(&symlink.ext),
        _ => 0,
    };
    assert!(items <= bytes.len(), "more items than bytes");
}
