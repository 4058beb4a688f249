"""The page docs/ROLLOUT.md: how releases are tested, with simulated error rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.inference.isolated_engine import ANSWER_TIMEOUT_S
from core.rollout.control import MIN_SLOW_MS
from core.rollout.drift import MIN_PHOTOS
from core.rollout.drift_result import ALARM_P, MIN_CHANGE
from core.rollout.sequential import ACCURACY_ALPHA, ERRORS_ALPHA, MAX_PER_PERSON, SLOW_ALPHA
from core.rollout.simulate import Scenario, photos_until_alarm
from core.rollout.simulate_drift import (
    MAX_WAIT_H,
    DriftScenario,
    false_alarm_rate,
    hours_until_alarm,
)
from core.rollout.simulate_runs import RunScenario, pairs_until_alarm

__all__ = ["rollout_page"]

_SHARES = (0.5, 0.1)
_ERROR_RATES = (0.05, 0.15)
_WORSE_BY = (0.2, 0.4, 0.6)
_MAX_PHOTOS = {0.5: 8_000, 0.1: 20_000}
_CORRELATION = 0.3
# More than the slowest rollback of the power table takes.
_FALSE_ALARM_PHOTOS = 20_000
_RUN_RATES = (0.001, 0.01, 0.1)
_WORSE_RUNS = ((0.001, 0.05), (0.001, 0.2), (0.01, 0.05), (0.01, 0.2), (0.1, 0.2), (0.1, 0.4))
_BUSY_BEGINS = 0.01
_PHOTOS_A_DAY = (60, 100, 1000)
_DRIFT_PHOTOS = (100, 1000)
_DRIFTS = ((0.2, False), (0.5, False), (0.2, True))
_TEMPLATE = """# Release on evidence

This page is written by `{command}`. All its figures come from simulations with seed 0.

| command | effect |
| --- | --- |
| `tensight shadow MODEL REVISION` | a candidate answers copies of photos in the background |
| `tensight canary MODEL REVISION --share 10%` | it answers a share of the chats and visitors |
| `tensight evidence MODEL` | shows the evidence about the latest one |
| `tensight models promote MODEL REVISION` | makes it live, which ends its shadow or canary |
| `tensight canary MODEL --stop` | rolls it back manually; `shadow` has `--stop`, too |
| `tensight drift` | compares the last day's photos with those of the month before |

The bot's operators have `/shadow`, `/canary`, `/evidence` and `/promote` in their chat, and
Prometheus and the dashboard in `deploy/` show what is active and the evidence against canaries.

Without a model, `shadow` and `canary` list the active ones; with `--json`, all of them print
JSON. The candidate is an installed revision (`tensight models pull`). A model has one shadow or
canary at a time. Its state is in the database: all processes that share it follow within a
second, and a restart changes nothing. It compares the candidate with the revision that is live
at its start, and ends as *superseded* if another one becomes live, by a promotion or because an
upgrade brings another bundled revision. The audit log states how each rollout ended.

A process whose machine does not have the candidate, or has a damaged copy of it, continues with
the live revision. If the copy is intact and the candidate cannot be loaded, the rollout ends; if
only its process fails to start, for example for lack of memory, it is started again after a
minute, and the rollout ends at the third time in a row. `tensight evidence` says so (with `--json`,
`lacks_answers` is true) if no process has counted an answer of the candidate within five minutes.

## Shadow

The candidate runs in a process of its own, at the lowest priority, with limits on memory and
time, and only while no photo waits. At most 16 copies wait, for at most 30 seconds; others are
dropped. A candidate that hangs or crashes therefore does not delay visitors
(`python -m bench shadows` measures this). If its process crashes, or does not answer within 20
seconds, it is killed and restarted after a pause, which doubles with each failure from one second
to five minutes. Photos that the candidate cannot answer, or answers with numbers that are not
finite, count as failed.

Each photo is compared once: neither its explanation ("Why?") nor a copy of one of the last 1,000
photos is compared again. Two answers agree if they have the same label and verdict. The
milliseconds of a shadow cannot be compared with those of the live revision, since it runs in the
background with one thread; the speed test of a canary compares both under the same conditions.

