"""The newest run of an OUT as it goes on, seen from outside: its run file and its lease tell all of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emo.store.lease import EXPIRES_S, Held, read_lease
from emo.store.runs import load_runs, training_of, training_place
from emo.store.storage import Storage
from emo.terminal.progress import counts, figures

# So many of the newest trainings are looked at.
TRAININGS = 10


@dataclass(frozen=True)
class View:
    """One look: `run` is the newest run file, `said` who holds OUT, `active` whether the run goes on."""

    run: dict[str, Any]
    said: str
    active: bool

    def lines(self) -> list[str]:
        """The whole view, for a terminal."""
        return [self._head(), *(f"  {step['name']:<24}{self._did(step)}" for step in self.run["steps"])]

    def line(self) -> str:
        """The steps that are on, or the last one, for a log."""
        steps = [step for step in self.run["steps"] if self._goes_on(step)] or self.run["steps"][-1:]
        return "; ".join([self._head(), *(f"{step['name']}: {self._did(step)}" for step in steps)])

    def _head(self) -> str:
        outcome = self.run["outcome"] if self.active or self.run["outcome"] != "running" else "not active"
        return f"run {self.run['run_id']} ({self.run['command']}): {outcome}; {self.said}"

    def _did(self, step: dict[str, Any]) -> str:
        if not step["rows"]:
            return "nothing to do"
        done = step["ok"] + step["failed"]
        how_far = counts(done, step["failed"], step["rows"], step["seconds"], self._goes_on(step))
        return ", ".join([how_far, *figures(step.get("figures", {}))])

    def _goes_on(self, step: dict[str, Any]) -> bool:
        return self.active and step["ok"] + step["failed"] + step.get("left", 0) < step["rows"]


class Watch:
    """Looks at one OUT again and again; needs no lease and writes nothing.

    A holder on this machine is dead when its process is gone, one elsewhere when its lease stands still for
    EXPIRES_S while it is watched. training: the training of that name, instead of the runs that make rows.
    """

    def __init__(
        self, storage: Storage, now: Callable[[], float] = time.monotonic, training: str | None = None
    ) -> None:
        self._storage = storage
        self._training = training
        self._place = training_place(storage, training) if training else storage
        self._now = now
        self._version: str | None = None
        self._since = now()

    def _newest(self) -> list[dict[str, Any]]:
        if self._training is None:
            return load_runs(self._storage, last=1)
        runs = load_runs(self._storage, last=TRAININGS, trainings=True)
        return [run for run in runs if training_of(run["run_id"]) == self._training][-1:]

    def look(self) -> View | None:
        """What is there now; None before the first run."""
        # In this order: a run that ends writes its run file and then gives back its lease.
        held = read_lease(self._place)
        runs = self._newest()
        if not runs:
            return None
        running = runs[0]["outcome"] == "running"
        if held is None and running:
            # Or it began between the two.
            held = read_lease(self._place)
        if held is None:
            died = "it ended without a word; the same command goes on where it stopped"
            return View(runs[0], died if running else "no run is active", active=False)
        who = held.describe()
        quiet = self._quiet(held)
        lives = held.lives()
        if lives is False or (lives is None and quiet >= EXPIRES_S):
            gone = "its process is gone" if lives is False else f"no sign of life for {quiet:.0f} s"
            return View(runs[0], f"no run is active: {who} died ({gone})", active=False)
        if lives is None:
            return View(runs[0], f"held by {who}, without a sign of life for {quiet:.0f} s", active=True)
        return View(runs[0], f"held by {who}" + ("" if running else ", which begins"), active=True)

    def _quiet(self, held: Held) -> float:
        """Seconds for which the lease has stood still."""
        if held.version != self._version:
            self._version, self._since = held.version, self._now()
        return self._now() - self._since


class Watches:
    """Looks at all that goes on in one OUT: a run that makes rows, and the trainings beside it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._watches: dict[str | None, Watch] = {None: Watch(storage)}
        self._seen: set[str | None] = set()

    def look(self) -> list[View]:
        """What goes on, and how that ended which was seen to go on; else the newest run, if there is one."""
        trainings = load_runs(self._storage, last=TRAININGS, trainings=True)
        running = [run for run in trainings if run["outcome"] == "running"]
        for name in (training_of(run["run_id"]) for run in [*running, *trainings[-1:]]):
            self._watches.setdefault(name, Watch(self._storage, training=name))
        views = {name: view for name, watch in self._watches.items() if (view := watch.look())}
        self._seen |= {name for name, view in views.items() if view.active}
        shown = [views[name] for name in views if name in self._seen]
        return shown or sorted(views.values(), key=lambda view: str(view.run["run_id"]))[-1:]
