//! Choice of the adapter: the user's choice, or else the first of discrete GPU, integrated GPU and
//! software driver, with Vulkan before DX12.

use super::target::{Capabilities, DeviceClass, SubgroupRange};
use crate::{Error, Result};
use std::fmt;

/// An adapter in the list that `--list-adapters` prints.
#[derive(Clone, Debug)]
pub struct AdapterChoice {
    /// Its number in the list. `--adapter` takes it, or a part of the name.
    pub number: usize,
    /// Device name, from the driver.
    pub name: String,
    /// Class of the device.
    pub class: DeviceClass,
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// Address on the PCI bus, such as `0000:01:00.0`, which tells equal GPUs apart. Empty if it is
    /// not known.
    pub pci_address: String,
}

impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}, {}, {})", self.number, self.name, self.class, self.backend, self.driver)
    }
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    wgpu::Instance::new(descriptor)
}

fn class(device_type: wgpu::DeviceType) -> DeviceClass {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceClass::Discrete,
        wgpu::DeviceType::IntegratedGpu => DeviceClass::Integrated,
        wgpu::DeviceType::VirtualGpu => DeviceClass::Virtual,
        wgpu::DeviceType::Other => DeviceClass::Other,
        wgpu::DeviceType::Cpu => DeviceClass::Cpu,
    }
}

/// The capabilities of an adapter.
pub(super) fn capabilities(adapter: &wgpu::Adapter) -> Capabilities {
    let info = adapter.get_info();
    let features = adapter.features();
    let range = SubgroupRange { min: info.subgroup_min_size, max: info.subgroup_max_size };
    Capabilities {
        class: class(info.device_type),
        subgroups: features.contains(wgpu::Features::SUBGROUP).then_some(range),
        workgroup_memory: adapter.limits().max_compute_workgroup_storage_size,
        f16: features.contains(wgpu::Features::SHADER_F16),
        // Other backends' compilers have not been tried with the kernels that need it.
        int64: info.backend == wgpu::Backend::Vulkan && features.contains(wgpu::Features::SHADER_INT64),
    }
}

/// Adapters of lower rank are better. Vulkan comes before DX12 for the same GPU: its drivers
/// compile kernels faster, and keep them for the next start.
fn rank(info: &wgpu::AdapterInfo) -> (DeviceClass, u32) {
    let backend = match info.backend {
        wgpu::Backend::Vulkan => 0,
        wgpu::Backend::Metal => 1,
        _ => 2,
    };
    (class(info.device_type), backend)
}

fn ranked() -> Vec<(AdapterChoice, wgpu::Adapter)> {
    let mut adapters = pollster::block_on(instance().enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|adapter| rank(&adapter.get_info()));
    let describe = |(number, adapter): (usize, wgpu::Adapter)| {
        let info = adapter.get_info();
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        let class = class(info.device_type);
        let choice = AdapterChoice {
            number,
            name: info.name,
            class,
            backend: info.backend.to_string(),
            driver,
            // With DX12, wgpu takes the first GPU of the same model.
            pci_address: if info.backend == wgpu::Backend::Vulkan { info.device_pci_bus_id } else { String::new() },
        };
        (choice, adapter)
    };
    adapters.into_iter().enumerate().map(describe).collect()
}

/// Every adapter that wgpu supports, best first.
pub fn list_adapters() -> Vec<AdapterChoice> {
    ranked().into_iter().map(|(choice, _)| choice).collect()
}

/// The adapters of the class and backend of the best one, such as all discrete GPUs that Vulkan
/// finds. Empty if there is no adapter.
pub fn best_adapters() -> Vec<AdapterChoice> {
    let mut all = list_adapters();
    let Some(best) = all.first().cloned() else { return vec![] };
    all.retain(|adapter| adapter.class == best.class && adapter.backend == best.backend);
    all
}

/// The adapter with this number, or with this part of a name, or the best one.
pub(super) fn choose(wanted: Option<&str>) -> Result<(AdapterChoice, wgpu::Adapter)> {
    let mut all = ranked();
    if all.is_empty() {
        return Err(Error::Adapter(
            "no GPU adapter was found. Install a driver for your GPU, or Mesa's software Vulkan driver \
             (Debian, Ubuntu: apt-get install mesa-vulkan-drivers; Fedora: dnf install mesa-vulkan-drivers; \
             Arch: pacman -S vulkan-swrast)"
                .into(),
        ));
    }
    let Some(wanted) = wanted else { return Ok(all.swap_remove(0)) };
    let names: Vec<(usize, &str)> = all.iter().map(|(choice, _)| (choice.number, &*choice.name)).collect();
    match find(&names, wanted) {
        Some(found) => Ok(all.swap_remove(found)),
        None => {
            let list: Vec<String> = all.iter().map(|(choice, _)| format!("  {choice}")).collect();
            Err(Error::Adapter(format!("no adapter matches `{wanted}`; there are:\n{}", list.join("\n"))))
        }
    }
}

/// Place of the adapter with this number, or else of the first with this part of a name. A number is
/// such a part only if it is a word, such as 4090.
fn find(all: &[(usize, &str)], wanted: &str) -> Option<usize> {
    let numbered = wanted.parse().ok().and_then(|wanted: usize| all.iter().position(|&(number, _)| number == wanted));
    let is_number = wanted.parse::<usize>().is_ok();
    let named = |name: &str| match is_number {
        true => name.split_whitespace().any(|word| word == wanted),
        false => name.to_lowercase().contains(&wanted.to_lowercase()),
    };
    numbered.or_else(|| all.iter().position(|(_, name)| named(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::{Backend, DeviceType};

    #[test]
    fn adapters_are_found_by_number_and_by_part_of_a_name() {
        let all = [(0, "NVIDIA GeForce RTX 4090"), (1, "Intel UHD 770"), (2, "llvmpipe")];
        let found = ["1", "intel", "4090", "770", "0", "9", "radeon"].map(|wanted| find(&all, wanted));
        assert_eq!(found, [Some(1), Some(1), Some(0), Some(1), Some(0), None, None]);
    }

    #[test]
    fn adapters_are_ranked_by_class_then_vulkan_comes_first() {
        let mut all = [
            (DeviceType::Cpu, Backend::Vulkan),
            (DeviceType::DiscreteGpu, Backend::Dx12),
            (DeviceType::IntegratedGpu, Backend::Dx12),
            (DeviceType::IntegratedGpu, Backend::Vulkan),
            (DeviceType::DiscreteGpu, Backend::Vulkan),
        ];
        all.sort_by_key(|&(device_type, backend)| rank(&wgpu::AdapterInfo::new(device_type, backend)));
        assert_eq!(all.map(|(_, backend)| backend).map(|b| b == Backend::Vulkan), [true, false, true, false, true]);
        assert_eq!(all[0].0, DeviceType::DiscreteGpu);
        assert_eq!(all[4].0, DeviceType::Cpu);
    }
}