For each photo, the following is kept as long as answers are: label, verdict, confidence, known
score and milliseconds of both revisions, and a digest of the live answer's scores, by which
feedback is matched and `/forget` finds the rows. The photo is not stored. The bot records the keyed
hash of its sender with the digest in a table of its own, and keeps it as long as the row.

## Canary

A canary gives a candidate revision to a share of the chats and visitors. Who gets it is decided
by a keyed hash of the client, so that a client sees one revision throughout, on every replica
and after a restart. Where fronts use a service with models (`TENSIGHT_PREDICTOR_URL`), this needs
the same `TENSIGHT_SECRET` for all of them, or a `TENSIGHT_HOME` that outlives the process.

Each serving process runs the candidate in a worker process, unless it uses the same model.tflite as
a model that is loaded already. If the worker crashes, or does not answer within {answer_s:.0f}
seconds, the live revision answers the photo, and the photos of the next minute; then the worker is
started again. Photos for other models and from other people wait for at most these {answer_s:.0f}
seconds. When the worker of a process stops for the second time, the candidate is rolled back at
once. Such an end is not part of the {total:.0%} stated below: a machine that pauses twice ends the
canary of a sound candidate, too. Otherwise the candidate is rolled back as soon as one of three
sequential tests finds that it fails more often than the live revision:

| test | what counts as a failure | false alarms, at most |
| --- | --- | --- |
| accuracy | an answer that a person judged wrong, within each true class | {accuracy:.1%} |
| errors | a batch of photos that ended in an error of the model | {errors:.0%} |
| speed | a batch over twice the usual time and over {slow_ms:g} ms for each photo | {slow:.0%} |

Together they roll back a candidate that is no worse in at most {total:.1%} of all canaries,
however long they run and however often the evidence is looked at. The bound comes from Ville's
inequality. It is exact where the judged photos are independent, and the batches of a pair fail
independently of each other given the load of the machine. The evidence is an e-process:

- R. J. Turner, A. Ly and P. D. Grünwald (2024). Generic E-variables for exact sequential
  k-sample tests that allow for optional stopping. Journal of Statistical Planning and Inference
  230, 106116.
- R. J. Turner and P. D. Grünwald (2023). Safe Sequential Testing and Effect Estimation in
  Stratified Count Data. arXiv:2302.11401.
- R. Johari, L. Pekelis and D. Walsh (2019). Always Valid Inference: Continuous Monitoring of
  A/B Tests.
- A. Ramdas, P. Grünwald, V. Vovk and G. Shafer (2023). Game-Theoretic Statistics and Safe
  Anytime-Valid Inference. arXiv:2210.01948.

Judged photos are compared in blocks of fixed numbers from both revisions within a true class, so
the test assumes nothing about how many photos of either revision are judged. At most {limit}
judged photos of a person count for each class and revision. A person is a user of the bot, or a
network address of visitors of the page: while a canary runs, their feedback is stored with a keyed
hash of the address and of this canary. Feedback without either counts as that of one person.
The limit does not stop someone who has many accounts or addresses. Labels that operators give
(`/label`) do not count: they are of photos that were hard for the revision that answered.

### False alarms of the accuracy test

{runs:,} canaries with a candidate that is equal to the live revision, ten classes,
{photos:,} judged photos each, evidence looked at after every photo. *Correlated* means that the
{limit} photos of a person have a correlation of {correlation}: they are not independent, and the
bound does not hold for them exactly. The test's level leaves room for them, so that the three tests
together stay below 5%.

{false_alarms}

### Judged photos until a rollback

A candidate that is worse in one of ten classes, by {worse} percentage points; {power_runs:,}
canaries each. The photos are those of all classes and both revisions.

{power}

### Errors and speed

A model answers all waiting photos, at most 32, as one batch, which has one duration and may fail
as a whole. A batch is therefore one trial, whatever its size. Each is paired with the nearest
batch of the other revision in the same process that has a similar number of photos, so that both
meet the same load: the bound holds however the load, and with it the share of failures, changes
from pair to pair. Twice the usual time leaves room for colder caches of a candidate that rarely
runs; the time for copying photos to its process does not count. The usual time is measured where
the canary is started. Both revisions are held to it, so on a faster or slower machine the test is
less sensitive, but still valid.

