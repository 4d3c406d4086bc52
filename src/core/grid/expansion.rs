//! Combinations of axes, and whether conditions on them are ever met.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use super::{
    Axis, Block, Claim, Condition, Exclude, Expectation, GridError, MAX_JOBS, Place, Setting,
    canonical, list_of, same, write,
};
use crate::job::{Draft, FIELDS, Job, JobError, SEED_FIELDS, Value, did_you_mean, unknown};

/// Every combination of some axes on top of some settings.
///
/// Combinations are numbered with the seeds slowest: all of the first replicate, then all of the
/// second, and so on. A replicate is one setting of the axes that hold seeds.
pub(crate) struct Expansion<'g> {
    base: Vec<&'g Setting>,
    draft: Draft,
    /// Axes that move together, slowest first.
    dimensions: Vec<Vec<&'g Axis>>,
    /// Number of settings of each.
    lengths: Vec<usize>,
    /// Number of leading dimensions that are seeds.
    seed_dimensions: usize,
    /// The axes again, to look up values.
    axes: Vec<IndexedAxis<'g>>,
    excluded: Excluded,
}

/// Conditions as (dimension, the indices along it that meet them, ascending).
type Selection = Vec<(usize, Vec<u32>)>;

/// The index along each dimension of a combination.
type Indices = [u32; 32];

/// The excludes of an expansion, looked up by some of a combination's indices, because a grid may
/// have thousands of excludes and millions of combinations.
#[derive(Default)]
struct Excluded {
    /// By the dimensions that are looked up.
    tables: BTreeMap<Vec<usize>, ExcludeTable>,
}

/// For each position along a table's dimensions, the remaining conditions of each exclude there.
type ExcludeTable = HashMap<usize, Vec<Arc<Selection>>>;

impl Excluded {
    /// The most places at which an exclude of several conditions is entered.
    const MOST_PLACES: usize = 64;

    fn add(&mut self, mut exclude: Selection, lengths: &[usize]) {
        exclude.sort_by_key(|(_, indices)| indices.len());
        let mut places = 1_usize;
        let looked_up = exclude.iter().enumerate().take_while(|(i, (_, indices))| {
            places = places.saturating_mul(indices.len());
            *i == 0 || places <= Self::MOST_PLACES
        });
        let rest = Arc::new(exclude.split_off(looked_up.count()));
        exclude.sort_by_key(|(dimension, _)| *dimension);
        let mut keys = vec![0];
        for (dimension, indices) in &exclude {
            let along =
                |key: usize| indices.iter().map(move |&i| key * lengths[*dimension] + i as usize);
            keys = keys.into_iter().flat_map(along).collect();
        }
        let dimensions = exclude.into_iter().map(|(dimension, _)| dimension).collect();
        let table = self.tables.entry(dimensions).or_default();
        for key in keys {
            table.entry(key).or_default().push(Arc::clone(&rest));
        }
    }

    /// Whether a combination meets one of the excludes.
    fn has(&self, indices: &Indices, lengths: &[usize]) -> bool {
        let within = |(dimension, chosen): &(usize, Vec<u32>)| {
            chosen.binary_search(&indices[*dimension]).is_ok()
        };
        self.tables.iter().any(|(dimensions, table)| {
            let key = dimensions.iter().fold(0, |key, &d| key * lengths[d] + indices[d] as usize);
            let here = table.get(&key);
            here.is_some_and(|here| here.iter().any(|rest| rest.iter().all(within)))
        })
    }
}

/// An axis whose values are found without searching.
struct IndexedAxis<'g> {
    axis: &'g Axis,
    dimension: usize,
    index: OnceLock<HashMap<String, Vec<u32>>>,
}

impl IndexedAxis<'_> {
    /// The indices of a value: at most one on an unzipped axis, any number on a zipped one.
    fn indices_of(&self, value: &Value) -> &[u32] {
        let index = self.index.get_or_init(|| {
            let mut index: HashMap<String, Vec<u32>> = HashMap::new();
            for (value, i) in self.axis.values.iter().zip(0..) {
                index.entry(canonical(value)).or_default().push(i);
            }
            index
        });
        index.get(&canonical(value)).map_or(&[], Vec::as_slice)
    }
}

