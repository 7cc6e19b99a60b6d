//! Names of the buffers that belong to one program: `SCOPE.part`.

/// A common prefix of buffer names.
#[derive(Clone, Debug)]
pub struct Scope(String);

impl Scope {
    /// A scope with this name.
    pub fn new(name: &str) -> Scope {
        Scope(name.into())
    }

    /// The name of a buffer in the scope.
    ///
    /// ```
    /// # use degrain::diffusion::Scope;
    /// assert_eq!(Scope::new("sample").name("x"), "sample.x");
    /// ```
    pub fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.0)
    }

    /// A scope inside this one: `SCOPE.part`.
    pub fn inner(&self, part: &str) -> Scope {
        Scope(self.name(part))
    }
}
