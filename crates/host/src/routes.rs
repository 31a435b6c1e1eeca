//! Which ranges may go to the device, and what is in their way.
//!
//! Reading ([`Machine::read`]) needs no rights; deciding ([`cut_out`], [`difference`]) is plain
//! code; setting is a [`Change`](crate::Change) of the root helper.

mod cut_out;
mod machine;
mod subtract;

pub use cut_out::{Cut, Overlap, RoutePlan, Why, cut_out, special_ranges};
pub use machine::{Machine, OwnAddress, Route};
pub use subtract::subtract;

use ipnet::IpNet;

/// What has to be added and removed to come from `present` to `wanted`, each in its order.
#[must_use]
pub fn difference(present: &[IpNet], wanted: &[IpNet]) -> (Vec<IpNet>, Vec<IpNet>) {
    let missing = |from: &[IpNet], range: &IpNet| !from.contains(range);
    let added = wanted.iter().filter(|range| missing(present, range));
    let removed = present.iter().filter(|range| missing(wanted, range));
    (added.copied().collect(), removed.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_touches_only_what_differs() {
        let nets =
            |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| text.parse().unwrap()).collect() };

        let (added, removed) =
            difference(&nets(&["10.1.0.0/16", "10.2.0.0/16"]), &nets(&["10.2.0.0/16", "10.3.0.0/16"]));

        assert_eq!(added, nets(&["10.3.0.0/16"]));
        assert_eq!(removed, nets(&["10.1.0.0/16"]));
    }
}
