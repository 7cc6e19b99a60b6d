//! Timing of each kernel of a program with the device's time stamps.

use super::allocation::create_buffer;
use super::commands::CommandList;
use super::context::Context;
use crate::{Error, Result};

impl CommandList {
    /// Runs each kernel once in a separate pass, and returns their times on the device in
    /// nanoseconds.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has no time stamps or was lost.
    pub fn run_timed(&self, ctx: &Context, step: &[u8]) -> Result<Vec<f64>> {
        if !ctx.gpu.has_time_stamps() {
            return Err(Error::Device(format!(
                "{} has no time stamps, so --profile cannot measure it",
                ctx.gpu.adapter()
            )));
        }
        ctx.gpu.queue.write_buffer(&self.step, 0, step);
        let mut times = Vec::with_capacity(self.kernels.len());
        let parts = self.submissions(ctx);
        let most = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;
        for chunk in parts.into_iter().flat_map(|part| self.kernels[part].chunks(most)) {
            let count = 2 * chunk.len() as u32;
            let set = ctx.gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let size = u64::from(count) * 8;
            let label = Some("time stamps");
            let resolved = create_buffer(
                &ctx.gpu.device,
                &wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false },
            )?;
            let mut encoder = ctx.gpu.device.create_command_encoder(&Default::default());
            for (kernel, number) in chunk.iter().zip(0..) {
                let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                    query_set: &set,
                    beginning_of_pass_write_index: Some(2 * number),
                    end_of_pass_write_index: Some(2 * number + 1),
                });
                let mut pass =
                    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
                self.encode(&mut pass, kernel);
            }
            encoder.resolve_query_set(&set, 0..count, &resolved, 0);
            ctx.gpu.counter.count(&mut encoder.begin_compute_pass(&Default::default()));
            ctx.gpu.submit(Some(encoder));
            let stamps: Vec<u64> = ctx.gpu.start_read(&resolved, 0, size)?.wait(&ctx.gpu)?;
            let period = f64::from(ctx.gpu.queue.get_timestamp_period());
            times.extend(stamps.chunks(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period));
        }
        Ok(times)
    }
}
