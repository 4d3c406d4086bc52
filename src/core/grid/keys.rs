//! The keys of a grid's tables: the parser accepts these, and the JSON schema describes them.

use std::sync::LazyLock;

use crate::job::Definition;

/// A key with its meaning and what it holds.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub name: &'static str,
    pub about: &'static str,
    pub holds: Holds,
}

/// The kind of a key's value; the schema has a definition for each table.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Holds {
    Name,
    Text,
    Number,
    Count,
    Whole,
    /// The first and the last of some numbers.
    Ends,
    Metric,
    Scope,
    Field,
    InitName,
    Direction,
    /// An expression as text, or a number.
    Expression,
    /// What is in a user's file.
    Hash,
    /// A value of a field, or a table of conditions.
    Side,
    /// A table.
    Table(Table),
    /// An array of tables.
    Tables(Table),
    /// Named tables.
    NamedTables(Table),
}

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Table {
    File,
    Profile,
    Block,
    Base,
    Grid,
    Zip,
    Conditions,
    Range,
    Claim,
    Compare,
    Published,
    UntilDecided,
    Explored,
    Chosen,
    Initializer,
    Data,
}

macro_rules! keys {
    ($($name:literal: $holds:expr, $about:literal;)+) => {
        &[$(Key { name: $name, about: $about, holds: $holds },)+]
    };
}

use Holds::*;

/// A file's keys; a profile has the first nine of them, a block the four after the first.
const FILE: &[Key] = keys! {
    "about": Text, "the question that the sweep asks";
    "base": Table(Table::Base), "fields that all jobs share; a field left out has its default";
    "grid": Table(Table::Grid), "axes: every combination of their values is a job";
    "zip": Tables(Table::Zip), "axes of one length that move together";
    "exclude": Tables(Table::Conditions), "combinations to leave out: those that meet every condition";
    "block": Tables(Table::Block), "further combinations on top of this file's base";
    "claim": Tables(Table::Claim), "a statement that the results are to decide";
    "published": Tables(Table::Published), "a number from the literature to print beside the results";
    "until_decided": Table(Table::UntilDecided), "add seeds until every claim is decided";
    "name": Name, "name of the sweep and of its results folder";
    "extends": Text, "another grid, relative to this file, on top of which this one is read";
    "profile": NamedTables(Table::Profile), "overlays for --profile NAME";
    "initializer": Tables(Table::Initializer), "an initializer of your own: a further value of init";
    "explored": Table(Table::Explored), "the sweep that chose this one's learning rates, as `wninit confirm` writes it";
    "data": Tables(Table::Data), "where the files of the field data_hash are, as `wninit run` writes it";
};

static INITIALIZER: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let named = keys! {
        "name": InitName, "the word that init takes, a letter and then letters, digits, _, . or -";
        "direction": Direction, "distribution of the direction v of the weights";
    };
    let expressions =
        Definition::EXPRESSIONS.iter().map(|&(name, about)| Key { name, about, holds: Expression });
    named.iter().copied().chain(expressions).collect()
});

impl Table {
    /// The tables that the schema refers to.
    pub const BELOW_FILE: &[Table] = &[
        Table::Profile,
        Table::Block,
        Table::Base,
        Table::Grid,
        Table::Zip,
        Table::Conditions,
        Table::Range,
        Table::Claim,
        Table::Compare,
        Table::Published,
        Table::UntilDecided,
        Table::Explored,
        Table::Chosen,
        Table::Initializer,
        Table::Data,
    ];

    /// The keys of the table; none if its keys are the fields of a job.
    pub fn keys(self) -> &'static [Key] {
        match self {
            Table::File => FILE,
            Table::Profile => &FILE[..9],
            Table::Block => &FILE[1..5],
            Table::Base | Table::Grid | Table::Zip | Table::Conditions => &[],
            Table::Range => keys! {
                "log": Ends, "the first and the last value of a logarithmic axis";
                "from": Whole, "the first of consecutive whole numbers; 0 if left out";
                "count": Count, "how many values the axis has";
            },
            Table::Claim => keys! {
                "text": Text, "the claim in words";
                "metric": Metric, "the metric that it is about";
                "where": Table(Table::Conditions), "the jobs that it is about";
                "settings": Scope, "whether it holds in each setting, or in their mean";
                "compare": Table(Table::Compare), "some jobs do better than others";
                "at_least": Number, "lower bound of the mean";
                "at_most": Number, "upper bound of the mean";
            },
            Table::Compare => keys! {
                "axis": Field, "the axis of which two values are compared";
                "better": Side, "the value, or the jobs, that do better";
                "than": Side, "the value, or the jobs, that they are compared with";
                "margin": Number, "by more than this; below 0 they are no worse than by that";
            },
            Table::Published => keys! {
                "where": Table(Table::Conditions), "the jobs that it is about";
                "metric": Metric, "its metric";
                "value": Number, "the published number";
                "spread": Number, "its uncertainty, as published";
                "source": Text, "where it was published";
                "setup": Table(Table::Conditions), "fields of the published experiment; where ours has other values, the numbers are not comparable";
            },
            Table::UntilDecided => keys! {
                "max_seeds": Count, "maximum number of seeds of a setting; 100 if left out";
                "batch": Count, "seeds added at a time; as many as the axis seed has if left out";
            },
            Table::Explored => keys! {
                "folder": Text, "the folder of the sweep that explored";
                "commits": Text, "the commits of the program that trained it";
                "runs": Whole, "its finished runs";
                "chosen": Tables(Table::Chosen), "the learning rate of each setting; the summary uses it instead of choosing";
            },
            Table::Chosen => keys! {
                "where": Table(Table::Conditions), "the setting";
                "lr": Number, "the learning rate with the best mean validation accuracy";
                "val_acc": Number, "that mean, a diverged run counted as a guess";
                "seeds": Whole, "the seeds that it is the mean of";
                "runner_up": Number, "the second-best learning rate";
                "runner_up_val_acc": Number, "its mean";
                "note": Text, "what else to know of the choice";
            },
            Table::Initializer => &INITIALIZER,
            Table::Data => keys! {
                "hash": Hash, "what is in the file";
                "path": Text, "the file, relative to this grid";
            },
        }
    }
}
