"""Writes a sweep's results for TensorBoard, Weights & Biases or MLflow, a run for each finished job.

    python analysis/export.py --to tensorboard results/quick

Each run gets the job's fields as hyperparameters, the training curve of epochs.csv, and the test metrics of runs.csv at
the epoch that was tested. A diverged job has the status "failed". A job that was exported before is not exported again.
Nothing is uploaded: W&B runs offline, and MLflow writes a file store.
"""

import argparse
import csv
import importlib
import json
import os
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path

CURVE = ["train_loss", "train_acc", "val_loss", "val_acc", "lr"]
FINAL = ["test_loss", "test_acc", "best_val_acc"]


class UsageError(Exception):
    """What the user can mend; its text is all that is printed."""


def read(folder, name):
    """The rows of a table of the sweep and of its shards. A last line that a crash left unfinished is left out."""
    for file in [folder / name, *sorted(folder.glob(f"shards/*/{name}"))]:
        if file.exists():
            with file.open(newline="", encoding="utf-8") as lines:
                for row in csv.DictReader(lines):
                    if None not in row.values():
                        yield row


def value(cell):
    """A cell as the number or truth value that it stands for, else as text."""
    if cell in ("true", "false"):
        return cell == "true"
    for number in (int, float):
        try:
            return number(cell)
        except ValueError:
            pass
    return cell


class Job:
    """A finished job: its row of runs.csv and its rows of epochs.csv."""

    def __init__(self, row, fields, epochs):
        self.id = row["job_id"]
        self.fields = {name: value(row[name]) for name in fields if row.get(name)}
        self.diverged = row["outcome"] == "diverged"
        self.started, self.ended = (datetime.fromisoformat(row[at]).timestamp() for at in ("started_at", "finished_at"))
        self.last_epoch = int(row["epochs_done"])
        self.tested_epoch = int(row["best_epoch"] or self.last_epoch)
        self.final = {name: float(row[name]) for name in FINAL if row[name]}
        #: For each epoch: when it ended, its number, and its metrics.
        self.curve = []
        clock = self.started
        for epoch in epochs:
            # An epoch before an interruption may have begun before `started_at`.
            clock = min(clock + float(epoch["seconds"] or 0), self.ended)
            self.curve.append((clock, int(epoch["epoch"]), {m: float(epoch[m]) for m in CURVE if epoch[m]}))


def title(job, varying):
    """The fields that vary and the id, such as "depth=2 init=he 0123456789ab": a name for lists and folders."""
    words = [f"{name}={job.fields[name]}" for name in varying if name in job.fields]
    text = re.sub(r"[^A-Za-z0-9 =+._-]", "_", " ".join(words))
    return f"{text[:150]} {job.id}".strip()


def load(folder):
    """The finished jobs of a sweep's folder, each once."""
    if not (folder / "runs.csv").exists() and not any(folder.glob("shards/*/runs.csv")):
        raise UsageError(f"{folder} has no runs.csv: name a sweep's folder, such as results/quick")
    try:
        columns = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
        fields = [name for name in columns["plan.csv"] if name != "job_id"]
        epochs, rows = {}, {}
        for row in read(folder, "epochs.csv"):
            epochs.setdefault(row["job_id"], {}).setdefault(row["epoch"], row)
        for row in read(folder, "runs.csv"):
            rows.setdefault(row["job_id"], row)
        jobs = [Job(row, fields, epochs.get(id, {}).values()) for id, row in rows.items()]
        varying = [name for name in fields if len({str(job.fields.get(name)) for job in jobs}) > 1]
        if all(job.fields.get("init_seed") == job.fields.get("data_seed") for job in jobs):
            varying = [name for name in varying if name not in ("init_seed", "data_seed")]
        for job in jobs:
            job.name = title(job, varying)
        return jobs
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}; `wninit summary {folder}` writes columns.json")
    except (ValueError, KeyError) as error:
        raise UsageError(f"{folder} is not a sweep's folder, or was edited by hand ({error!r}); see `wninit summary {folder}`")


class TensorBoard:
    """An event file for each job, in OUT/NAME/; the name ends with the id."""

    packages = ["torch", "tensorboard"]

    def __init__(self, out, _name):
        self.out = out

    def exported(self, job):
        return any(file.stat().st_size for file in self.out.glob(f"*{job.id}/events.out.tfevents.*"))

    def export(self, job):
        from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        # Renamed when it is whole, so that an export that was killed leaves no job half exported.
        unfinished = self.out / f".{job.id}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        with SummaryWriter(str(unfinished)) as writer:
            _, start, end = hparams(job.fields, {})
            for summary in (start, end):
                plugin = summary.value[0].metadata.plugin_data
                content = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
                if summary is start:
                    # Without a group, TensorBoard would average jobs whose hyperparameters are equal.
                    content.session_start_info.group_name = job.id
                    content.session_start_info.start_time_secs = job.started
                else:
                    content.session_end_info.status = api_pb2.STATUS_FAILURE if job.diverged else api_pb2.STATUS_SUCCESS
                    content.session_end_info.end_time_secs = job.ended
                plugin.content = content.SerializeToString()
            writer.file_writer.add_summary(start, walltime=job.started)
            for at, epoch, metrics in job.curve:
                for name, number in metrics.items():
                    writer.add_scalar(name, number, epoch, walltime=at)
            for name, number in job.final.items():
                writer.add_scalar(name, number, job.tested_epoch, walltime=job.ended)
            writer.add_scalar("diverged", float(job.diverged), job.last_epoch, walltime=job.ended)
            writer.file_writer.add_summary(end, job.last_epoch, walltime=job.ended)
        for empty in list(self.out.glob(f"*{job.id}")):
            shutil.rmtree(empty, ignore_errors=True)
        unfinished.rename(self.out / job.name)

    def hint(self):
        return f"tensorboard --logdir {self.out}"