If a batch of the candidate fails, the live revision answers its photos; this answer is not counted.
Explanations ("Why?") are not counted either, since the usual time was measured without them; if the
candidate fails at one, the operators are notified.

False alarms in {runs:,} canaries with an equal candidate, {pairs:,} pairs each. *Busy times*
begin with one batch in a hundred and last for ten batches on average, of which half fail:

{run_false_alarms}

Pairs until a rollback if more batches of the candidate fail; {power_runs:,} canaries each, without
busy times:

{run_power}

## Drift

The last 24 full hours are compared with the 30 days before them: the mix of predicted labels, the
known scores and the confidences. Day and month differ beyond chance if the p-value of a chi-squared
test, corrected for people who send several photos of one subject, is below {p}, and the total
variation distance is at least {change:.0%}. The difference from validation is shown without an
alarm, since what people send differs from a data set on the first day; the known scores of
validation are not stored, so they are compared with the month only.

Each revision is compared with itself. There is no comparison, and no alarm, while the last 24 hours
or the days before them have fewer than {min_photos} photos of it, or if all are alike, such as a
single label. A revision that has just become live is therefore not compared on its first day, and
then with as many days as it has, up to 30. Without the extra `charts`, nothing is compared. Where a
comparison fails, the metrics keep their last values.

