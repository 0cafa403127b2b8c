//! libfuse's example `passthrough_ll`, compiled from where Debian's libfuse3-dev puts its source.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

const EXAMPLES: &str = "/usr/share/doc/libfuse3-dev/examples";

/// Compiles it in `dir` as its own makefile does, and returns the program.
pub(crate) fn build_passthrough_ll(dir: &Path) -> anyhow::Result<PathBuf> {
    let source = example("passthrough_ll.c", dir)?;
    example("passthrough_helpers.h", dir)?;
    let flags = run(Command::new("pkg-config").args(["--cflags", "--libs", "fuse3"]))?;
    let flags = String::from_utf8(flags)?;
    let program = dir.join("passthrough_ll");
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-w", "-o"]).arg(&program).arg(source).args(flags.split_whitespace());
    run(&mut compile)?;
    Ok(program)
}

/// Copies one source file, which may be compressed, to `dir`.
fn example(name: &str, dir: &Path) -> anyhow::Result<PathBuf> {
    let copy = dir.join(name);
    let plain = Path::new(EXAMPLES).join(name);
    let text = if plain.exists() {
        std::fs::read(&plain)?
    } else {
        let packed = Path::new(EXAMPLES).join(format!("{name}.gz"));
        ensure!(packed.exists(), "no {}: install libfuse3-dev", plain.display());
        run(Command::new("gzip").arg("-dc").arg(packed))?
    };
    std::fs::write(&copy, text)?;
    Ok(copy)
}

fn run(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| program.clone())?;
    ensure!(output.status.success(), "{program}: {}", output.status);
    Ok(output.stdout)
}
