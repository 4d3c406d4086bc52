//! The first lines of a summary: which initializer, and how sure that is.

use schemars::JsonSchema;
use serde::Serialize;

use wninit_stats::summary::{Headline, Summary};

/// The answer to a sweep's question, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Answer {
    /// which initializer: the main difference between them; null if nothing is compared
    pub which: Option<String>,
    /// how sure that is: the numbers of the claim that is stated, else where an initializer is shown to be better than all others; null if nothing is compared
    pub how_sure: Option<String>,
}

impl Answer {
    pub(super) fn of(summary: &Summary) -> Answer {
        let Headline { which, how_sure, .. } = summary.headline();
        Answer { which, how_sure }
    }

    /// The lines of a terminal.
    pub(super) fn lines(&self) -> Vec<String> {
        let answers = [("Which initializer?", &self.which), ("How sure?", &self.how_sure)];
        let line = |(question, answer): (&str, &Option<String>)| {
            answer.as_ref().map(|answer| format!("{question} {answer}"))
        };
        answers.into_iter().filter_map(line).collect()
    }
}
