//! What `libbpf-cargo` made of `bpf/*.bpf.c`.

#[allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    unused,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    rustdoc::all
)]
pub(super) mod stats {
    include!(concat!(env!("OUT_DIR"), "/stats.skel.rs"));
}

#[allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    unused,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    rustdoc::all
)]
pub(super) mod reads {
    include!(concat!(env!("OUT_DIR"), "/reads.skel.rs"));
}
