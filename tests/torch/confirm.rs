//! A sweep that explored is confirmed: another one trains the chosen learning rates with fresh seeds.

use crate::program::{Sandbox, output, rows};

#[test]
fn an_explored_sweep_is_confirmed_from_end_to_end() {
    let explored = Sandbox::finished(
        "[base]\ndataset = \"synthetic\"\nsynthetic_images = 200\nwidth = 8\nepochs = 2\n\
         [grid]\ndepth = [1, 2]\ninit = [\"he\", \"orthogonal_proposed\"]\nlr = [1e-4, 0.1]\nseed = { count = 2 }\n\
         [[claim]]\ntext = \"It trains.\"\nmetric = \"success\"\nat_least = 0.1\n",
    );
    let arguments = ["confirm", "results/sweep", "--seeds", "3", "--device", "cpu", "--workers=2"];
    let shown = output(&mut explored.wninit(&arguments));
    shown.expect(0, &["warning: 3 seeds are exploratory"]);
    let words = shown.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [
        "Learning rates chosen on validation",
        "12 runs planned, 12 finished",
        "judged here by 3 fresh seeds",
        "Claims",
    ] {
        assert!(words.contains(text), "{text:?} is not in: {shown:?}");
    }
    assert!(!shown.stderr.contains("one learning rate is explored"), "{shown:?}");
    let dir = explored.path("results/sweep-confirm");
    let confirmed = rows(&dir.join("runs.csv"));
    assert_eq!(confirmed.len(), 2 * 2 * 3);
    let seeds = |rows: &[crate::program::Row]| {
        rows.iter().map(|row| row["seed"].clone()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(seeds(&confirmed), ["2", "3", "4"].map(str::to_owned).into());
    assert_eq!(
        seeds(&rows(&explored.sweep().join("runs.csv"))),
        ["0", "1"].map(str::to_owned).into()
    );

    // `run` has written the grid again, and what chose the learning rates is still in it.
    let grid = std::fs::read_to_string(dir.join("grid.toml")).unwrap();
    assert!(grid.contains("[explored]") && grid.contains("folder = \"results/sweep\""), "{grid}");
    // Again, there is nothing to do.
    output(&mut explored.wninit(&arguments)).expect(0, &[]);
    assert_eq!(rows(&dir.join("runs.csv")), confirmed);
}
