//! `fusex mount`: what it refuses.

use crate::{Place, fusex, is_root, program};

#[test]
fn the_command_line() {
    let place = Place::new();
    let missing = "the following required arguments were not provided: <MOUNTPOINT>: try 'fusex \
                   mount --help'";
    place.refused(&["mount"], 1, missing);
    let source = "no source: give the directory to serve (with '-t merge' the manifest) before the mount \
                  point, or use '-t mem'";
    place.refused(&["mount", "@/point"], 1, source);
    let both = "the argument '--single-threaded' cannot be used with '--multi-threaded': try \
                'fusex mount --help'";
    place.refused(&["mount", "-s", "-m", "@/source", "@/point"], 1, both);
    let kind = "invalid value 'tmpfs' for '--type <TYPE>': give dir, mem, merge, or 1 to 4096 threads: \
                try 'fusex mount --help'";
    place.refused(&["mount", "-t", "tmpfs", "@/source", "@/point"], 1, kind);
    let more = "unexpected argument 'third' found: try 'fusex mount --help'";
    place.refused(&["mount", "@/source", "@/point", "third"], 1, more);
}

#[test]
fn options_are_refused_by_name() {
    let place = Place::new();
    for (option, line) in [
        ("alow_other", "option 'alow_other': unknown: did you mean 'allow_other'?"),
        ("ro,zzz=1", "option 'zzz': unknown: 'fusex mount --help' lists all options"),
        ("max_write", "option 'max_write': needs a value: write 'max_write=BYTES'"),
        ("ro=yes", "option 'ro': takes no value: write 'ro' alone"),
        (
            "max_read=1K",
            "option 'max_read': bad value '1K': give a size from 4096 to 268435456 bytes ('K' and \
             'M' may follow)",
        ),
        (
            "max_background=65536",
            "option 'max_background': bad value '65536': give a whole number from 1 to 65535",
        ),
        (
            "entry_timeout=1s",
            "option 'entry_timeout': bad value '1s': give seconds from 0 to 1000000000, as '1' or \
             '0.5'",
        ),
        (
            "time_gran=7",
            "option 'time_gran': bad value '7': give a power of ten from 1 to 1000000000 \
             nanoseconds",
        ),
        ("cache=some", "option 'cache': bad value 'some': give never, auto or always"),
        ("fsname=a\\", "option string ends in a lone backslash: write '\\\\' for a backslash"),
    ] {
        place.refused(&["mount", "-o", option, "@/source", "@/point"], 1, line);
    }
}

#[test]
fn sources() {
    let place = Place::new();
    let missing = "source @/no: No such file or directory: create it, or correct the path";
    place.refused(&["mount", "@/no", "@/point"], 32, missing);
    place.refused(&["mount", "-osource=@/no", "@/source", "@/point"], 32, missing);
    let file = "source @/file: Not a directory: a directory can be served, not a file";
    place.refused(&["mount", "@/file", "@/point"], 32, file);
}

#[test]
fn mount_points() {
    let place = Place::new();
    let missing = "mount point @/no: No such file or directory: create it with 'mkdir -p'";
    place.refused(&["mount", "@/source", "@/no"], 32, missing);
    place.refused(&["mount", "-t", "mem", "@/no"], 32, missing);
    let file =
        "mount point @/file: Not a directory: a directory can only be mounted on a directory";
    place.refused(&["mount", "@/source", "@/file"], 32, file);
    let below = "mount point @/file/x: Not a directory: a directory can only be mounted on a \
                 directory";
    place.refused(&["mount", "@/source", "@/file/x"], 32, below);
}

#[test]
fn descriptors_that_are_not_a_mount() {
    let place = Place::new();
    let closed =
        "mount point /dev/fd/999: not open: open /dev/fuse and mount before starting fusex";
    place.refused(&["mount", "-f", "@/source", "/dev/fd/999"], 1, closed);
    let other = "mount point /dev/fd/0: not /dev/fuse: open /dev/fuse and mount before starting \
                 fusex";
    place.refused(&["mount", "-f", "@/source", "/dev/fd/0"], 1, other);
}

#[test]
fn no_device() {
    if !is_root("mount::no_device") {
        return;
    }
    // A mount namespace whose /dev is empty but for what a program cannot do without.
    let place = Place::new();
    let script = "exec 9>/dev/null && mount -t tmpfs none /dev && ln -s /proc/self/fd/9 /dev/null \
                  && exec \"$1\" mount \"$2\" \"$3\"";
    let binary = env!("CARGO_BIN_EXE_fusex");
    let fixed = ["-m", "sh", "-c", script, "sh", binary, "@/source", "@/point"];
    let mut command = program("unshare".as_ref(), &place.fill(&fixed));
    let line = "/dev/fuse: No such file or directory: load FUSE with 'modprobe fuse'";
    place.refused_command(&mut command, 32, line);
}

#[test]
fn the_help_names_every_option() {
    let output = fusex(&["mount", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let options = "allow_other allow_root default_permissions auto_unmount fsname=NAME \
                   subtype=NAME max_read=BYTES max_write=BYTES max_readahead=BYTES \
                   max_background=N congestion_threshold=N time_gran=NANOSECONDS blksize=BYTES \
                   clone_fd max_threads=N entry_timeout=SECONDS source=DIR flags=N";
    for option in options.split(' ') {
        assert!(help.contains(&format!("\n  {option} ")), "{option}");
    }
    assert!(help.contains("\nExit status:\n"));
}