The bot checks each hour within half an hour of its end, and alerts each operator at most once a
day, no matter how many processes it has. The alert has a picture of the day next to the month, and
says what to check (see [TELEGRAM.md](TELEGRAM.md#notifications-to-operators)). A repeated check
within the hour, as with `tensight drift` or `/digest`, compares the same photos. The p-value is
low enough for the 24 checks of a day. The counts are kept by the hour for 35 days and refer to
neither photos nor people.

False alarms without drift: {drift_days:,} days with 24 checks each, eleven classes and
verdicts, and people who send three photos of one class on average, with one known score and one
confidence:

{drift_false_alarms}

Hours from the beginning of drift until the alarm, and shares of alarms within a day and within
{max_wait_h} hours; {power_runs:,} beginnings each. A share of the people sends photos of one class;
in the last scenario, these have known scores and confidences in the lower half:

{drift}
"""


def rollout_page(
    runs: int,
    *,
    command: str,
    progress: Callable[[str], None] = lambda _: None,
    photos: int = _FALSE_ALARM_PHOTOS,
) -> str:
    """Run the simulations and return the page.

    Args:
        runs: Number of simulated canaries, and of days, for each false-alarm rate; a tenth of it is
            the number of canaries, and of beginnings of drift, for each power.
        command: The command line, for the page.
        progress: Called with the name of each simulation.
        photos: Number of judged photos of each canary whose false alarms are counted.
    """
    power_runs = max(1, runs // 10)
    return _TEMPLATE.format(
        command=command,
        accuracy=ACCURACY_ALPHA,
        errors=ERRORS_ALPHA,
        slow=SLOW_ALPHA,
        answer_s=ANSWER_TIMEOUT_S,
        slow_ms=MIN_SLOW_MS,
        limit=MAX_PER_PERSON,
        total=ACCURACY_ALPHA + ERRORS_ALPHA + SLOW_ALPHA,
        runs=runs,
        power_runs=power_runs,
        max_wait_h=MAX_WAIT_H,
        photos=photos,
        correlation=_CORRELATION,
        worse=", ".join(f"{100 * each:.0f}" for each in _WORSE_BY),
        p=np.format_float_positional(ALARM_P),
        change=MIN_CHANGE,
        min_photos=MIN_PHOTOS,
        false_alarms=_false_alarm_table(runs, photos, progress),
        power=_power_table(power_runs, progress),
        pairs=RunScenario().pairs,
        run_false_alarms=_run_false_alarm_table(runs, progress),
        run_power=_run_power_table(power_runs, progress),
        drift_days=runs,
        drift_false_alarms=_drift_false_alarm_table(runs, progress),
        drift=_drift_table(power_runs, progress),
    )


def _false_alarm_table(runs: int, photos: int, progress: Callable[[str], None]) -> str:
    rows = []
    for share in _SHARES:
        for error_rate in _ERROR_RATES:
            scenario = Scenario(share=share, error_rate=error_rate, photos=photos)
            row = [f"{share:.0%}", f"{1 - error_rate:.0%}"]
            for correlation in (0.0, _CORRELATION):
                progress(f"false alarms at a share of {share:.0%}, {error_rate:.0%} wrong")
                alarm_photos = photos_until_alarm(replace(scenario, correlation=correlation), runs)
                row.append(f"{np.mean(alarm_photos > 0):.2%}")
            rows.append(row)
    header = ["share", "accuracy of both", "independent photos", "correlated photos"]
    return _table(header, rows)


def _power_table(runs: int, progress: Callable[[str], None]) -> str:
    rows = []
    for share in _SHARES:
        for error_rate in _ERROR_RATES:
            for worse_by in _WORSE_BY:
                progress(f"power at a share of {share:.0%}, {worse_by:.0%} worse")
                scenario = Scenario(
                    share=share, error_rate=error_rate, worse_by=worse_by, photos=_MAX_PHOTOS[share]
                )
                alarm_photos = photos_until_alarm(scenario, runs)
                rows.append(
                    [
                        f"{share:.0%}",
                        f"{1 - error_rate:.0%}",
                        f"{100 * worse_by:.0f} points",
                        *_waits(alarm_photos, scenario.photos),
                    ]
                )
    return _table(["share", "accuracy of the live revision", "worse by", "median", "95%"], rows)


def _run_false_alarm_table(runs: int, progress: Callable[[str], None]) -> str:
    rows = []
    for rate in _RUN_RATES:
        row = [f"{rate:.1%}"]
        for busy_begins in (0.0, _BUSY_BEGINS):
            progress(f"false alarms with {rate:.1%} of the batches failing")
            scenario = RunScenario(rate=rate, busy_begins=busy_begins)
            row.append(f"{np.mean(pairs_until_alarm(scenario, runs) > 0):.2%}")
        rows.append(row)
    return _table(["batches of both that fail", "independent batches", "busy times"], rows)


def _run_power_table(runs: int, progress: Callable[[str], None]) -> str:
    rows = []
    for rate, worse_by in _WORSE_RUNS:
        progress(f"power with {rate:.1%} of the batches failing, {worse_by:.0%} more")
        scenario = RunScenario(rate=rate, worse_by=worse_by)
        waits = _waits(pairs_until_alarm(scenario, runs), scenario.pairs)
        rows.append([f"{rate:.1%}", f"{rate + worse_by:.1%}", *waits])
    return _table(["live batches that fail", "of the candidate", "median", "95%"], rows)


def _waits(alarms: NDArray[np.int64], limit: int) -> Iterator[str]:
    """Format the median and the 95% quantile of the waits for an alarm, -1 for none."""
    for share in (0.5, 0.95):
        wait = np.quantile(np.where(alarms > 0, alarms, np.inf), share, method="inverted_cdf")
        yield f"{wait:,.0f}" if np.isfinite(wait) else f"more than {limit:,}"


def _drift_false_alarm_table(days: int, progress: Callable[[str], None]) -> str:
    rows = []
    for photos in _PHOTOS_A_DAY:
        progress(f"false alarms of drift with {photos} photos a day")
        rate = false_alarm_rate(DriftScenario(photos), days)
        rows.append([f"{photos:,}", f"{rate:.2%}"])
    return _table(["photos a day", "days with an alarm"], rows)


def _drift_table(runs: int, progress: Callable[[str], None]) -> str:
    rows = []
    for photos in _DRIFT_PHOTOS:
        for moved, moves_scores in _DRIFTS:
            what = f"{moved:.0%} show one class"
            if moves_scores:
                what += ", with lower scores and confidences"
            progress(f"drift with {photos} photos a day: {what}")
            scenario = DriftScenario(photos, moved=moved, moves_scores=moves_scores)
            hours = hours_until_alarm(scenario, runs)
            median, _ = _waits(hours, MAX_WAIT_H)
            shares = (np.mean((hours > 0) & (hours <= limit)) for limit in (24, MAX_WAIT_H))
            rows.append([f"{photos:,}", what, median, *(f"{share:.1%}" for share in shares)])
    header = ["photos a day", "drift", "median hours", "within 24 hours"]
    return _table([*header, f"within {MAX_WAIT_H} hours"], rows)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
