//! What the figures have to reach, and the table that shows whether they do.

use std::fmt;

/// Which of two values is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// A figure; where there is something to compare with, the ratio is what counts.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// Of `ours` and `theirs`.
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) theirs: Option<f64>,
    pub(crate) better: Better,
    /// A run without it fails.
    pub(crate) must: f64,
    /// What is explained in `docs/benchmarks.md` while it is missed.
    pub(crate) wanted: f64,
}

/// What a figure has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    BelowWish,
    Missed,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Table {
    figures: Vec<Figure>,
}

impl Figure {
    /// What is judged.
    pub(crate) fn value(&self) -> f64 {
        self.theirs.map_or(self.ours, |theirs| self.ours / theirs)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if !self.reaches(self.must) {
            Verdict::Missed // also what is not a number
        } else if self.reaches(self.wanted) {
            Verdict::Good
        } else {
            Verdict::BelowWish
        }
    }

    fn reaches(&self, limit: f64) -> bool {
        match self.better {
            Better::Higher => self.value() >= limit,
            Better::Lower => self.value() <= limit,
        }
    }
}

impl Table {
    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Tells whether no figure misses what it must reach.
    pub(crate) fn is_reached(&self) -> bool {
        self.figures.iter().all(|figure| figure.verdict() != Verdict::Missed)
    }
}

/// As Markdown, to be taken over into `docs/benchmarks.md`.
impl fmt::Display for Table {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "| figure | unit | ours | compared with | ratio | must | wanted | verdict |")?;
        write!(to, "|---|---|--:|--:|--:|--:|--:|---|")?;
        for figure in &self.figures {
            let Figure { name, unit, ours, theirs, better, must, wanted } = figure;
            let sign = if *better == Better::Higher { "≥" } else { "≤" };
            let theirs_text = theirs.map_or("-".into(), short);
            let ratio = theirs.map_or("-".into(), |_| format!("{:.2}", figure.value()));
            let verdict = match figure.verdict() {
                Verdict::Good => "good",
                Verdict::BelowWish => "wish missed",
                Verdict::Missed => "**missed**",
            };
            write!(to, "\n| {name} | {unit} | {} | {theirs_text} | {ratio} ", short(*ours))?;
            write!(to, "| {sign} {must} | {sign} {wanted} | {verdict} |")?;
        }
        Ok(())
    }
}

/// The middle of some values; of an even number, the upper one of the middle two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Three digits or all before the point.
pub(crate) fn short(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(ours: f64) -> Figure {
        let (better, must, wanted) = (Better::Higher, 0.8, 1.0);
        Figure { name: "download", unit: "MB/s", ours, theirs: Some(100.0), better, must, wanted }
    }

    #[test]
    fn a_ratio_is_judged_where_there_is_something_to_compare_with() {
        assert_eq!(download(100.0).verdict(), Verdict::Good);
        assert_eq!(download(90.0).verdict(), Verdict::BelowWish);
        assert_eq!(download(79.0).verdict(), Verdict::Missed);
    }

    #[test]
    fn without_comparison_the_value_itself_is_judged() {
        let memory =
            |ours| Figure { theirs: None, better: Better::Lower, must: 8.0, wanted: 8.0, ..download(ours) };

        assert_eq!(memory(7.9).verdict(), Verdict::Good);
        assert_eq!(memory(8.1).verdict(), Verdict::Missed);
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        assert_eq!(download(f64::NAN).verdict(), Verdict::Missed);
        assert_eq!(
            Figure { theirs: None, better: Better::Lower, ..download(median(&[])) }.verdict(),
            Verdict::Missed
        );
    }

    #[test]
    fn one_missed_figure_fails_the_table() {
        let mut table = Table::default();
        table.add(download(90.0));
        assert!(table.is_reached());

        table.add(download(1.0));

        assert!(!table.is_reached());
        assert!(
            table.to_string().contains("| download | MB/s | 1.00 | 100 | 0.01 | ≥ 0.8 | ≥ 1 | **missed** |")
        );
    }

    #[test]
    fn a_median_leaves_one_outlier_alone() {
        assert_eq!(median(&[3.0, 900.0, 1.0]), 3.0);
    }
}
