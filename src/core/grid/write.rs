//! From a [`Grid`] back to TOML text.

use std::fmt::Write;

use super::initializers::Initializer;
use super::{Axis, Block, Chosen, Condition, Expectation, Grid, Scope, UntilDecided};
use crate::job::{Field, Value};

/// A value as TOML writes it.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => string(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Init(init) => string(init.name()),
        Value::List(items) => list(items),
    }
}

fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(items: &[Value]) -> String {
    format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(", "))
}

/// The grid as a self-contained file.
pub(super) fn grid(grid: &Grid) -> String {
    let mut text = format!(
        "# The grid as it was run: complete, with every override applied.\nname = {}\n",
        string(&grid.name)
    );
    if let Some(about) = &grid.about {
        line(&mut text, "about", &string(about));
    }
    if let Some(UntilDecided { max_seeds, batch }) = grid.until_decided {
        let rule = format!("{{ max_seeds = {max_seeds}, batch = {batch} }}");
        line(&mut text, "until_decided", &rule);
    }
    expansion(&mut text, "", &grid.own);
    for block in &grid.block {
        text += "\n[[block]]\n";
        expansion(&mut text, "block.", block);
    }
    for claim in &grid.claims {
        text += "\n[[claim]]\n";
        line(&mut text, "text", &string(&claim.text));
        line(&mut text, "metric", &string(claim.metric.name()));
        filter(&mut text, &claim.filter);
        if claim.settings != Scope::Each {
            line(&mut text, "settings", &string(claim.settings.name()));
        }
        match &claim.expect {
            Expectation::Compare { better, than, margin } => line(
                &mut text,
                "compare",
                &format!(
                    "{{ better = {}, than = {}, margin = {margin:?} }}",
                    table_of(better),
                    table_of(than)
                ),
            ),
            Expectation::Within { at_least, at_most } => {
                number(&mut text, "at_least", *at_least);
                number(&mut text, "at_most", *at_most);
            }
        }
    }
    for published in &grid.published {
        text += "\n[[published]]\n";
        filter(&mut text, &published.filter);
        line(&mut text, "metric", &string(published.metric.name()));
        number(&mut text, "value", Some(published.value));
        number(&mut text, "spread", published.spread);
        if let Some(source) = &published.source {
            line(&mut text, "source", &string(source));
        }
        if !published.setup.is_empty() {
            line(&mut text, "setup", &table_of(&published.setup));
        }
    }
    for Initializer { name, rule, .. } in &grid.initializers {
        text += "\n[[initializer]]\n";
        line(&mut text, "name", &string(name));
        line(&mut text, "direction", &string(rule.direction.name()));
        for (key, expression) in rule.expressions() {
            line(&mut text, key, &string(&expression.to_string()));
        }
    }
    if let Some(explored) = &grid.explored {
        text += "\n[explored]  # chose this sweep's learning rates by validation accuracy\n";
        line(&mut text, "folder", &string(&explored.folder));
        line(&mut text, "commits", &string(&explored.commits));
        line(&mut text, "runs", &explored.runs.to_string());
        line(&mut text, "chosen", "[");
        text.extend(explored.chosen.iter().map(|one| format!("  {},\n", chosen(one))));
        text += "]\n";
    }
    for (hash, path) in &grid.files {
        text += "\n[[data]]\n";
        line(&mut text, "hash", &string(&hash.to_string()));
        line(&mut text, "path", &string(&path.to_string_lossy()));
    }
    text
}

/// A choice as an inline table.
fn chosen(chosen: &Chosen) -> String {
    let mut parts = Vec::new();
    if !chosen.setting.is_empty() {
        parts.push(format!("where = {}", table_of(&chosen.setting)));
    }
    parts.push(format!("lr = {:?}", chosen.lr));
    parts.extend(chosen.val_acc.map(|x| format!("val_acc = {x:?}")));
    parts.push(format!("seeds = {}", chosen.seeds));
    if let Some((lr, x)) = chosen.runner_up {
        parts.push(format!("runner_up = {lr:?}, runner_up_val_acc = {x:?}"));
    }
    parts.extend(chosen.note.iter().map(|note| format!("note = {}", string(note))));
    format!("{{ {} }}", parts.join(", "))
}

fn line(text: &mut String, key: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{key} = {value}");
}

fn number(text: &mut String, key: &str, number: Option<f64>) {
    if let Some(number) = number {
        line(text, key, &format!("{number:?}"));
    }
}

fn expansion(text: &mut String, prefix: &str, block: &Block) {
    let mut table = |header: String, lines: Vec<(&Field, String)>| {
        if !lines.is_empty() {
            *text += &format!("\n{header}\n");
            lines.iter().for_each(|(field, value)| line(text, field.name, value));
        }
    };
    let axes = |axes: &[Axis]| axes.iter().map(|axis| (axis.field, values(axis))).collect();
    let base = block.base.iter().map(|setting| (setting.field, value(&setting.value)));
    table(format!("[{prefix}base]"), base.collect());
    table(format!("[{prefix}grid]"), axes(&block.grid));
    for zip in &block.zip {
        table(format!("[[{prefix}zip]]"), axes(&zip.axes));
    }
    for exclude in &block.exclude {
        let conditions = exclude.conditions.iter().map(|c| (c.field, wanted(c)));
        table(format!("[[{prefix}exclude]]"), conditions.collect());
    }
}

/// A long run of whole numbers is written as one.
fn values(axis: &Axis) -> String {
    let whole: Option<Vec<i64>> = axis
        .values
        .iter()
        .map(|v| if let Value::Integer(n) = v { Some(*n) } else { None })
        .collect();
    match whole.as_deref() {
        Some(numbers)
            if numbers.len() > 8
                && numbers.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1])) =>
        {
            format!("{{ from = {}, count = {} }}", numbers[0], numbers.len())
        }
        _ => list(&axis.values),
    }
}

fn wanted(condition: &Condition) -> String {
    match &condition.values[..] {
        [single] => value(single),
        several => list(several),
    }
}

fn filter(text: &mut String, conditions: &[Condition]) {
    if !conditions.is_empty() {
        line(text, "where", &table_of(conditions));
    }
}

/// `{ depth = 100, init = ["he", "orthogonal"] }`
fn table_of(conditions: &[Condition]) -> String {
    let parts: Vec<String> =
        conditions.iter().map(|c| format!("{} = {}", c.field.name, wanted(c))).collect();
    format!("{{ {} }}", parts.join(", "))
}
