//! A grid to start from: it plans as it is, and its comments say what else there is. Meanings,
//! ranges and defaults are those of the code.

use std::fmt::Write;

use super::keys::Table;
use crate::job::{FIELDS, Field, Kind, SEED_FIELDS};
use crate::text::wrap;

/// What the template sets; all other fields are comments.
const BASE: [(&str, &str); 3] = [("dataset", "\"digits\""), ("model", "\"mlp\""), ("epochs", "5")];

/// Its axes.
const AXES: [(&str, &str); 4] = [
    ("depth", "[2, 10, 30]"),
    ("init", "[\"orthogonal_datadep\", \"orthogonal_proposed\"]"),
    ("lr", "{ log = [1e-3, 1e-1], count = 3 }"),
    ("seed", "{ count = 6 }"),
];

const WIDTH: usize = 100;

/// The text of a grid of that name.
pub fn template(name: &str) -> String {
    let mut text = comment(
        "A sweep of wninit: every combination of the axes in [grid] is a job. `wninit plan` lists what it means \
         and costs, `wninit run` trains it.",
    );
    let quoted = toml::Value::String(name.to_owned());
    let _ = writeln!(text, "name = {quoted} # {}", key("name"));
    let _ = writeln!(
        text,
        "about = \"Which initializer still trains a deep network?\" # {}",
        key("about")
    );
    let _ = write!(text, "\n{}[base]\n", comment(key("base")));
    for (name, value) in BASE {
        let about = Field::named(name).map_or("", |field| field.about);
        let _ = writeln!(text, "{}{name} = {value}", comment(about));
    }
    text += "\n";
    text += &comment("Further fields, with their defaults:");
    let axes = || AXES.iter().map(|(name, _)| *name);
    let given = |field: &&Field| {
        !BASE.iter().any(|(name, _)| *name == field.name)
            && !axes().any(|name| name == field.name)
            && !SEED_FIELDS.contains(&field.name)
            // Found in a user's file, which `path` names.
            && !field.name.starts_with("data_")
    };
    for field in FIELDS.iter().filter(given) {
        let value = match field.kind {
            _ if !field.constant => format!("…  ({})", field.default),
            Kind::Choice(_) | Kind::Sizes | Kind::Hash | Kind::Path => {
                format!("\"{}\"", field.default)
            }
            Kind::Whole(..) | Kind::Number(..) | Kind::Boolean => field.default.to_owned(),
        };
        let _ = write!(text, "#\n{}# {} = {value}\n", comment(field.about), field.name);
    }
    let _ = write!(text, "\n{}[grid]\n", comment(key("grid")));
    for (name, value) in AXES {
        let _ = writeln!(text, "{name} = {value}");
    }
    let _ = write!(
        text,
        "\n{}\
         # [[zip]]\n# batch_size = [64, 256]\n# momentum = [0.9, 0.8]\n\n{}\
         # [[exclude]]\n# init = \"orthogonal_datadep\"\n# depth = 30\n\n{}\
         [[claim]]\n\
         text = \"The proposed gain trains 30 layers more often than the data-dependent one.\"\n\
         metric = \"success\"\n\
         where = {{ depth = 30 }}\n\
         compare = {{ axis = \"init\", better = \"orthogonal_proposed\", than = \"orthogonal_datadep\" }}\n\n{}\
         # [[published]]\n# metric = \"test_acc\"\n# where = {{ depth = 30 }}\n# value = 0.97\n\n{}\
         # [[initializer]]\n# name = \"mine\"\n# direction = \"orthogonal\"\n# gain = \"sqrt(2 * fan_in / fan_out)\"\n",
        comment(key("zip")),
        comment(key("exclude")),
        comment(key("claim")),
        comment(key("published")),
        comment(key("initializer")),
    );
    text
}

/// The meaning of a key of a grid.
fn key(name: &str) -> &'static str {
    Table::File.keys().iter().find(|key| key.name == name).map_or("", |key| key.about)
}

/// Text as comment lines.
fn comment(text: &str) -> String {
    wrap(text, WIDTH - 2, 0).lines().map(|line| format!("# {line}\n")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::grid::{Grid, Overrides};
    use crate::plan::Plan;
    use std::path::Path;

    fn plan(text: &str) -> Plan {
        let grid = Grid::parse(text, Path::new("a.toml"), &Overrides::default());
        Plan::of(&grid.unwrap_or_else(|error| panic!("{error}\n{text}"))).unwrap()
    }

    #[test]
    fn the_template_plans_and_every_default_in_it_is_one() {
        let text = template("mine");
        let as_it_is = plan(&text);
        assert_eq!((as_it_is.jobs.len(), as_it_is.warnings.len()), (3 * 2 * 3 * 6, 0));
        for field in
            FIELDS.iter().filter(|field| field.constant && !SEED_FIELDS.contains(&field.name))
        {
            let line = format!("# {} = ", field.name);
            let Some(commented) = text.lines().find(|found| found.starts_with(&line)) else {
                assert!(
                    text.contains(&format!("\n{} = ", field.name)),
                    "{} is missing",
                    field.name
                );
                continue;
            };
            // A size of another model, or of another data set, is refused here.
            let set = text.replace(commented, &commented[2..]);
            let grid = Grid::parse(&set, Path::new("a.toml"), &Overrides::default()).unwrap();
            if let Ok(with_it) = Plan::of(&grid) {
                let ids = |plan: &Plan| plan.jobs.iter().map(|p| p.id).collect::<Vec<_>>();
                assert_eq!(ids(&with_it), ids(&as_it_is), "{commented}");
            }
        }
    }

    #[test]
    fn what_is_commented_out_is_valid() {
        let text = template("mine").replace("# [[", "[[");
        let text = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") && !rest.contains('…') && !rest.contains(". ") => {
                let key = rest.split(' ').next().unwrap_or_default();
                let table = [
                    "batch_size",
                    "init",
                    "depth",
                    "metric",
                    "where",
                    "value",
                    "name",
                    "direction",
                    "gain",
                ];
                if table.contains(&key) { rest } else { line }
            }
            _ => line,
        });
        let text: Vec<&str> = text.collect();
        // Fields of [base] stay as they are; only the tables at the end are made active.
        let at = text.iter().position(|line| *line == "[grid]").unwrap();
        let whole = template("mine");
        let head: Vec<&str> = whole.lines().take(at).collect();
        let text = [head, text[at..].to_vec()].concat().join("\n");
        assert!(plan(&text).jobs.len() > 100);
    }
}
