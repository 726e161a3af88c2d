//! Numbers of checks and services that outlive a reload. What a runner reports may arrive after
//! the fleet has changed: by its number it is known for whose it is, or that it is nobody's.

use anycast_fleet::Fleet;

/// The numbers, by index in the fleet that is in force.
#[derive(Debug, Default)]
pub(super) struct Slots {
    services: Vec<Service>,
    next: usize,
}

#[derive(Debug)]
struct Service {
    name: String,
    number: usize,
    /// Name and number.
    checks: Vec<(String, usize)>,
}

impl Slots {
    pub(super) fn new(fleet: &Fleet) -> Self {
        let mut slots = Self::default();
        slots.adopt(fleet, |_| false, |_, _| false);
        slots
    }

    /// The fleet is another: what has the same name keeps its number, unless it begins anew.
    pub(super) fn adopt(
        &mut self,
        fleet: &Fleet,
        service_anew: impl Fn(&str) -> bool,
        check_anew: impl Fn(&str, &str) -> bool,
    ) {
        let old = std::mem::take(&mut self.services);
        for service in &fleet.services {
            let before =
                old.iter().find(|it| it.name == service.name).filter(|it| !service_anew(&it.name));
            let number = before.map_or_else(|| self.take_next(), |it| it.number);
            let mut checks = Vec::new();
            for check in &service.checks {
                let same = |(name, _): &&(String, usize)| *name == check.name;
                let before = before
                    .and_then(|it| it.checks.iter().find(same))
                    .filter(|_| !check_anew(&service.name, &check.name));
                let number = before.map_or_else(|| self.take_next(), |(_, number)| *number);
                checks.push((check.name.clone(), number));
            }
            self.services.push(Service { name: service.name.clone(), number, checks });
        }
    }

    fn take_next(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// The number of the service at this index.
    pub(super) fn service(&self, index: usize) -> usize {
        self.services[index].number
    }

    /// The number of a check at its index in the service at its index.
    pub(super) fn check(&self, service: usize, check: usize) -> usize {
        self.services[service].checks[check].1
    }

    /// The index of the service of this number, if it is still there.
    pub(super) fn service_of(&self, number: usize) -> Option<usize> {
        self.services.iter().position(|it| it.number == number)
    }

    /// The indices of the service and check of this number, if it is still there.
    pub(super) fn check_of(&self, number: usize) -> Option<(usize, usize)> {
        self.services.iter().enumerate().find_map(|(index, service)| {
            let check = service.checks.iter().position(|(_, its)| *its == number)?;
            Some((index, check))
        })
    }
}
