//! From bytes to a [`Request`].

use zerocopy::FromBytes;

use super::abi::fuse_in_header;
use super::flags::InitFlags;
use super::reader::Reader;
use super::{DecodeError, NodeId, Opcode, Unique, ops};

/// What INIT negotiated, as far as the form of requests depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The smaller of both sides' minor versions.
    pub minor: u32,
    /// The flags of the reply to INIT.
    pub flags: InitFlags,
}

impl Default for Protocol {
    /// Before INIT: the oldest version served, nothing negotiated.
    fn default() -> Self {
        Self { minor: 31, flags: InitFlags::empty() }
    }
}

/// What every request says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Bytes, the header's 40 included.
    pub len: u32,
    /// The operation, as a number.
    pub opcode: u32,
    /// The number that the reply repeats.
    pub unique: Unique,
    /// The node that the operation is about (0 where there is none).
    pub node: NodeId,
    /// The caller's file system user id.
    pub uid: u32,
    /// The caller's file system group id.
    pub gid: u32,
    /// The caller's thread id in the daemon's pid namespace, or 0.
    pub pid: u32,
}

/// One request, borrowing from the bytes it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Who asks, and about what.
    pub header: RequestHeader,
    /// What is asked.
    pub operation: Operation<'a>,
}

macro_rules! operations {
    ($($opcode:ident => $variant:ident($type:ty),)*) => {
        /// What a request asks: one variant an opcode.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation<'a> {
            $(#[doc = concat!("`", stringify!($opcode), "`")] $variant($type),)*
        }

        impl Operation<'_> {
            /// The opcode of this operation.
            pub const fn opcode(&self) -> Opcode {
                match self { $(Self::$variant(_) => Opcode::$opcode,)* }
            }
        }

        fn operation<'a>(
            opcode: Opcode,
            r: &mut Reader<'a>,
            p: &Protocol,
        ) -> Result<Operation<'a>, DecodeError> {
            Ok(match opcode {
                $(Opcode::$opcode => Operation::$variant(ops::$variant::decode(r, p)?),)*
            })
        }
    };
}