class WandB:
    """An offline run for each job, in OUT/wandb/."""

    packages = ["wandb"]

    def __init__(self, out, name):
        self.out, self.name = out, name
        out.mkdir(parents=True, exist_ok=True)

    def exported(self, job):
        return any(self.out.glob(f"wandb/offline-run-*-{job.id}/exported"))

    def export(self, job):
        import wandb

        for unfinished in self.out.glob(f"wandb/offline-run-*-{job.id}"):
            shutil.rmtree(unfinished)
        settings = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True)
        run = wandb.init(
            mode="offline", dir=self.out, project=self.name, id=job.id, name=job.name, config=job.fields, settings=settings
        )
        folder = Path(run.settings.sync_dir)
        for _, epoch, metrics in job.curve:
            run.log(metrics, step=epoch)
        run.summary.update({**job.final, "best_epoch": job.tested_epoch, "diverged": job.diverged})
        run.finish(exit_code=int(job.diverged))
        (folder / "exported").touch()

    def hint(self):
        return f"wandb sync {self.out}/wandb/offline-run-*"


class MLflow:
    """A file store in OUT, with an experiment for the sweep and a run for each job."""

    packages = ["mlflow"]

    def __init__(self, out, name):
        # MLflow asks for this before it writes a file store, and prefers a database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        self.out, self.client = out, MlflowClient(tracking_uri=out.absolute().as_uri())
        experiment = self.client.get_experiment_by_name(name)
        self.experiment = experiment.experiment_id if experiment else self.client.create_experiment(name)

    def exported(self, job):
        for run in self.client.search_runs([self.experiment], f"tags.job_id = '{job.id}'"):
            if run.info.status in ("FINISHED", "FAILED"):
                return True
            self.client.delete_run(run.info.run_id)
        return False

    def export(self, job):
        from mlflow.entities import Metric, Param

        milliseconds = lambda at: int(at * 1000)
        tags = {"job_id": job.id, "mlflow.runName": job.name}
        run = self.client.create_run(self.experiment, start_time=milliseconds(job.started), tags=tags)
        metrics = [Metric(m, x, milliseconds(at), epoch) for at, epoch, all in job.curve for m, x in all.items()]
        metrics += [Metric(m, x, milliseconds(job.ended), job.tested_epoch) for m, x in job.final.items()]
        metrics.append(Metric("diverged", float(job.diverged), milliseconds(job.ended), job.last_epoch))
        params = [Param(name, str(value)) for name, value in job.fields.items()]
        self.client.log_batch(run.info.run_id, params=params)
        for first in range(0, len(metrics), 1000):  # the most that a batch may have
            self.client.log_batch(run.info.run_id, metrics=metrics[first : first + 1000])
        status = "FAILED" if job.diverged else "FINISHED"
        self.client.set_terminated(run.info.run_id, status, end_time=milliseconds(job.ended))

    def hint(self):
        return f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {self.out}"


#: The writer, and where it writes by default in the sweep's folder.
WRITERS = {"tensorboard": (TensorBoard, "tensorboard"), "wandb": (WandB, ""), "mlflow": (MLflow, "mlruns")}


def main():
    parser = argparse.ArgumentParser(description="Export a sweep's results to an experiment tracker.")
    parser.add_argument("--to", required=True, choices=WRITERS)
    parser.add_argument("dir", metavar="DIR", type=Path, help="the sweep's folder, such as results/quick")
    parser.add_argument("--out", type=Path, help="where to write [default: DIR/tensorboard, DIR/wandb or DIR/mlruns]")
    args = parser.parse_args()
    writer_class, subfolder = WRITERS[args.to]
    jobs = load(args.dir)
    missing = []
    for package in writer_class.packages:
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise UsageError(f"--to {args.to} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    try:
        writer = writer_class(args.out or args.dir / subfolder, args.dir.resolve().name)
        new = [job for job in jobs if not writer.exported(job)]
        for job in new:
            writer.export(job)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}; choose another folder with --out")
    print(f"exported {len(new)} of {len(jobs)} finished jobs; to see them: {writer.hint()}")


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit((print(f"error: {error}", file=sys.stderr), 2)[1])
