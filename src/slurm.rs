//! A sweep as a Slurm job array: the text of its two scripts.
//!
//! Each task of the array trains one shard. Shortly before its time limit Slurm signals the task's
//! script, which lets the program write its checkpoints and requeues the task; Slurm itself decides
//! whether a task that it ends for other reasons is queued again. A second job, which starts when
//! the array has finished, merges the shards and prints the summary.

use std::fmt::Write;
use std::path::Path;

/// A job array and the job after it.
#[derive(Clone, Debug)]
pub struct JobArray {
    pub name: String,
    /// The program `wninit`. This and the other paths are absolute.
    pub program: String,
    /// A copy of the grid, so that edits do not reach queued tasks.
    pub grid: String,
    pub results: String,
    pub data: String,
    /// The sweep's folder.
    pub sweep: String,
    /// The folder of the scripts and of the jobs' logs.
    pub folder: String,
    /// Tasks of the array; each trains one shard.
    pub tasks: u32,
    /// How many of them may run at a time.
    pub at_once: Option<u32>,
    /// Seconds before the time limit at which a task saves and is queued again.
    pub warning: u32,
    pub restarts: u32,
    /// Options of `sbatch` for the array, such as `--time=04:00:00`.
    pub options: Vec<String>,
    /// Those of them that also apply to the job after the array.
    pub finish_options: Vec<String>,
    /// Further options of `wninit run`.
    pub run: Vec<String>,
    /// Lines of shell that come first in each job.
    pub setup: Vec<String>,
    /// Whether tasks train on the CPUs that Slurm gives them, with a worker for each.
    pub worker_a_cpu: bool,
}

/// The file name of the array's script.
pub const ARRAY: &str = "array.sbatch";

/// The file name of the script that merges and summarises.
pub const FINISH: &str = "finish.sbatch";

/// Quotes a word for the shell, if it needs quotes.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Quotes a word for an `#SBATCH` line: `sbatch` ends it at a space outside of quotes, and a
/// backslash is an escape inside of quotes as well.
fn directive(word: &str) -> String {
    if quote(word) == word {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', r"\\").replace('"', "\\\""))
}

impl JobArray {
    /// The script whose tasks train the shards.
    pub fn array_script(&self) -> String {
        let JobArray { tasks, restarts, warning, .. } = self;
        let at_once = self.at_once.map_or(String::new(), |n| format!("%{n}"));
        let script = |file: &str| quote(&Path::new(&self.folder).join(file).to_string_lossy());
        let mut text = format!(
            "#!/bin/bash\n\
             # A wninit sweep as a job array: task i of {tasks} trains shard i/{tasks}. To submit it, and the job that\n\
             # merges the shards when all tasks have ended:\n\
             #   array=$(sbatch --parsable {})\n\
             #   sbatch --dependency=afterany:\"${{array%%;*}}\" {}\n",
            script(ARRAY),
            script(FINISH),
        );
        let header = [
            format!("--job-name={}", self.name),
            format!("--array=1-{tasks}{at_once}"),
            self.log("%A_%a.log"),
            "--open-mode=append".to_owned(),
            "--requeue".to_owned(),
            format!("--signal=B:USR1@{warning}"),
        ];
        directives(&mut text, &header);
        directives(&mut text, &self.options);
        let mut run: Vec<String> = self.run.iter().map(|word| quote(word)).collect();
        if self.worker_a_cpu {
            run.push("--workers \"${SLURM_CPUS_PER_TASK:-1}\"".to_owned());
        }
        self.set_up(&mut text);
        let _ = write!(
            text,
            r#"
wninit={program}
grid={grid}
results={results}
data={data}
options=({options})
shard=${{SLURM_ARRAY_TASK_ID:?submit this script with sbatch}}/{tasks}
restart=${{SLURM_RESTART_COUNT:-0}}

echo "== $(date '+%F %T') shard $shard on $(hostname), restart $restart, GPUs: ${{CUDA_VISIBLE_DEVICES:-none}}"
"$wninit" fetch "$grid" --data "$data" --check || exit

# {warning} s before the time limit comes USR1: save, and back into the queue. With TERM the task is
# cancelled or preempted: save, and Slurm decides. USR1 asks wninit to stop in order, however often.
child= ending= warned=
stop() {{
    ending=yes
    if [ -n "$child" ]; then kill -USR1 "$child" 2>/dev/null; fi
}}
trap 'warned=yes; stop' USR1
trap stop TERM
"$wninit" run "$grid" --results "$results" --data "$data" --shard "$shard" "${{options[@]}}" &
child=$!
if [ -n "$ending" ]; then stop; fi
wait "$child"; code=$?
# A signal ends `wait`, not the program.
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done

# 130: saved and stopped. 138, 143: it was told to before it had begun.
case $code in 130 | 138 | 143)
    if [ -n "$warned" ] && [ "$restart" -lt {restarts} ]; then
        echo "== $(date '+%F %T') shard $shard goes back into the queue"
        scontrol requeue "$SLURM_JOB_ID"
    elif [ -n "$warned" ]; then
        echo "== shard $shard was queued again {restarts} times; to go on, submit the array once more" >&2
    fi ;;
esac
exit "$code"
"#,
            program = quote(&self.program),
            grid = quote(&self.grid),
            results = quote(&self.results),
            data = quote(&self.data),
            options = run.join(" "),
        );
        text
    }

    /// The script of the job that merges the shards, summarises and reports.
    pub fn finish_script(&self) -> String {
        let mut text = format!(
            "#!/bin/bash\n\
             # Merges the shards of a wninit sweep and says what came out. It fails unless every job is finished.\n\
             # {ARRAY} beside it says how it is submitted.\n"
        );
        let header = [format!("--job-name={}-finish", self.name), self.log("finish-%j.log")];
        directives(&mut text, &header);
        directives(&mut text, &self.finish_options);
        self.set_up(&mut text);
        let _ = write!(
            text,
            r#"
wninit={program}
sweep={sweep}

code=0
"$wninit" merge "$sweep" || code=$?
"$wninit" summary "$sweep" || code=$?
"$wninit" report "$sweep" || code=$?
"$wninit" status "$sweep" --check || code=$?
exit "$code"
"#,
            program = quote(&self.program),
            sweep = quote(&self.sweep),
        );
        text
    }

    /// Adds the lines of `--setup`.
    fn set_up(&self, text: &mut String) {
        if !self.setup.is_empty() {
            let _ = write!(text, "\n{}\n", self.setup.join("\n"));
        }
    }

    /// The path of a job's output. A percent sign in the folder's name is escaped.
    fn log(&self, pattern: &str) -> String {
        format!("--output={}/{pattern}", self.folder.replace('%', "%%"))
    }
}

