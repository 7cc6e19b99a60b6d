//! A tape in words and numbers, as `--listing` and `--dry-run` print it. Needs no GPU.

use crate::gpu::{Access, work};
use crate::tape::kernel::Dispatch;
use crate::tape::memory_plan::{Plan, PlanOptions};
use crate::tape::record::{Call, Tape};
use crate::tape::tensor::{BufferOffset, Storage, Tensor};
use std::collections::HashSet;
use std::fmt::{self, Write};

/// The work of a tape's program, and the memory that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Kernel calls.
    pub calls: usize,
    /// Calls before which the device waits for earlier ones.
    pub barriers: usize,
    /// Distinct pipelines: kernels with their constants. Each is compiled once.
    pub pipelines: usize,
    /// Floating-point operations. A multiply-add counts as two.
    pub flops: u64,
    /// Bytes that the calls read and write.
    pub bytes: u64,
    /// Transient buffers (slots).
    pub slots: usize,
    /// Bytes of the transient buffers.
    pub slot_bytes: u64,
    /// Bytes that the transient tensors would need without sharing.
    pub unshared_bytes: u64,
    /// Bytes of the named buffers: parameters, optimizer state, data.
    pub named_bytes: u64,
}

impl Tape {
    /// Bytes that a call moves if each operand, or the part of it that the call uses, is read or
    /// written once. An operand that is read and written counts twice, as does a gradient that is
    /// added to; one that is stored counts once.
    pub fn bytes(&self, call: &Call) -> u64 {
        let part = |x: Tensor| {
            let stated = call.moved.iter().find(|(operand, _)| *operand == x).map_or(u64::MAX, |(_, bytes)| *bytes);
            self.shape(x).bytes().min(stated)
        };
        let Dispatch { entry, operands, constants, .. } = &call.dispatch;
        // The same kernels store a gradient or add to it.
        let stores = entry.constants.iter().zip(constants).any(|(&name, &value)| name == "ADD" && value == 0.0);
        let passes = |access: Access| if access == Access::ReadWrite && !stores { 2 } else { 1 };
        // A tensor that is bound under several types is read once.
        let bound = operands.iter().zip(entry.bindings).enumerate();
        let once = bound.filter(|&(i, (x, b))| b.access != Access::Read || !operands[..i].contains(x));
        once.map(|(_, (&x, b))| part(x) * passes(b.access)).sum()
    }

    /// Work of a call, by which programs are split into submissions.
    pub fn work(&self, call: &Call) -> f64 {
        work(call.flops + call.repeated, self.bytes(call))
    }

    /// The tape in numbers.
    pub fn summary(&self) -> Summary {
        let plan = self.plan(PlanOptions::default());
        let constants = |call: &Call| call.dispatch.constants.iter().map(|c| c.to_bits()).collect::<Vec<_>>();
        let pipelines: HashSet<_> =
            self.calls.iter().map(|call| (call.dispatch.entry.label, constants(call))).collect();
        Summary {
            calls: self.calls.len(),
            barriers: self.barriers(&plan),
            pipelines: pipelines.len(),
            flops: self.calls.iter().map(|call| call.flops).sum(),
            bytes: self.calls.iter().map(|call| self.bytes(call)).sum(),
            slots: plan.slots.len(),
            slot_bytes: plan.slots.iter().sum(),
            unshared_bytes: plan.unshared,
            named_bytes: self.buffer_sizes().values().sum(),
        }
    }

