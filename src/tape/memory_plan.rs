//! The memory plan: which slot buffer each planned tensor lives in. Needs no GPU.
//!
//! Liveness is the only mechanism: a tensor lives from the first call that names it to the last, so what backward needs is alive because a
//! backward call names it. Tensors are placed by falling size, each in the first slot whose tenants' lifetimes it does not meet (Pisarchyk
//! and Lee 2020, "Efficient memory management for deep neural net inference", greedy by size). Slots are whole buffers, because a
//! device refuses to bind one buffer as read and as written in a dispatch.

use super::record::{Storage, Tape, Tensor};
use std::collections::BTreeMap;

/// How tensors share storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Every tensor gets a slot of its own, so that all values can be looked at after the run.
    pub separate: bool,
    /// Bytes before and after each tensor that no kernel may touch (a multiple of 256).
    pub guard: u64,
}

/// Slots, and the tenant of each tensor.
#[derive(Debug, Default)]
pub struct Plan {
    /// Bytes of each slot, guards included.
    pub slots: Vec<u64>,
    /// Slot of each planned tensor.
    pub slot_of: BTreeMap<Tensor, usize>,
    /// Bytes if nothing were shared.
    pub unshared: u64,
}

impl Tape {
    /// Places every planned tensor that a call names.
    pub fn plan(&self, options: PlanOptions) -> Plan {
        let mut lives: BTreeMap<Tensor, (usize, usize)> = BTreeMap::new();
        for (number, call) in self.calls.iter().enumerate() {
            for &operand in &call.dispatch.operands {
                let root = self.root(operand);
                if self.tensors[root.0 as usize].storage == Storage::Transient {
                    lives.entry(root).or_insert((number, number)).1 = number;
                }
            }
        }
        let mut order: Vec<(Tensor, (usize, usize))> = lives.into_iter().collect();
        let bytes = |x: Tensor| self.shape(x).bytes() + 2 * options.guard;
        order.sort_by_key(|&(x, (first, _))| (std::cmp::Reverse(bytes(x)), first));

        let mut plan = Plan::default();
        let mut tenants: Vec<Vec<(usize, usize)>> = Vec::new();
        for (x, life) in order {
            plan.unshared += bytes(x);
            let free = |slot: &Vec<(usize, usize)>| slot.iter().all(|other| other.1 < life.0 || life.1 < other.0);
            let found = if options.separate { None } else { tenants.iter().position(free) };
            let slot = found.unwrap_or_else(|| {
                plan.slots.push(bytes(x));
                tenants.push(Vec::new());
                tenants.len() - 1
            });
            tenants[slot].push(life);
            plan.slot_of.insert(x, slot);
        }
        plan
    }
}
