//! Readers of option values. Each gives the value or the text that says what is wanted.

use std::ops::RangeInclusive;
use std::time::Duration;

use nix::mount::MsFlags;

/// Longest time that a timeout may say: the kernel counts in jiffies of 64 bits, people in
/// years.
const MAX_SECONDS: f64 = 1e9;

/// A count in `range`.
pub(super) fn number(value: &[u8], range: RangeInclusive<u32>) -> Result<u32, String> {
    let want = || format!("a whole number from {} to {}", range.start(), range.end());
    digits(value).filter(|number| range.contains(number)).ok_or_else(want)
}

/// A count that fits `u16`, 1 or more.
pub(super) fn short(value: &[u8]) -> Result<u16, String> {
    // The range makes the conversion lossless.
    number(value, 1..=u32::from(u16::MAX)).map(|number| number as u16)
}

/// A size in bytes in `range`; `K` or `M` (1024, 1024²) may follow the number.
pub(crate) fn size(value: &[u8], range: RangeInclusive<u32>) -> Result<u32, String> {
    let want = || {
        format!("a size from {} to {} bytes ('K' and 'M' may follow)", range.start(), range.end())
    };
    let (number, unit) = match value {
        [number @ .., b'k' | b'K'] => (number, 1 << 10),
        [number @ .., b'm' | b'M'] => (number, 1 << 20),
        number => (number, 1),
    };
    let bytes = digits(number).and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| range.contains(bytes)).ok_or_else(want)
}

/// A size that is a power of two.
pub(super) fn power_of_two(value: &[u8], range: RangeInclusive<u32>) -> Result<u32, String> {
    let want = format!("a power of two from {} to {} bytes", range.start(), range.end());
    size(value, range).ok().filter(|bytes| bytes.is_power_of_two()).ok_or(want)
}

/// Nanoseconds: a power of ten up to one second.
pub(super) fn granularity(value: &[u8]) -> Result<u32, String> {
    let known = (0..=9).map(|exponent| 10u32.pow(exponent));
    let number = digits(value);
    let want = "a power of ten from 1 to 1000000000 nanoseconds";
    known.into_iter().find(|power| Some(*power) == number).ok_or_else(|| want.to_string())
}

/// Seconds, with decimals.
pub(super) fn seconds(value: &[u8]) -> Result<Duration, String> {
    let plain = value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let seconds = utf8(value).filter(|_| plain).and_then(|text| text.parse::<f64>().ok());
    seconds
        .filter(|seconds| *seconds <= MAX_SECONDS)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "seconds from 0 to 1000000000, as '1' or '0.5'".to_string())
}

/// Text that is not empty.
pub(super) fn text(value: &[u8]) -> Result<String, String> {
    utf8(value)
        .filter(|text| !text.is_empty())
        .map(str::to_string)
        .ok_or_else(|| "a text in UTF-8 that is not empty".to_string())
}

/// Mount flags by number, decimal or `0x`; only bits that a named option has.
pub(super) fn flags(value: &[u8], allowed: MsFlags) -> Result<MsFlags, String> {
    let bits = match value {
        [b'0', b'x' | b'X', hex @ ..] if hex.iter().all(u8::is_ascii_hexdigit) => {
            utf8(hex).and_then(|hex| u32::from_str_radix(hex, 16).ok())
        }
        decimal => digits(decimal),
    };
    let flags = bits.map(|bits| MsFlags::from_bits_retain(bits.into()));
    flags
        .filter(|flags| allowed.contains(*flags))
        .ok_or_else(|| format!("mount(2) flags, decimal or 0x, of the bits {:#x}", allowed.bits()))
}

/// A decimal number without sign.
fn digits(value: &[u8]) -> Option<u32> {
    let text = utf8(value).filter(|_| value.iter().all(u8::is_ascii_digit))?;
    text.parse().ok()
}

fn utf8(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_their_units() {
        assert_eq!(size(b"4096", 4096..=1 << 20), Ok(4096));
        assert_eq!(size(b"128K", 4096..=1 << 20), Ok(128 << 10));
        assert_eq!(size(b"1m", 4096..=1 << 20), Ok(1 << 20));
        for bad in [&b"4095"[..], b"2M", b"K", b"", b"+4096", b"-1", b"4096 ", b"4294967295M"] {
            let want = "a size from 4096 to 1048576 bytes ('K' and 'M' may follow)";
            assert_eq!(size(bad, 4096..=1 << 20), Err(want.to_string()));
        }
    }

    #[test]
    fn seconds_with_decimals() {
        assert_eq!(seconds(b"0"), Ok(Duration::ZERO));
        assert_eq!(seconds(b"1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds(b"86400"), Ok(Duration::from_secs(86400)));
        for bad in [&b"-1"[..], b"inf", b"nan", b"1e3", b"", b".", b"1.2.3", b"1000000001"] {
            assert!(seconds(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn other_numbers() {
        assert_eq!(granularity(b"1"), Ok(1));
        assert_eq!(granularity(b"1000000000"), Ok(1_000_000_000));
        assert!(granularity(b"20").is_err() && granularity(b"0").is_err());
        assert_eq!(short(b"65535"), Ok(65535));
        assert!(short(b"65536").is_err() && short(b"0").is_err());
        assert_eq!(power_of_two(b"4K", 512..=65536), Ok(4096));
        assert!(power_of_two(b"4097", 512..=65536).is_err());
    }

    #[test]
    fn flags_by_number() {
        let allowed = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
        assert_eq!(flags(b"3", allowed), Ok(allowed));
        assert_eq!(flags(b"0x1", allowed), Ok(MsFlags::MS_RDONLY));
        assert_eq!(flags(b"0", allowed), Ok(MsFlags::empty()));
        for bad in [&b"4"[..], b"0x", b"0x+1", b"x", b"-1"] {
            assert!(flags(bad, allowed).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
