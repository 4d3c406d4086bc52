//! Heat maps.

use maud::{Markup, html};

use super::{Chart, Look, WIDTH, titled};
use crate::report::markup::px;

#[derive(Clone, Debug)]
pub struct Heat {
    /// The arm that it is about.
    pub look: Look,
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub columns: Vec<String>,
    /// From the bottom.
    pub rows: Vec<String>,
    /// By row, then by column.
    pub squares: Vec<Vec<Option<Square>>>,
}

/// A field of a [`Heat`].
#[derive(Clone, Debug)]
pub struct Square {
    /// Its colour, 0 to 1; `None` for an uncoloured field.
    pub value: Option<f64>,
    pub text: String,
    pub framed: bool,
    pub tooltip: String,
}

const HIGH: f64 = 26.0;
const TOP: f64 = 16.0;

impl Heat {
    pub fn chart(&self) -> Chart {
        let longest =
            |words: &[String]| words.iter().map(|w| w.chars().count()).max().unwrap_or(1) as f64;
        let left = (8.0 + 6.6 * longest(&self.rows)).clamp(30.0, 90.0);
        let wide = ((WIDTH - left - 8.0) / self.columns.len().max(1) as f64).min(60.0);
        // Labels that would run into each other: every second one, every third, …
        let every = ((longest(&self.columns) * 6.6 + 3.0) / wide).ceil().max(1.0) as usize;
        let n = self.rows.len();
        let base = TOP + n as f64 * HIGH;
        let centre = left + wide * self.columns.len() as f64 / 2.0;
        let body = html! {
            text.small x="6" y="10" { (self.y_label) }
            @for (row, (name, squares)) in self.rows.iter().zip(&self.squares).enumerate() {
                @let y = TOP + (n - 1 - row) as f64 * HIGH;
                text x=(px(left - 5.0)) y=(px(y + HIGH / 2.0 + 4.0)) text-anchor="end" { (name) }
                @for (column, square) in squares.iter().enumerate() {
                    // Without one, the plan has no such job.
                    @if let Some(square) = square { (square.svg(left + column as f64 * wide, y, wide)) }
                }
            }
            @for (column, name) in self.columns.iter().enumerate().step_by(every) {
                text x=(px(left + (column as f64 + 0.5) * wide)) y=(px(base + 15.0)) text-anchor="middle" { (name) }
            }
            text x=(px(centre)) y=(px(base + 32.0)) text-anchor="middle" { (self.x_label) }
        };
        Chart { arm: Some(self.look), ..titled(&self.title, base + 38.0, body) }
    }
}

impl Square {
    fn svg(&self, x: f64, y: f64, wide: f64) -> Markup {
        let ink = match self.value.map(cividis) {
            None => "var(--no)",
            Some([r, g, b]) if 0.299 * r + 0.587 * g + 0.114 * b > 130.0 => "#000",
            Some(_) => "#fff",
        };
        let class = match (self.value, self.framed) {
            (Some(_), false) => "",
            (Some(_), true) => "framed",
            (None, false) => "blank",
            (None, true) => "blank-framed",
        };
        let inset = if self.framed { 2.0 } else { 0.75 };
        html! {
            g {
                title { (self.tooltip) }
                rect class=[Some(class).filter(|class| !class.is_empty())] x=(px(x + inset)) y=(px(y + inset)) width=(px((wide - 2.0 * inset).max(0.5)))
                    height=(px(HIGH - 2.0 * inset)) fill=[self.value.map(fill)] {}
                @if self.text.chars().count() as f64 * 6.2 <= wide {
                    text x=(px(x + wide / 2.0)) y=(px(y + HIGH / 2.0 + 4.0)) text-anchor="middle"
                        style={ "fill:" (ink) } { (self.text) }
                }
            }
        }
    }
}

pub(super) fn fill(value: f64) -> String {
    let [r, g, b] = cividis(value);
    format!("rgb({r:.0},{g:.0},{b:.0})")
}

/// Cividis (Nuñez, Anderton & Renslow 2018) at eight anchors: dark blue to yellow, with even
/// lightness for every kind of colour vision.
fn cividis(value: f64) -> [f64; 3] {
    const ANCHORS: [[f64; 3]; 8] = [
        [0.0, 34.0, 78.0],
        [39.0, 62.0, 108.0],
        [77.0, 87.0, 109.0],
        [109.0, 113.0, 117.0],
        [141.0, 139.0, 120.0],
        [178.0, 168.0, 110.0],
        [216.0, 198.0, 91.0],
        [254.0, 232.0, 56.0],
    ];
    let place = value.clamp(0.0, 1.0) * 7.0;
    let i = (place as usize).min(6);
    let t = place - i as f64;
    std::array::from_fn(|k| ANCHORS[i][k] * (1.0 - t) + ANCHORS[i + 1][k] * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lighter_is_more() {
        let light = |value| cividis(value).iter().sum::<f64>();
        assert!((0..20).all(|i| light(f64::from(i) / 20.0) < light(f64::from(i + 1) / 20.0)));
    }
}
