//! Data.

/// WRITE to a file that appends whatever the position is: how many of the request's `length`
/// bytes are in the file, whose size was noted as `before` and is `now`. The rest is to be written.
///
/// A write to any other file needs no decision: it goes to the same place again.
pub fn write(before: u64, now: u64, length: usize) -> usize {
    let grown = now.saturating_sub(before);
    usize::try_from(grown).map_or(length, |grown| grown.min(length))
}

#[cfg(test)]
mod tests {
    use super::write;

    #[test]
    fn what_the_file_has_grown_by_is_written() {
        assert_eq!(write(100, 100, 10), 0);
        assert_eq!(write(100, 104, 10), 4);
        assert_eq!(write(100, 110, 10), 10);
        assert_eq!(write(100, 200, 10), 10, "somebody else appended too");
        assert_eq!(write(100, 50, 10), 0, "somebody else truncated it");
    }
}
