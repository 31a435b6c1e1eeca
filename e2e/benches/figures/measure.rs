//! Values of several rounds for each way, and the figure that they make.

use std::collections::BTreeMap;

use crate::table::{Better, Figure, median, short};
use crate::ways::Way;

/// What was measured, round by round.
#[derive(Debug)]
pub(crate) struct Rounds {
    name: &'static str,
    unit: &'static str,
    values: BTreeMap<Way, Vec<f64>>,
}

impl Rounds {
    pub(crate) fn new(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, values: BTreeMap::new() }
    }

    /// Notes a value; of [`Way::Theirs`] are those with which ours are compared.
    pub(crate) fn add(&mut self, way: Way, value: f64) {
        let Self { name, unit, values } = self;
        println!("{name}: {way:?} {} {unit}", short(value));
        values.entry(way).or_default().push(value);
    }

    /// The medians, and what they have to reach.
    pub(crate) fn figure(&self, better: Better, must: f64, wanted: f64) -> Figure {
        let middle = |way| self.values.get(&way).map(|values| median(values));
        let ours = middle(Way::Ours).unwrap_or(f64::NAN);
        Figure { name: self.name, unit: self.unit, ours, theirs: middle(Way::Theirs), better, must, wanted }
    }
}
