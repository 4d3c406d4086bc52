//! The legend of a figure, on a page and in a picture.

use maud::{Markup, html};

use super::Look;
use super::bars::PARTS;
use super::heat::fill;
use crate::report::markup::{name, px};

/// What the marks of a figure mean.
#[derive(Clone, Debug)]
pub enum Legend {
    /// Each arm's line and marker.
    Arms(Vec<(Look, String)>),
    /// The outcomes of a run.
    Outcomes,
    /// The colours of a map, from 0 to 1, and what they measure.
    Scale(&'static str),
}

/// A key: a symbol of this width and 12 units high, and its meaning.
struct Key {
    arm: Option<Look>,
    width: f64,
    symbol: Markup,
    text: String,
}

/// The height of a row of keys in a picture.
const ROW: f64 = 20.0;

impl Legend {
    fn keys(&self) -> Vec<Key> {
        match self {
            Legend::Arms(arms) => {
                let key = |(look, name): &(Look, String)| Key {
                    arm: Some(*look),
                    width: Look::WIDTH,
                    symbol: look.symbol(),
                    text: name.clone(),
                };
                arms.iter().map(key).collect()
            }
            Legend::Outcomes => {
                let key = |(outcome, class): &(&str, &str)| Key {
                    arm: None,
                    width: 14.0,
                    symbol: html! { rect class=(class) x="1" y="1" width="12" height="10" {} },
                    text: (*outcome).to_owned(),
                };
                PARTS.iter().map(key).collect()
            }
            Legend::Scale(label) => vec![Key {
                arm: None,
                width: 196.0,
                symbol: html! {
                    text x="10" y="10" text-anchor="end" { "0" }
                    @for i in 0..20 {
                        rect x=(14 + i * 8) y="1" width="8.3" height="10" fill=(fill((f64::from(i) + 0.5) / 20.0)) {}
                    }
                    text x="180" y="10" { "1" }
                },
                text: (*label).to_owned(),
            }],
        }
    }

    /// As a paragraph. A script makes buttons of the keys of arms.
    pub fn paragraph(&self) -> Markup {
        html! {
            p.legend {
                @for key in self.keys() {
                    span.key data-arm=[key.arm.map(|look| look.0)] {
                        svg viewBox={ "0 0 " (px(key.width)) " 12" } style={ "width:" (px(key.width)) "px" } aria-hidden="true" {
                            (key.symbol)
                        }
                        span { (name(&key.text)) }
                    }
                }
            }
        }
    }

    /// As part of a picture of this width, with its height.
    pub fn rows(&self, width: f64) -> (Markup, f64) {
        let (mut x, mut y) = (0.0, 0.0);
        let mut place = |key: &Key| {
            let wide = key.width + 6.0 + 6.9 * key.text.chars().count() as f64 + 18.0;
            if x > 0.0 && x + wide > width {
                (x, y) = (0.0, y + ROW);
            }
            x += wide;
            (x - wide, y)
        };
        let body = html! {
            @for key in self.keys() {
                @let (x, y) = place(&key);
                g transform={ "translate(" (px(x)) " " (px(y)) ")" } {
                    (key.symbol)
                    text x=(px(key.width + 6.0)) y="10" { (key.text) }
                }
            }
        };
        (body, y + ROW)
    }
}
