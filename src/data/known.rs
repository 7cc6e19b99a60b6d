//! The published files, identified by the SHA-256 of their decompressed content, and the names of
//! their classes.

use super::dataset::Split::{self, Test, Train};

/// A published file.
pub(super) struct KnownFile {
    sha256: &'static str,
    pub set: &'static KnownSet,
    pub split: Split,
    /// Description, such as `MNIST training images`.
    pub what: &'static str,
}

/// A published data set.
pub(super) struct KnownSet {
    pub name: &'static str,
    pub classes: &'static [&'static str],
}

static MNIST: KnownSet = KnownSet { name: "MNIST", classes: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] };

/// Class names as in the table of <https://github.com/zalandoresearch/fashion-mnist#labels>.
static FASHION_MNIST: KnownSet = KnownSet {
    name: "Fashion-MNIST",
    classes: &[
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
};

const fn file(sha256: &'static str, set: &'static KnownSet, split: Split, what: &'static str) -> KnownFile {
    KnownFile { sha256, set, split, what }
}

#[rustfmt::skip]
static FILES: &[KnownFile] = &[
    file("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", &MNIST, Train, "MNIST training images"),
    file("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", &MNIST, Train, "MNIST training labels"),
    file("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", &MNIST, Test, "MNIST test images"),
    file("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", &MNIST, Test, "MNIST test labels"),
    file("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", &FASHION_MNIST, Train, "Fashion-MNIST training images"),
    file("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", &FASHION_MNIST, Train, "Fashion-MNIST training labels"),
    file("5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", &FASHION_MNIST, Test, "Fashion-MNIST test images"),
    file("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", &FASHION_MNIST, Test, "Fashion-MNIST test labels"),
];

/// The published file whose decompressed content has this checksum.
pub(super) fn find(sha256: &str) -> Option<&'static KnownFile> {
    FILES.iter().find(|file| file.sha256 == sha256)
}