    /// One line per call (number, kernel, workgroups, FLOPs, bytes, operands with shape and
    /// buffer), then the summary.
    pub fn listing(&self) -> String {
        let plan = self.plan(PlanOptions::default());
        let width = self.calls.iter().map(|call| call.dispatch.entry.label.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (number, call) in self.calls.iter().enumerate() {
            let [x, y, z] = call.groups;
            let grid = if (y, z) == (1, 1) { x.to_string() } else { format!("{x}x{y}x{z}") };
            let operands: Vec<String> = call
                .dispatch
                .operands
                .iter()
                .zip(call.dispatch.entry.bindings)
                .map(|(&operand, binding)| {
                    let sign = if binding.access == Access::Read { "" } else { ">" };
                    format!("{sign}{} {} {}", binding.name, self.shape(operand), self.location(&plan, operand))
                })
                .collect();
            let label = call.dispatch.entry.label;
            let flops = scaled(call.flops as f64, "FLOP");
            let bytes = scaled(self.bytes(call) as f64, "B");
            let operands = operands.join(", ");
            let line = writeln!(text, "{number:5}  {label:width$} {grid:>12} {flops:>12} {bytes:>10}   {operands}");
            line.expect("writing to a string does not fail");
        }
        text + &self.summary().to_string()
    }

    fn location(&self, plan: &Plan, x: Tensor) -> String {
        match &self.root_info(x).storage {
            Storage::Named(BufferOffset { buffer, offset: 0 }) => buffer.to_string(),
            Storage::Named(BufferOffset { buffer, offset }) => format!("{buffer}+{offset}"),
            _ => plan.slot_of.get(&self.root(x)).map_or("nowhere".into(), |slot| format!("#{slot}")),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { calls, barriers, pipelines, slots, .. } = self;
        let bytes = |bytes: u64| scaled(bytes as f64, "B");
        let flops = scaled(self.flops as f64, "FLOP");
        writeln!(f, "{calls} calls of {pipelines} pipelines: {flops}, {} read and written", bytes(self.bytes))?;
        writeln!(f, "{barriers} barriers: calls that wait for earlier ones")?;
        let shared = bytes(self.slot_bytes);
        let unshared = bytes(self.unshared_bytes);
        writeln!(f, "{slots} transient buffers, {shared} in total (without sharing: {unshared})")?;
        writeln!(f, "{} in named buffers", bytes(self.named_bytes))
    }
}

/// A number with three digits and a unit: `3.70 GFLOP`.
pub(crate) fn scaled(value: f64, unit: &str) -> String {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (size, prefix) = steps.into_iter().find(|(size, _)| value.abs() >= *size * 0.9995).unwrap_or((1.0, ""));
    let value = value / size;
    let digits = match value.abs() {
        v if v >= 99.95 || prefix.is_empty() && v.fract() == 0.0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Binding, Entry, Shader, Target};
    use crate::tape::{Dispatch, Kernel, Shape};

    static SHADER: Shader = Shader { name: "made_up", text: "" };
    static ENTRY: Entry = Entry {
        shader: &SHADER,
        name: "forward",
        label: "made_up.forward",
        bindings: &[
            Binding { name: "x", index: 0, access: Access::Read, floats: true },
            Binding { name: "y", index: 1, access: Access::Write, floats: true },
            Binding { name: "sum", index: 2, access: Access::ReadWrite, floats: true },
        ],
        constants: &["N"],
        uniform: None,
        takes_step: false,
        workgroup_size: [64, 1, 1],
        folds: true,
    };

    struct MadeUp([Tensor; 3], f64);

    impl Kernel for MadeUp {
        fn call(&self) -> Dispatch {
            Dispatch { entry: &ENTRY, operands: self.0.to_vec(), constants: vec![self.1], dims: vec![] }
        }
    }

    #[test]
    fn listing_names_every_operand_with_its_buffer() {
        let mut t = Tape::new(Target::DISCRETE_GPU);
        let shape = Shape::f32([1000]);
        let (x, a, b) = (t.view("data", 256, shape), t.transient(shape), t.transient(shape));
        let sum = t.named("sums", Shape::f32([2, 2]));
        t.emit(MadeUp([x, a, sum], 1.0), 3, 1500);
        t.emit(MadeUp([a, b, sum], 1.0), 70_000, 0);
        t.emit(MadeUp([x, a, sum], 2.0), 3, 2_500_000);
        let expected = "    0  made_up.forward            3   1.50 kFLOP    8.03 kB   \
            x [1000] data+256, >y [1000] #0, >sum [2, 2] sums\n    \
            1  made_up.forward    35000x2x1       0 FLOP    8.03 kB   \
            x [1000] #0, >y [1000] #1, >sum [2, 2] sums\n    \
            2  made_up.forward            3   2.50 MFLOP    8.03 kB   \
            x [1000] data+256, >y [1000] #0, >sum [2, 2] sums\n\
            3 calls of 2 pipelines: 2.50 MFLOP, 24.1 kB read and written\n\
            2 barriers: calls that wait for earlier ones\n\
            2 transient buffers, 8.00 kB in total (without sharing: 8.00 kB)\n\
            4.27 kB in named buffers\n";
        assert_eq!(t.listing(), expected);
    }

    #[test]
    fn scaled_numbers_keep_three_digits() {
        let text = |v| scaled(v, "B");
        assert_eq!([0.0, 7.0, 999.0].map(text), ["0 B", "7 B", "999 B"]);
        assert_eq!([999.9, 1234.0, 56_789.0, 999_960.0].map(text), ["1.00 kB", "1.23 kB", "56.8 kB", "1.00 MB"]);
        assert_eq!([123.4e9, 2e15].map(text), ["123 GB", "2000 TB"]);
    }
}
