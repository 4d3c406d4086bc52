//! The options that add seeds until the claims of a grid are decided.

use crate::grid::Grid;
use crate::usage::usage;

/// `--until-decided`, or the grid's key `until_decided`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct UntilDecidedArgs {
    /// Add seeds until every claim is decided, like the grid's key until_decided
    #[arg(long, help_heading = "Seeds")]
    pub until_decided: bool,
    /// At most N seeds of a setting with --until-decided [default: the grid's, else 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Seeds")]
    pub max_seeds: Option<u32>,
}

impl UntilDecidedArgs {
    /// Applies the options to the grid's rule.
    ///
    /// # Errors
    /// The grid's claims cannot be decided so, or `--max-seeds` is given without a rule.
    pub fn apply(&self, grid: &mut Grid) -> anyhow::Result<()> {
        match self.max_seeds {
            Some(_) if !self.until_decided && grid.until_decided.is_none() => {
                Err(usage("--max-seeds goes with --until-decided"))
            }
            None if !self.until_decided => Ok(()),
            most => Ok(grid.add_seeds_until_decided(most.map(|n| n as usize))?),
        }
    }
}
