//! The memory plan: which transient buffer (slot) each transient tensor is stored in. Needs no GPU.
//!
//! Liveness is the only mechanism. A tensor lives from the first call that names it to the last, so
//! a tensor that backward needs is alive because a backward call names it. Tensors are placed in
//! order of decreasing size, each in the first slot whose tensors have lifetimes disjoint from its
//! own (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference", greedy
//! by size). Slots are whole buffers, because a device cannot bind one buffer as read and as
//! written in one dispatch.

use super::record::Tape;
use super::tensor::{Storage, Tensor};
use std::collections::BTreeMap;

/// How tensors share storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Every tensor gets a separate slot, so that all values can be read after the run.
    pub separate: bool,
    /// Bytes before and after each tensor that no kernel may touch (a multiple of 256).
    pub guard: u64,
}

/// The slots, and the slot of each tensor.
#[derive(Debug, Default)]
pub struct Plan {
    /// Bytes of each slot, guards included.
    pub slots: Vec<u64>,
    /// Slot of each transient tensor.
    pub slot_of: BTreeMap<Tensor, usize>,
    /// Bytes that the tensors would need without sharing.
    pub unshared: u64,
}

/// First and last call that name a tensor.
#[derive(Clone, Copy)]
struct Lifetime {
    first: usize,
    last: usize,
}

impl Lifetime {
    fn is_disjoint(self, other: Lifetime) -> bool {
        other.last < self.first || self.last < other.first
    }
}

impl Tape {
    /// Chooses a slot for every transient tensor that a call names.
    pub fn plan(&self, options: PlanOptions) -> Plan {
        let bytes = |x: Tensor| self.shape(x).bytes() + 2 * options.guard;
        let mut order: Vec<(Tensor, Lifetime)> = self.lifetimes().into_iter().collect();
        order.sort_by_key(|&(x, life)| (std::cmp::Reverse(bytes(x)), life.first));

        let mut plan = Plan::default();
        let mut lives: Vec<Vec<Lifetime>> = Vec::new(); // of the tensors in each slot
        for (x, life) in order {
            plan.unshared += bytes(x);
            let is_free = |slot: &Vec<Lifetime>| slot.iter().all(|&other| life.is_disjoint(other));
            let found = if options.separate { None } else { lives.iter().position(is_free) };
            let slot = found.unwrap_or_else(|| {
                plan.slots.push(bytes(x));
                lives.push(Vec::new());
                lives.len() - 1
            });
            lives[slot].push(life);
            plan.slot_of.insert(x, slot);
        }
        plan
    }

    fn lifetimes(&self) -> BTreeMap<Tensor, Lifetime> {
        let mut lifetimes: BTreeMap<Tensor, Lifetime> = BTreeMap::new();
        for (number, call) in self.calls.iter().enumerate() {
            for &operand in &call.dispatch.operands {
                if self.root_info(operand).storage == Storage::Transient {
                    let new = Lifetime { first: number, last: number };
                    lifetimes.entry(self.root(operand)).or_insert(new).last = number;
                }
            }
        }
        lifetimes
    }
}
