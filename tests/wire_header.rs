//! Structs, constants, opcodes and flags against the kernel's own header: a C program prints sizes,
//! offsets and values as `<linux/fuse.h>` has them. What is newer than the header is pinned by
//! numbers here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::mem::offset_of;
use std::process::Command;

use fusex::wire::abi::*;
use fusex::wire::flags::*;
use fusex::wire::notify::NotifyCode;
use fusex::wire::opcode::{Opcode, TABLE};

/// One thing to compare.
struct Row {
    /// Minor version that brought it (0: older than any header this test runs with).
    since: u32,
    /// What C calls it.
    expression: String,
    /// What we think it is.
    value: u64,
}

/// The oldest header that has everything of `since` 0 under its present name.
const OLDEST_HEADER: u32 = 38;

macro_rules! layouts {
    ($($since:literal $name:ident { $($field:ident),* };)*) => {
        fn layouts() -> Vec<Row> {
            let mut rows = Vec::new();
            let mut push = |since, expression: String, value: usize| {
                let expression = expression.replace("r#", "");
                rows.push(Row { since, expression, value: value as u64 });
            };
            $(
                let name = stringify!($name);
                push($since, format!("sizeof(struct {name})"), size_of::<$name>());
                $(
                    let field = stringify!($field);
                    push($since, format!("offsetof(struct {name}, {field})"), offset_of!($name, $field));
                )*
            )*
            rows
        }
    };
}

