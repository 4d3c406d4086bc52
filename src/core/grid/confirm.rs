//! Makes the grid that confirms the choices of an exploratory sweep.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Axis, Block, Condition, Expectation, Explored, Grid, Place, Setting};
use crate::fmt::plural;
use crate::job::{Field, Job, SEED_FIELDS, Value};

/// Seeds that no job of an earlier sweep used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshSeeds {
    /// Their field: `seed`, or the only one of `init_seed` and `data_seed` that the
    /// earlier sweep varies.
    pub field: &'static str,
    /// The first one.
    pub from: i64,
    /// Their number.
    pub count: u32,
    /// The other seed with its value, if the earlier sweep fixes it.
    fixed: Option<(&'static str, u64)>,
}

impl FreshSeeds {
    /// Seeds after those of `used`; if there is no room, the first free ones.
    pub fn beside<'a>(used: impl IntoIterator<Item = &'a Job>, count: u32) -> FreshSeeds {
        let pairs: BTreeSet<(u64, u64)> =
            used.into_iter().map(|job| (job.init_seed, job.data_seed)).collect();
        let inits: BTreeSet<u64> = pairs.iter().map(|pair| pair.0).collect();
        let datas: BTreeSet<u64> = pairs.iter().map(|pair| pair.1).collect();
        let equal = pairs.iter().all(|(init, data)| init == data);
        let only = |seeds: &BTreeSet<u64>| seeds.first().copied().filter(|_| seeds.len() == 1);
        let (field, fixed, used) = match (only(&inits), only(&datas)) {
            (_, Some(data)) if !equal => ("init_seed", Some(("data_seed", data)), inits),
            (Some(init), _) if !equal => ("data_seed", Some(("init_seed", init)), datas),
            _ => ("seed", None, inits.union(&datas).copied().collect()),
        };
        let end =
            |from: u64| from.checked_add(u64::from(count)).filter(|end| *end <= i64::MAX as u64);
        let after = used.last().map_or(Some(0), |last| last.checked_add(1));
        let from = after.filter(|from| end(*from).is_some()).unwrap_or_else(|| {
            // There are fewer jobs than numbers, so a free range exists.
            let mut free = 0;
            for seed in used {
                if seed - free >= u64::from(count) {
                    break;
                }
                free = seed + 1;
            }
            free
        });
        FreshSeeds { field, from: from as i64, count, fixed }
    }

    fn axis(&self) -> Vec<Axis> {
        let values = (self.from..).take(self.count as usize).map(Value::Integer).collect();
        axis(self.field, values).into_iter().collect()
    }
}

fn axis(name: &str, values: Vec<Value>) -> Option<Axis> {
    Some(Axis { field: Field::named(name)?, values, place: Place::nowhere(), lines: Vec::new() })
}

fn setting(field: &'static Field, value: Value) -> Setting {
    Setting { field, value, place: Place::nowhere() }
}

/// Settings as a product: of each field that applies, the indices of its values.
type Product = BTreeMap<usize, BTreeSet<usize>>;

