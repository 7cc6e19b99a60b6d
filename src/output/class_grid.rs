//! Grids of samples by class.

/// Rows of a grid with one column per class.
const ROWS: usize = 4;
/// Columns of a grid without classes.
const COLUMNS: usize = 10;
/// Largest number of classes with one column each.
const MAX_COLUMNS: usize = 20;
/// Largest number of images in a grid with more classes.
const MAX_IMAGES: usize = 100;

/// The shape of a grid of samples. With 2 to 20 classes, each column is a class. With more classes,
/// the grid shows one sample per class in rows of 20, or 100 classes at equal distances if there
/// are more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassGrid {
    /// Images per row.
    pub columns: usize,
    /// Number of images.
    pub count: usize,
    classes: usize,
}

impl ClassGrid {
    /// The grid for a number of classes; 0 and 1 mean no classes.
    ///
    /// ```
    /// # use degrain::output::ClassGrid;
    /// let grid = ClassGrid::new(12);
    /// assert_eq!((grid.columns, grid.count), (12, 48));
    /// assert_eq!((grid.label(11), grid.label(12)), (11, 0));
    /// let grid = ClassGrid::new(47);
    /// assert_eq!((grid.columns, grid.count, grid.label(46)), (20, 47, 46));
    /// let grid = ClassGrid::new(1000);
    /// assert_eq!((grid.columns, grid.count, grid.label(99)), (20, 100, 990));
    /// ```
    pub fn new(classes: usize) -> ClassGrid {
        let (columns, count) = match classes {
            0 | 1 => (COLUMNS, ROWS * COLUMNS),
            2..=MAX_COLUMNS => (classes, ROWS * classes),
            _ => (MAX_COLUMNS, classes.min(MAX_IMAGES)),
        };
        ClassGrid { columns, count, classes: classes.max(1) }
    }

    /// The class of image `k`.
    pub fn label(&self, k: usize) -> u32 {
        if self.classes > MAX_IMAGES { (k * self.classes / MAX_IMAGES) as u32 } else { (k % self.classes) as u32 }
    }
}
