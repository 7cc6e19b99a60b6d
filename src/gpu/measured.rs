//! The forms of kernels that were measured on a device, in memory and in a file.
//!
//! The file is JSON in the user's cache folder, one for each device, driver and version of this
//! crate. It may be deleted at any time: the next program measures again.

use super::adapter::AdapterChoice;
use super::kernel_choices::KernelChoices;
use super::target::Target;
use crate::files::{FileLock, write_atomically};
use crate::output::note;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The device, the driver and the version that the choices were measured with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    version: String,
    device: String,
    backend: String,
    driver: String,
    kernels: String,
}

#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(flatten)]
    key: Key,
    /// Form of each class.
    choices: KernelChoices,
}

/// Measured choices of one device, and where they are kept.
pub(super) struct Measured {
    key: Key,
    path: Option<PathBuf>,
    choices: KernelChoices,
}

impl Measured {
    /// The choices for a device that are kept in a folder. Without a folder they end with the
    /// process.
    pub fn new(adapter: &AdapterChoice, target: Target, folder: Option<&Path>) -> Measured {
        let key = Key {
            version: env!("CARGO_PKG_VERSION").into(),
            device: adapter.name.clone(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            kernels: target.to_string(),
        };
        let path = folder.map(|folder| folder.join(format!("{}.json", key.file_name())));
        let mut measured = Measured { key, path, choices: KernelChoices::default() };
        measured.read();
        measured
    }

    pub fn choices(&self) -> &KernelChoices {
        &self.choices
    }

    /// Adds what other programs have measured since. A file that cannot be used is reported, and
    /// then measured again.
    fn read(&mut self) {
        let Some(path) = &self.path else { return };
        let kept = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str::<Content>(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => Err(error.to_string()),
        };
        match kept {
            Ok(kept) if kept.key == self.key => self.choices = kept.choices.with(&self.choices),
            Ok(_) => {}
            Err(error) => note(format_args!("{}: {error}. The kernels are measured again", path.display())),
        }
    }

    /// Adds the choices that `measure` makes for classes without one, and keeps them. Other
    /// programs wait in the meantime, so that all of them make the same choices.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn add(&mut self, measure: impl FnOnce(&KernelChoices) -> Result<KernelChoices>) -> Result<()> {
        let lock = self.lock();
        self.read();
        let new = measure(&self.choices)?;
        self.choices = std::mem::take(&mut self.choices).with(&new);
        let written = lock.and_then(|lock| self.write().map(|()| drop(lock)));
        if let Err(error) = written {
            note(format_args!(
                "the measured choice of kernels is not kept, so the next command may choose others (--kernels default does not \
                 measure): {error}"
            ));
        }
        Ok(())
    }

    fn lock(&self) -> Result<Option<FileLock>> {
        self.path.as_ref().map(|path| FileLock::wait(&path.with_extension("lock"))).transpose()
    }

    fn write(&self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let content = Content { key: self.key.clone(), choices: self.choices.clone() };
        let json = serde_json::to_string_pretty(&content).map_err(|error| Error::Config(error.to_string()))?;
        write_atomically(path, format!("{json}\n").as_bytes())
    }
}

impl Key {
    /// The key in characters that every file system allows.
    fn file_name(&self) -> String {
        let Key { version, device, backend, driver, kernels } = self;
        let name = format!("{device} {backend} {driver} {kernels} {version}");
        name.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' }).take(200).collect()
    }
}
