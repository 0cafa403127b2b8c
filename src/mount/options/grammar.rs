//! How an `-o` string is cut into options: commas, and backslashes before what would be one.
//!
//! `\ooo` (three octal digits, at most 377) is a byte; a backslash before anything else gives
//! that character, so `\,` is a comma that does not separate and `\\` a backslash. The words
//! that mount(8) puts in double quotes, as `context="a,b"`, keep the commas between them.

use super::OptionError;
use crate::mount::mountinfo::octal;

/// The options of one string, unescaped; empty ones are left out.
///
/// # Errors
/// The string ends in a lone backslash, or an escape or a byte is NUL.
pub fn split(string: &[u8]) -> Result<Vec<Vec<u8>>, OptionError> {
    let mut options = Vec::new();
    let mut current = Vec::new();
    let mut quoted = false;
    let mut rest = string;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b',' if !quoted => options.push(std::mem::take(&mut current)),
            b'"' if quoted => quoted = false,
            b'"' if is_context(&current) => quoted = true,
            b'\\' => {
                let (unescaped, after) = escaped(tail)?;
                current.push(unescaped);
                rest = after;
            }
            _ => current.push(byte),
        }
    }
    options.push(current);
    options.retain(|option| !option.is_empty());
    if options.iter().any(|option| option.contains(&0)) {
        return Err(OptionError::Nul);
    }
    Ok(options)
}

/// The byte that follows a backslash, and what comes after it.
fn escaped(tail: &[u8]) -> Result<(u8, &[u8]), OptionError> {
    match tail {
        [] => Err(OptionError::LoneBackslash),
        [a @ b'0'..=b'3', b, c, after @ ..] => match octal(&[b'\\', *a, *b, *c]) {
            Some(byte) => Ok((byte, after)),
            None => Ok((*a, &tail[1..])),
        },
        [byte, after @ ..] => Ok((*byte, after)),
    }
}

/// Whether a security label is about to begin.
fn is_context(option: &[u8]) -> bool {
    option.ends_with(b"context=")
}

/// `value` with backslashes before commas and backslashes, so that [`split`] gives it back
/// whole. Backslashes come first in the rules of `fusermount3` too, which undoes the same two.
pub fn escape(value: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value {
        if matches!(byte, b',' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(string: &str) -> Vec<String> {
        let options = split(string.as_bytes()).unwrap();
        options.into_iter().map(|option| String::from_utf8(option).unwrap()).collect()
    }

    #[test]
    fn commas_separate() {
        assert_eq!(options("ro,fsname=x"), ["ro", "fsname=x"]);
        assert_eq!(options(",,ro,,"), ["ro"]);
        assert!(options("").is_empty());
    }

    #[test]
    fn escapes() {
        assert_eq!(options(r"fsname=a\,b,ro"), ["fsname=a,b", "ro"]);
        assert_eq!(options(r"fsname=a\\,ro"), [r"fsname=a\", "ro"]);
        assert_eq!(options(r"fsname=a\054b\040c"), ["fsname=a,b c"]);
        assert_eq!(options(r"fsname=\08\400\x"), ["fsname=08400x"]);
    }

    #[test]
    fn quotes_only_protect_security_labels() {
        assert_eq!(options(r#"rootcontext="u:r:c1,c2",ro"#), ["rootcontext=u:r:c1,c2", "ro"]);
        assert_eq!(options(r#"fsname="a,b""#), [r#"fsname="a"#, r#"b""#]);
    }

    #[test]
    fn what_cannot_be_an_option() {
        assert_eq!(split(br"fsname=a\"), Err(OptionError::LoneBackslash));
        assert_eq!(split(br"fsname=a\000"), Err(OptionError::Nul));
    }

    proptest! {
        #[test]
        fn escaping_is_undone_by_splitting(values in prop::collection::vec(
            prop::collection::vec(1u8.., 1..20), 1..5,
        )) {
            // Quotes have a meaning only after "context=".
            prop_assume!(values.iter().all(|value| !value.windows(2).any(|two| two == b"=\"")));
            let escaped: Vec<Vec<u8>> = values.iter().map(|value| escape(value)).collect();
            prop_assert_eq!(split(&escaped.join(&b','))?, values);
        }

        #[test]
        fn any_bytes_are_cut_or_refused(string in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(options) = split(&string) {
                prop_assert!(options.iter().all(|option| !option.is_empty()));
            }
        }
    }
}
