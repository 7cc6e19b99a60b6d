//! A small part of Rust's syntax: code without comments and strings, and the first names of paths.

/// The first names of a path or of a group of paths: `a::b` has a; `{a::b, c::{d, e}}` has a and c.
pub fn heads(path: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut expected = true;
    let mut chars = path.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => expected = true,
            _ if expected && (c.is_alphanumeric() || c == '_') => {
                let name: String = path[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                while chars.peek().is_some_and(|(next, _)| *next < at + name.len()) {
                    chars.next();
                }
                found.push((at, name));
                expected = false;
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// The positions of `word` as a whole word.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| !code[..*at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

pub fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

/// Rust source whose comments, strings and characters are replaced by spaces, byte for byte: lines
/// and offsets do not change.
pub fn code_of(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let raw = rest.iter().skip(1).take_while(|b| **b == b'#').count();
        let word_before = at > 0 && (out[at - 1].is_ascii_alphanumeric() || out[at - 1] == b'_');
        let length = match rest {
            [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => block_comment(rest),
            [b'"', ..] => quoted(rest),
            [b'r', ..] if !word_before && rest.get(1 + raw) == Some(&b'"') => {
                let end = format!("\"{}", "#".repeat(raw));
                text[at + 2 + raw..].find(&end).map_or(rest.len(), |n| 2 + raw + n + end.len())
            }
            // A character, not a lifetime: 'x' or '\n'.
            [b'\'', b'\\', ..] => 3 + rest[3..].iter().position(|b| *b == b'\'').unwrap_or(0) + 1,
            [b'\'', ..] => text[at + 1..].chars().next().map_or(0, |c| 1 + c.len_utf8()),
            _ => 0,
        };
        let lifetime = rest[0] == b'\'' && rest.get(1) != Some(&b'\\') && rest.get(length) != Some(&b'\'');
        if length == 0 || lifetime {
            at += 1;
            continue;
        }
        let end = (at + length + usize::from(rest[0] == b'\'' && rest[1] != b'\\')).min(text.len());
        out[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        at = end;
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}
