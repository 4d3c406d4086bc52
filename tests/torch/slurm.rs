//! `wninit slurm`: what it rejects, what it submits, and a sweep on a real Slurm with tasks that are
//! killed, warned and preempted.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{Output, PATIENCE, Sandbox, assert_same, output};
use crate::skip::skip;

/// 12 jobs, which are not trained here.
const SMALL: &str =
    "[base]\ndataset = \"digits\"\n[grid]\ndepth = [2, 5]\nlr = [0.1, 0.2, 0.3]\nseed = [0, 1]\n";

fn slurm(sandbox: &Sandbox, args: &[&str]) -> Command {
    sandbox.wninit(&[&["slurm", "grid.toml"], args].concat())
}

/// Puts a fake `sbatch` first in PATH.
fn stand_in(sandbox: &Sandbox, command: &mut Command, script: &str) {
    let bin = sandbox.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let sbatch = bin.join("sbatch");
    fs::write(&sbatch, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&sbatch, fs::Permissions::from_mode(0o755)).unwrap();
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
}

#[test]
fn the_script_is_printed_and_nothing_is_submitted() {
    let sandbox = Sandbox::new(SMALL);
    let mut command = slurm(&sandbox, &["--array", "4%2", "--gres", "gpu:1", "--time", "04:00:00"]);
    stand_in(&sandbox, &mut command, "echo called > called; echo 7");
    let printed = output(&mut command);
    printed.expect(0, &["array.sbatch"]);
    for line in ["#SBATCH --array=1-4%2", "#SBATCH --gres=gpu:1", "#SBATCH --time=04:00:00"] {
        assert!(printed.stdout.lines().any(|found| found == line), "{line}: {}", printed.stdout);
    }
    assert!(printed.stdout.contains("options=(--device cuda)"), "{}", printed.stdout);
    assert_eq!(sandbox.text("slurm/array.sbatch"), printed.stdout);
    let finish = sandbox.text("slurm/finish.sbatch");
    assert!(!finish.contains("--time") && !finish.contains("gpu"), "{finish}");
    assert!(!sandbox.path("called").exists());
    assert!(!sandbox.sweep().join("plan.csv").exists(), "it was only looked at");
}

#[test]
fn both_jobs_are_submitted_the_second_after_the_first() {
    let sandbox = Sandbox::new(SMALL);
    let mut command = slurm(
        &sandbox,
        &["--array", "4", "--cpus-per-task", "3", "--sbatch=--qos=high", "--submit"],
    );
    stand_in(&sandbox, &mut command, "echo \"$*\" >> called; echo '41;cluster'");
    let submitted = output(&mut command);
    submitted.expect(0, &[]);
    assert!(submitted.stdout.contains("12 jobs in 4 tasks: job 41"), "{}", submitted.stdout);
    let folder = sandbox.sweep().join("slurm");
    let folder = folder.display();
    let called = fs::read_to_string(sandbox.path("called")).unwrap();
    let calls: Vec<&str> = called.lines().collect();
    assert_eq!(calls[0], format!("--parsable {folder}/array.sbatch"));
    assert_eq!(calls[1], format!("--parsable --dependency=afterany:41 {folder}/finish.sbatch"));
    let script = sandbox.text("slurm/array.sbatch");
    assert!(script.contains("#SBATCH --qos=high") && script.contains("SBATCH --cpus-per-task=3"));
    assert!(script.contains("--device cpu --workers \"${SLURM_CPUS_PER_TASK:-1}\""), "{script}");
    assert!(script.contains("#SBATCH --mem=2G"), "{script}");
    let again = |more: &[&str]| {
        let mut command = slurm(&sandbox, &[&["--array", "2", "--submit"], more].concat());
        stand_in(&sandbox, &mut command, "echo \"$*\" >> called; echo 43");
        output(&mut command)
    };
    again(&[]).expect(2, &["was submitted before, as job 41", "--again"]);
    assert_eq!(fs::read_to_string(sandbox.path("called")).unwrap(), called);
    again(&["--again"]).expect(0, &["12 jobs: about", "core-hours"]);
    let status = output(&mut sandbox.wninit(&["status", "results/sweep", "--check"]));
    status.expect(3, &[]);
    assert!(status.stdout.contains("12 jobs planned"), "{}", status.stdout);
}