operations! {
    FUSE_LOOKUP => Lookup(ops::Lookup<'a>),
    FUSE_FORGET => Forget(ops::Forget),
    FUSE_GETATTR => Getattr(ops::Getattr),
    FUSE_SETATTR => Setattr(ops::Setattr),
    FUSE_READLINK => Readlink(ops::Readlink),
    FUSE_SYMLINK => Symlink(ops::Symlink<'a>),
    FUSE_MKNOD => Mknod(ops::Mknod<'a>),
    FUSE_MKDIR => Mkdir(ops::Mkdir<'a>),
    FUSE_UNLINK => Unlink(ops::Unlink<'a>),
    FUSE_RMDIR => Rmdir(ops::Rmdir<'a>),
    FUSE_RENAME => Rename(ops::Rename<'a>),
    FUSE_LINK => Link(ops::Link<'a>),
    FUSE_OPEN => Open(ops::Open),
    FUSE_READ => Read(ops::Read),
    FUSE_WRITE => Write(ops::Write<'a>),
    FUSE_STATFS => Statfs(ops::Statfs),
    FUSE_RELEASE => Release(ops::Release),
    FUSE_FSYNC => Fsync(ops::Fsync),
    FUSE_SETXATTR => Setxattr(ops::Setxattr<'a>),
    FUSE_GETXATTR => Getxattr(ops::Getxattr<'a>),
    FUSE_LISTXATTR => Listxattr(ops::Listxattr),
    FUSE_REMOVEXATTR => Removexattr(ops::Removexattr<'a>),
    FUSE_FLUSH => Flush(ops::Flush),
    FUSE_INIT => Init(ops::Init),
    FUSE_OPENDIR => Opendir(ops::Opendir),
    FUSE_READDIR => Readdir(ops::Readdir),
    FUSE_RELEASEDIR => Releasedir(ops::Releasedir),
    FUSE_FSYNCDIR => Fsyncdir(ops::Fsyncdir),
    FUSE_GETLK => Getlk(ops::Getlk),
    FUSE_SETLK => Setlk(ops::Setlk),
    FUSE_SETLKW => Setlkw(ops::Setlkw),
    FUSE_ACCESS => Access(ops::Access),
    FUSE_CREATE => Create(ops::Create<'a>),
    FUSE_INTERRUPT => Interrupt(ops::Interrupt),
    FUSE_BMAP => Bmap(ops::Bmap),
    FUSE_DESTROY => Destroy(ops::Destroy),
    FUSE_IOCTL => Ioctl(ops::Ioctl<'a>),
    FUSE_POLL => Poll(ops::Poll),
    FUSE_NOTIFY_REPLY => NotifyReply(ops::NotifyReply<'a>),
    FUSE_BATCH_FORGET => BatchForget(ops::BatchForget<'a>),
    FUSE_FALLOCATE => Fallocate(ops::Fallocate),
    FUSE_READDIRPLUS => Readdirplus(ops::Readdirplus),
    FUSE_RENAME2 => Rename2(ops::Rename2<'a>),
    FUSE_LSEEK => Lseek(ops::Lseek),
    FUSE_COPY_FILE_RANGE => CopyFileRange(ops::CopyFileRange),
    FUSE_SETUPMAPPING => Setupmapping(ops::Setupmapping),
    FUSE_REMOVEMAPPING => Removemapping(ops::Removemapping<'a>),
    FUSE_SYNCFS => Syncfs(ops::Syncfs),
    FUSE_TMPFILE => Tmpfile(ops::Tmpfile<'a>),
    FUSE_STATX => Statx(ops::Statx),
    FUSE_COPY_FILE_RANGE_64 => CopyFileRange64(ops::CopyFileRange64),
    CUSE_INIT => CuseInit(ops::CuseInit),
}

/// Decodes one request: `buf` is exactly what one read from `/dev/fuse` gave.
///
/// # Errors
/// Any bytes that are no request; [`DecodeError::errno`] is what to answer.
pub fn decode<'a>(buf: &'a [u8], p: &Protocol) -> Result<Request<'a>, DecodeError> {
    let (head, body) = fuse_in_header::read_from_prefix(buf)
        .map_err(|_| DecodeError::ShortHeader { read: buf.len() })?;
    let unique = Unique(head.unique);
    if usize::try_from(head.len) != Ok(buf.len()) {
        return Err(DecodeError::LengthMismatch { header: head.len, read: buf.len(), unique });
    }
    let opcode = Opcode::from_u32(head.opcode)
        .ok_or(DecodeError::UnknownOpcode { opcode: head.opcode, unique })?;
    let (body, extensions) = body
        .len()
        .checked_sub(usize::from(head.total_extlen) * 8)
        .and_then(|at| body.split_at_checked(at))
        .ok_or(DecodeError::BadBody { opcode, unique, what: "extensions are cut off" })?;
    let mut reader = Reader::new(body, extensions, opcode, unique);
    let header = RequestHeader {
        len: head.len,
        opcode: head.opcode,
        unique,
        node: NodeId(head.nodeid),
        uid: head.uid,
        gid: head.gid,
        pid: head.pid,
    };
    Ok(Request { header, operation: operation(opcode, &mut reader, p)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::fixture;
    use nix::errno::Errno;

    fn error(bytes: &[u8]) -> DecodeError {
        decode(bytes, &Protocol::default()).expect_err("no request")
    }

    #[test]
    fn the_header_is_read_field_by_field() {
        let expected = RequestHeader {
            len: 50,
            opcode: 1,
            unique: Unique(0x1001),
            node: NodeId(5),
            uid: 1000,
            gid: 100,
            pid: 77,
        };
        let bytes = fixture("lookup");
        assert_eq!(decode(&bytes, &Protocol::default()).unwrap().header, expected);
    }

    #[test]
    fn errors_say_whom_to_answer_and_what() {
        let mut bytes = fixture("lookup");
        let unique = Unique(0x1001);

        let short = error(&bytes[..39]);
        assert_eq!(short, DecodeError::ShortHeader { read: 39 });
        assert_eq!((short.unique(), short.errno()), (None, Errno::EIO));

        let mismatch = error(&bytes[..49]);
        assert_eq!(mismatch, DecodeError::LengthMismatch { header: 50, read: 49, unique });
        assert_eq!((mismatch.unique(), mismatch.errno()), (Some(unique), Errno::EIO));

        bytes.push(0);
        let mismatch = error(&bytes);
        assert_eq!(mismatch, DecodeError::LengthMismatch { header: 50, read: 51, unique });
        bytes.pop();

        bytes[4] = 7;
        let unknown = error(&bytes);
        assert_eq!(unknown, DecodeError::UnknownOpcode { opcode: 7, unique });
        assert_eq!((unknown.unique(), unknown.errno()), (Some(unique), Errno::ENOSYS));

        bytes[4] = 9;
        bytes[36] = 100;
        let bad = error(&bytes);
        assert_eq!(bad.to_string(), "request 4097, MKDIR: extensions are cut off");
        assert_eq!((bad.unique(), bad.errno()), (Some(unique), Errno::EIO));
    }
}
