//! Options as a user writes them.

use super::*;

fn parse(string: &str) -> Result<Options, OptionError> {
    Options::parse([string], Unknown::Refuse)
}

fn message(string: &str) -> String {
    parse(string).unwrap_err().to_string()
}

#[test]
fn everything_has_its_field() {
    let all = "allow_other,default_permissions,auto_unmount,kernel=fusebpf,fsname=f,subtype=s,max_read=8K,\
               blksize=4096,max_write=1M,max_readahead=0,max_background=12,\
               congestion_threshold=9,time_gran=1000,clone_fd,max_threads=4,entry_timeout=1.5,\
               attr_timeout=0.25,negative_timeout=0,source=/a b,writeback,cache=never,\
               nopassthrough,ro,suid,dev,noexec,noatime,sync,dirsync";
    let expected = Options {
        allow_other: true,
        allow_root: false,
        default_permissions: true,
        auto_unmount: true,
        kernel: Kernel::Fusebpf,
        fsname: Some("f".into()),
        subtype: Some("s".into()),
        max_read: Some(8192),
        blksize: Some(4096),
        max_write: Some(1 << 20),
        max_readahead: Some(0),
        max_background: Some(12),
        congestion_threshold: Some(9),
        time_gran: Some(1000),
        clone_fd: true,
        max_threads: Some(4),
        entry_timeout: Some(Duration::from_millis(1500)),
        attr_timeout: Some(Duration::from_millis(250)),
        negative_timeout: Some(Duration::ZERO),
        source: Some("/a b".into()),
        writeback: true,
        cache: Cache::Never,
        passthrough: false,
        flags: MsFlags::MS_RDONLY
            | MsFlags::MS_NOEXEC
            | MsFlags::MS_NOATIME
            | MsFlags::MS_SYNCHRONOUS
            | MsFlags::MS_DIRSYNC,
    };
    assert_eq!(parse(all), Ok(expected));
    assert_eq!(parse(""), Ok(Options::default()));
}

#[test]
fn the_last_of_two_wins() {
    assert_eq!(parse("max_read=8192,max_read=4096").unwrap().max_read, Some(4096));
    let options = Options::parse(["cache=always,ro", "cache=never,rw"], Unknown::Refuse).unwrap();
    assert_eq!(options.cache, Cache::Never);
    assert_eq!(options.flags, Options::default().flags);
    for (given, allow_other, allow_root) in
        [("allow_other,allow_root", false, true), ("allow_root,allow_other", true, false)]
    {
        let options = parse(given).unwrap();
        assert_eq!((options.allow_other, options.allow_root), (allow_other, allow_root));
    }
    assert!(!parse("writeback,nowriteback").unwrap().writeback);
    assert!(parse("nopassthrough,passthrough").unwrap().passthrough);
}

#[test]
fn opposite_flags_undo_each_other() {
    for (on, off) in [
        ("ro", "rw"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noexec", "exec"),
        ("noatime", "atime"),
        ("nodiratime", "diratime"),
        ("relatime", "norelatime"),
        ("strictatime", "nostrictatime"),
        ("lazytime", "nolazytime"),
        ("sync", "async"),
        ("nosymfollow", "symfollow"),
    ] {
        let flags = |words: String| parse(&format!("flags=0,{words}")).unwrap().flags;
        assert_eq!(flags(format!("{on},{off}")), MsFlags::empty(), "{on},{off}");
        assert_ne!(flags(format!("{off},{on}")), MsFlags::empty(), "{off},{on}");
    }
    let atime = parse("flags=0,noatime,relatime,strictatime").unwrap().flags;
    assert_eq!(atime, MsFlags::MS_STRICTATIME);
}

#[test]
fn flags_by_number_replace_those_before() {
    assert_eq!(parse("flags=0").unwrap().flags, MsFlags::empty());
    let expected = MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC;
    assert_eq!(parse("noatime,flags=0x1,noexec").unwrap().flags, expected);
    assert!(message("flags=4096").starts_with("option 'flags': bad value '4096': give mount(2)"));
}

#[test]
fn words_of_fstab_have_no_effect() {
    let words = "defaults,auto,noauto,user,user=me,users,nouser,owner,group,nofail,_netdev,\
                 x-systemd.automount,X-mount.mkdir=0755,comment=anything,\
                 context=\"u:object_r:t:s0:c1,c2\"";
    assert_eq!(parse(words), Ok(Options::default()));
}

#[test]
fn unknown_options_are_refused_by_name() {
    assert_eq!(
        message("ro,alow_other"),
        "option 'alow_other': unknown: did you mean 'allow_other'?"
    );
    assert_eq!(message("max_wirte=4096"), "option 'max_wirte': unknown: did you mean 'max_write'?");
    assert_eq!(message("zzz=1"), "option 'zzz': unknown: 'fusex mount --help' lists all options");
    let sloppy = Options::parse(["zzz=1,ro"], Unknown::Ignore).unwrap();
    assert!(sloppy.flags.contains(MsFlags::MS_RDONLY));
    assert!(Options::parse(["max_read=1"], Unknown::Ignore).is_err(), "values are still checked");
}

#[test]
fn bad_values_say_what_is_wanted() {
    assert_eq!(message("max_read"), "option 'max_read': needs a value: write 'max_read=BYTES'");
    assert_eq!(message("ro=1"), "option 'ro': takes no value: write 'ro' alone");
    assert_eq!(
        message("max_read=4095"),
        "option 'max_read': bad value '4095': give a size from 4096 to 268435456 bytes \
         ('K' and 'M' may follow)"
    );
    assert_eq!(
        message("max_threads=0"),
        "option 'max_threads': bad value '0': give a whole number from 1 to 4096"
    );
    assert_eq!(
        message("cache=maybe"),
        "option 'cache': bad value 'maybe': give never, auto or always"
    );
    assert_eq!(
        message("attr_timeout=-1"),
        "option 'attr_timeout': bad value '-1': give seconds from 0 to 1000000000, as '1' or '0.5'"
    );
    for bad in ["fsname=", "subtype=", "source=", "time_gran=3", "blksize=1000", "max_background=0"]
    {
        assert!(matches!(parse(bad), Err(OptionError::BadValue { .. })), "{bad}");
    }
}

#[test]
fn every_name_is_known_once_and_listed() {
    let mut names: Vec<&str> = table::TABLE.iter().map(|row| row.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(!names.iter().any(|name| table::is_ignored(name)));

    let help = help();
    for name in ["allow_other", "max_read=BYTES", "cache=never|auto|always", "flags=N", "x-*"] {
        assert!(help.contains(name), "{name}");
    }
}