/// Adds an `#SBATCH` line for each option.
fn directives(text: &mut String, options: &[String]) {
    for option in options {
        let _ = writeln!(text, "#SBATCH {}", directive(option));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    const HOSTILE: &str = "it's a \"b\" $HOME `id` $(id) # \\ %j;&|<>*?~! \u{fc}";

    fn array(option: &str) -> JobArray {
        JobArray {
            name: HOSTILE.to_owned(),
            program: "/opt/wninit".to_owned(),
            grid: "/r/slurm/grid.toml".to_owned(),
            results: "/r".to_owned(),
            data: "/d".to_owned(),
            sweep: HOSTILE.to_owned(),
            folder: "/r/100 %".to_owned(),
            tasks: 16,
            at_once: Some(4),
            warning: 90,
            restarts: 7,
            options: vec![option.to_owned()],
            finish_options: Vec::new(),
            run: Vec::new(),
            setup: vec!["module load cuda".to_owned()],
            worker_a_cpu: false,
        }
    }

    /// What bash makes of a text.
    fn bash(script: &str) -> String {
        let output = Command::new("bash").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_shell_takes_every_word_literally() {
        for word in [HOSTILE, "", " ", "'", "''", "-n", "a b", "\\", "plain/path-1.0=x"] {
            assert_eq!(bash(&format!("printf %s {}", quote(word))), word);
        }
        assert_eq!(quote("results/depth"), "results/depth");
    }

    #[test]
    fn the_scripts_are_bash_whatever_the_names() {
        let array = array(&format!("--comment={HOSTILE}"));
        let scripts = [array.array_script(), array.finish_script()];
        for script in scripts {
            let check = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
            assert!(check.status.success() && check.stderr.is_empty(), "{check:?}\n{script}");
            assert!(script.starts_with("#!/bin/bash\n"));
        }
        let finish = array.finish_script();
        let line = finish.lines().find(|line| line.starts_with("sweep=")).unwrap();
        assert_eq!(bash(&format!("{line}; printf %s \"$sweep\"")), HOSTILE);
    }

    #[test]
    fn every_directive_stands_before_the_first_command() {
        let script = array("--time=04:00:00").array_script();
        let lines = script.lines().skip_while(|line| line.starts_with('#'));
        assert!(lines.clone().count() > 10);
        assert!(lines.clone().all(|line| !line.starts_with("#SBATCH")));
        for line in [
            "#SBATCH --array=1-16%4",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            "#SBATCH --signal=B:USR1@90",
            "#SBATCH --time=04:00:00",
            "#SBATCH \"--output=/r/100 %%/%A_%a.log\"",
        ] {
            assert!(script.lines().any(|found| found == line), "no {line} in\n{script}");
        }
    }

    #[test]
    fn sbatch_reads_quotes_and_backslashes_inside_of_double_quotes() {
        assert_eq!(directive("--comment=a \"b\" \\ 'c'"), r#""--comment=a \"b\" \\ 'c'""#);
        assert_eq!(directive("--gres=gpu:1"), "--gres=gpu:1");
    }
}
