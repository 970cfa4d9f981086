from serving.workers.supervisor import LONGEST_PAUSE, pause_after


def test_a_worker_that_cannot_run_is_started_ever_less_often():
    assert [pause_after(failures) for failures in range(7)] == [0, 0, 1, 3, 7, 15, LONGEST_PAUSE]


def test_a_night_of_failures_does_not_end_the_service():
    assert pause_after(5_000) == LONGEST_PAUSE
