"""What workers tell each other, and what they share."""

import os
import threading
import time

import pytest

from serving.engine.loaded_release import LoadOptions
from serving.engine.release_manager import ReleaseManager
from serving.engine.user_lookup import Pool
from serving.observability.metrics import Metrics
from serving.workers import copies
from serving.workers.processes import MEMORY, Processes
from serving.workers.worker_group import SingleWorker, Worker, WorkerGroup
from tests.serving.making import made
from two_tower.releases.release import open_release


@pytest.fixture
def group(tmp_path):
    (tmp_path / "shared" / copies.RELEASES).mkdir(parents=True)
    return WorkerGroup(2, tmp_path / "shared")


@pytest.fixture
def members(group):
    return Worker(group, 0), Worker(group, 1)


def test_a_change_is_waited_for_until_the_others_have_looked(group, members):
    one, other = members
    assert one.announce(1) == [], "a worker that has not looked yet will, before it answers"
    other.acknowledge(other.changes(), "r1")
    assert one.announce(0.01) == [1]
    before = other.changes()

    def look():
        while other.changes() == before:
            assert other.pause(30), "rung, not waited out"
        other.acknowledge(other.changes(), "r1")

    looker = threading.Thread(target=look)
    looker.start()
    began = time.monotonic()
    assert one.announce(20) == [] and time.monotonic() - began < 15
    looker.join()
    other.acknowledge(before, "r1")
    assert one.announce(0.01) == [1], "who looked before the change has not seen it"
    assert one.other_release() == "r1"
    group.ended(1)
    assert one.announce(0.01) == [] and one.other_release() == "", "nobody waits for the dead"


def test_the_service_is_complete_once_all_workers_could_answer(group, members):
    one, other = members
    assert not one.replaces and not one.complete()
    one.started()
    assert not one.complete() and not other.complete()
    other.started()
    assert one.complete() and other.complete()
    group.ended(1)
    assert one.complete(), "one that ended is replaced while the others answer"
    replacement = Worker(group, 1)
    assert replacement.replaces and replacement.complete()


def test_a_worker_that_is_to_end_stops_waiting(members):
    threading.Timer(0.05, members[0].stop).start()
    assert not members[0].pause(30)


def test_one_process_tells_nobody():
    assert (
        SingleWorker().announce(30) == []
        and SingleWorker().other_release() == ""
        and SingleWorker().pids() == [os.getpid()]
    )


def test_a_download_is_made_once_and_outlives_the_next_one(group, tmp_path):
    url = "memory://workers/releases"
    first = made(url, tmp_path / "first", prefix="f")
    second = made(url, tmp_path / "second", prefix="s")
    folders = [copies.local(url, first, tmp_path / own, group.folder).folder for own in ("a", "b")]
    assert len({(folder / "index.onnx").stat().st_ino for folder in folders}) == 1
    assert copies.local(url, second, tmp_path / "c", group.folder).id == second
    assert [held.name for held in (group.folder / copies.RELEASES).iterdir()] == [second]
    assert open_release(tmp_path / "a", first, tmp_path).folder == folders[0], "whole, and in place"


def test_what_lies_on_this_machine_is_opened_where_it_lies(group, releases, release, tmp_path):
    assert copies.local(str(releases), release, tmp_path, group.folder).folder == releases / release


def test_a_worker_that_comes_late_serves_what_the_others_do_where_the_pointer_is_refused(members, releases, tmp_path):
    old = made(releases, tmp_path / "old")
    new = made(releases, tmp_path / "new", prefix="new-")
    (releases / new / "index.onnx").write_bytes(b"torn")
    members[0].acknowledge(0, old)
    metrics = Metrics()
    opening = LoadOptions(
        releases=str(releases), feature_repo=None, pool=Pool(1), metrics=metrics, worker_group=members[1]
    )
    manager = ReleaseManager(opening)
    manager.start()
    assert manager.opened.wait(30)
    manager.stop()
    assert manager.serving == old and "two_tower_releases_refused_total 1.0" in metrics.text().decode()


def test_processes_are_added_up():
    one, two = (
        {metric.name: metric.samples[0].value for metric in Processes(lambda n=n: [os.getpid()] * n).collect()}
        for n in (1, 2)
    )
    assert two["process_max_fds"] == 2 * one["process_max_fds"]
    assert two["process_start_time_seconds"] == one["process_start_time_seconds"]
    assert two[MEMORY] == pytest.approx(2 * one[MEMORY], rel=0.2)