impl Grid {
    /// The grid that trains each of these settings, each given by one of its jobs, with fresh
    /// seeds. It merges settings into few blocks, and keeps this grid's claims and published
    /// numbers without their conditions on seeds. It drops, with a warning, claims that compare
    /// seeds and published numbers of a learning rate that is not among the settings.
    pub fn confirming(
        &self,
        name: String,
        settings: &[&Job],
        seeds: &FreshSeeds,
        explored: Explored,
    ) -> Grid {
        let mut fields: Vec<&'static Field> = Vec::new();
        let blocks = std::iter::once(&self.own).chain(&self.block);
        let lr = Field::named("lr").into_iter();
        for field in blocks.flat_map(Block::fields).map(|(field, _)| field).chain(lr) {
            if !SEED_FIELDS.contains(&field.name) && !fields.contains(&field) {
                fields.push(field);
            }
        }
        let mut own = Block::default();
        let mut varying: Vec<(&'static Field, Vec<Value>)> = Vec::new();
        let mut products: Vec<Product> = vec![Product::new(); settings.len()];
        for field in fields {
            let values: Vec<Option<Value>> = settings.iter().map(|job| field.get(job)).collect();
            if let Some(first) = values.first()
                && values.iter().all(|value| value == first)
            {
                own.base.extend(first.clone().map(|value| setting(field, value)));
                continue;
            }
            let mut distinct: Vec<Value> = Vec::new();
            for (product, value) in products.iter_mut().zip(values) {
                let Some(value) = value else { continue };
                let index = distinct.iter().position(|known| *known == value);
                let index = index.unwrap_or_else(|| {
                    distinct.push(value);
                    distinct.len() - 1
                });
                product.insert(varying.len(), BTreeSet::from([index]));
            }
            varying.push((field, distinct));
        }
        if let Some((name, value)) = seeds.fixed {
            let value = Value::Integer(value as i64);
            own.base.extend(Field::named(name).map(|field| setting(field, value)));
        }
        let mut block: Vec<Block> = merged(products, varying.len())
            .into_iter()
            .map(|product| {
                let mut block = Block::default();
                // A single value is an axis, too: claims compare values of axes.
                for (at, indices) in product {
                    let (field, all) = &varying[at];
                    let values = indices.into_iter().map(|i| all[i].clone()).collect();
                    block.grid.extend(axis(field.name, values));
                }
                block.grid.extend(seeds.axis());
                block
            })
            .collect();
        if let [only] = &mut block[..] {
            own.grid.append(&mut only.grid);
            block.clear();
        }

        let mut warnings = Vec::new();
        let mut claims = self.claims.clone();
        claims.retain(|claim| {
            let keep = match &claim.expect {
                Expectation::Compare { better, than, .. } => {
                    !better.iter().chain(than).any(|condition| condition.is_about_seeds())
                }
                Expectation::Within { .. } => true,
            };
            if !keep {
                warnings.push(format!("a claim that compares seeds is left out: {}", claim.text));
            }
            keep
        });
        let mut published = self.published.clone();
        published.retain(|published| {
            let mut rates =
                published.filter.iter().filter(|condition| condition.field.name == "lr");
            let trained = rates.all(|condition| {
                let at = |lr: &Value| Condition::new(condition.field, vec![lr.clone()]);
                condition.values.iter().all(|lr| settings.iter().any(|job| at(lr).holds(job)))
            });
            let meets =
                |job: &&Job| published.filter.iter().all(|c| c.is_about_seeds() || c.holds(job));
            trained && settings.iter().any(meets)
        });
        let left_out = self.published.len() - published.len();
        if left_out > 0 {
            warnings.push(format!(
                "{} of learning rates that are not trained here: left out",
                plural(left_out, "published number")
            ));
        }
        let filters = claims.iter_mut().map(|claim| &mut claim.filter);
        for filter in filters.chain(published.iter_mut().map(|published| &mut published.filter)) {
            filter.retain(|condition| !condition.is_about_seeds());
        }
        Grid {
            name,
            about: self.about.clone(),
            claims,
            published,
            until_decided: None,
            explored: Some(explored),
            warnings,
            initializers: self.initializers.clone(),
            files: self.files.clone(),
            place: Place::nowhere(),
            own,
            block,
        }
    }
}

/// The same settings in fewer products: those that differ in one field become one.
fn merged(mut products: Vec<Product>, fields: usize) -> Vec<Product> {
    loop {
        let before = products.len();
        for field in 0..fields {
            // By all other fields; in the order in which they come up first.
            let mut at: HashMap<(bool, Product), usize> = HashMap::new();
            let mut fewer: Vec<Product> = Vec::new();
            for mut product in products {
                let values = product.remove(&field);
                let place = *at.entry((values.is_some(), product.clone())).or_insert_with(|| {
                    fewer.push(product);
                    fewer.len() - 1
                });
                if let Some(values) = values {
                    fewer[place].entry(field).or_default().extend(values);
                }
            }
            products = fewer;
        }
        if products.len() == before {
            return products;
        }
    }
}
