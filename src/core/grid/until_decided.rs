//! The rule of a sweep whose seeds are added until its claims are decided.

use super::{Axis, Expectation, Grid, GridError, Place, canonical};
use crate::job::Value;

/// The rule for adding seeds: the grid's own, then [`batch`](Self::batch) more at a time, counted
/// on from the largest, while a claim is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UntilDecided {
    /// The most seeds of a setting.
    pub max_seeds: usize,
    /// Number of seeds added at a time.
    pub batch: usize,
}

/// The rule as a file or the command line gives it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub max_seeds: Option<usize>,
    pub batch: Option<usize>,
    pub place: Place,
}

impl UntilDecided {
    /// The default of [`max_seeds`](Self::max_seeds).
    pub const MAX_SEEDS: usize = 100;
}

impl Grid {
    /// Adds seeds until the claims are decided, as `--until-decided --max-seeds N` asks for. `None`
    /// keeps the grid's own limit, else [`UntilDecided::MAX_SEEDS`].
    ///
    /// # Errors
    /// There is no claim, or the seeds are not those of one axis `seed`.
    pub fn add_seeds_until_decided(&mut self, max_seeds: Option<usize>) -> Result<(), GridError> {
        let of_grid = self.until_decided;
        self.set_until_decided(&Wanted {
            max_seeds: max_seeds.or(of_grid.map(|rule| rule.max_seeds)),
            batch: of_grid.map(|rule| rule.batch),
            place: Place::of("--until-decided"),
        })
    }

    pub(super) fn set_until_decided(&mut self, wanted: &Wanted) -> Result<(), GridError> {
        let error = |message: String| Err(wanted.place.error(message));
        if self.claims.is_empty() {
            return error("the grid has no [[claim]] that could be decided: write one".to_owned());
        }
        let seeds = self.common_seeds().map_err(|(place, why)| {
            place.unwrap_or_else(|| wanted.place.clone()).error(format!(
                "seeds can be added until claims are decided only to one axis `seed` that all jobs share: {why}"
            ))
        })?;
        let max_seeds = wanted.max_seeds.unwrap_or(UntilDecided::MAX_SEEDS.max(seeds));
        if max_seeds < seeds {
            return error(format!(
                "max_seeds = {max_seeds} is less than the {seeds} seeds that the grid begins with"
            ));
        }
        self.until_decided = Some(UntilDecided { max_seeds, batch: wanted.batch.unwrap_or(seeds) });
        Ok(())
    }

    /// The number of values of the axis `seed`; else the place and the error.
    fn common_seeds(&self) -> Result<usize, (Option<Place>, String)> {
        let whole = |error: GridError| (None, error.message);
        let mut first: Option<&Axis> = None;
        for expansion in self.expansions().map_err(whole)? {
            let Some(axis) = expansion.seeds() else {
                let why =
                    "give [grid] an axis such as seed = { count = 6 }, and no other of a seed";
                return Err((None, why.to_owned()));
            };
            let words = |axis: &Axis| axis.values.iter().map(canonical).collect::<Vec<_>>();
            match first {
                Some(first) if words(first) != words(axis) => {
                    let why = format!("it differs from the one at {}", first.place);
                    return Err((Some(axis.place.clone()), why));
                }
                _ => first = Some(axis),
            }
        }
        let excludes = self.own.exclude.iter().chain(self.block.iter().flat_map(|b| &b.exclude));
        let sides = self.claims.iter().flat_map(|claim| {
            let sides = match &claim.expect {
                Expectation::Compare { better, than, .. } => [&better[..], &than[..]],
                Expectation::Within { .. } => [&[][..], &[][..]],
            };
            claim.filter.iter().chain(sides.into_iter().flatten())
        });
        let mut conditions = excludes.flat_map(|exclude| &exclude.conditions).chain(sides);
        if let Some(condition) = conditions.find(|condition| condition.is_about_seeds()) {
            return Err((Some(condition.place.clone()), "this picks seeds".to_owned()));
        }
        Ok(first.map_or(0, |axis| axis.values.len()))
    }

    /// The grid with all seeds that its rule may add; the same grid if it has no rule.
    ///
    /// # Errors
    /// The numbers get too large.
    pub fn with_all_seeds(&self) -> Result<Grid, GridError> {
        let mut grid = self.clone();
        let Some(UntilDecided { max_seeds, .. }) = self.until_decided else { return Ok(grid) };
        let blocks = grid.block.iter_mut().chain([&mut grid.own]);
        for axis in blocks.flat_map(|block| &mut block.grid) {
            if axis.field.name != "seed" {
                continue;
            }
            let number = |value: &Value| canonical(value).parse::<i64>().ok();
            let numbers: Option<Vec<i64>> = axis.values.iter().map(number).collect();
            let more = max_seeds.saturating_sub(axis.values.len()) as i64;
            let largest = numbers.and_then(|numbers| numbers.into_iter().max());
            let Some((largest, last)) = largest.and_then(|n| Some((n, n.checked_add(more)?)))
            else {
                return Err(axis.place.error(format!("{max_seeds} seeds from here get too large")));
            };
            axis.values.extend((largest..last).map(|n| Value::Integer(n + 1)));
        }
        Ok(grid)
    }

    /// An error about the rule, found by the claims' statistics.
    pub fn cannot_add_seeds(&self, message: &str) -> GridError {
        Place { key: "until_decided".into(), ..self.place.clone() }.error(message)
    }
}