impl<'g> Expansion<'g> {
    pub(super) fn new(
        base: Vec<&'g Setting>,
        block: &'g Block,
        exclude: &'g [Exclude],
        total: &mut usize,
    ) -> Result<Expansion<'g>, GridError> {
        let zipped = block.zip.iter().map(|zip| zip.axes.iter().collect());
        let dimensions = block.grid.iter().map(|axis| vec![axis]).chain(zipped);
        let (mut seeds, rest): (Vec<Vec<&Axis>>, _) = dimensions.partition(|dimension| {
            dimension.iter().any(|axis| SEED_FIELDS.contains(&axis.field.name))
        });
        let seed_dimensions = seeds.len();
        seeds.extend(rest);

        let mut combinations = 1_usize;
        for axis in seeds.iter().map(|dimension| dimension[0]) {
            combinations = combinations.saturating_mul(axis.values.len());
            if combinations.saturating_add(*total) > MAX_JOBS {
                return Err(axis
                    .place
                    .error(format!("with this axis the grid has more than {MAX_JOBS} jobs")));
            }
        }
        *total += combinations;

        let mut draft = Draft::default();
        for setting in &base {
            setting.place.checked(setting.field.set(&mut draft, &setting.value))?;
        }
        let indexed = seeds.iter().enumerate().flat_map(|(dimension, axes)| {
            axes.iter().map(move |&axis| IndexedAxis { axis, dimension, index: OnceLock::new() })
        });
        let axes = indexed.collect();
        let lengths = seeds.iter().map(|dimension| dimension[0].values.len()).collect();
        let mut expansion = Expansion {
            base,
            draft,
            dimensions: seeds,
            lengths,
            seed_dimensions,
            axes,
            excluded: Excluded::default(),
        };
        let mut excluded = Excluded::default();
        for exclude in exclude.iter().chain(&block.exclude) {
            if let Some(selection) = expansion.compile(&exclude.conditions, Unset::Refused) {
                excluded.add(selection, &expansion.lengths);
            }
        }
        expansion.excluded = excluded;
        Ok(expansion)
    }

    /// The number of replicates: settings of the axes that hold seeds.
    pub(crate) fn replicates(&self) -> usize {
        self.lengths[..self.seed_dimensions].iter().product()
    }

    /// The axis `seed`, if it is the only axis of seeds and is not zipped.
    pub(super) fn seeds(&self) -> Option<&'g Axis> {
        match &self.dimensions[..self.seed_dimensions] {
            [axes] if axes.len() == 1 && axes[0].field.name == "seed" => Some(axes[0]),
            _ => None,
        }
    }

    /// Combinations of one replicate, excluded ones included.
    pub(crate) fn cells(&self) -> usize {
        self.lengths[self.seed_dimensions..].iter().product()
    }

    /// The combinations that meet all conditions; `None` if there are none.
    fn compile(&self, conditions: &[Condition], unset: Unset) -> Option<Selection> {
        let mut selection: Selection = Vec::new();
        for condition in conditions {
            if let Some(axis) = self.axis(condition.field.name) {
                let mut indices: Vec<u32> =
                    condition.values.iter().flat_map(|v| axis.indices_of(v)).copied().collect();
                indices.sort_unstable();
                match selection.iter_mut().find(|(known, _)| *known == axis.dimension) {
                    Some((_, known)) => known.retain(|i| indices.binary_search(i).is_ok()),
                    None => selection.push((axis.dimension, indices)),
                }
            } else if let Some(setting) = self.setting(condition.field.name) {
                if !condition.accepts(&setting.value) {
                    return None;
                }
            } else if unset == Unset::Refused {
                return None;
            }
        }
        selection.iter().all(|(_, indices)| !indices.is_empty()).then_some(selection)
    }

    fn axis(&self, field: &str) -> Option<&IndexedAxis<'g>> {
        self.axes.iter().find(|indexed| indexed.axis.field.name == field)
    }

    fn setting(&self, field: &str) -> Option<&'g Setting> {
        self.base.iter().copied().find(|setting| setting.field.name == field)
    }

    /// Whether some combination, excluded ones included, has this value of the field.
    fn takes(&self, field: &str, value: &Value) -> bool {
        match self.axis(field) {
            Some(axis) => !axis.indices_of(value).is_empty(),
            None => self.setting(field).is_some_and(|setting| same(&setting.value, value)),
        }
    }

    /// The index along each dimension of a combination, slowest dimension first.
    fn indices(&self, combination: usize) -> Indices {
        debug_assert!(
            self.dimensions.len() <= 32,
            "a field is an axis once, and there are {} fields",
            FIELDS.len()
        );
        let mut indices = [0; 32];
        let mut rest = combination;
        for (&length, index) in self.lengths.iter().zip(&mut indices).rev() {
            *index = (rest % length) as u32;
            rest /= length;
        }
        indices
    }

    /// The job of a combination, `0 .. replicates() * cells()`; `None` if it is excluded.
    ///
    /// # Errors
    /// Its fields contradict each other; [`Expansion::explain`] finds where they were set.
    pub(crate) fn job(&self, combination: usize) -> Result<Option<Job>, JobError> {
        let indices = self.indices(combination);
        if self.excluded.has(&indices, &self.lengths) {
            return Ok(None);
        }
        let mut draft = self.draft.clone();
        for (dimension, &index) in self.dimensions.iter().zip(&indices) {
            for axis in dimension {
                let set = axis.field.set(&mut draft, &axis.values[index as usize]);
                set.map_err(|message| JobError { field: axis.field.name, message })?;
            }
        }
        draft.resolve().map(Some)
    }

    /// Every field that a combination sets, with its value and where that was written; axes last.
    pub(crate) fn settings(&self, combination: usize) -> Vec<Setting> {
        let indices = self.indices(combination);
        let axes = self.dimensions.iter().zip(indices).flat_map(|(dimension, index)| {
            dimension.iter().map(move |axis| Setting {
                field: axis.field,
                value: axis.values[index as usize].clone(),
                place: axis.place_of(index as usize),
            })
        });
        self.base.iter().map(|setting| (*setting).clone()).chain(axes).collect()
    }

    /// The place for an error that no single value causes.
    pub(crate) fn place(&self) -> Place {
        let axis = self.axes.first().map(|indexed| &indexed.axis.place);
        axis.or(self.base.first().map(|s| &s.place)).cloned().unwrap_or_else(|| Place::of("grid"))
    }

    /// The names of its axes.
    pub(crate) fn axis_names(&self) -> impl Iterator<Item = &'static str> {
        self.dimensions.iter().flatten().map(|axis| axis.field.name)
    }

    /// The place where an axis or the base sets the field, if any.
    pub(super) fn place_of(&self, field: &str) -> Option<&Place> {
        let axis = self.axis(field).map(|indexed| &indexed.axis.place);
        axis.or_else(|| self.setting(field).map(|setting| &setting.place))
    }

    /// The values of a field here.
    fn values_of(&self, field: &str) -> &[Value] {
        let axis = self.axis(field).map(|indexed| &indexed.axis.values[..]);
        let base = || self.setting(field).map(|setting| std::slice::from_ref(&setting.value));
        axis.or_else(base).unwrap_or_default()
    }

    /// The error for an impossible combination: it names the line of the culprit and the line of
    /// the value that it conflicts with.
    pub(crate) fn explain(&self, combination: usize, error: &JobError) -> GridError {
        let settings = self.settings(combination);
        // A setting conflicts with the culprit if the job is valid without it.
        let resolves_without = |left_out: &Setting| {
            let mut draft = Draft::default();
            let mut others = settings.iter().filter(|setting| setting.field != left_out.field);
            others.all(|s| s.field.set(&mut draft, &s.value).is_ok()) && draft.resolve().is_ok()
        };
        let culprit = settings.iter().find(|setting| setting.field.name == error.field);
        let partners: Vec<&Setting> = settings
            .iter()
            .filter(|setting| setting.field.name != error.field && resolves_without(setting))
            .collect();
        let mut message = error.message.clone();
        if culprit.is_some() && !partners.is_empty() {
            let list: Vec<String> = partners
                .iter()
                .map(|s| format!("{} = {} at {}", s.field.name, write::value(&s.value), s.place))
                .collect();
            message += &format!(" ({})", list.join("; "));
        }
        match culprit.or(partners.first().copied()) {
            Some(setting) => setting.place.error(message),
            // Nothing is set: the defaults contradict each other, which is a bug.
            None => Place::of("grid").error(format!("{}: {message}", error.field)),
        }
    }
}

