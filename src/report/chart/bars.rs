//! Bars: the outcomes of each arm's runs.

use maud::html;

use super::{Chart, Look, WIDTH, titled};
use crate::report::markup::px;

#[derive(Clone, Debug)]
pub struct Bars {
    /// The bars: a name and the lengths of its parts, one for each of [`PARTS`].
    pub bars: Vec<(Look, String, [usize; 5])>,
}

/// The outcomes of a planned run, and the class of each in `chart.css`.
pub const PARTS: [(&str, &str); 5] = [
    ("trained", "p-trained"),
    ("at chance", "p-chance"),
    ("diverged", "p-diverged"),
    ("failed", "p-failed"),
    ("missing", "p-missing"),
];

const ROW: f64 = 52.0;

impl Bars {
    pub fn chart(&self) -> Chart {
        let most = self.bars.iter().map(|(_, _, parts)| parts.iter().sum::<usize>()).max();
        let unit = (WIDTH - 12.0) / most.unwrap_or(0).max(1) as f64;
        let body = html! {
            @for (i, (look, name, parts)) in self.bars.iter().enumerate() {
                @let y = i as f64 * ROW;
                (look.marker(11.0, y + 8.0, 4.0))
                text.group x="22" y=(px(y + 12.0)) { (name) }
                @for (k, (&n, (outcome, class))) in parts.iter().zip(PARTS).enumerate().filter(|(_, (n, _))| **n > 0) {
                    @let before = parts[..k].iter().sum::<usize>();
                    rect class=(class) x=(px(6.0 + before as f64 * unit)) y=(px(y + 17.0))
                        width=(px((n as f64 * unit - 1.0).max(0.8))) height="14" {
                        title { (n) " " (outcome) }
                    }
                }
                @let outcomes = parts.iter().zip(PARTS).filter(|(n, _)| **n > 0);
                @let outcomes: Vec<String> = outcomes.map(|(n, (outcome, _))| format!("{n} {outcome}")).collect();
                text x="6" y=(px(y + 43.0)) { (outcomes.join(" · ")) }
            }
        };
        titled("", ROW * self.bars.len() as f64, body)
    }
}
