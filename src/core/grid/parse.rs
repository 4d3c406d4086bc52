//! From TOML text to a [`Layer`], with the place of every value.
//!
//! The tree is walked by hand, because a derived deserializer could not suggest the intended word
//! or give the line of the third value of an axis.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::axis::fields;
use super::initializers::{Initializer, check};
use super::keys::Table;
use super::until_decided::Wanted;
use super::{
    Axis, Block, Chosen, Claim, Condition, Exclude, Expectation, Explored, GridError, Layer,
    MAX_JOBS, Metric, Place, Published, Scope, Setting, Zip, canonical, check_name, field_named,
    setting_named, shorten,
};
use crate::job::{
    DataHash, Definition, Direction, Field, Kind, PATH, Value, check_init_name, unknown,
};

/// The longest grid file, in bytes: it is written by people.
const MAX_FILE: u64 = 4 << 20;

/// The most `[[exclude]]`s, `[[block]]`s and so on of each kind in one table.
pub(super) const MAX_TABLES: usize = 10_000;

/// Reads one file; `extended_at` is the place of the `extends` that names it, if any.
pub(super) fn file(path: &Path, extended_at: Option<&Place>) -> Result<Layer, GridError> {
    let fail = |message: String| match extended_at {
        Some(place) => place.error(format!("{}: {message}", path.display())),
        None => Place::of(&path.display().to_string()).error(message),
    };
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let what = if path.is_dir() {
            "it is a folder; name the grid's file".to_owned()
        } else {
            error.to_string()
        };
        return Err(fail(format!("cannot read the grid: {what}")));
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(fail(format!("a grid is a TOML file of at most {} MiB", MAX_FILE >> 20)));
    }
    let parsed = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        GridError {
            line: Some(line),
            ..Place::of(&path.display().to_string()).error("not UTF-8, so no TOML file")
        }
    })?;
    text(&parsed, path)
}

/// Reads one file's text.
pub(super) fn text(text: &str, path: &Path) -> Result<Layer, GridError> {
    let newlines = text
        .bytes()
        .enumerate()
        .filter(|(_, byte)| *byte == b'\n')
        .map(|(offset, _)| offset)
        .collect();
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let source = Source { file: path.display().to_string().into(), folder, newlines };
    let table = DeTable::parse(text).map_err(|error| {
        let message = format!("not valid TOML: {}", error.message());
        let place = source.place(error.span().unwrap_or(0..0), "");
        place.error(message)
    })?;
    source.layer(table.get_ref(), "", Table::File)
}

/// A key with its value, in the order of the file.
type Entry<'t> = (&'t str, &'t Spanned<DeValue<'t>>);

struct Source {
    file: Arc<str>,
    /// The file's folder.
    folder: PathBuf,
    /// Where each line ends.
    newlines: Vec<usize>,
}

type Parsed<T> = Result<T, GridError>;

impl Source {
    fn place(&self, span: Range<usize>, key: &str) -> Place {
        Place { file: self.file.clone(), line: Some(self.line(span.start)), key: key.into() }
    }

    /// The line of an offset, counted from 1.
    fn line(&self, offset: usize) -> usize {
        1 + self.newlines.partition_point(|newline| *newline < offset)
    }