/// How a condition treats a field that the grid does not set.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Unset {
    Accepted,
    Refused,
}

/// Checks that some combination meets all conditions; the error names the condition to blame.
pub(super) fn occurs(
    conditions: &[Condition],
    expansions: &[&Expansion],
    unset: Unset,
    place: &Place,
) -> Result<(), GridError> {
    for condition in conditions {
        let key = condition.field.name;
        let setters: Vec<&&Expansion> =
            expansions.iter().filter(|e| e.place_of(key).is_some()).collect();
        if setters.is_empty() && unset == Unset::Refused {
            let is_set = |name: &&str| expansions.iter().any(|e| e.place_of(name).is_some());
            let hint = did_you_mean(key, FIELDS.iter().map(|f| f.name).filter(is_set));
            return Err(condition.place.error(format!(
                "{key} is neither an axis nor in [base], so it matches no job{hint}"
            )));
        }
        if setters.len() < expansions.len() && unset == Unset::Accepted {
            continue;
        }
        for value in &condition.values {
            if !setters.iter().any(|e| e.takes(key, value)) {
                let mut values: Vec<String> = Vec::new();
                for value in setters.iter().flat_map(|e| e.values_of(key)).take(1000) {
                    let text = canonical(value);
                    if !values.contains(&text) {
                        values.push(text);
                    }
                }
                return Err(condition.place.error(format!(
                    "{key} = {} occurs in no job (values: {})",
                    write::value(value),
                    list_of(values.iter().map(String::as_str), 12)
                )));
            }
        }
    }
    if expansions.iter().any(|e| e.compile(conditions, unset).is_some()) {
        Ok(())
    } else {
        Err(place.error("no job meets all of its conditions"))
    }
}

