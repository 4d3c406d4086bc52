//! Signal propagation at initialization, as a page in the report's style.

use maud::html;

use super::chart::{Chart, ChartAxis, Drawing, Legend, Lines, Look, Point, Scale, Series};
use super::figure::{Figure, FigureData};
use super::figures::in_words;
use super::markup::{csv_link, document};
use wninit_core::fmt::significant;
use wninit_core::table::Datum;

/// A number over seeds: its geometric mean, minimum and maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// The spread of these numbers; `None` unless all are positive and finite, as the logarithm
    /// requires.
    pub fn of(values: &[f64]) -> Option<Spread> {
        if values.is_empty() || !values.iter().all(|x| x.is_finite() && *x > 0.0) {
            return None;
        }
        let mean = (values.iter().map(|x| x.ln()).sum::<f64>() / values.len() as f64).exp();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        // Rounding must not put the mean outside.
        Some(Spread { mean: mean.clamp(low, high), low, high })
    }
}

pub struct InitSignals {
    pub init: String,
    /// The index of its appearance, the same in every network.
    pub look: usize,
    /// Ratios of the forward pass, by layer; `None` if one is zero or infinite.
    pub forward: Vec<Option<Spread>>,
    /// Ratios of the backward pass, by layer.
    pub backward: Vec<Option<Spread>>,
}

pub struct NetSignals {
    /// Its name.
    pub name: String,
    pub arms: Vec<InitSignals>,
}

/// A figure for each network. With `display`, initializers have their names in words.
pub fn figures(nets: &[NetSignals], display: bool) -> Vec<Figure> {
    nets.iter().map(|net| figure(net, display)).collect()
}

fn figure(net: &NetSignals, display: bool) -> Figure {
    let columns = ["init", "layer", "side", "mean", "low", "high"];
    let mut data = FigureData::new(&columns);
    for arm in &net.arms {
        for (side, spreads) in [("forward", &arm.forward), ("backward", &arm.backward)] {
            data.rows.extend(spreads.iter().enumerate().map(|(layer, spread)| {
                let key = [Datum::from(arm.init.as_str()), layer.into(), side.into()];
                let values =
                    [spread.map(|s| s.mean), spread.map(|s| s.low), spread.map(|s| s.high)];
                key.into_iter().chain(values.map(Datum::from)).collect()
            }));
        }
    }
    let text = html! {
        "Norms by layer at initialization. Lines: geometric mean over seeds; bands: from the least to the greatest. \
         Layer 0 is the input. A line ends where a norm has become zero or infinite."
    };
    let name = |init: &str| if display { in_words(init) } else { init.to_owned() };
    let arms = net.arms.iter().map(|arm| (Look(arm.look), name(&arm.init))).collect();
    Figure {
        title: net.name.clone(),
        text,
        legend: Some(Legend::Arms(arms)),
        panels: vec![
            chart("forward: ‖h‖ / ‖x‖", net, |arm| &arm.forward),
            chart("backward: ‖∂L/∂h‖ / ‖∂L/∂h last‖", net, |arm| &arm.backward),
        ],
        data,
    }
}

/// The page. The same signals give the same page.
pub fn signal_page(title: &str, about: &str, nets: &[NetSignals], csv: &[u8]) -> String {
    let main = html! {
        header {
            h1 { (title) }
            p.about { (about) }
            p.data { (csv_link("signal", "Data (CSV)", csv)) }
        }
        div.figures {
            @for (i, figure) in figures(nets, false).iter().enumerate() {
                section.several id=(figure.slug()) {
                    h2 { (figure.title) }
                    (figure.on_page(i + 1))
                }
            }
        }
    };
    document(title, &main)
}

fn chart(
    label: &str,
    net: &NetSignals,
    side: impl Fn(&InitSignals) -> &Vec<Option<Spread>>,
) -> Chart {
    let spreads = || net.arms.iter().flat_map(|arm| side(arm).iter().flatten());
    let low = spreads().map(|spread| spread.low).fold(0.4, f64::min);
    let high = spreads().map(|spread| spread.high).fold(2.5, f64::max);
    let layers = net.arms.iter().map(|arm| side(arm).len()).max().unwrap_or(1);
    let series = net.arms.iter().map(|arm| {
        let points = side(arm).iter().enumerate().filter_map(|(layer, spread)| {
            let Spread { mean, low, high } = (*spread)?;
            let [m, l, h] = [mean, low, high].map(|x| significant(x, 3));
            let tooltip = format!("{}, layer {layer}: {m} ({l} to {h})", arm.init);
            Some(Point { x: layer as f64, y: mean, interval: Some((low, high)), tooltip })
        });
        Series { look: Look(arm.look), name: arm.init.clone(), points: points.collect() }
    });
    Lines {
        title: String::new(),
        x: ChartAxis::whole("layer", 0.0, (layers.max(2) - 1) as f64),
        y: ChartAxis::with_ticks(label, Scale::Log(low, high), powers(low, high)),
        rule: Some((1.0, "")),
        series: series.collect(),
        drawing: Drawing::Bands,
    }
    .chart()
}

/// Round numbers on a logarithmic axis that contains 1: 1, 2 and 5 times powers of ten if there is
/// room, else at most nine powers of ten.
fn powers(low: f64, high: f64) -> Vec<f64> {
    let decades = high.log10() - low.log10(); // their ratio could be infinite
    let mantissas: &[f64] = match decades {
        d if d < 2.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let step = (decades / 8.0).ceil().max(1.0) as i32;
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (from..=to)
        .filter(|power| power % step == 0)
        .flat_map(|power| mantissas.iter().map(move |m| m * 10_f64.powi(power)))
        .filter(|x| (low * 0.999..=high * 1.001).contains(x))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_axis_says_where_1_is_however_far_the_signal_goes() {
        for (low, high) in [(0.4, 2.5), (1e-3, 2.5), (1e-38, 2.5), (0.4, 1e38), (1e-300, 1e300)] {
            let ticks = powers(low, high);
            assert!(ticks.contains(&1.0), "{ticks:?}");
            assert!((2..=18).contains(&ticks.len()), "{ticks:?}");
        }
    }

    #[test]
    fn a_signal_that_vanished_has_no_place_on_a_logarithmic_axis() {
        assert_eq!(Spread::of(&[1.0, 0.0]), None);
        assert_eq!(Spread::of(&[1.0, f64::INFINITY]), None);
        assert_eq!(Spread::of(&[]), None);
        let spread = Spread::of(&[1.0, 4.0]).unwrap();
        assert_eq!((spread.low, spread.high), (1.0, 4.0));
        assert!((spread.mean - 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_page_is_well_formed_whatever_the_names_are() {
        let spread = Spread::of(&[0.5, 0.6]);
        let arm = |init: &str| InitSignals {
            init: init.to_owned(),
            look: 1,
            forward: vec![spread, None, spread],
            backward: vec![None; 3],
        };
        let nets = [NetSignals { name: "<&\"".to_owned(), arms: vec![arm("he & g"), arm("<b>")] }];
        let page = signal_page("a < b", "\"x\" & y", &nets, b"a,b\n");
        let xml = page.replacen("<!DOCTYPE html>\n", "", 1);
        roxmltree::Document::parse(&xml).unwrap();
    }
}
