//! The options of the device, and the device of each rank.

use crate::Result;
use crate::data::LoadOptions;
use crate::gpu::{AdapterChoice, Context, best_adapters};
use crate::output::{counted, note};
use crate::ranks::{Communicator, Single, gather};
use clap::{Args, ValueEnum};
use std::collections::BTreeSet;
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

    /// Opens the device of a rank that shares measurements and samples with the others. Every rank
    /// must call it, because they compare their devices.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn open_shared(&self, ranks: Rc<dyn Communicator>) -> Result<Context> {
        let mut ctx = self.open_on(&*ranks)?;
        ctx.ranks = ranks;
        Ok(ctx)
    }

    /// Opens the device of a rank: the one that `--adapter` names, or that of its number among the
    /// ranks of this machine. Rank 0 warns if ranks share a device. Every rank must call it.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn open_on(&self, ranks: &dyn Communicator) -> Result<Context> {
        let wanted = match &self.adapter {
            None if ranks.is_one_of_several() => adapter_of(ranks),
            wanted => wanted.clone(),
        };
        let ctx = Context::open(wanted.as_deref())?;
        let warning = sharing(&devices(ranks, ctx.gpu.adapter()));
        if let Some(warning) = warning.filter(|_| ranks.is_first()) {
            note(&warning);
        }
        // The others use the kernels that rank 0 measured.
        if self.kernels == Kernels::Measured && ranks.is_first() {
            let folder = LoadOptions::user_cache().map(|folder| folder.join("kernels"));
            ctx.gpu.measure_kernels(folder.as_deref());
        }
        Ok(ctx)
    }
}

/// The number of the adapter of a rank. `None` if there is no adapter.
fn adapter_of(ranks: &dyn Communicator) -> Option<String> {
    let best = best_adapters();
    let adapter = best.get(ranks.local_rank() % best.len().max(1));
    adapter.map(|adapter| adapter.number.to_string())
}

/// The device of each rank, as its machine and address.
fn devices(ranks: &dyn Communicator, adapter: &AdapterChoice) -> Vec<Vec<u8>> {
    // Metal and software drivers give no address.
    let address = if adapter.pci_address.is_empty() { adapter.number.to_string() } else { adapter.pci_address.clone() };
    gather(ranks, format!("{} {address}", ranks.machine()).as_bytes())
}

/// The warning for ranks that share devices.
fn sharing(devices: &[Vec<u8>]) -> Option<String> {
    let (ranks, devices) = (devices.len(), BTreeSet::from_iter(devices).len());
    let shared = counted(devices, "device");
    (devices < ranks).then(|| format!("warning: {ranks} ranks share {shared}. One GPU for each rank is fastest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_that_share_a_device_are_counted() {
        let warning =
            |devices: &[&str]| sharing(&devices.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(warning(&["0 0"]), None);
        assert_eq!(warning(&["0 0000:01:00.0", "0 0000:02:00.0", "2 0000:01:00.0"]), None, "two machines");
        let expected = "warning: 3 ranks share 1 device. One GPU for each rank is fastest";
        assert_eq!(warning(&["0 0"; 3]).as_deref(), Some(expected));
        let some = warning(&["0 0", "0 1", "0 0"]);
        assert!(some.is_some_and(|text| text.contains("3 ranks share 2 devices")));
    }
}