impl Exclude {
    pub(super) fn occurs(&self, expansions: &[&Expansion]) -> Result<(), GridError> {
        occurs(&self.conditions, expansions, Unset::Refused, &self.place).map_err(|error| {
            GridError { message: format!("{}: it excludes nothing", error.message), ..error }
        })
    }
}

impl Claim {
    pub(super) fn occurs(&self, expansions: &[&Expansion]) -> Result<(), GridError> {
        occurs(&self.filter, expansions, Unset::Accepted, &self.place)?;
        if let Expectation::Compare { better, than, .. } = &self.expect {
            let key = format!("{}.compare", self.place.key);
            let place = Place { key: key.into(), ..self.place.clone() };
            let names: BTreeSet<&str> = expansions.iter().flat_map(|e| e.axis_names()).collect();
            let sides = || better.iter().chain(than);
            if !sides().any(|condition| names.contains(condition.field.name)) {
                let name = sides().next().map_or("", |condition| condition.field.name);
                return Err(place.error(unknown("axis", name, names)));
            }
            for side in [better, than] {
                let conditions: Vec<Condition> = self.filter.iter().chain(side).cloned().collect();
                occurs(&conditions, expansions, Unset::Accepted, &place)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const LENGTHS: [usize; 3] = [200, 7, 40];

    fn combinations() -> impl Iterator<Item = Indices> {
        let all = (0..LENGTHS.iter().product::<usize>()).map(|combination| {
            let mut indices = [0; 32];
            let [a, b, c] = [combination / 280, combination / 40 % 7, combination % 40];
            indices[..3].copy_from_slice(&[a as u32, b as u32, c as u32]);
            indices
        });
        all.step_by(3)
    }

    #[test]
    fn thousands_of_excludes_are_looked_up_and_not_gone_through() {
        let mut excluded = Excluded::default();
        for i in 0..8000_u32 {
            // One value of the first and of the last axis, several of the one between.
            let selection =
                vec![(0, vec![i / 40]), (1, (0..1 + i % 6).collect()), (2, vec![i % 40])];
            excluded.add(selection, &LENGTHS);
        }
        assert_eq!(excluded.tables.len(), 1);
        let longest = excluded.tables.values().flat_map(HashMap::values).map(Vec::len).max();
        assert_eq!(longest, Some(1), "a combination is compared with one exclude at most");
    }

    fn selection() -> impl Strategy<Value = Selection> {
        let indices = |length: usize| prop::collection::btree_set(0..length as u32, 1..=length);
        let few = |length: usize| prop::collection::btree_set(0..length as u32, 1..4.min(length));
        let along = move |d: usize| {
            let length = LENGTHS[d];
            prop::option::of(prop_oneof![indices(length).boxed(), few(length).boxed()])
        };
        (along(0), along(1), along(2)).prop_map(|(a, b, c)| {
            let all = [a, b, c].into_iter().enumerate();
            all.filter_map(|(d, set)| Some((d, set?.into_iter().collect()))).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_is_looked_up_is_what_going_through_them_finds(
            selections in prop::collection::vec(selection(), 0..12),
        ) {
            let mut excluded = Excluded::default();
            selections.iter().for_each(|selection| excluded.add(selection.clone(), &LENGTHS));
            for indices in combinations() {
                let within = |(d, chosen): &(usize, Vec<u32>)| chosen.contains(&indices[*d]);
                let expected = selections.iter().any(|selection| selection.iter().all(within));
                prop_assert_eq!(excluded.has(&indices, &LENGTHS), expected);
            }
        }
    }
}
