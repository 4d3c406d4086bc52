//! `--only AXIS=A,B`: some rows of a summary's tables.

use wninit_core::job::{did_you_mean, unknown};
use wninit_core::usage::usage;
use wninit_stats::summary::Summary;

/// Keeps the rows of the ranking, the cells and the pairs that have one of the values on an axis. A
/// table without that axis, such as the claims, stays whole.
///
/// # Errors
/// The sweep has no such axis, or the axis no such value.
pub(super) fn keep(summary: &mut Summary, option: &str) -> anyhow::Result<()> {
    let error = |why: String| usage(format!("--only {option}: {why}"));
    let Some((name, list)) = option.split_once('=') else {
        return Err(error("expected axis=value,value, for example --only depth=2,10".to_owned()));
    };
    let names = || summary.axes.iter().map(|axis| axis.field.name);
    let Some(axis) = summary.axis(name.trim()) else {
        return Err(error(unknown("axis", name.trim(), names())));
    };
    let labels: Vec<String> =
        (0..summary.axes[axis].values.len()).map(|at| summary.axes[axis].label(at)).collect();
    let number = |text: &str| text.parse::<f64>().ok();
    let mut wanted: Vec<usize> = Vec::new();
    for text in list.split(',').map(str::trim) {
        let is = |label: &String| {
            label == text || number(text).is_some_and(|x| number(label) == Some(x))
        };
        match labels.iter().position(is) {
            Some(at) => wanted.push(at),
            None => {
                let words = || labels.iter().map(String::as_str);
                return Err(error(format!(
                    "{text} is not on the axis {}{} (values: {})",
                    name.trim(),
                    did_you_mean(text, words()),
                    labels.join(", ")
                )));
            }
        }
    }
    let (task, context) = (summary.task_axes(), summary.context_axes());
    let fits = |axes: &[usize], at: &[usize]| match axes.iter().position(|&other| other == axis) {
        Some(place) => wanted.contains(&at[place]),
        None => true,
    };
    // An arm is named by its initializer first.
    let is_init = summary.axes[axis].field.name == "init";
    let arm = |label: &str| {
        !is_init || wanted.iter().any(|&at| label.split('+').next() == Some(&labels[at]))
    };
    let all: Vec<usize> = (0..summary.axes.len()).collect();
    summary.ranking.retain(|row| fits(&task, &row.task) && arm(&row.init));
    summary.cells.retain(|cell| fits(&all, &cell.at));
    summary.pairs.retain(|pair| fits(&context, &pair.context) && arm(&pair.init));
    Ok(())
}