#[test]
fn tasks_train_the_grid_as_it_was_submitted() {
    let sandbox = Sandbox::new(SMALL);
    let script = output(&mut slurm(&sandbox, &["--array", "2", "--set", "epochs=3"])).stdout;
    let line = script.lines().find_map(|line| line.strip_prefix("grid=")).unwrap().to_owned();
    let before = fs::read_to_string(&line).unwrap();
    sandbox.set_grid("[base]\ndataset = \"digits\"\n");
    output(&mut slurm(&sandbox, &["--array", "2"])).expect(0, &[]);
    assert_eq!(fs::read_to_string(&line).unwrap(), before);
    let program = script.lines().find_map(|line| line.strip_prefix("wninit=")).unwrap();
    assert!(program.contains("/slurm/programs-"), "not the one that a rebuild changes: {program}");
    assert!(Path::new(program).with_file_name("wninit-torch").is_file());
    let list = output(&mut sandbox.wninit(&["plan", &line, "--csv"]));
    assert_eq!(list.stdout.lines().count(), 1 + 12);
    assert!(list.stdout.lines().skip(1).all(|row| row.contains(",128,,3,")), "{}", list.stdout);
}

#[test]
fn invalid_requests_are_rejected_before_anything_is_submitted() {
    let sandbox = Sandbox::new(SMALL);
    let refused = |args: &[&str], texts: &[&str]| {
        let mut command = slurm(&sandbox, &[args, &["--submit"][..]].concat());
        if args.contains(&"--") {
            command = slurm(&sandbox, &[&["--submit"][..], args].concat());
        }
        stand_in(&sandbox, &mut command, "echo called > called; echo 7");
        output(&mut command).expect(2, texts);
        assert!(!sandbox.path("called").exists() && !sandbox.path("results").exists(), "{args:?}");
    };
    for time in ["banana", "", "1:2:3:4", "1-", "-5", "1e3"] {
        refused(&["--array=4", &format!("--time={time}")], &["04:00:00"]);
    }
    refused(&["--array=4", "--time=2"], &["--time 2 is 120 s, and a task saves 120 s before"]);
    refused(&["--array=4", "--setup=a\nb"], &["control character"]);
    for array in ["0", "x", "4%0", "4%", "-1", "1-4", "100001"] {
        refused(&[&format!("--array={array}")], &["16%4"]);
    }
    refused(&["--array=4", "--time=1:00\n#SBATCH --uid=1"], &["expected minutes"]);
    refused(&["--array=4", "--sbatch=hold"], &["--sbatch=--qos=high"]);
    refused(&["--array=4", "--partition="], &["--partition is empty"]);
    refused(&["--array=4", "--results=a\\b"], &["backslash"]);
    refused(&["--array=4", "--", "--shard=1/2"], &["--shard"]);
    refused(&["--array=4", "--", "--worker=2"], &["--worker"]);
    refused(&["--array=4", "--", "--set", "epochs=3"], &["before the --"]);
    refused(&["--array=4", "--set", "dataset=mnist"], &["data must be there", "wninit fetch"]);
    refused(&["--array=4", "--set", "depth=0"], &["depth"]);
}

#[test]
fn without_slurm_the_error_says_so() {
    let sandbox = Sandbox::new(SMALL);
    let mut command = slurm(&sandbox, &["--array", "4", "--submit"]);
    command.env("PATH", "/nonexistent");
    output(&mut command).expect(2, &["there is no sbatch here"]);

    let mut command = slurm(&sandbox, &["--array", "4", "--submit"]);
    stand_in(&sandbox, &mut command, "echo 'sbatch: error: invalid partition' >&2; exit 1");
    output(&mut command).expect(1, &["sbatch rejected", "invalid partition"]);

    let mut command = slurm(&sandbox, &["--array", "4", "--submit"]);
    stand_in(&sandbox, &mut command, "case $* in *depend*) exit 1 ;; esac; echo 55");
    output(&mut command).expect(1, &["submitted as job 55"]);
}

/// A Slurm cluster of one node, stopped at the end of its test.
struct Cluster {
    dir: tempfile::TempDir,
    daemons: Vec<Child>,
}

/// An environment variable that marks every process of the cluster and its jobs.
const MARK: &str = "WNINIT_TEST_CLUSTER";

