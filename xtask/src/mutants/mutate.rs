//! Mutants of a shader: copies of its text with one change each, which a good test suite detects.
//!
//! Only the bodies of functions change: no comment, attribute, binding, override or type. Changes
//! that can only hang are left out (the increment of a loop), and so are changes that tend to have
//! no effect: the boundary of a comparison between floats, a guard of 1e-12.

use super::tokens::{Kind, Token, tokens};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use serde::{Deserialize, Serialize};

/// One change to one shader file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mutant {
    /// The file below shaders/.
    pub name: String,
    /// Position of the change, counted from 1, and the original line.
    pub line: usize,
    pub column: usize,
    pub source: String,
    /// Number of equal lines above it.
    pub equal_above: usize,
    pub before: String,
    pub after: String,
    /// The complete changed file.
    pub text: String,
}

impl Mutant {
    /// The text after the change, in words if it is empty.
    pub fn after_words(&self) -> &str {
        if self.after.is_empty() { "(nothing)" } else { &self.after }
    }
}

impl std::fmt::Display for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Mutant { name, line, column, source, before, .. } = self;
        write!(f, "shaders/{name}:{line}:{column}: {before} -> {}    in: {source}", self.after_words())
    }
}

/// All mutants of a file that are valid WGSL. `link` makes a complete module of the file's text.
///
/// # Panics
/// If the unchanged file is not valid.
pub fn mutants(name: &str, text: &str, link: impl Fn(&str) -> String) -> Vec<Mutant> {
    if let Err(error) = validate(&link(text)) {
        panic!("{name} is not valid before any change: {error}");
    }
    let mutants = edits(text).into_iter().map(|edit| edit.apply(name, text));
    mutants.filter(|m| validate(&link(&m.text)).is_ok()).collect()
}

fn validate(text: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let checked = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
    checked.map(drop).map_err(|e| e.emit_to_string(text))
}

/// A range of bytes and its replacement.
#[derive(Debug, PartialEq)]
struct Edit {
    from: usize,
    to: usize,
    after: String,
}

impl Edit {
    fn apply(self, name: &str, text: &str) -> Mutant {
        let start = text[..self.from].rfind('\n').map_or(0, |n| n + 1);
        let source = text[start..].lines().next().unwrap_or("").trim().to_string();
        Mutant {
            name: name.to_string(),
            line: text[..self.from].matches('\n').count() + 1,
            column: text[start..self.from].chars().count() + 1,
            equal_above: text[..start].lines().filter(|line| line.trim() == source).count(),
            source,
            before: text[self.from..self.to].to_string(),
            text: format!("{}{}{}", &text[..self.from], self.after, &text[self.to..]),
            after: self.after,
        }
    }
}

/// Part of the text in which a token stands.
#[derive(Clone, Copy, PartialEq)]
enum Region {
    Outside,
    Body,
    Condition,
    Update,
}

fn edits(text: &str) -> Vec<Edit> {
    let tokens = tokens(text);
    let regions = regions(&tokens);
    let mut edits = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        if matches!(regions[i], Region::Body | Region::Condition) {
            let replace = |after: String| Edit { from: token.at, to: token.end(), after };
            match token.kind {
                Kind::Sign => edits.extend(sign(&tokens, i, regions[i]).map(|s| replace(s.to_string()))),
                Kind::Number => edits.extend(number(&tokens, i, regions[i]).map(replace)),
                Kind::Word => edits.extend(word(&tokens, i, text)),
                Kind::Template => {}
            }
        }
    }
    edits
}

/// The region of each token. Template arguments count as outside. (naga accepts no attributes
/// inside a body.)
fn regions(tokens: &[Token]) -> Vec<Region> {
    let mut regions = vec![Region::Outside; tokens.len()];
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i].text != "fn" {
            i += 1;
            continue;
        }
        let open = (i..tokens.len()).find(|j| tokens[*j].text == "{").unwrap_or(tokens.len() - 1);
        let close = closing(tokens, open);
        regions[open..close].fill(Region::Body);
        for j in open..close {
            match tokens[j].text {
                "for" => for_header(tokens, j + 1, &mut regions),
                "<" if tokens[j].kind == Kind::Template => {
                    let end = closing(tokens, j);
                    regions[j..=end].fill(Region::Outside);
                }
                _ => {}
            }
        }
        i = close;
    }
    regions
}

/// Marks the parts of `for (init; condition; update)`. A changed update makes an endless loop, so
/// updates are not changed; conditions are only changed in ways that cannot do that.
fn for_header(tokens: &[Token], open: usize, regions: &mut [Region]) {
    let mut part = [Region::Body, Region::Condition, Region::Update].into_iter();
    let mut now = part.next();
    for i in open..closing(tokens, open) {
        if tokens[i].text == ";" {
            now = part.next();
        }
        regions[i] = now.unwrap_or(Region::Update);
    }
}

/// The index of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let (mut depth, template) = (0, tokens[open].kind == Kind::Template);
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "<" | ">" if (token.kind == Kind::Template) != template => {}
            "(" | "[" | "{" if !template => depth += 1,
            ")" | "]" | "}" if !template => depth -= 1,
            "<" if template => depth += 1,
            ">" if template => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len() - 1
}