// Minor version that brought the struct or the fields; struct; fields.
layouts! {
    0 fuse_in_header { len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding };
    0 fuse_out_header { len, error, unique };
    0 fuse_attr { ino, size, blocks, atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode,
        nlink, uid, gid, rdev, blksize, flags };
    39 fuse_sx_time { tv_sec, tv_nsec, __reserved };
    39 fuse_statx { mask, blksize, attributes, nlink, uid, gid, mode, __spare0, ino, size, blocks,
        attributes_mask, atime, btime, ctime, mtime, rdev_major, rdev_minor, dev_major, dev_minor,
        __spare2 };
    0 fuse_kstatfs { blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, padding, spare
        };
    0 fuse_file_lock { start, end, r#type, pid };
    0 fuse_forget_in { nlookup };
    0 fuse_forget_one { nodeid, nlookup };
    0 fuse_batch_forget_in { count, dummy };
    0 fuse_getattr_in { getattr_flags, dummy, fh };
    0 fuse_setattr_in { valid, padding, fh, size, lock_owner, atime, mtime, ctime, atimensec,
        mtimensec, ctimensec, mode, unused4, uid, gid, unused5 };
    0 fuse_mknod_in { mode, rdev, umask, padding };
    0 fuse_mkdir_in { mode, umask };
    0 fuse_rename_in { newdir };
    0 fuse_rename2_in { newdir, flags, padding };
    0 fuse_link_in { oldnodeid };
    0 fuse_open_in { flags, open_flags };
    0 fuse_create_in { flags, mode, umask, open_flags };
    0 fuse_release_in { fh, flags, release_flags, lock_owner };
    0 fuse_flush_in { fh, unused, padding, lock_owner };
    0 fuse_read_in { fh, offset, size, read_flags, lock_owner, flags, padding };
    0 fuse_write_in { fh, offset, size, write_flags, lock_owner, flags, padding };
    0 fuse_fsync_in { fh, fsync_flags, padding };
    0 fuse_setxattr_in { size, flags, setxattr_flags, padding };
    0 fuse_getxattr_in { size, padding };
    0 fuse_lk_in { fh, owner, lk, lk_flags, padding };
    0 fuse_access_in { mask, padding };
    0 fuse_init_in { major, minor, max_readahead, flags, flags2, unused };
    0 cuse_init_in { major, minor, unused, flags };
    0 fuse_interrupt_in { unique };
    0 fuse_bmap_in { block, blocksize, padding };
    0 fuse_ioctl_in { fh, flags, cmd, arg, in_size, out_size };
    0 fuse_poll_in { fh, kh, flags, events };
    0 fuse_fallocate_in { fh, offset, length, mode, padding };
    0 fuse_lseek_in { fh, offset, whence, padding };
    0 fuse_copy_file_range_in { fh_in, off_in, nodeid_out, fh_out, off_out, len, flags };
    0 fuse_setupmapping_in { fh, foffset, len, flags, moffset };
    0 fuse_removemapping_in { count };
    0 fuse_removemapping_one { moffset, len };
    0 fuse_syncfs_in { padding };
    39 fuse_statx_in { getattr_flags, reserved, fh, sx_flags, sx_mask };
    0 fuse_notify_retrieve_in { dummy1, offset, size, dummy2, dummy3, dummy4 };
    0 fuse_secctx { size, padding };
    0 fuse_secctx_header { size, nr_secctx };
    0 fuse_ext_header { size, r#type };
    39 fuse_supp_groups { nr_groups };
    0 fuse_entry_out { nodeid, generation, entry_valid, attr_valid, entry_valid_nsec,
        attr_valid_nsec, attr };
    0 fuse_attr_out { attr_valid, attr_valid_nsec, dummy, attr };
    0 fuse_open_out { fh, open_flags };
    40 fuse_open_out { backing_id };
    0 fuse_write_out { size, padding };
    0 fuse_statfs_out { st };
    0 fuse_getxattr_out { size, padding };
    0 fuse_lk_out { lk };
    0 fuse_init_out { major, minor, max_readahead, flags, max_background, congestion_threshold,
        max_write, time_gran, max_pages, map_alignment, flags2 };
    40 fuse_init_out { max_stack_depth };
    43 fuse_init_out { request_timeout, unused };
    0 cuse_init_out { major, minor, unused, flags, max_read, max_write, dev_major, dev_minor,
        spare };
    0 fuse_bmap_out { block };
    0 fuse_ioctl_iovec { base, len };
    0 fuse_ioctl_out { result, flags, in_iovs, out_iovs };
    0 fuse_poll_out { revents, padding };
    0 fuse_lseek_out { offset };
    45 fuse_copy_file_range_out { bytes_copied };
    39 fuse_statx_out { attr_valid, attr_valid_nsec, flags, spare, stat };
    0 fuse_dirent { ino, off, namelen, r#type };
    0 fuse_direntplus { entry_out, dirent };
    0 fuse_notify_poll_wakeup_out { kh };
    0 fuse_notify_inval_inode_out { ino, off, len };
    0 fuse_notify_inval_entry_out { parent, namelen, flags };
    0 fuse_notify_delete_out { parent, child, namelen, padding };
    0 fuse_notify_store_out { nodeid, offset, size, padding };
    0 fuse_notify_retrieve_out { notify_unique, nodeid, offset, size, padding };
    45 fuse_notify_prune_out { count, padding, spare };
    40 fuse_backing_map { fd, flags, padding };
    42 fuse_uring_ent_in_out { flags, commit_id, payload_sz, padding, reserved };
    42 fuse_uring_cmd_req { flags, commit_id, qid, padding };
    42 fuse_uring_req_header { in_out, op_in, ring_ent_in_out };
}

/// Flags by name. Those newer than [`OLDEST_HEADER`] are in [`newer_flag`].
fn flags() -> Vec<Row> {
    fn rows<F: bitflags::Flags>(bits: impl Fn(&F) -> u64) -> Vec<Row> {
        F::FLAGS
            .iter()
            .map(|flag| Row {
                since: newer_flag(flag.name()),
                expression: flag.name().to_owned(),
                value: bits(flag.value()),
            })
            .collect()
    }
    [
        rows::<InitFlags>(|f| f.bits()),
        rows::<CuseFlags>(|f| f.bits().into()),
        rows::<OpenOutFlags>(|f| f.bits().into()),
        rows::<OpenInFlags>(|f| f.bits().into()),
        rows::<ReleaseFlags>(|f| f.bits().into()),
        rows::<GetattrFlags>(|f| f.bits().into()),
        rows::<SetattrValid>(|f| f.bits().into()),
        rows::<AttrFlags>(|f| f.bits().into()),
        rows::<SetxattrFlags>(|f| f.bits().into()),
        rows::<ExpireFlags>(|f| f.bits().into()),
        rows::<ReadFlags>(|f| f.bits().into()),
        rows::<WriteFlags>(|f| f.bits().into()),
        rows::<FsyncFlags>(|f| f.bits().into()),
        rows::<LockFlags>(|f| f.bits().into()),
        rows::<IoctlFlags>(|f| f.bits().into()),
        rows::<PollFlags>(|f| f.bits().into()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn newer_flag(name: &str) -> u32 {
    match name {
        "FUSE_CREATE_SUPP_GROUP" | "FUSE_DIRECT_IO_ALLOW_MMAP" => 39,
        "FUSE_PASSTHROUGH" | "FUSE_NO_EXPORT_SUPPORT" | "FUSE_HAS_RESEND" | "FOPEN_PASSTHROUGH" => {
            40
        }
        "FUSE_ALLOW_IDMAP" => 41,
        "FUSE_OVER_IO_URING" => 42,
        "FUSE_REQUEST_TIMEOUT" => 43,
        _ => 0,
    }
}

fn opcodes() -> impl Iterator<Item = Row> {
    TABLE.iter().map(|row| Row {
        since: match row.opcode {
            Opcode::FUSE_STATX => 39,
            Opcode::FUSE_COPY_FILE_RANGE_64 => 45,
            _ => 0,
        },
        expression: format!("{:?}", row.opcode),
        value: row.opcode as u64,
    })
}

fn constants() -> impl Iterator<Item = Row> {
    use NotifyCode::*;
    let codes = [
        (0, FUSE_NOTIFY_POLL),
        (0, FUSE_NOTIFY_INVAL_INODE),
        (0, FUSE_NOTIFY_INVAL_ENTRY),
        (0, FUSE_NOTIFY_STORE),
        (0, FUSE_NOTIFY_RETRIEVE),
        (0, FUSE_NOTIFY_DELETE),
        (40, FUSE_NOTIFY_RESEND),
        (44, FUSE_NOTIFY_INC_EPOCH),
        (45, FUSE_NOTIFY_PRUNE),
    ]
    .map(|(since, code)| (since, format!("{code:?}"), code as u64));
    let others = [
        (0, "FUSE_KERNEL_VERSION", FUSE_KERNEL_VERSION.into()),
        (0, "FUSE_MIN_READ_BUFFER", FUSE_MIN_READ_BUFFER as u64),
        (0, "FUSE_IOCTL_MAX_IOV", FUSE_IOCTL_MAX_IOV as u64),
        (0, "FUSE_MAX_NR_SECCTX", FUSE_MAX_NR_SECCTX.into()),
        (0, "FUSE_COMPAT_INIT_OUT_SIZE", FUSE_COMPAT_INIT_OUT_SIZE as u64),
        (0, "FUSE_COMPAT_22_INIT_OUT_SIZE", FUSE_COMPAT_22_INIT_OUT_SIZE as u64),
        (0, "FUSE_COMPAT_SETXATTR_IN_SIZE", FUSE_COMPAT_SETXATTR_IN_SIZE as u64),
        (0, "FUSE_SETUPMAPPING_FLAG_WRITE", FUSE_SETUPMAPPING_FLAG_WRITE),
        (0, "FUSE_SETUPMAPPING_FLAG_READ", FUSE_SETUPMAPPING_FLAG_READ),
        (39, "FUSE_EXT_GROUPS", FUSE_EXT_GROUPS.into()),
        (40, "FUSE_UNIQUE_RESEND", FUSE_UNIQUE_RESEND),
        (42, "FUSE_URING_IN_OUT_HEADER_SZ", FUSE_URING_IN_OUT_HEADER_SZ as u64),
        (42, "FUSE_URING_OP_IN_OUT_SZ", FUSE_URING_OP_IN_OUT_SZ as u64),
    ]
    .map(|(since, name, value)| (since, name.to_owned(), value));
    codes.into_iter().chain(others).map(|(since, expression, value)| Row {
        since,
        expression,
        value,
    })
}

fn all_rows() -> Vec<Row> {
    layouts().into_iter().chain(flags()).chain(opcodes()).chain(constants()).collect()
}

/// Past the test harness' capture: a skipped test must be seen.
fn skip(reason: &str) {
    writeln!(io::stderr(), "SKIP: {reason}").expect("stderr");
}

/// The program that prints `name value` for everything the header is new enough for.
fn program(rows: &[Row]) -> String {
    let mut source = String::from(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/fuse.h>\nint main(void) {\n",
    );
    source += "printf(\"%d minor\\n\", FUSE_KERNEL_MINOR_VERSION);\n";
    for Row { since, expression, .. } in rows {
        source += &format!("#if FUSE_KERNEL_MINOR_VERSION >= {since}\n");
        source +=
            &format!("printf(\"%llu {expression}\\n\", (unsigned long long)({expression}));\n");
        source += "#endif\n";
    }
    // A flag such as `1 << 31` is an int, and negative as unsigned long long.
    source.replace("(FUSE_INIT_RESERVED)", "(unsigned)(FUSE_INIT_RESERVED)") + "return 0; }\n"
}

/// What the header says, or why that cannot be known.
fn header_values(rows: &[Row]) -> Result<BTreeMap<String, u64>, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, binary) = (dir.path().join("header.c"), dir.path().join("header"));
    let compile = |text: &str| {
        fs::write(&source, text).expect("a source file");
        Command::new("cc").arg("-w").arg("-o").arg(&binary).arg(&source).output()
    };
    let probe = compile("#include <linux/fuse.h>\nint main(void) { return 0; }\n")
        .map_err(|error| format!("no C compiler: {error}"))?;
    if !probe.status.success() {
        return Err("no <linux/fuse.h>, or no working C compiler".to_owned());
    }
    let output = compile(&program(rows)).expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new(&binary).output().expect("the program runs");
    assert!(output.status.success());
    Ok(String::from_utf8(output.stdout)
        .expect("ASCII")
        .lines()
        .map(|line| line.split_once(' ').expect("value and name"))
        .map(|(value, name)| (name.to_owned(), value.parse().expect("a number")))
        .collect())
}

#[test]
fn the_header_says_the_same() {
    let rows = all_rows();
    // An older header may lack what the program names, and then it does not compile.
    let minor = match header_values(&[]) {
        Err(reason) => return skip(&reason),
        Ok(values) => values["minor"] as u32,
    };
    if minor < OLDEST_HEADER {
        return skip(&format!("<linux/fuse.h> is 7.{minor}, needed is 7.{OLDEST_HEADER}"));
    }
    let values = header_values(&rows).expect("a header");
    for row in rows.iter().filter(|row| row.since <= minor) {
        assert_eq!(values.get(&row.expression), Some(&row.value), "{}", row.expression);
    }
    let newer = rows.iter().filter(|row| row.since > minor).count();
    if newer > 0 {
        skip(&format!("{newer} of {} rows are newer than <linux/fuse.h> 7.{minor}", rows.len()));
    }
}

#[test]
fn what_is_newer_than_the_header() {
    let rows = all_rows();
    let value = |name: &str| rows.iter().find(|row| row.expression == name).map(|row| row.value);
    for (name, expected) in [
        ("sizeof(struct fuse_sx_time)", 16),
        ("sizeof(struct fuse_statx)", 256),
        ("offsetof(struct fuse_statx, ino)", 32),
        ("offsetof(struct fuse_statx, atime)", 64),
        ("offsetof(struct fuse_statx, btime)", 80),
        ("offsetof(struct fuse_statx, rdev_major)", 128),
        ("sizeof(struct fuse_statx_in)", 24),
        ("sizeof(struct fuse_statx_out)", 288),
        ("sizeof(struct fuse_supp_groups)", 4),
        ("offsetof(struct fuse_open_out, backing_id)", 12),
        ("offsetof(struct fuse_init_out, max_stack_depth)", 36),
        ("offsetof(struct fuse_init_out, request_timeout)", 40),
        ("sizeof(struct fuse_init_out)", 64),
        ("sizeof(struct fuse_backing_map)", 16),
        ("sizeof(struct fuse_uring_ent_in_out)", 32),
        ("sizeof(struct fuse_uring_req_header)", 288),
        ("sizeof(struct fuse_uring_cmd_req)", 24),
        ("sizeof(struct fuse_copy_file_range_out)", 8),
        ("sizeof(struct fuse_notify_prune_out)", 16),
        ("FUSE_DIRECT_IO_ALLOW_MMAP", 1 << 36),
        ("FUSE_PASSTHROUGH", 1 << 37),
        ("FUSE_NO_EXPORT_SUPPORT", 1 << 38),
        ("FUSE_HAS_RESEND", 1 << 39),
        ("FUSE_ALLOW_IDMAP", 1 << 40),
        ("FUSE_OVER_IO_URING", 1 << 41),
        ("FUSE_REQUEST_TIMEOUT", 1 << 42),
        ("FUSE_CREATE_SUPP_GROUP", 1 << 34),
        ("FOPEN_PASSTHROUGH", 1 << 7),
        ("FUSE_STATX", 52),
        ("FUSE_COPY_FILE_RANGE_64", 53),
        ("FUSE_NOTIFY_RESEND", 7),
        ("FUSE_NOTIFY_INC_EPOCH", 8),
        ("FUSE_NOTIFY_PRUNE", 9),
        ("FUSE_EXT_GROUPS", 32),
        ("FUSE_UNIQUE_RESEND", 1 << 63),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
}

/// A struct or field that is added to `abi.rs` and forgotten here would never be compared.
#[test]
fn every_struct_and_field_is_compared() {
    let mut declared = BTreeSet::new();
    let text = include_str!("../src/wire/abi.rs");
    for part in text.split("struct ").skip(1) {
        let Some((name, rest)) = part.split_once('{') else { continue };
        let (fields, _) = rest.split_once('}').expect("a struct ends");
        let name = name.trim();
        if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            continue;
        }
        for field in fields.split(',').filter_map(|field| field.split_once(':')) {
            let field = field.0.trim().trim_start_matches("pub ").trim_start_matches("r#");
            declared.insert(format!("offsetof(struct {name}, {field})"));
        }
    }
    let compared = layouts().into_iter().map(|row| row.expression);
    let compared: BTreeSet<String> = compared.filter(|row| row.starts_with("offsetof")).collect();
    assert_eq!(declared, compared);
}
