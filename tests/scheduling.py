"""Which process of the tests runs which file.

Two processes fill two cores, but for what waits: for a node that comes, a lease that ends, a server that
hangs. Files that mostly wait have a third process.
"""

from pathlib import Path

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# Folders whose tests start Ray or make models, most of them.
RAY_OR_MODELS = ("jobs", "cluster", "engines", "experts", "finetuning")
# None of them uses the cluster that a process of tests starts once.
_WAIT = (
    *("jobs/test_submit.py", "jobs/test_connection.py", "jobs/test_growing.py", "jobs/test_metrics.py"),
    *("jobs/test_paused.py", "jobs/test_sender.py", "jobs/test_faults_of_storage.py"),
    *("engines/test_vllm.py", "engines/test_openai_client.py", "media/test_sandbox.py"),
    *("review/test_review_server.py", "split/test_diarise.py"),
    *("test_lease.py", "test_storage.py", "test_watch.py"),
)


class FilesThatWaitAside(LoadFileScheduling):
    """A file at a time for each process. Of more than two, the last begins with the files that wait."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        aside = len(self.nodes) > 2 and node is self.nodes[-1]
        waiting = [file for file in self.workqueue if file.removeprefix("tests/") in _WAIT]
        if aside:
            # Then with what it can do without a cluster and without models, which the others have loaded.
            files = waiting or [file for file in self.workqueue if _is_light(file)][-1:]
        else:
            files = [file for file in self.workqueue if file not in waiting] or waiting
        if not files:
            node.shutdown()
            return
        self.workqueue.move_to_end(files[0], last=False)
        super()._assign_work_unit(node)


def _is_light(file: str) -> bool:
    return file.split("/")[1] not in RAY_OR_MODELS and "ray_cluster" not in Path(file).read_text(
        encoding="utf-8"
    )
