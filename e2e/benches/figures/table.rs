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
