//! Imports between the files of a crate, and the circles among them.
//!
//! A name is followed through re-exports to the file that defines it. A re-export is not itself an
//! import, unless the file also uses the name. Test modules (`#[cfg(test)]`) are left out.

use super::source::words;
use std::collections::{BTreeMap, BTreeSet};

/// Files, each with the files that it imports.
pub type Imports = BTreeMap<String, BTreeSet<String>>;

/// A path in a `use`, with the name that it binds.
#[derive(Clone)]
struct Use {
    path: Vec<String>,
    name: String,
    is_public: bool,
}

/// A file of the crate as a module.
struct Module {
    file: String,
    /// Its code without test modules, `use` items and `mod` declarations.
    code: String,
    uses: Vec<Use>,
}

/// The crate's modules by path: `src/tape/op.rs` is `["tape", "op"]`, and `src/lib.rs` is `[]`.
pub struct Crate {
    modules: BTreeMap<Vec<String>, Module>,
}

impl Crate {
    /// Reads the modules from paths such as `src/tape/op.rs` and code without comments and strings.
    /// The programs in `src/bin` are left out: each is a separate crate.
    pub fn new<'a>(files: impl Iterator<Item = (&'a str, String)>) -> Crate {
        let mut modules = BTreeMap::new();
        for (file, code) in files {
            let Some(inner) = file.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")) else { continue };
            let mut path: Vec<String> = inner.split('/').map(String::from).collect();
            if path[0] == "bin" {
                continue;
            }
            if matches!(path.last().map(String::as_str), Some("mod" | "lib")) {
                path.pop();
            }
            let (uses, code) = split_uses(&without_tests(&code));
            modules.insert(path, Module { file: file.into(), code, uses });
        }
        Crate { modules }
    }

    /// The files that each file imports.
    pub fn imports(&self) -> Imports {
        let of_module = |(path, module): (&Vec<String>, &Module)| {
            let used = |u: &&Use| !u.is_public || words(&module.code, &u.name).next().is_some();
            let mut paths: Vec<Vec<String>> = module.uses.iter().filter(used).map(|u| u.path.clone()).collect();
            paths.extend(self.inline_paths(path, &module.code));
            let files = paths.iter().filter_map(|p| self.resolve(path, p, 0));
            (module.file.clone(), files.filter(|file| *file != module.file).collect())
        };
        self.modules.iter().map(of_module).collect()
    }

    /// The file that defines what `path` names in the module `from`; `None` for other crates.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<String> {
        assert!(depth < 20, "the path {path:?} in {from:?} has no end");
        let mut at = from.to_vec();
        let mut rest = path;
        while let [first, tail @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                _ => break,
            }
            rest = tail;
        }
        if rest.len() == path.len() && !self.has_child(from, path.first()?) {
            return None;
        }
        while let [first, tail @ ..] = rest {
            if !self.has_child(&at, first) {
                let module = self.modules.get(&at)?;
                if let Some(reexport) = module.uses.iter().find(|u| u.name == *first) {
                    return self.resolve(&at, &reexport.path, depth + 1);
                }
                break;
            }
            at.push(first.clone());
            rest = tail;
        }
        self.modules.get(&at).map(|module| module.file.clone())
    }

    fn has_child(&self, module: &[String], name: &str) -> bool {
        self.modules
            .keys()
            .any(|path| path.len() > module.len() && path.starts_with(module) && path[module.len()] == name)
    }

    /// Paths outside of `use` that begin with `crate`, `super`, or a child of the module.
    fn inline_paths(&self, module: &[String], code: &str) -> Vec<Vec<String>> {
        let children = self.modules.keys().filter(|path| path.len() == module.len() + 1 && path.starts_with(module));
        let heads = children.filter_map(|path| path.last().cloned()).chain(["crate".into(), "super".into()]);
        let mut found = Vec::new();
        for head in heads {
            for at in words(code, &head) {
                let is_start = !code[..at].trim_end().ends_with("::");
                let path = path_at(&code[at..]);
                if is_start && path.len() > 1 {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// The groups of files that import each other, directly or through others.
pub fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in imports.keys() {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = vec![file];
        while let Some(next) = open.pop() {
            let new = imports.get(next).into_iter().flatten().filter(|file| seen.insert(file.as_str()));
            open.extend(new.map(String::as_str));
        }
        reached.insert(file, seen);
    }
    let mut found = BTreeSet::new();
    for (file, seen) in &reached {
        if seen.contains(file) {
            let circle: Vec<String> =
                seen.iter().filter(|other| reached[*other].contains(file)).map(|f| (*f).to_owned()).collect();
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

/// The code without modules that are compiled for tests only.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let rest = &out[at..];
        let end = match (rest.find('{'), rest.find(';')) {
            (Some(brace), semicolon) if semicolon.is_none_or(|s| brace < s) => brace + block(&rest[brace..]),
            (_, Some(semicolon)) => semicolon + 1,
            _ => rest.len(),
        };
        out.replace_range(at..at + end, &" ".repeat(end));
    }
    out
}

/// Length of a block in braces.
fn block(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The `use` items of a file, and the code without them and without `mod` declarations.
fn split_uses(code: &str) -> (Vec<Use>, String) {
    let mut rest = code.to_owned();
    let mut uses = Vec::new();
    for at in words(code, "use") {
        let length = code[at..].find(';').map_or(code.len() - at, |n| n + 1);
        let before = code[..at].trim_end();
        let is_public = before.ends_with("pub") || before.ends_with(')') && before.contains("pub(");
        let mut paths = Vec::new();
        expand(&tokens(&code[at + 3..at + length]), &mut Vec::new(), &mut paths);
        uses.extend(paths.into_iter().map(|(path, name)| Use { path, name, is_public }));
        rest.replace_range(at..at + length, &" ".repeat(length));
    }
    for at in words(code, "mod") {
        let name = code[at + 3..].split([';', '{']).next().unwrap_or("");
        rest.replace_range(at + 3..at + 3 + name.len(), &" ".repeat(name.len()));
    }
    (uses, rest)
}

/// Names, `{`, `}`, `,` and `*`. The `::` between them are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut in_name = false;
    for c in text.chars() {
        let is_part = c.is_alphanumeric() || c == '_';
        match tokens.last_mut() {
            Some(last) if is_part && in_name => last.push(c),
            _ if is_part || "{},*".contains(c) => tokens.push(c.to_string()),
            _ => {}
        }
        in_name = is_part;
    }
    tokens
}

/// Expands the tokens of a use tree into paths, each with the name that it binds. Returns the
/// number of tokens read.
fn expand(tokens: &[String], prefix: &mut Vec<String>, into: &mut Vec<(Vec<String>, String)>) -> usize {
    let depth = prefix.len();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "}" => break,
            "{" => at += expand(&tokens[at + 1..], prefix, into) + 1,
            "," => prefix.truncate(depth),
            "as" => {
                if let Some((_, name)) = into.last_mut() {
                    *name = tokens[at + 1].clone();
                }
                at += 1;
            }
            name => {
                if name != "self" || prefix.is_empty() {
                    prefix.push(name.into());
                }
                let is_last = tokens.get(at + 1).is_none_or(|next| ["}", ",", "as"].contains(&next.as_str()));
                if is_last {
                    let path: Vec<String> = prefix.iter().filter(|segment| *segment != "*").cloned().collect();
                    into.push((path, prefix.last().cloned().unwrap_or_default()));
                }
            }
        }
        at += 1;
    }
    prefix.truncate(depth);
    at
}

/// The segments of the path at the start of `code`.
fn path_at(code: &str) -> Vec<String> {
    let mut segments = Vec::new();
    let mut rest = code;
    loop {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 {
            return segments;
        }
        segments.push(rest[..end].to_owned());
        match rest[end..].trim_start().strip_prefix("::") {
            Some(tail) => rest = tail.trim_start(),
            None => return segments,
        }
    }
}
