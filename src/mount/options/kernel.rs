//! What the kernel and `fusermount3` are told: type, source, and data.

use nix::mount::MsFlags;
use nix::sys::stat::SFlag;

use super::{Options, grammar, table};

/// Second half of the type in the mount table unless `subtype=` says otherwise.
const SUBTYPE: &str = "fusex";

/// What the mount itself contributes to the data string.
#[derive(Clone, Copy, Debug)]
pub struct KernelData {
    /// The `/dev/fuse` descriptor, in this process.
    pub fd: i32,
    /// `st_mode` of the mount point; the permission bits are left out.
    pub mode: u32,
    /// Who mounts.
    pub uid: u32,
    /// And with which group.
    pub gid: u32,
}

impl Options {
    /// The type for mount(2). `fsname=` alone says that the user wants the plain form.
    pub fn kernel_type(&self) -> String {
        let kernel = self.kernel.name();
        match (&self.subtype, &self.fsname) {
            (Some(subtype), _) => format!("{kernel}.{subtype}"),
            (None, Some(_)) => kernel.to_string(),
            (None, None) => format!("{kernel}.{SUBTYPE}"),
        }
    }

    /// The source for mount(2): `fsname=` or the label.
    pub fn kernel_source<'a>(&'a self, label: &'a str) -> &'a str {
        self.fsname.as_deref().unwrap_or(label)
    }

    /// The data string for mount(2).
    ///
    /// `default_permissions` is there with `allow_other` even if nobody asked: a mount that
    /// others can reach must not depend on the server to check them.
    pub fn kernel_data(&self, mount: KernelData) -> String {
        let KernelData { fd, mode, uid, gid } = mount;
        let kind = mode & SFlag::S_IFMT.bits();
        let mut data = format!("fd={fd},rootmode={kind:o},user_id={uid},group_id={gid}");
        if self.others() {
            data.push_str(",allow_other");
        }
        if self.kernel_checks() {
            data.push_str(",default_permissions");
        }
        if let Some(max_read) = self.max_read {
            data.push_str(&format!(",max_read={max_read}"));
        }
        data
    }

    /// The `-o` string for `fusermount3`: the same facts, escaped, without what it adds itself
    /// and without `auto_unmount`.
    ///
    /// Flags are named in full because it starts from `nosuid,nodev`, as [`Options`] does.
    pub fn fusermount_options(&self, label: &str) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = Vec::new();
        if self.others() {
            words.push(b"allow_other".to_vec());
        }
        if self.kernel_checks() {
            words.push(b"default_permissions".to_vec());
        }
        if let Some(max_read) = self.max_read {
            words.push(format!("max_read={max_read}").into_bytes());
        }
        for (flag, name) in [(MsFlags::MS_NOSUID, "suid"), (MsFlags::MS_NODEV, "dev")] {
            if !self.flags.contains(flag) {
                words.push(name.as_bytes().to_vec());
            }
        }
        words.extend(table::flag_names(self.flags).map(|name| name.as_bytes().to_vec()));
        words.push([b"fsname=", &*grammar::escape(self.kernel_source(label).as_bytes())].concat());
        if let Some(subtype) = self.kernel_type().strip_prefix("fuse.") {
            words.push([b"subtype=", &*grammar::escape(subtype.as_bytes())].concat());
        }
        words.join(&b',')
    }

    /// Whether the kernel checks permissions. It need not where only the one user can come in
    /// whose rights the server has.
    pub fn kernel_checks(&self) -> bool {
        self.default_permissions || self.others()
    }

    /// Whether the kernel must let other users in: for `allow_root` the session refuses the rest.
    fn others(&self) -> bool {
        self.allow_other || self.allow_root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::options::Unknown;

    const MOUNT: KernelData = KernelData { fd: 5, mode: 0o040755, uid: 1000, gid: 100 };

    fn options(string: &str) -> Options {
        Options::parse([string], Unknown::Refuse).unwrap()
    }

    #[test]
    fn type_and_source() {
        for (given, fs_type, source) in [
            ("", "fuse.fusex", "/srv"),
            ("fsname=X", "fuse", "X"),
            ("subtype=y", "fuse.y", "/srv"),
            ("fsname=X,subtype=y", "fuse.y", "X"),
            ("kernel=fusebpf", "fusebpf.fusex", "/srv"),
            ("kernel=fusebpf,kernel=fuse", "fuse.fusex", "/srv"),
            ("kernel=fusebpf,fsname=X", "fusebpf", "X"),
            (r"fsname=a\,b c", "fuse", "a,b c"),
        ] {
            let options = options(given);
            assert_eq!(options.kernel_type(), fs_type, "{given}");
            assert_eq!(options.kernel_source("/srv"), source, "{given}");
        }
    }

    #[test]
    fn data_of_a_user_and_of_root() {
        let plain = "fd=5,rootmode=40000,user_id=1000,group_id=100";
        assert_eq!(options("").kernel_data(MOUNT), plain);
        for (given, more) in [
            ("default_permissions", ",default_permissions"),
            ("allow_other", ",allow_other,default_permissions"),
            ("allow_root", ",allow_other,default_permissions"),
            ("max_read=64K", ",max_read=65536"),
            ("blksize=4096,ro,max_write=4096", ""),
        ] {
            assert_eq!(options(given).kernel_data(MOUNT), format!("{plain}{more}"), "{given}");
        }
        let root = KernelData { uid: 0, gid: 0, ..MOUNT };
        let data = "fd=5,rootmode=40000,user_id=0,group_id=0";
        assert_eq!(options("").kernel_data(root), data);
    }

    #[test]
    fn what_fusermount_is_told() {
        let told = |given: &str| {
            let bytes = options(given).fusermount_options(r"/srv/a,b\c");
            String::from_utf8(bytes).unwrap()
        };
        let label = r"fsname=/srv/a\,b\\c,subtype=fusex";
        assert_eq!(told(""), format!("nosuid,nodev,{label}"));
        assert_eq!(told("suid,dev,ro,noatime"), format!("suid,dev,ro,noatime,{label}"));
        assert_eq!(
            told("allow_root,auto_unmount,max_read=8192"),
            format!("allow_other,default_permissions,max_read=8192,nosuid,nodev,{label}")
        );
        assert_eq!(told("fsname=X"), "nosuid,nodev,fsname=X");
    }
}
