//! Prints how often verdicts are wrong, and how often there is one, as the tables of
//! `docs/statistics-validation.md`: `cargo run --release -p wninit-stats --example validate`. The
//! first argument is the number of draws a cell (2,000). Exits with 1 if a share of wrong decisions
//! is above 5 % by more than three standard errors of the simulation, or a required power is
//! missed.

#![allow(clippy::print_stdout)] // a table for a file, not a command of the program

#[path = "../../../tests/common/simulation.rs"]
mod simulation;

use std::process::ExitCode;

use simulation::{LOOKS, Scenario, Shares};

const SEEDS: [usize; 4] = [3, 6, 10, 20];

fn main() -> ExitCode {
    let draws: u64 = match std::env::args().nth(1).map(|text| text.parse()) {
        None => 2000,
        Some(Ok(draws)) if draws > 0 => draws,
        Some(_) => {
            println!("the number of draws must be a whole number above 0");
            return ExitCode::from(2);
        }
    };
    let most = 0.05 + 3.0 * (0.05 * 0.95 / draws as f64).sqrt();
    let mut missed = Vec::new();
    println!("# How often the verdicts are wrong\n");
    println!(
        "`make validate-statistics` printed this file, with {draws} draws a cell. A cell holds the share of \
         draws that are decided, by our verdicts and, in brackets, by the plain t interval of the seeds' means \
         (a failure counts as a guess).\n"
    );
    println!("## Wrong decisions\n");
    println!(
        "The truth lies at the claim's bound: *supported* and *refuted* are both wrong. Ours must stay at or \
         below .05, up to the error of the simulation: three standard errors above it is {most:.3}.\n"
    );
    head();
    for scenario in simulation::nulls() {
        let row = row(&scenario, draws, |shares| shares.ours);
        if row.iter().any(|wrong| *wrong > most) {
            missed.push(scenario.name);
        }
    }
    println!(
        "\nA method that we do not use, for comparison: the rate of each seed is chosen in the other seeds, and \
         the result is tested as if it had been given.\n"
    );
    head();
    row(&simulation::choice_without_the_seed(), draws, |shares| shares.ours);
    println!("\n## Power\n");
    println!("The claim is true: the share of draws in which ours is *supported*.\n");
    head();
    for scenario in simulation::alternatives() {
        let row = row(&scenario, draws, |shares| shares.supported);
        let needed = match scenario.name {
            "95 % against 5 %, paired: success" => row[2] >= 0.9,
            "+.03 at sd .01, all train: accuracy given success" => row[1] >= 0.9,
            _ => true,
        };
        if !needed {
            missed.push(scenario.name);
        }
    }
    println!("\n## Until decided\n");
    println!(
        "A look after every seed, {LOOKS} at most: the share of paths that are ever decided, and the number of \
         seeds by which half of them are.\n"
    );
    println!("| truth | ours | (t after every seed) | median n |");
    println!("|---|---|---|---|");
    for path in simulation::paths() {
        let ends = path.simulate(draws);
        let median = ends.median.map_or("–".to_owned(), |n| n.to_string());
        let wrong = if path.null { " (wrong)" } else { "" };
        println!(
            "| {}{wrong} | {} | ({}) | {median} |",
            path.name,
            share(ends.ours),
            share(ends.plain)
        );
        if path.null && ends.ours > most {
            missed.push(path.name);
        }
    }
    println!(
        "\nThe same for whole claims: `wninit run --until-decided` with one seed a batch, which adds seeds to the \
         settings that an open claim needs.\n"
    );
    println!("| truth | ours | median n |");
    println!("|---|---|---|");
    for (null, scenario) in simulation::sweeps_until_decided() {
        let ends = scenario.until_decided(draws);
        let median = ends.median.map_or("–".to_owned(), |n| n.to_string());
        let wrong = if null { " (wrong)" } else { "" };
        println!("| {}{wrong} | {} | {median} |", scenario.name, share(ends.ours));
        if null && ends.ours > most {
            missed.push(scenario.name);
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nNot met: {}", missed.join("; "));
    ExitCode::FAILURE
}

fn head() {
    println!("| truth | {} |", SEEDS.map(|n| format!("n = {n}")).join(" | "));
    println!("|---|{}", "---|".repeat(SEEDS.len()));
}

/// Prints the row, and returns our shares.
fn row(scenario: &Scenario, draws: u64, ours: fn(&Shares) -> f64) -> Vec<f64> {
    let shares: Vec<_> = SEEDS.iter().map(|n| scenario.simulate(*n, draws)).collect();
    let cell = |s: &Shares| format!("{} ({})", share(ours(s)), share(s.plain));
    let cells: Vec<String> = shares.iter().map(cell).collect();
    println!("| {} | {} |", scenario.name, cells.join(" | "));
    shares.iter().map(ours).collect()
}

/// `.05`, `1`.
fn share(x: f64) -> String {
    match format!("{x:.3}") {
        text if text == "1.000" => "1".to_owned(),
        text => text.trim_start_matches('0').to_owned(),
    }
}
