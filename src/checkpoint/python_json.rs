//! JSON files as Python's libraries write them: numbers can be NaN, Infinity and -Infinity.

use super::not_the_file::not_the_file;
use crate::{Error, Result};
use std::io::ErrorKind;
use std::path::Path;

/// Reads a file of a diffusers folder.
///
/// # Errors
/// A file that is missing, cannot be read, or is another file in its place.
pub(super) fn read(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::file(path, "there is no such file, and a diffusers folder has one"),
        _ => Error::io(path)(error),
    })?;
    match not_the_file(text.as_bytes()) {
        Some(problem) => Err(Error::file(path, problem)),
        None => Ok(text),
    }
}

/// Messages about keys of a file that are not used.
pub(super) fn unknown_keys(file: &str, keys: Vec<String>) -> Vec<String> {
    keys.into_iter().map(|key| format!("{file}: the key `{key}` is not known and is ignored")).collect()
}

/// Puts the numbers that JSON does not have in quotes. A key with such a number that nobody reads
/// is then no error, and one that is read is refused with its value.
pub(super) fn quote_non_finite(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    let mut rest = text;
    let (mut in_string, mut escaped) = (false, false);
    while let Some(next) = rest.chars().next() {
        if !in_string && let Some(word) = ["-Infinity", "Infinity", "NaN"].iter().find(|word| rest.starts_with(**word))
        {
            quoted.extend(["\"", word, "\""]);
            rest = &rest[word.len()..];
            continue;
        }
        if next == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && next == '\\' && !escaped;
        quoted.push(next);
        rest = &rest[next.len_utf8()..];
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_are_quoted_outside_strings() {
        for (text, quoted) in [
            (r#"{"a": -Infinity, "b": [NaN,Infinity]}"#, r#"{"a": "-Infinity", "b": ["NaN","Infinity"]}"#),
            (r#"{"NaN \" Infinity": "é NaN"}"#, r#"{"NaN \" Infinity": "é NaN"}"#),
            (r#"{"a\\": NaN}"#, r#"{"a\\": "NaN"}"#),
            (r#"{"a": -1.5e3}"#, r#"{"a": -1.5e3}"#),
        ] {
            assert_eq!(quote_non_finite(text), quoted);
        }
    }
}
