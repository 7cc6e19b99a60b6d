//! How often a device waits between calls. wgpu places a barrier before a call that uses a buffer
//! which an earlier call wrote, or that writes a buffer which an earlier call read. Calls without a
//! barrier between them may overlap.

use crate::gpu::{Access, BufferSlot};
use crate::tape::memory_plan::Plan;
use crate::tape::record::Tape;
use std::collections::HashMap;

impl Tape {
    /// Number of calls that have a barrier before them.
    pub fn barriers(&self, plan: &Plan) -> usize {
        // Whether the last call that used a buffer wrote it.
        let mut written: HashMap<BufferKey<'_>, bool> = HashMap::new();
        let calls = self.calls.iter().filter(|call| {
            let bindings = call.dispatch.operands.iter().zip(call.dispatch.entry.bindings);
            let uses: Vec<(BufferKey<'_>, bool)> =
                bindings.map(|(&x, binding)| (self.place(plan, x, 0).into(), binding.access != Access::Read)).collect();
            let waits = uses.iter().any(|(key, writes)| written.get(key).is_some_and(|&before| before || *writes));
            written.extend(uses.iter().map(|(key, _)| (*key, false)));
            written.extend(uses.iter().filter(|(_, writes)| *writes).copied());
            waits
        });
        calls.count()
    }
}

/// A buffer of a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum BufferKey<'a> {
    Transient(usize),
    Named(&'a str),
}

impl<'a> From<BufferSlot<'a>> for BufferKey<'a> {
    fn from(slot: BufferSlot<'a>) -> BufferKey<'a> {
        match slot {
            BufferSlot::Transient(number, _) => BufferKey::Transient(number),
            BufferSlot::Named(name, _) => BufferKey::Named(name),
        }
    }
}
