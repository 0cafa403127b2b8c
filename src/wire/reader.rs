//! A cursor over the body of one request.

use std::ffi::CStr;

use zerocopy::FromBytes;

use super::{DecodeError, Name, Opcode, Unique};

/// What is left of a body. Every method that takes bytes checks that they are there; structs are
/// copied out, so alignment does not matter.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    extensions: &'a [u8],
    opcode: Opcode,
    unique: Unique,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(
        rest: &'a [u8],
        extensions: &'a [u8],
        opcode: Opcode,
        unique: Unique,
    ) -> Self {
        Self { rest, extensions, opcode, unique }
    }

    /// The error that names this request.
    pub(crate) const fn bad(&self, what: &'static str) -> DecodeError {
        DecodeError::BadBody { opcode: self.opcode, unique: self.unique, what }
    }

    /// The next bytes as a struct.
    pub(crate) fn take<T: FromBytes>(&mut self) -> Result<T, DecodeError> {
        let (value, rest) =
            T::read_from_prefix(self.rest).map_err(|_| self.bad("fixed part is cut off"))?;
        self.rest = rest;
        Ok(value)
    }

    /// A string and its NUL.
    pub(crate) fn cstr(&mut self) -> Result<&'a CStr, DecodeError> {
        let string =
            CStr::from_bytes_until_nul(self.rest).map_err(|_| self.bad("string without an end"))?;
        self.rest = &self.rest[string.count_bytes() + 1..];
        Ok(string)
    }

    /// A string that must be a path component.
    pub(crate) fn name(&mut self) -> Result<Name<'a>, DecodeError> {
        Name::new(self.cstr()?).map_err(|error| match error {
            DecodeError::BadName { what } => self.bad(what),
            other => other,
        })
    }

    /// Exactly `len` bytes.
    pub(crate) fn bytes(&mut self, len: u32) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or_else(|| self.bad("data is cut off"))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// All that is left, which must be `len` bytes: the body ends with counted data.
    pub(crate) fn data(&mut self, len: u32) -> Result<&'a [u8], DecodeError> {
        let bytes = self.bytes(len)?;
        if self.rest.is_empty() { Ok(bytes) } else { Err(self.bad("more data than announced")) }
    }

    /// `count` times `size` bytes.
    pub(crate) fn array(&mut self, count: u32, size: u32) -> Result<&'a [u8], DecodeError> {
        let len = count.checked_mul(size).ok_or_else(|| self.bad("count too large"))?;
        self.bytes(len)
    }

    /// The extensions' bytes: those that `total_extlen` marks off, or (7.36 and 7.37, which have
    /// no such field) what is left after the names if security contexts were negotiated.
    pub(crate) fn extension_bytes(&mut self, security_ctx: bool) -> &'a [u8] {
        if self.extensions.is_empty() && security_ctx {
            std::mem::take(&mut self.rest)
        } else {
            self.extensions
        }
    }
}
