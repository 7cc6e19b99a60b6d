//! The options of the device, and the device of each rank.

use crate::Result;
use crate::data::LoadOptions;
use crate::gpu::{Context, best_adapters};
use crate::output::counted;
use crate::ranks::{Communicator, Single};
use clap::{Args, ValueEnum};
use std::rc::Rc;

/// The options that choose the device and its kernels.
#[derive(Args)]
pub struct DeviceOptions {
    /// GPU adapter: its number, or a part of its name [default: the fastest]
    #[arg(long)]
    pub adapter: Option<String>,
    /// Which kernels to use where there are several: the fastest, measured at the first use and
    /// kept in the user's cache folder, or the default ones
    #[arg(long, value_enum, default_value_t = Kernels::Measured)]
    pub kernels: Kernels,
}

/// How forms of kernels are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernels {
    /// By measurement.
    Measured,
    /// The defaults.
    Default,
}

impl DeviceOptions {
    /// Opens the device.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn open(&self) -> Result<Context> {
        self.open_on(&Single)
    }

    /// Opens the device of a rank that shares measurements and samples with the others.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn open_shared(&self, ranks: Rc<dyn Communicator>) -> Result<Context> {
        let mut ctx = self.open_on(&*ranks)?;
        ctx.ranks = ranks;
        Ok(ctx)
    }

    /// Opens the device of a rank: the one that `--adapter` names, or that of its number among the
    /// ranks of this machine. Rank 0 warns if ranks share a device.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn open_on(&self, ranks: &dyn Communicator) -> Result<Context> {
        let wanted = match &self.adapter {
            None if ranks.is_one_of_several() => adapter_of(ranks),
            wanted => wanted.clone(),
        };
        let ctx = Context::open(wanted.as_deref())?;
        // The others use the kernels that rank 0 measured.
        if self.kernels == Kernels::Measured && ranks.is_first() {
            let folder = LoadOptions::user_cache().map(|folder| folder.join("kernels"));
            ctx.gpu.measure_kernels(folder.as_deref());
        }
        Ok(ctx)
    }
}

/// The number of the adapter of a rank. `None` if there is no adapter. Warns if ranks share one.
fn adapter_of(ranks: &dyn Communicator) -> Option<String> {
    let best = best_adapters();
    if ranks.is_first() && !best.is_empty() && ranks.local_size() > best.len() {
        let shared = counted(best.len(), "adapter");
        eprintln!(
            "warning: this machine has {} ranks, and rank 0 sees {shared}. One GPU for each rank is fastest",
            ranks.local_size()
        );
    }
    let adapter = best.get(ranks.local_rank() % best.len().max(1));
    adapter.map(|adapter| adapter.number.to_string())
}