    /// The entries of a table in file order; unknown keys are an error.
    fn entries<'t>(
        &self,
        table: &'t DeTable<'t>,
        path: &str,
        kind: Table,
    ) -> Parsed<Vec<(Entry<'t>, Place)>> {
        let entries = self.all_entries(table, path);
        let valid = || kind.keys().iter().map(|key| key.name);
        for ((key, _), place) in &entries {
            if !valid().any(|name| name == *key) {
                let mut message = unknown("key", &shorten(key, 100), valid());
                if Field::named(key).is_some() {
                    message += &format!("; a job's {key} belongs under [base] or [grid]");
                }
                return Err(place.error(message));
            }
        }
        Ok(entries)
    }

    /// The entries of a table whose keys are fields of a job, in file order.
    fn fields<'t>(
        &self,
        table: &'t DeTable<'t>,
        path: &str,
    ) -> Parsed<Vec<(&'static Field, &'t Spanned<DeValue<'t>>, Place)>> {
        let entries = self.all_entries(table, path).into_iter();
        entries
            .map(|((key, value), place)| Ok((place.checked(field_named(key))?, value, place)))
            .collect()
    }

    fn all_entries<'t>(&self, table: &'t DeTable<'t>, path: &str) -> Vec<(Entry<'t>, Place)> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let dot = if path.is_empty() { "" } else { "." };
        let place =
            |key: &Spanned<_>, name: &str| self.place(key.span(), &format!("{path}{dot}{name}"));
        entries
            .into_iter()
            .map(|(key, value)| ((&**key.get_ref(), value), place(key, key.get_ref())))
            .collect()
    }

    fn layer(&self, table: &DeTable, path: &str, kind: Table) -> Parsed<Layer> {
        let mut layer = Layer::default();
        for ((key, value), place) in self.entries(table, path, kind)? {
            let inner = place.key.clone();
            match key {
                "name" => {
                    let name = self.string(value, &place)?;
                    place.checked(check_name(&name))?;
                    layer.name = Some((name, Some(place)));
                }
                "about" => layer.about = Some(self.string(value, &place)?),
                "extends" => {
                    layer.extends = Some((PathBuf::from(self.string(value, &place)?), place))
                }
                "base" => layer.base = self.base(self.table(value, &place)?, &inner)?,
                "grid" => layer.grid = self.grid(self.table(value, &place)?, &inner)?,
                "zip" => layer.zip = Some(self.each(value, &place, Source::zip)?),
                "exclude" => layer.exclude = Some(self.each(value, &place, Source::exclude)?),
                "block" => layer.block = Some(self.each(value, &place, Source::block)?),
                "claim" => layer.claim = Some(self.each(value, &place, Source::claim)?),
                "published" => {
                    layer.published = Some(self.each(value, &place, Source::published)?)
                }
                "until_decided" => {
                    let table = self.table(value, &place)?;
                    layer.until_decided = Some(self.until_decided(table, place)?);
                }
                "data" => layer.data = self.each(value, &place, Source::data)?,
                "explored" => {
                    layer.explored = Some(self.explored(self.table(value, &place)?, &place)?)
                }
                "initializer" => {
                    let initializers = self.each(value, &place, Source::initializer)?;
                    refuse_twins(&initializers)?;
                    layer.initializer = initializers;
                }
                _ => {
                    for ((name, profile), place) in
                        self.all_entries(self.table(value, &place)?, &inner)
                    {
                        place.checked(check_name(name))?;
                        let table = self.table(profile, &place)?;
                        layer.profile.push((
                            name.to_owned(),
                            self.layer(table, &place.key, Table::Profile)?,
                        ));
                    }
                }
            }
        }
        in_one_place(fields(&layer.base, &layer.grid, layer.zip.as_deref().unwrap_or_default()))?;
        Ok(layer)
    }

    fn block(&self, table: &DeTable, place: &Place) -> Parsed<Block> {
        let mut block = Block::default();
        for ((key, value), place) in self.entries(table, &place.key, Table::Block)? {
            let inner = place.key.clone();
            match key {
                "base" => block.base = self.base(self.table(value, &place)?, &inner)?,
                "grid" => block.grid = self.grid(self.table(value, &place)?, &inner)?,
                "zip" => block.zip = self.each(value, &place, Source::zip)?,
                _ => block.exclude = self.each(value, &place, Source::exclude)?,
            }
        }
        in_one_place(block.fields())?;
        Ok(block)
    }

    fn base(&self, table: &DeTable, path: &str) -> Parsed<Vec<Setting>> {
        let mut settings = Vec::new();
        for ((key, item), place) in self.all_entries(table, path) {
            let field = place.checked(setting_named(key))?;
            let mut value = self.value(item, &place)?;
            if let Err(message) = check(field, &value) {
                let is_axis = matches!(item.get_ref(), DeValue::Array(_) | DeValue::Table(_));
                let hint =
                    if is_axis { "; several values are an axis: move it to [grid]" } else { "" };
                return Err(place.error(format!("{message}{hint}")));
            }
            if *field == PATH {
                value = Value::Text(self.beside(&value.to_string(), &place)?);
            }
            settings.push(Setting { field, value, place });
        }
        Ok(settings)
    }

    /// Axes whose combinations are all jobs, so that no axis may repeat a value.
    fn grid(&self, table: &DeTable, path: &str) -> Parsed<Vec<Axis>> {
        let axes = self.axes(table, path)?;
        for axis in &axes {
            let mut seen = HashMap::new();
            for (index, value) in axis.values.iter().enumerate() {
                if let Some(before) = seen.insert(canonical(value), index) {
                    return Err(axis.place_of(index).error(format!(
                        "{} is on the axis twice (first at {})",
                        canonical(value),
                        axis.place_of(before)
                    )));
                }
            }
        }
        Ok(axes)
    }

    fn axes(&self, table: &DeTable, path: &str) -> Parsed<Vec<Axis>> {
        self.fields(table, path)?
            .into_iter()
            .map(|(field, value, place)| self.axis(field, value, place))
            .collect()
    }

    fn zip(&self, table: &DeTable, place: &Place) -> Parsed<Zip> {
        let axes = self.axes(table, &place.key)?;
        let Some(first) = axes.first() else {
            return Err(place.error("it has no axes"));
        };
        if let Some(axis) = axes.iter().find(|axis| axis.values.len() != first.values.len()) {
            return Err(axis.place.error(format!(
                "axes that move together have equal lengths, but this one has {} values and {} has {} ({})",
                axis.values.len(),
                first.field.name,
                first.values.len(),
                first.place
            )));
        }
        Ok(Zip { axes })
    }

    fn axis(&self, field: &'static Field, value: &Spanned<DeValue>, place: Place) -> Parsed<Axis> {
        match value.get_ref() {
            DeValue::Array(items) if items.is_empty() => {
                Err(place.error("the axis is empty: give it at least one value, or leave it out"))
            }
            DeValue::Array(items) => {
                let mut axis = Axis { field, values: Vec::new(), place: place.clone(), lines: Vec::new() };
                for item in items.iter() {
                    let place = Place { line: Some(self.line(item.span().start)), ..place.clone() };
                    let value = self.value(item, &place)?;
                    place.checked(check(field, &value))?;
                    axis.lines.extend(place.line);
                    axis.values.push(value);
                }
                Ok(axis)
            }
            DeValue::Table(table) => {
                let values = self.range(field, table, &place)?;
                Ok(Axis { field, values, place, lines: Vec::new() })
            }
            // `seed = 5` may mean five seeds.
            DeValue::Integer(n) if matches!(field.kind, Kind::Whole(..)) => {
                let (name, n) = (field.name, n.as_str());
                Err(place.error(format!(
                    "{name} is an axis here: {{ count = {n} }} gives it {n} values from 0, and [{n}] this value only; \
                     a value that all jobs share belongs under [base]",
                )))
            }
            _ => Err(place.error(
                "an axis is a list such as [0.01, 0.1], { log = [a, b], count = n } or { from = a, count = n }; \
                 a single value belongs under [base]",
            )),
        }
    }

    /// `{ log, count }`, `{ from, count }` or `{ count }`.
    fn range(&self, field: &'static Field, table: &DeTable, place: &Place) -> Parsed<Vec<Value>> {
        let (mut log, mut from, mut count) = (None, None, None);
        for ((key, value), place) in self.entries(table, &place.key, Table::Range)? {
            match key {
                "log" => {
                    let items = match value.get_ref() {
                        DeValue::Array(items) if items.len() == 2 => items,
                        _ => {
                            return Err(
                                place.error("expected the first and the last value: [a, b]")
                            );
                        }
                    };
                    let ends = items
                        .iter()
                        .map(|end| self.number(end, &place))
                        .collect::<Parsed<Vec<f64>>>()?;
                    if ends.iter().any(|end| *end <= 0.0) {
                        return Err(
                            place.error("both ends of a logarithmic axis are greater than 0")
                        );
                    }
                    log = Some((ends[0], ends[1]));
                }
                "from" => from = Some((self.whole(value, &place)?, place)),
                _ => {
                    let number = self.whole(value, &place)?;
                    if number < 1 {
                        return Err(place.error("the axis is empty: count is at least 1"));
                    }
                    if number > MAX_JOBS as i64 {
                        return Err(place.error(format!(
                            "{number} is more than {MAX_JOBS}, the most jobs of a grid"
                        )));
                    }
                    count = Some(number);
                }
            }
        }
        let count =
            count.ok_or_else(|| place.error("count is missing: how many values the axis has"))?;
        let whole = matches!(field.kind, Kind::Whole(..));
        let number = matches!(field.kind, Kind::Number(..));
        let values = match (log, from) {
            (Some(_), Some((_, place))) => {
                return Err(place.error("log and from exclude each other"));
            }
            (Some((a, b)), None) if whole || number => {
                if count > 100_000 {
                    return Err(place.error("a logarithmic axis has at most 100000 values"));
                }
                let values = logarithmic(a, b, count as usize);
                let value = |x: f64| {
                    if whole { Value::Integer(x.round() as i64) } else { Value::Float(x) }
                };
                values.into_iter().map(value).collect()
            }
            (None, from) if whole => {
                let first = from.map_or(0, |(first, _)| first);
                let last = first
                    .checked_add(count - 1)
                    .ok_or_else(|| place.error("the numbers get too large"))?;
                (first..=last).map(Value::Integer).collect::<Vec<_>>()
            }
            (Some(_), None) => {
                return Err(place.error(format!("{} is not a number: list its values", field.name)));
            }
            (None, _) => {
                let hint = if number {
                    "; use { log = [a, b], count = n } or a list"
                } else {
                    ": list its values"
                };
                return Err(place.error(format!("{} is not a whole number{hint}", field.name)));
            }
        };
        for value in [&values[0], &values[values.len() - 1]] {
            place.checked(field.check(value))?;
        }
        if log.is_some() {
            let words: std::collections::HashSet<String> = values.iter().map(canonical).collect();
            if words.len() < values.len() {
                return Err(place
                    .error("some of its values are equal: take a smaller count or a wider range"));
            }
        }
        Ok(values)
    }

    fn exclude(&self, table: &DeTable, place: &Place) -> Parsed<Exclude> {
        let conditions = self.conditions(table, &place.key)?;
        if conditions.is_empty() {
            return Err(place.error("it has no conditions, so it would leave out every job"));
        }
        Ok(Exclude { conditions, place: place.clone(), inherited: false })
    }

    /// A field and the value or values that it must have.
    fn conditions(&self, table: &DeTable, path: &str) -> Parsed<Vec<Condition>> {
        let mut conditions = Vec::new();
        for (field, item, place) in self.fields(table, path)? {
            // The sizes of an image are one value.
            let is_one = |items: &[Value]| {
                let whole = |item: &Value| matches!(item, Value::Integer(_));
                matches!(field.kind, Kind::Sizes) && items.iter().any(whole)
            };
            let values = match self.value(item, &place)? {
                Value::List(items) if !is_one(&items) => items,
                single => vec![single],
            };
            if values.is_empty() {
                return Err(place.error("the list is empty"));
            }
            place.checked(values.iter().try_for_each(|value| check(field, value)))?;
            conditions.push(Condition { field, values, place });
        }
        Ok(conditions)
    }

    fn claim(&self, table: &DeTable, place: &Place) -> Parsed<Claim> {
        let (mut text, mut metric, mut filter) = (None, None, Vec::new());
        let (mut compare, mut at_least, mut at_most) = (None, None, None);
        let mut settings = Scope::Each;
        for ((key, value), place) in self.entries(table, &place.key, Table::Claim)? {
            match key {
                "text" => text = Some(self.string(value, &place)?),
                "metric" => metric = Some(self.metric(value, &place)?),
                "where" => filter = self.conditions(self.table(value, &place)?, &place.key)?,
                "settings" => settings = place.checked(self.string(value, &place)?.parse())?,
                "compare" => compare = Some(self.compare(self.table(value, &place)?, &place)?),
                "at_least" => at_least = Some(self.number(value, &place)?),
                _ => at_most = Some(self.number(value, &place)?),
            }
        }
        let expect = match (compare, at_least, at_most) {
            (Some(compare), None, None) => compare,
            (Some(_), ..) => return Err(place.error("compare excludes at_least and at_most")),
            (None, None, None) => {
                return Err(place.error(
                    "it claims nothing: give compare = { axis, better, than }, at_least or at_most",
                ));
            }
            (None, Some(low), Some(high)) if low > high => {
                return Err(place.error(format!("at_least = {low} is more than at_most = {high}")));
            }
            (None, at_least, at_most) => Expectation::Within { at_least, at_most },
        };
        Ok(Claim {
            text: text.ok_or_else(|| place.error("text is missing: the claim in words"))?,
            metric: metric.ok_or_else(|| {
                place.error("metric is missing, for example metric = \"test_acc\"")
            })?,
            filter,
            expect,
            settings,
            place: place.clone(),
            inherited: false,
        })
    }

    fn compare(&self, table: &DeTable, place: &Place) -> Parsed<Expectation> {
        const SHAPES: &str = "expected { axis = \"init\", better = …, than = … } or \
             { better = { init = …, … }, than = { … } }, and a margin if you like";
        let (mut axis, mut better, mut than, mut margin) = (None, None, None, 0.0);
        for ((key, value), place) in self.entries(table, &place.key, Table::Compare)? {
            match key {
                "axis" => {
                    axis = Some(place.checked(field_named(&self.string(value, &place)?))?);
                }
                "better" => better = Some((value, place)),
                "than" => than = Some((value, place)),
                _ => margin = self.number(value, &place)?,
            }
        }
        let (Some(better), Some(than)) = (better, than) else {
            return Err(place.error(SHAPES));
        };
        let side = |(value, place): &(&Spanned<DeValue>, Place)| -> Parsed<Vec<Condition>> {
            match axis {
                Some(field) => {
                    let value = self.value(value, place)?;
                    place.checked(check(field, &value))?;
                    Ok(vec![Condition { field, values: vec![value], place: place.clone() }])
                }
                None if value.get_ref().is_table() => {
                    let conditions = self.conditions(self.table(value, place)?, &place.key)?;
                    if conditions.is_empty() { Err(place.error(SHAPES)) } else { Ok(conditions) }
                }
                None => Err(place.error(SHAPES)),
            }
        };
        let (ours, theirs) = (side(&better)?, side(&than)?);
        let words = |side: &[Condition]| {
            let mut words: Vec<String> = side.iter().map(Condition::to_string).collect();
            words.sort();
            words
        };
        if words(&ours) == words(&theirs) {
            return Err(than.1.error("nothing is better than itself"));
        }
        Ok(Expectation::Compare { better: ours, than: theirs, margin })
    }

    fn published(&self, table: &DeTable, place: &Place) -> Parsed<Published> {
        let (mut filter, mut setup) = (Vec::new(), Vec::new());
        let (mut metric, mut number, mut spread, mut origin) = (None, None, None, None);
        for ((key, value), place) in self.entries(table, &place.key, Table::Published)? {
            match key {
                "where" => filter = self.conditions(self.table(value, &place)?, &place.key)?,
                "setup" => setup = self.conditions(self.table(value, &place)?, &place.key)?,
                "metric" => metric = Some(self.metric(value, &place)?),
                "value" => number = Some((self.number(value, &place)?, place)),
                "spread" => spread = Some(self.number(value, &place)?),
                _ => origin = Some(self.string(value, &place)?),
            }
        }
        let metric = metric
            .ok_or_else(|| place.error("metric is missing, for example metric = \"test_acc\""))?;
        let (value, at) =
            number.ok_or_else(|| place.error("value is missing: the published number"))?;
        if metric.is_fraction() && !(0.0..=1.0).contains(&value) {
            return Err(at.error(format!(
                "{value} is out of range: {metric} is a fraction between 0 and 1"
            )));
        }
        Ok(Published {
            filter,
            metric,
            value,
            spread,
            source: origin,
            setup,
            place: place.clone(),
            inherited: false,
        })
    }

    fn until_decided(&self, table: &DeTable, place: Place) -> Parsed<Wanted> {
        let (mut max_seeds, mut batch) = (None, None);
        for ((key, value), place) in self.entries(table, &place.key, Table::UntilDecided)? {
            let number = usize::try_from(self.whole(value, &place)?).unwrap_or(0);
            if !(1..=MAX_JOBS).contains(&number) {
                return Err(place.error(format!("expected a number from 1 to {MAX_JOBS}")));
            }
            match key {
                "max_seeds" => max_seeds = Some(number),
                _ => batch = Some(number),
            }
        }
        Ok(Wanted { max_seeds, batch, place })
    }

    fn explored(&self, table: &DeTable, place: &Place) -> Parsed<Explored> {
        let mut explored = Explored::default();
        let mut given = (false, false);
        for ((key, value), place) in self.entries(table, &place.key, Table::Explored)? {
            match key {
                "folder" => (explored.folder, given.0) = (self.string(value, &place)?, true),
                "commits" => explored.commits = self.string(value, &place)?,
                "runs" => explored.runs = self.counted(value, &place)?,
                _ => {
                    explored.chosen = self.each(value, &place, Source::chosen)?;
                    given.1 = true;
                }
            }
        }
        match given {
            (true, true) => Ok(explored),
            (false, _) => {
                Err(place.error("folder is missing: the folder of the sweep that explored"))
            }
            (_, false) => Err(place.error("chosen is missing: the learning rate of each setting")),
        }
    }

    fn chosen(&self, table: &DeTable, place: &Place) -> Parsed<Chosen> {
        let (mut setting, mut lr, mut val_acc, mut seeds) = (Vec::new(), None, None, 0);
        let (mut runner_up, mut runner_up_val_acc, mut note) = (None, None, None);
        for ((key, value), place) in self.entries(table, &place.key, Table::Chosen)? {
            match key {
                "where" => setting = self.conditions(self.table(value, &place)?, &place.key)?,
                "lr" => lr = Some(self.number(value, &place)?),
                "val_acc" => val_acc = Some(self.number(value, &place)?),
                "seeds" => seeds = self.counted(value, &place)?,
                "runner_up" => runner_up = Some(self.number(value, &place)?),
                "runner_up_val_acc" => runner_up_val_acc = Some(self.number(value, &place)?),
                _ => note = Some(self.string(value, &place)?),
            }
        }
        let lr = lr.ok_or_else(|| place.error("lr is missing: the learning rate"))?;
        let runner_up = runner_up.zip(runner_up_val_acc);
        Ok(Chosen { setting, lr, val_acc, seeds, runner_up, note })
    }

    fn initializer(&self, table: &DeTable, place: &Place) -> Parsed<Initializer> {
        let (mut name, mut direction, mut expressions) = (None, None, Vec::new());
        for ((key, value), place) in self.entries(table, &place.key, Table::Initializer)? {
            match key {
                "name" => {
                    let text = self.string(value, &place)?;
                    place.checked(check_init_name(&text))?;
                    name = Some(text);
                }
                "direction" => {
                    direction = Some(place.checked(self.string(value, &place)?.parse())?)
                }
                _ => expressions.push((key, value, place)),
            }
        }
        let direction: Direction = direction.ok_or_else(|| {
            place.error("direction is missing, for example direction = \"orthogonal\"")
        })?;
        let mut rule = Definition::of(direction);
        for (key, item, place) in expressions {
            let text = match self.value(item, &place)? {
                number @ (Value::Integer(_) | Value::Float(_)) => number.to_string(),
                _ => self.string(item, &place)?,
            };
            rule.set(key, &text).map_err(|error| {
                let span = item.span();
                // A string on one line without escapes is as long as its text and two quotes.
                let before = self.newlines.partition_point(|newline| *newline < span.start);
                let line = before.checked_sub(1).map_or(0, |last| self.newlines[last] + 1);
                let column = match span.len() == text.len() + 2 {
                    true => format!("column {}", span.start - line + 2 + error.at),
                    false => format!("character {} of the expression", error.at + 1),
                };
                place.error(format!("{column}: {}", error.message))
            })?;
        }
        let name = name.ok_or_else(|| place.error("name is missing: the word that init takes"))?;
        Ok(Initializer { name, rule, place: place.clone() })
    }

    fn data(&self, table: &DeTable, place: &Place) -> Parsed<(DataHash, PathBuf)> {
        let (mut hash, mut path) = (None, None);
        for ((key, value), place) in self.entries(table, &place.key, Table::Data)? {
            let text = self.string(value, &place)?;
            match key {
                "hash" => hash = Some(place.checked(text.parse())?),
                _ => path = Some(self.beside(&text, &place)?.into()),
            }
        }
        hash.zip(path).ok_or_else(|| place.error("it needs hash and path"))
    }

    /// A path that is relative to the grid's folder.
    fn beside(&self, path: &str, place: &Place) -> Parsed<String> {
        let path = self.folder.join(path).into_os_string().into_string();
        path.map_err(|path| place.error(format!("{path:?} is not UTF-8; rename it")))
    }

    fn metric(&self, value: &Spanned<DeValue>, place: &Place) -> Parsed<Metric> {
        place.checked(self.string(value, place)?.parse())
    }

    /// Each table of an array of tables; the place's key counts them from 1.
    fn each<T>(
        &self,
        value: &Spanned<DeValue>,
        place: &Place,
        read: impl Fn(&Source, &DeTable, &Place) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let name = &place.key;
        let word = name.rsplit('.').next().unwrap_or(name);
        let DeValue::Array(items) = value.get_ref() else {
            return Err(place
                .error(format!("expected tables, each under [[{word}]], not a {}", kind(value))));
        };
        if items.len() > MAX_TABLES {
            return Err(place.error(format!("{} tables are more than {MAX_TABLES}", items.len())));
        }
        let mut all = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let key = if items.len() > 1 { format!("{name}[{}]", i + 1) } else { name.to_string() };
            let place = self.place(item.span(), &key);
            all.push(read(self, self.table(item, &place)?, &place)?);
        }
        Ok(all)
    }

    fn table<'t>(&self, value: &'t Spanned<DeValue<'t>>, place: &Place) -> Parsed<&'t DeTable<'t>> {
        value
            .get_ref()
            .as_table()
            .ok_or_else(|| place.error(format!("expected a table, not a {}", kind(value))))
    }

    fn string(&self, value: &Spanned<DeValue>, place: &Place) -> Parsed<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        text.ok_or_else(|| place.error(format!("expected a string, not a {}", kind(value))))
    }

    fn number(&self, value: &Spanned<DeValue>, place: &Place) -> Parsed<f64> {
        match self.value(value, place)? {
            Value::Integer(n) => Ok(n as f64),
            Value::Float(x) if x.is_finite() => Ok(x),
            _ => Err(place.error("expected a finite number")),
        }
    }

    fn whole(&self, value: &Spanned<DeValue>, place: &Place) -> Parsed<i64> {
        match self.value(value, place)? {
            Value::Integer(n) => Ok(n),
            other => Err(place.error(format!("expected a whole number, got {other}"))),
        }
    }

    fn counted(&self, value: &Spanned<DeValue>, place: &Place) -> Parsed<usize> {
        let number = self.whole(value, place)?;
        usize::try_from(number).map_err(|_| place.error(format!("{number} is less than 0")))
    }

    fn value(&self, value: &Spanned<DeValue>, place: &Place) -> Parsed<Value> {
        match value.get_ref() {
            DeValue::String(text) => Ok(Value::Text(text.to_string())),
            DeValue::Integer(digits) => {
                i64::from_str_radix(digits.as_str(), digits.radix()).map(Value::Integer).map_err(
                    |_| place.error(format!("{} is too large", shorten(&digits.to_string(), 60))),
                )
            }
            DeValue::Float(digits) => match digits.as_str().parse() {
                Ok(number) => Ok(Value::Float(number)),
                Err(_) => Err(place.error("expected a number")),
            },
            DeValue::Boolean(truth) => Ok(Value::Boolean(*truth)),
            DeValue::Datetime(_) => Err(place.error("a date has no meaning here")),
            DeValue::Table(_) => Err(place.error("expected a value, not a table")),
            DeValue::Array(items) => items
                .iter()
                .map(|item| self.value(item, place))
                .collect::<Parsed<Vec<_>>>()
                .map(Value::List),
        }
    }
}