impl Cluster {
    /// Starts a cluster.
    fn start() -> Result<Cluster, String> {
        // SAFETY: a plain call.
        if unsafe { libc::geteuid() } != 0 {
            return Err("slurmd needs root".to_owned());
        }
        let programs = ["munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo"];
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let is_there =
            |program: &str| path.split(':').any(|dir| Path::new(dir).join(program).is_file());
        if let Some(missing) = programs.into_iter().find(|program| !is_there(program)) {
            return Err(format!("there is no {missing} (Debian: apt install slurm-wlm munge)"));
        }

        let mut cluster = Cluster { dir: tempfile::tempdir().unwrap(), daemons: Vec::new() };
        let at = |name: &str| cluster.dir.path().join(name);
        let dir = cluster.dir.path().display().to_string();
        for folder in ["state", "spool"] {
            fs::create_dir(at(folder)).unwrap();
        }
        for gpu in 0..4 {
            // Slurm only checks that it is a device.
            std::os::unix::fs::symlink("/dev/null", at(&format!("gpu{gpu}"))).unwrap();
        }
        fs::write(at("munge.key"), [42; 1024]).unwrap();
        fs::set_permissions(at("munge.key"), fs::Permissions::from_mode(0o400)).unwrap();
        let host = Command::new("hostname").arg("-s").output().unwrap();
        let host = String::from_utf8(host.stdout).unwrap().trim().to_owned();
        let ports = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let ports = ports.map(|listener| listener.local_addr().unwrap().port());
        fs::write(at("gres.conf"), format!("Name=gpu File={dir}/gpu[0-3]\n")).unwrap();
        let config = format!(
            "ClusterName=wninit\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\nSlurmdPort={}\n\
             SlurmUser=root\nSlurmdUser=root\nAuthType=auth/munge\nCredType=cred/munge\n\
             AuthInfo=socket={dir}/munge.socket,cred_expire=5\n\
             StateSaveLocation={dir}/state\nSlurmdSpoolDir={dir}/spool\n\
             SlurmctldPidFile={dir}/slurmctld.pid\nSlurmdPidFile={dir}/slurmd.pid\n\
             SlurmctldLogFile={dir}/slurmctld.log\nSlurmdLogFile={dir}/slurmd.log\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\nGresTypes=gpu\n\
             JobAcctGatherType=jobacct_gather/none\nMpiDefault=none\nReturnToService=2\n\
             SlurmdParameters=config_overrides\nKillWait=10\n\
             SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:4\n\
             PartitionName=main Nodes={host} Default=YES State=UP\n",
            ports[0], ports[1]
        );
        fs::write(at("slurm.conf"), config).unwrap();

        let file = |option: &str, name: &str| format!("--{option}={dir}/{name}");
        let munge = [
            "--foreground".to_owned(),
            "--force".to_owned(), // the folder is in /tmp, which anyone may write to
            file("socket", "munge.socket"),
            file("key-file", "munge.key"),
            file("pid-file", "munged.pid"),
            file("log-file", "munged.log"),
            file("seed-file", "munged.seed"),
        ];
        cluster.daemon("munged", &munge)?;
        cluster
            .until("munged answers", |cluster| cluster.dir.path().join("munge.socket").exists())?;
        cluster.daemon("slurmctld", &["-D".to_owned()])?;
        cluster.daemon("slurmd", &["-D".to_owned()])?;
        cluster.until("the node is idle", |cluster| {
            cluster.said("sinfo", &["--noheader", "--format=%T"]).trim() == "idle"
        })?;
        Ok(cluster)
    }

