//! `wninit doctor`: checks this machine and explains how to fix problems.

use std::process::{Command, Output};

use tch::{Device, Kind, Tensor};
use wninit_core::cli::doctor::{Args, Check, Checkup};
use wninit_core::cli::json;
use wninit_core::console;

use crate::probe::conformance;
use crate::{device, ffi};
use wninit_core::job::{Dataset, DatasetName};
use wninit_core::{data, execution};

/// The exit code is 1 if training cannot work here.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn run(args: &Args, commit: &str) -> anyhow::Result<u8> {
    if args.numbers {
        return numbers();
    }
    let mut broken = false;
    let gpus: Vec<String> =
        (0..device::gpus()).map(|gpu| device::label(Device::Cuda(gpu))).collect();
    let mut checkup = Checkup {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit.to_owned(),
        libtorch: ffi::LIBTORCH.to_owned(),
        gpus: gpus.clone(),
        cores: execution::cores(),
        ready: true,
        checks: Vec::new(),
    };
    let print = |text: &str| if args.json.json { Ok(()) } else { console::print(text) };
    let mut printed = print(&format!("wninit {} ({commit})\n", checkup.version));
    let mut line = |ok: bool, what: &str, found: String| {
        if printed.is_ok() {
            let word = if ok { "ok  " } else { "note" };
            printed = print(&format!("{word} {what:<9} {found}\n"));
        }
        checkup.checks.push(Check { what: what.to_owned(), ok, found });
    };

    let sum = f64::try_from(Tensor::ones([2, 2], (Kind::Float, Device::Cpu)).sum(Kind::Float));
    let works = sum.is_ok_and(|sum| sum == 4.0);
    broken |= !works;
    line(works, "libtorch", ffi::LIBTORCH.to_owned());

    let numbers = numbers_in_a_process_of_their_own();
    broken |= numbers.is_err();
    line(numbers.is_ok(), "numbers", numbers.unwrap_or_else(|why| why));

    match &gpus[..] {
        [] => line(
            false,
            "GPUs",
            "none: training runs on the CPU. For a GPU, `nvidia-smi` must list it, and its driver must be \
             new enough for this libtorch's CUDA"
                .to_owned(),
        ),
        gpus => {
            line(true, "GPUs", gpus.join(", "));
            let graphs = ffi::cuda_graph::supported();
            let how = if graphs {
                "steps are recorded as CUDA graphs"
            } else {
                "none: the program was built without CUDA's headers (`make setup` installs \
                 them, or CUDA_HOME names them), so small networks train more slowly"
            };
            line(graphs, "graphs", how.to_owned());
        }
    }
    let flush = std::thread::spawn(ffi::flush_denormals).join().unwrap_or(false);
    let denormals = if flush {
        "denormals flushed to zero"
    } else {
        "this CPU cannot flush denormals: vanishing networks train slowly"
    };
    line(flush, "threads", format!("{} cores, one worker each; {denormals}", execution::cores()));

    let dir = args.data.clone().unwrap_or_else(data::default_dir);
    for &name in DatasetName::ALL {
        if matches!(name, DatasetName::Synthetic | DatasetName::File) {
            continue;
        }
        let data = data::load(Dataset::Named(name), &dir);
        let found = match &data {
            Ok(data) => format!("{name}: {} + {} images", data.train.len(), data.test.len()),
            Err(error) => error.to_string(),
        };
        line(data.is_ok(), "data", found);
    }

    let root = args.results.path();
    let place = writable(root);
    broken |= place.is_err();
    let results = root.display();
    let found = match &place {
        Ok(()) => format!("{results} can be written"),
        Err(error) => {
            format!("{results} cannot be written ({error}); choose another folder with --results")
        }
    };
    line(place.is_ok(), "results", found);
    printed?;
    checkup.ready = !broken;
    if args.json.json {
        json::print(&checkup)?;
    }
    print(match broken {
        true => "training cannot work here: see the notes above\n",
        false => "ready to train\n",
    })?;
    Ok(u8::from(broken))
}

/// Compares convolutions and products with float64.
fn numbers() -> anyhow::Result<u8> {
    let (cases, failed) = conformance::in_short();
    let (found, code) = match failed.first() {
        None => (format!("{cases} convolutions and products agree with float64"), 0),
        Some(first) => {
            let count = failed.len();
            let what = "convolutions and products differ from float64 by more than rounding";
            (format!("{count} of {cases} {what}, such as {first}"), 1)
        }
    };
    console::print(&format!("{found}\n"))?;
    Ok(code)
}

/// Runs [`numbers`] in a child process: a library that writes out of bounds may crash it, often at exit.
fn numbers_in_a_process_of_their_own() -> Result<String, String> {
    std::env::current_exe()
        .and_then(|program| Command::new(program).args(["doctor", "--numbers"]).output())
        .map_err(|error| format!("not checked: {error}"))
        .and_then(|check| verdict(&check))
}

fn verdict(check: &Output) -> Result<String, String> {
    let found = String::from_utf8_lossy(&check.stdout).trim().to_owned();
    let wrong = match check.status.code() {
        Some(0) => return Ok(found),
        Some(1) => found,
        _ => format!("the check of convolutions and products died ({}) {found}", check.status),
    };
    Err(format!("wrong: {wrong}. Do not train here: results would be wrong"))
}

/// Tries to create a file in the folder, or in the nearest existing parent.
fn writable(dir: &std::path::Path) -> std::io::Result<()> {
    let there = dir.ancestors().find(|path| path.is_dir()).unwrap_or(std::path::Path::new("."));
    tempfile::tempfile_in(there).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    #[test]
    fn wrong_numbers_and_a_crash_of_the_check_are_failures() {
        let check = |status: i32, found: &str| {
            let status = ExitStatus::from_raw(status);
            verdict(&Output { status, stdout: found.into(), stderr: Vec::new() })
        };
        assert_eq!(check(0, "84 agree\n"), Ok("84 agree".to_owned()));
        let wrong = check(1 << 8, "2 of 84 differ\n").expect_err("exit code 1");
        assert!(wrong.starts_with("wrong: 2 of 84 differ."), "{wrong}");
        // A crash at exit.
        let died = check(11, "84 agree\n").expect_err("signal 11");
        assert!(died.contains("signal: 11"), "{died}");
    }
}