fn sign(tokens: &[Token], i: usize, region: Region) -> Option<&'static str> {
    let before = tokens[i - 1];
    let binary = match before.kind {
        Kind::Word => !["return", "case", "if", "while", "switch"].contains(&before.text),
        Kind::Number => true,
        Kind::Sign => [")", "]"].contains(&before.text),
        Kind::Template => false,
    };
    let beside_float = [before, tokens[i + 1]].iter().any(|t| t.kind == Kind::Number && is_float(t.text));
    let from_zero = value(tokens[i + 1].text) == Some(0);
    Some(match tokens[i].text {
        "-" | "!" | "~" if !binary => "",
        _ if !binary => return None,
        "+" => "-",
        "-" => "+",
        "*" => "/",
        "/" => "*",
        "%" => "/",
        "+=" => "-=",
        "-=" => "+=",
        "*=" => "/=",
        "/=" => "*=",
        "%=" => "/=",
        "++" => "--",
        "--" => "++",
        "<<" => ">>",
        ">>" => "<<",
        "<<=" => ">>=",
        ">>=" => "<<=",
        "&" => "|",
        "|" => "&",
        "^" => "|",
        "&=" => "|=",
        "|=" => "&=",
        "^=" => "|=",
        "&&" => "||",
        "||" => "&&",
        "==" => "!=",
        "!=" => "==",
        // Two floats are rarely equal, so the comparison is reversed.
        "<" | "<=" if beside_float => ">",
        ">" | ">=" if beside_float => "<",
        "<" => "<=",
        "<=" => "<",
        // A loop with the condition s >= 0u has no end.
        ">" if region == Region::Condition && from_zero => return None,
        ">" => ">=",
        ">=" => ">",
        _ => return None,
    })
}

fn is_float(number: &str) -> bool {
    let hex = number.starts_with("0x");
    number.contains('.') || !hex && (number.contains('e') || number.ends_with(['f', 'h']))
}

/// The value of an integer literal.
fn value(number: &str) -> Option<u64> {
    let digits = number.trim_end_matches(['u', 'i']);
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

fn number(tokens: &[Token], i: usize, region: Region) -> Option<String> {
    let text = tokens[i].text;
    if is_float(text) {
        let suffix = if text.ends_with(['f', 'h']) { &text[text.len() - 1..] } else { "" };
        let value: f64 = text.trim_end_matches(['f', 'h']).parse().ok()?;
        let guard = value != 0.0 && value.abs() < 1e-6;
        return (!guard).then(|| format!("{}{suffix}", if value == 0.0 { "1.0" } else { "0.0" }));
    }
    let suffix = if text.ends_with(['u', 'i']) { &text[text.len() - 1..] } else { "" };
    let value = value(text)?;
    let after = if region == Region::Condition {
        // `i < 5u` instead of `i < 4u` equals `i <= 4u`, which is a mutant already.
        if value != 0 && ["<", "<=", ">", ">="].contains(&tokens[i - 1].text) {
            return None;
        }
        value + 1
    } else if value == 1 {
        0
    } else {
        value + 1
    };
    Some(format!("{after}{suffix}"))
}

fn word(tokens: &[Token], i: usize, text: &str) -> Option<Edit> {
    let token = tokens[i];
    let replace = |after: &str| Edit { from: token.at, to: token.end(), after: after.to_string() };
    match token.text {
        "true" => return Some(replace("false")),
        "false" => return Some(replace("true")),
        _ if tokens[i + 1].text != "(" || [".", "fn"].contains(&tokens[i - 1].text) => return None,
        _ => {}
    }
    Some(match token.text {
        "workgroupBarrier" | "storageBarrier" | "subgroupBarrier" => {
            Edit { from: token.at, to: tokens[i + 2].end(), after: String::new() }
        }
        "select" => {
            // select(a, b, c) becomes select(b, a, c).
            let commas = commas(tokens, i + 1);
            let [first, second] = *commas.first_chunk()?;
            let (from, to) = (tokens[i + 2].at, tokens[second - 1].end());
            let (a, b) = (&text[from..tokens[first - 1].end()], &text[tokens[first + 1].at..to]);
            if a == b {
                return None;
            }
            Edit { from, to, after: format!("{b}, {a}") }
        }
        "abs" => replace(""),
        "min" => replace("max"),
        "max" => replace("min"),
        "floor" => replace("ceil"),
        "ceil" => replace("floor"),
        "sin" => replace("cos"),
        "cos" => replace("sin"),
        "sqrt" => replace("inverseSqrt"),
        "inverseSqrt" => replace("sqrt"),
        "any" => replace("all"),
        "all" => replace("any"),
        "subgroupAdd" => replace("subgroupMax"),
        "subgroupMax" => replace("subgroupMin"),
        "subgroupMin" => replace("subgroupMax"),
        _ => return None,
    })
}

/// The commas between the arguments of the call whose bracket is at `open`.
fn commas(tokens: &[Token], open: usize) -> Vec<usize> {
    let end = closing(tokens, open);
    let mut found = Vec::new();
    let mut i = open + 1;
    while i < end {
        match tokens[i].text {
            "(" | "[" => i = closing(tokens, i),
            "<" if tokens[i].kind == Kind::Template => i = closing(tokens, i),
            "," => found.push(i),
            _ => {}
        }
        i += 1;
    }
    found
}
