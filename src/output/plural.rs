//! Numbers with nouns in messages.

/// A number with its noun in singular or plural.
///
/// ```
/// # use degrain::output::counted;
/// assert_eq!(counted(1, "image"), "1 image");
/// assert_eq!(counted(0, "image"), "0 images");
/// assert_eq!(counted(2, "class"), "2 classes");
/// ```
pub fn counted(number: impl TryInto<u64>, noun: &str) -> String {
    // A number that does not fit is large.
    let number = number.try_into().unwrap_or(u64::MAX);
    let ending = if noun.ends_with('s') { "es" } else { "s" };
    format!("{number} {noun}{}", if number == 1 { "" } else { ending })
}
