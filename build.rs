//! Compiles the BPF programs (`bpf/*.bpf.c`) and makes their skeletons. Needs clang, and the
//! headers of the kernel's interface (`linux-libc-dev`) and of libelf and zlib.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const PROGRAMS: &[&str] = &["extfuse", "lsm", "reads", "stats"];

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Debian has <asm/types.h> here, where clang does not look for its target bpf.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let include = format!("/usr/include/{arch}-linux-gnu");
    let libbpf = env::var("DEP_BPF_INCLUDE").expect("libbpf-sys tells where its headers are");
    // Headers of the C library are not for BPF.
    let clang = ["-I", &libbpf, "-idirafter", &include, "-mcpu=v3", "-ffreestanding"];
    let clang = [clang.as_slice(), &["-Wall", "-Werror"]].concat();
    for program in PROGRAMS {
        let source = format!("bpf/{program}.bpf.c");
        let built = SkeletonBuilder::new()
            .source(&source)
            .clang_args(&clang)
            .build_and_generate(out.join(format!("{program}.skel.rs")));
        if let Err(error) = built {
            panic!("{source}: {error:#}: is clang installed? (apt-get install clang)");
        }
    }
}
