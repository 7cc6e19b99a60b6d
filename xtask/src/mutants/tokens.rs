//! Splits WGSL into tokens. Comments are left out, and template brackets are distinguished from
//! comparisons.

/// One token and its position in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A keyword or a name.
    Word,
    Number,
    /// An operator or a bracket.
    Sign,
    /// `<` or `>` around template arguments.
    Template,
}

impl Token<'_> {
    pub fn end(&self) -> usize {
        self.at + self.text.len()
    }
}

/// The longest come first: `>>=` is one token.
const SIGNS: &[&str] = &[
    ">>=", "<<=", "->", "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "&&", "||", "==", "!=", "<=", ">=",
    "<<", ">>",
];

pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let code = without_comments(text);
    let templates = template_brackets(&code);
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = code[at..].chars().next() {
        let rest = &code[at..];
        let (kind, length) = if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        } else if is_word(c) && !c.is_ascii_digit() {
            (Kind::Word, rest.find(|c| !is_word(c)).unwrap_or(rest.len()))
        } else if c.is_ascii_digit() || c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            (Kind::Number, number(rest))
        } else if templates.contains(&at) {
            (Kind::Template, 1)
        } else {
            (Kind::Sign, SIGNS.iter().find(|s| rest.starts_with(**s)).map_or(c.len_utf8(), |s| s.len()))
        };
        tokens.push(Token { kind, text: &text[at..at + length], at });
        at += length;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the number at the start, such as `1.5e-3f` or `0xD2511F53u`. A sign belongs to it only
/// after the letter of an exponent.
fn number(rest: &str) -> usize {
    let hex = rest.starts_with("0x") || rest.starts_with("0X");
    let exponents = if hex { ['p', 'P'] } else { ['e', 'E'] };
    let mut before = ' ';
    rest.find(|c: char| {
        let part = is_word(c) || c == '.' || (c == '+' || c == '-') && exponents.contains(&before);
        before = c;
        !part
    })
    .unwrap_or(rest.len())
}

/// Replaces every byte of a comment by a space, so that positions do not change.
pub fn without_comments(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        if bytes[at..].starts_with(b"//") {
            at += bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at);
        } else if bytes[at..].starts_with(b"/*") {
            let mut depth = 0;
            while at < bytes.len() {
                match &bytes[at..] {
                    [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
                    [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            at += 1;
            continue;
        }
        out[start..at].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

/// Positions of all `<` and `>` that enclose template arguments, found by the template list
/// discovery of the WGSL specification.
fn template_brackets(code: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
    let mut found = Vec::new();
    let mut pending: Vec<(usize, usize)> = Vec::new(); // position of a `<` and its depth in brackets
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        let c = byte(at);
        let step = match c {
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                at += code[at..].find(|c| !is_word(c)).unwrap_or(code.len() - at);
                at += code[at..].find(|c: char| !c.is_whitespace()).unwrap_or(code.len() - at);
                if byte(at) == b'<' && byte(at + 1) != b'<' && byte(at + 1) != b'=' {
                    pending.push((at, depth));
                    at += 1;
                }
                continue;
            }
            b'0'..=b'9' => number(&code[at..]),
            b'>' if pending.last().is_some_and(|(_, d)| *d == depth) => {
                found.extend(pending.pop().map(|(open, _)| open));
                found.push(at);
                1
            }
            b'>' | b'!' if byte(at + 1) == b'=' => 2,
            b'(' | b'[' => {
                depth += 1;
                1
            }
            b')' | b']' => {
                pending.retain(|(_, d)| *d < depth);
                depth = depth.saturating_sub(1);
                1
            }
            b'=' if byte(at + 1) == b'=' => 2,
            b'=' | b';' | b'{' | b':' => {
                depth = 0;
                pending.clear();
                1
            }
            b'&' | b'|' if byte(at + 1) == c => {
                pending.retain(|(_, d)| *d < depth);
                2
            }
            _ => 1,
        };
        at += step;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        tokens(text).iter().map(|t| t.text).collect()
    }

    fn templates(text: &str) -> usize {
        tokens(text).iter().filter(|t| t.kind == Kind::Template).count()
    }

    #[test]
    fn tokens_leave_out_comments() {
        assert_eq!(texts("a // + b\n/* - /* * */ / */ + ä"), ["a", "+", "ä"]);
        assert_eq!(tokens("/* ä */ x")[0].at, "/* ä */ ".len());
    }

    #[test]
    fn tokens_take_the_longest_sign() {
        assert_eq!(
            texts("a>>=1u;b<<2u;c--;d-1;e->f"),
            ["a", ">>=", "1u", ";", "b", "<<", "2u", ";", "c", "--", ";", "d", "-", "1", ";", "e", "->", "f"]
        );
    }

    #[test]
    fn tokens_keep_numbers_whole() {
        assert_eq!(texts("1.5e-3f-0xE+1 .5 x.y 2.0h"), ["1.5e-3f", "-", "0xE", "+", "1", ".5", "x", ".", "y", "2.0h"]);
    }

    #[test]
    fn tokens_distinguish_templates_from_comparisons() {
        assert_eq!(templates("var<workgroup> t: array<vec4<f32>, 4 * L>;"), 6);
        assert_eq!(templates("let x = array<vec2<f32>,2>(); if (a < b && c > d) {}"), 4);
        assert_eq!(templates("for (var i = 0u; i < n; i++) { if (j > i) {} }"), 0);
        assert_eq!(templates("f(ptr<function, array<f32, (1 << 2)>>)"), 4);
        assert_eq!(templates("a < b; c > d; if (a[i < 1] > 2) {}"), 0);
        assert_eq!(texts("x = array<vec4<f32>,2>=y").last(), Some(&"y"));
    }
}
