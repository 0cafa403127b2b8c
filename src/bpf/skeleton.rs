//! What `libbpf-cargo` made of `bpf/*.bpf.c`.

macro_rules! skeleton {
    ($name:ident) => {
        #[allow(
            unsafe_code,
            unreachable_pub,
            missing_docs,
            unused,
            clippy::all,
            clippy::undocumented_unsafe_blocks,
            rustdoc::all
        )]
        pub(in crate::bpf) mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".skel.rs"));
        }
    };
}

skeleton!(extfuse);
skeleton!(lsm);
skeleton!(reads);
skeleton!(stats);