fn kind(value: &Spanned<DeValue>) -> &'static str {
    value.get_ref().type_str()
}

/// `count` values from `a` to `b`, both included, in equal ratios; rounded to ten digits, so that a
/// tenth is 0.1 and has the same id however it was computed.
fn logarithmic(a: f64, b: f64, count: usize) -> Vec<f64> {
    let round = |x: f64| format!("{x:.9e}").parse().unwrap_or(x);
    let (low, high) = (a.ln(), b.ln());
    let step = |i: usize| low + (high - low) * i as f64 / (count - 1) as f64;
    (0..count)
        .map(|i| match i {
            0 => a,
            i if i == count - 1 => b,
            i => round(step(i).exp()),
        })
        .collect()
}

/// Initializers of one file have different names.
fn refuse_twins(initializers: &[Initializer]) -> Result<(), GridError> {
    for (i, later) in initializers.iter().enumerate() {
        if let Some(first) = initializers[..i].iter().find(|first| first.name == later.name) {
            let (name, first) = (&later.name, &first.place);
            return Err(later.place.error(format!("{name:?} is already defined at {first}")));
        }
    }
    Ok(())
}

/// A field is set in one place: by the base, by one axis, or by an axis of one zip.
fn in_one_place<'a>(
    fields: impl Iterator<Item = (&'static Field, &'a Place)>,
) -> Result<(), GridError> {
    let mut seen: Vec<(&Field, &Place)> = Vec::new();
    for (field, place) in fields {
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == field) {
            return Err(place.error(format!(
                "{} is already set by {} at {first}; keep one of the two",
                field.name, first.key
            )));
        }
        seen.push((field, place));
    }
    Ok(())
}
