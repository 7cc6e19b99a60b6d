//! Memory of the device.

use super::faults;
use crate::{Error, Result};

/// Creates a buffer, filled with zeros.
///
/// # Errors
/// [`Error::TooLarge`], and [`Error::Device`] if the device is out of memory.
pub(super) fn create_buffer(device: &wgpu::Device, descriptor: &wgpu::BufferDescriptor<'_>) -> Result<wgpu::Buffer> {
    let name = descriptor.label.unwrap_or_default();
    let (bytes, limit) = (descriptor.size, device.limits().max_buffer_size);
    if bytes > limit {
        let advice = "use a smaller batch or a smaller model".into();
        return Err(Error::TooLarge { what: format!("buffer `{name}`"), bytes, limit, advice });
    }
    let refused = Error::Device(format!(
        "out of memory: `{name}` needs {:.1} MB more. Use a smaller batch, smaller images or a smaller model",
        bytes as f64 / 1e6
    ));
    if faults::refuses_allocation() {
        return Err(refused);
    }
    let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let buffer = device.create_buffer(descriptor);
    pollster::block_on(scope.pop()).map_or(Ok(buffer), |_| Err(refused))
}