    /// A command configured for this cluster.
    fn command(&self, command: &mut Command) {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).env(MARK, self.dir.path());
        command.env("SLURM_CONF", self.dir.path().join("slurm.conf"));
    }

    fn daemon(&mut self, program: &str, args: &[String]) -> Result<(), String> {
        let mut command = Command::new(program);
        self.command(&mut command);
        let log = || fs::File::create(self.dir.path().join(format!("{program}.out"))).unwrap();
        command.args(args).stdin(Stdio::null()).stdout(log()).stderr(log());
        // SAFETY: prctl is async-signal-safe. The daemon goes when this thread does.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child =
            command.spawn().map_err(|error| format!("{program} does not start: {error}"))?;
        self.daemons.push(child);
        Ok(())
    }

    /// A Slurm command's output, even if it failed.
    fn said(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        self.command(&mut command);
        let output = command.args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits for a condition; panics with the daemons' logs.
    fn until(&self, what: &str, so: impl Fn(&Cluster) -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !so(self) {
            if start.elapsed() > PATIENCE {
                return Err(format!("never happened: {what}\n{}", self.logs()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn logs(&self) -> String {
        let names = [
            "munged.log",
            "munged.out",
            "slurmctld.log",
            "slurmctld.out",
            "slurmd.log",
            "slurmd.out",
        ];
        names
            .iter()
            .map(|name| {
                let text = fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(20).collect();
                format!("{name}:\n{}\n", last.into_iter().rev().collect::<Vec<_>>().join("\n"))
            })
            .collect()
    }

    /// Every process of the cluster and its jobs.
    fn processes(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}", self.dir.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for _ in 0..10 {
            for pid in self.processes() {
                // SAFETY: a plain call; the process carries this cluster's mark.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            for daemon in &mut self.daemons {
                daemon.kill().ok();
                daemon.wait().ok();
            }
            if self.processes().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// 48 jobs that keep each task busy for some seconds.
const SWEEP: &str = "[base]\ndataset = \"digits\"\nepochs = 16\n[grid]\ndepth = [10, 20]\n\
    lr = [0.001, 0.003, 0.01]\ninit = [\"orthogonal_proposed\", \"orthogonal_datadep\"]\nseed = { count = 4 }\n";

#[test]
fn a_job_array_on_a_real_slurm_equals_one_run_even_if_tasks_are_killed_and_preempted() {
    let cluster = match Cluster::start() {
        Ok(cluster) => cluster,
        Err(why) => return skip("slurm", &why),
    };
    let grid = SWEEP;
    let mut sandbox = Sandbox::new(grid);
    sandbox.name = "it's a $(sweep) %j #1".to_owned();
    sandbox.set_grid(grid);
    let shard = |i: u32| sandbox.sweep().join(format!("shards/{i}-of-4"));

    let submit = ["--array=4", "--gres=gpu:1", "--cpus-per-task=1", "--submit", "--"];
    let run = ["--device=cpu", "--workers=1", "--checkpoint-every=0.2s", "--cohort-width=2"];
    let mut command = slurm(&sandbox, &[&submit[..], &run[..]].concat());
    cluster.command(&mut command);
    let submitted: Output = output(&mut command);
    submitted.expect(0, &[]);
    let ids: Vec<&str> = submitted
        .stdout
        .lines()
        .filter_map(|line| line.rsplit_once(": job ").map(|(_, id)| id))
        .collect();
    let [array, finish] = ids[..] else { panic!("{submitted:?}") };
    let log = |i: u32| {
        let log = sandbox.sweep().join(format!("slurm/{array}_{i}.log"));
        fs::read_to_string(log).unwrap_or_default()
    };
    let until = |what: &str, so: &dyn Fn(&Cluster) -> bool| {
        cluster
            .until(what, so)
            .unwrap_or_else(|why| panic!("{why}\n{}", (1..5).map(log).collect::<String>()));
    };

    // Some jobs are finished, some in training.
    let at_work = |i: u32| {
        let rows =
            fs::read_to_string(shard(i).join("runs.csv")).unwrap_or_default().lines().count();
        let saved =
            fs::read_dir(shard(i).join("checkpoints")).is_ok_and(|mut all| all.next().is_some());
        assert!(rows < 12, "shard {i} was done before anything happened to it");
        rows > 1 && saved
    };
    for i in [2, 3, 4] {
        until("the task is at work", &|_| at_work(i));
        let task = format!("{array}_{i}");
        match i {
            // SIGKILL, then an administrator's requeue.
            2 => {
                let holder = fs::read_to_string(shard(2).join(".lock")).unwrap();
                let holder: serde_json::Value = serde_json::from_str(&holder).unwrap();
                let pid = holder["pid"].as_i64().unwrap() as i32;
                assert!(cluster.processes().contains(&pid));
                // SAFETY: a plain call; the process is of this cluster.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                cluster.said("scontrol", &["requeue", &task]);
            }
            // The warning before the time limit.
            3 => drop(cluster.said("scancel", &["--batch", "--signal=USR1", &task])),
            // Preemption.
            _ => drop(cluster.said("scontrol", &["requeue", &task])),
        }
    }
    let alone =
        output(&mut sandbox.wninit(&["run", "grid.toml", "--device=cpu", "--results=local"]));
    alone.expect(0, &[]);

    let state = |cluster: &Cluster| {
        let job = cluster.said("scontrol", &["show", "job", finish]);
        let state = job.split_whitespace().find_map(|word| word.strip_prefix("JobState="));
        state.unwrap_or_default().to_owned()
    };
    until("the last job has ended", &|cluster| {
        !["PENDING", "RUNNING", "COMPLETING", ""].contains(&&*state(cluster))
    });
    let summary =
        fs::read_to_string(sandbox.sweep().join(format!("slurm/finish-{finish}.log"))).unwrap();
    assert_eq!(state(&cluster), "COMPLETED", "{summary}");

    assert_same(
        &sandbox.results(),
        &crate::program::Results::read(&sandbox.path("local").join(&sandbox.name)),
    );
    assert_eq!(sandbox.results().runs.len(), 48);
    assert!(summary.contains("48 finished jobs and 0 failed attempts from 4 shards"), "{summary}");
    assert!(sandbox.sweep().join("report.html").exists());
    assert!(sandbox.sweep().join("summary").is_dir());
    for i in 1..=4 {
        let log = log(i);
        assert_eq!(log.contains("restart 1"), i > 1, "{log}");
        assert_eq!(log.contains("goes back into the queue"), i == 3, "{log}");
        if i > 2 {
            assert!(
                log.contains("interrupted with"),
                "it was asked to stop, and stopped in order: {log}"
            );
        }
    }
    let gpus: BTreeSet<String> = (1..=4)
        .map(|i| log(i).lines().next().unwrap().rsplit_once("GPUs: ").unwrap().1.to_owned())
        .collect();
    assert_eq!(gpus.len(), 4, "each task has a GPU of its own: {gpus:?}");
    assert!(gpus.iter().all(|gpu| gpu.len() == 1), "{gpus:?}");
}
