//! Sets of gateways, each once.

use std::collections::HashMap;
use std::net::IpAddr;

/// The few sets of gateways that routes have, by number.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    /// The number before, which the next route most often has too.
    last: u32,
    pub(super) sets: Vec<Set>,
    pub(super) free: Vec<u32>,
    pub(super) index: HashMap<Vec<IpAddr>, u32>,
}

#[derive(Debug)]
pub(super) struct Set {
    gateways: Vec<IpAddr>,
    holders: usize,
}

impl Gateways {
    /// The number of these gateways, held once more; 0 if there are none.
    pub(super) fn hold(&mut self, gateways: &[IpAddr]) -> u32 {
        if gateways.is_empty() {
            return 0;
        }
        let is_last = self.get(self.last) == gateways && self.is_held(self.last);
        let known = is_last.then_some(self.last).or_else(|| self.index.get(gateways).copied());
        let number = known.unwrap_or_else(|| {
            let set = Set { gateways: gateways.to_vec(), holders: 0 };
            let number = if let Some(number) = self.free.pop() {
                self.sets[number as usize - 1] = set;
                number
            } else {
                self.sets.push(set);
                u32::try_from(self.sets.len()).expect("there are fewer sets than routes")
            };
            self.index.insert(gateways.to_vec(), number);
            number
        });
        self.sets[number as usize - 1].holders += 1;
        self.last = number;
        number
    }

    fn is_held(&self, number: u32) -> bool {
        number != 0 && self.sets[number as usize - 1].holders != 0
    }

    pub(super) fn release(&mut self, number: u32) {
        let Some(at) = number.checked_sub(1) else { return };
        let set = &mut self.sets[at as usize];
        set.holders -= 1;
        if set.holders == 0 {
            self.index.remove(&set.gateways);
            self.free.push(number);
        }
    }

    pub(super) fn get(&self, number: u32) -> &[IpAddr] {
        number.checked_sub(1).map_or(&[], |at| &self.sets[at as usize].gateways)
    }
}
