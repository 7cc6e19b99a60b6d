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

/// Changes of a line, with the reason why they have no effect.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The files below shaders/ that have the line.
    shaders: Vec<String>,
    line: String,
    /// Which of the equal lines of a shader are meant, counted from 1. Without it the line must be the only
    /// one.
    #[serde(default)]
    occurrences: Vec<usize>,
    /// `before -> after`, or `column: before -> after` for one of several such places in the line.
    changes: Vec<String>,
    why: String,
}

impl Entry {
    /// Whether it is for one of the shaders that `wanted` accepts.
    pub fn concerns(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.shaders.iter().any(|shader| wanted(shader))
    }

    fn fits(&self, m: &Mutant) -> bool {
        self.shaders.contains(&m.name) && self.stands_at(m) && self.changes.iter().any(|change| names(change, m))
    }

    /// Whether the line of a mutant is meant.
    fn stands_at(&self, m: &Mutant) -> bool {
        self.line == m.source && (self.occurrences.is_empty() || self.occurrences.contains(&(m.equal_above + 1)))
    }

    /// Whether it gives a reason, and each of its changes is one mutant at each of its places, in each of its
    /// shaders that are among those of `mutants`.
    fn is_used(&self, mutants: &[Mutant]) -> bool {
        let places = self.occurrences.len().max(1);
        let used_in = |shader: &String| {
            let mutants = || mutants.iter().filter(|m| m.name == *shader);
            let fitting = |change: &String| mutants().filter(|m| self.stands_at(m) && names(change, m)).count();
            mutants().next().is_none() || self.changes.iter().all(|change| fitting(change) == places)
        };
        !self.why.trim().is_empty() && self.shaders.iter().all(used_in)
    }
}

/// Whether a change, as the file writes it, is that of a mutant.
fn names(change: &str, m: &Mutant) -> bool {
    let anywhere = format!("{} -> {}", m.before, m.after_words());
    change == anywhere || change == format!("{}: {anywhere}", m.column)
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Entry { shaders, line, changes, .. } = self;
        write!(f, "{}: {} in '{line}'", shaders.join(", "), changes.join("; "))
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

    /// The mutants to check, and the entries that give no reason, or a change that is no mutant or several.
    pub fn split(self, mutants: Vec<Mutant>) -> (Vec<Mutant>, Vec<Entry>) {
        let stale = self.equivalent.iter().filter(|entry| !entry.is_used(&mutants)).cloned().collect();
        let tried = |m: &Mutant| !self.equivalent.iter().any(|entry| entry.fits(m));
        (mutants.into_iter().filter(tried).collect(), stale)
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
        for Entry { shaders, line, .. } in equivalent {
            for shader in shaders {
                let text = std::fs::read_to_string(folder.join(&shader)).unwrap();
                assert!(text.lines().any(|own| own.trim() == line), "{shader} has no line '{line}'");
            }
        }
    }

    #[test]
    fn equivalent_mutants_are_skipped_and_stale_entries_reported() {
        let line = TEXT.lines().last().unwrap();
        let entry = |shader: &str, changes: &str, why: &str| {
            format!("[[equivalent]]\nshaders=['{shader}']\nline='{line}'\nchanges=[{changes}]\nwhy='{why}'\n")
        };
        let split = |text: &str| Allowed::parse(text).unwrap().split(mutants("f.wgsl", TEXT, str::to_string));
        let (tried, stale) = split(&entry("f.wgsl", "'< -> <='", "a reason"));
        assert_eq!((tried.len(), stale.len()), (3, 0));
        let (tried, stale) = split(&entry("f.wgsl", "'57: < -> <=', '0u -> 1u'", "a reason"));
        assert_eq!((tried.len(), stale.len()), (2, 0));
        let wrong = entry("f.wgsl", "'< -> >', '< -> <='", "a reason") + &entry("f.wgsl", "'0u -> 1u'", " ");
        let (tried, stale) = split(&(wrong + &entry("f.wgsl", "'9: 0 -> 1'", "a reason")));
        assert_eq!((tried.len(), stale.len()), (2, 3));
        // A change that stands at two places of the line.
        let two = TEXT.replace("x[0] += x[i];", "x[0] += x[i]; x[0] += x[i];");
        let line = two.lines().last().unwrap();
        let twice = |changes: &str| {
            format!("[[equivalent]]\nshaders=['f.wgsl']\nline='{line}'\nchanges=[{changes}]\nwhy='a reason'\n")
        };
        let stale = |changes: &str| {
            Allowed::parse(&twice(changes)).unwrap().split(mutants("f.wgsl", &two, str::to_string)).1.len()
        };
        assert_eq!((stale("'+= -> -='"), stale("'75: += -> -='")), (1, 0));
        // An entry of a shader that is not tried is not stale.
        let (tried, stale) = split(&entry("g.wgsl", "'< -> <='", "a reason"));
        assert_eq!((tried.len(), stale.len()), (4, 0));
        // The file of the shaders is valid, and matches no mutant of this one.
        assert_eq!(split(include_str!("equivalent.toml")).0.len(), 4);
    }
}
