//! The list of mutants that no test can detect, each with the reason.

use super::mutate::Mutant;
use serde::Deserialize;

/// The file `equivalent.toml`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    #[serde(default)]
    equivalent: Vec<Entry>,
}

/// A change of a line, with the reason why it has no effect.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The files below shaders/ that have the line.
    shaders: Vec<String>,
    line: String,
    column: Option<usize>,
    before: String,
    after: String,
    why: String,
}

impl Entry {
    /// Whether it is for one of the shaders that `wanted` accepts.
    pub fn concerns(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.shaders.iter().any(|shader| wanted(shader))
    }

    fn fits(&self, m: &Mutant) -> bool {
        self.shaders.contains(&m.name)
            && (&self.line, &self.before, &self.after) == (&m.source, &m.before, &m.after)
            && self.column.is_none_or(|column| column == m.column)
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Entry { shaders, line, before, after, .. } = self;
        write!(f, "{}: {before} -> {after} in '{line}'", shaders.join(", "))
    }
}

impl Allowed {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// The text is no list of entries.
    pub fn parse(text: &str) -> Result<Allowed, toml::de::Error> {
        toml::from_str(text)
    }

    /// The mutants to check, and the entries that match no mutant in one of their shaders or give no reason.
    /// Shaders that `mutants` does not contain do not count.
    pub fn split(self, mutants: Vec<Mutant>) -> (Vec<Mutant>, Vec<Entry>) {
        let given = |shader: &String| mutants.iter().any(|m| m.name == *shader);
        let idle = |entry: &Entry| {
            let matched = |shader: &String| mutants.iter().any(|m| m.name == *shader && entry.fits(m));
            entry.why.trim().is_empty() || entry.shaders.iter().any(|shader| given(shader) && !matched(shader))
        };
        let stale = self.equivalent.iter().filter(|entry| idle(entry)).cloned().collect();
        let tried = mutants.iter().filter(|m| !self.equivalent.iter().any(|entry| entry.fits(m))).cloned().collect();
        (tried, stale)
    }
}

#[cfg(test)]
mod tests {
    use super::super::mutate::mutants;
    use super::*;

    const TEXT: &str = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1) fn f() { for (var i = 0u; i < 8u; i++) { x[0] += x[i]; } }";

    /// The mutation run takes hours, so it is seldom made, and shaders change meanwhile.
    #[test]
    fn equivalent_mutants_name_lines_of_the_shaders() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
        let Allowed { equivalent } = Allowed::parse(include_str!("equivalent.toml")).unwrap();
        assert!(!equivalent.is_empty());
        for Entry { shaders, line, before, .. } in equivalent {
            for shader in shaders {
                let text = std::fs::read_to_string(folder.join(&shader)).unwrap();
                let found = text.lines().any(|own| own.trim() == line);
                assert!(found && line.contains(&before), "{shader} has no line '{line}' with '{before}'");
            }
        }
    }

    #[test]
    fn equivalent_mutants_are_skipped_and_stale_entries_reported() {
        let line = TEXT.lines().last().unwrap();
        let entry = |shader: &str, before: &str, after: &str, why: &str| {
            format!(
                "[[equivalent]]\nshaders=['{shader}']\nline='{line}'\nbefore='{before}'\nafter='{after}'\nwhy='{why}'\n"
            )
        };
        let split = |text: &str| Allowed::parse(text).unwrap().split(mutants("f.wgsl", TEXT, str::to_string));
        let (tried, stale) = split(&entry("f.wgsl", "<", "<=", "a reason"));
        assert_eq!((tried.len(), stale.len()), (3, 0));
        let (tried, stale) = split(&(entry("f.wgsl", "<", ">", "a reason") + &entry("f.wgsl", "0u", "1u", " ")));
        assert_eq!((tried.len(), stale.len()), (3, 2));
        // An entry of a shader that is not tried is not stale.
        let (tried, stale) = split(&entry("g.wgsl", "<", "<=", "a reason"));
        assert_eq!((tried.len(), stale.len()), (4, 0));
        // The file of the shaders is valid, and matches no mutant of this one.
        assert_eq!(split(include_str!("equivalent.toml")).0.len(), 4);
    }
}
