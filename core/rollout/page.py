"""The page docs/ROLLOUT.md: how releases are tested, with simulated error rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from core.rollout.drift import MIN_PHOTOS, DriftScenario, simulate_days
from core.rollout.drift_result import ALARM_P, MIN_CHANGE
from core.rollout.sequential import ACCURACY_ALPHA, ERRORS_ALPHA, MAX_PER_PERSON, SLOW_ALPHA
from core.rollout.simulate import Scenario, photos_until_alarm

__all__ = ["rollout_page"]

_SHARES = (0.5, 0.1)
_ERROR_RATES = (0.05, 0.15)
_WORSE_BY = (0.2, 0.4, 0.6)
_MAX_PHOTOS = {0.5: 8_000, 0.1: 20_000}
_CORRELATION = 0.3
_TEMPLATE = """# Release on evidence

This page is written by `{command}`. All its figures come from simulations with seed 0.

| command | effect |
| --- | --- |
| `tensight shadow MODEL REVISION` | a candidate answers copies of photos in the background |
| `tensight canary MODEL REVISION --share 10%` | it answers a share of the chats and visitors |
| `tensight evidence MODEL` | shows what speaks for and against it |
| `tensight models promote MODEL REVISION` | makes it live, which ends its shadow or canary |
| `tensight canary MODEL --stop` | rolls it back by hand |
| `tensight drift` | compares the last day's photos with those of the month before |

The bot's operators have `/shadow`, `/canary`, `/evidence` and `/promote` in their chat, and
Prometheus and the dashboard in `deploy/` show what is active and the evidence against canaries.

Without a model, `shadow` and `canary` list the active ones; with `--json`, all of them print
JSON. The candidate is an installed revision (`tensight models pull`). A model has one shadow or
canary at a time. Its state is in the database: all processes that share it follow within a
second, and a restart changes nothing. Machines on which the candidate is not installed go on
with the live revision.

## Shadow

The candidate runs in a process of its own, at the lowest priority and with limits on memory and
time, and only while no photo waits. At most 16 copies wait, for at most 30 seconds; further
ones are dropped, so that a candidate that hangs or crashes costs visitors nothing
(`python -m bench shadows` measures it). Of each photo are kept, for as long as answers are:
label, verdict, confidence, known score and milliseconds of both revisions, and a digest of the
live answer's scores, by which feedback is matched and `/forget` finds the rows. Neither the
photo nor its sender is stored.

## Canary

A canary gives a candidate revision to a share of the chats and visitors. Who gets it is decided
by a keyed hash of the client, so that a client sees one revision throughout, on every replica
and after a restart. The candidate is rolled back as soon as one of three sequential tests finds
it worse:

| test | fails more often than the live revision | false alarms, at most |
| --- | --- | --- |
| accuracy | answers that a person judged wrong, within each true class | {accuracy:.0%} |
| errors | photos that ended in an error of the model | {errors:.0%} |
| speed | photos that took more than twice the live revision's usual time | {slow:.0%} |

Together they roll back a candidate that is no worse in at most {total:.0%} of all canaries,
however long they run and however often the evidence is looked at. The bound is exact for
independent photos; it comes from Ville's inequality. The evidence is an e-process:

- R. J. Turner, A. Ly and P. D. Grünwald (2024). Generic E-variables for exact sequential
  k-sample tests that allow for optional stopping. Journal of Statistical Planning and Inference
  230, 106116.
- R. J. Turner and P. D. Grünwald (2023). Safe Sequential Testing and Effect Estimation in
  Stratified Count Data. arXiv:2302.11401.
- R. Johari, L. Pekelis and D. Walsh (2019). Always Valid Inference: Continuous Monitoring of
  A/B Tests.
- A. Ramdas, P. Grünwald, V. Vovk and G. Shafer (2023). Game-Theoretic Statistics and Safe
  Anytime-Valid Inference. arXiv:2210.01948.

Photos are compared in blocks of fixed numbers from both revisions within a true class, so the
test assumes nothing about how many photos of either revision are judged. At most {limit}
judged photos of a person count for each class and revision. Labels that operators give
(`/label`) do not count: they are of photos that were hard for the revision that answered.

### False alarms of the accuracy test

{runs:,} canaries with a candidate that is equal to the live revision, ten classes,
{photos:,} judged photos each, evidence looked at after every photo. *Correlated* means that the
{limit} photos of a person have a correlation of {correlation}: they are not independent, and the
bound does not hold for them exactly.

{false_alarms}

### Judged photos until a rollback

A candidate that is worse in one of ten classes, by {worse} percentage points; {power_runs:,}
canaries each. The photos are those of all classes and both revisions.

{power}

## Drift

Each day is compared with the 30 days before it: the mix of predicted labels, the known scores
and the confidences. Day and month differ beyond chance if the p-value of a chi-squared test,
corrected for people who send several photos of one subject, is below {p:g}, and the total
variation distance is at least {change:.0%}. Days with fewer than {min_photos} photos are not
compared. The difference from validation is shown without an alarm, since what people send
differs from a data set on the first day.

The bot looks twice an hour and tells its operators at most once a day, however many processes
it has: with a picture of the day beside the month, and what to look at (see
[TELEGRAM.md](TELEGRAM.md#notifications-to-operators)). The counts are kept by the
hour for 35 days and refer to neither photos nor people.

Days without drift and days on which some photos all show one class, of eleven classes and
verdicts; {days:,} days each, people who send three photos of one class on average:

{drift}
"""


def rollout_page(
    runs: int, *, command: str, progress: Callable[[str], None] = lambda _: None
) -> str:
    """Run the simulations and return the page.

    Args:
        runs: Number of simulated canaries for each false-alarm rate; a tenth of it is the number of
            canaries for each power, and of days for each alarm rate of drift.
        command: The command line, for the page.
        progress: Called with the name of each simulation.
    """
    power_runs = days = max(1, runs // 10)
    return _TEMPLATE.format(
        command=command,
        accuracy=ACCURACY_ALPHA,
        errors=ERRORS_ALPHA,
        slow=SLOW_ALPHA,
        limit=MAX_PER_PERSON,
        total=ACCURACY_ALPHA + ERRORS_ALPHA + SLOW_ALPHA,
        runs=runs,
        power_runs=power_runs,
        days=days,
        photos=Scenario().photos,
        correlation=_CORRELATION,
        worse=", ".join(f"{100 * each:.0f}" for each in _WORSE_BY),
        p=ALARM_P,
        change=MIN_CHANGE,
        min_photos=MIN_PHOTOS,
        false_alarms=_false_alarm_table(runs, progress),
        power=_power_table(power_runs, progress),
        drift=_drift_table(days, progress),
    )


def _false_alarm_table(runs: int, progress: Callable[[str], None]) -> str:
    rows = []
    for share in _SHARES:
        for error_rate in _ERROR_RATES:
            scenario = Scenario(share=share, error_rate=error_rate)
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
                waits = np.where(alarm_photos > 0, alarm_photos, np.inf)
                rows.append(
                    [
                        f"{share:.0%}",
                        f"{1 - error_rate:.0%}",
                        f"{100 * worse_by:.0f} points",
                        *(_format_wait(float(np.quantile(waits, q)), share) for q in (0.5, 0.95)),
                    ]
                )
    return _table(["share", "accuracy of the live revision", "worse by", "median", "95%"], rows)


def _format_wait(waits: float, share: float) -> str:
    return f"{waits:,.0f}" if np.isfinite(waits) else f"more than {_MAX_PHOTOS[share]:,}"


def _drift_table(days: int, progress: Callable[[str], None]) -> str:
    rows = []
    moved = (0.0, 0.2, 0.5)
    for photos in (100, 1000):
        progress(f"drift with {photos} photos a day")
        # Alarms on days without drift are rare, so more days are needed to estimate their rate.
        shares = (
            simulate_days(
                DriftScenario(photos, moved=each), days if not each else max(1, days // 10)
            )
            for each in moved
        )
        rows.append([f"{photos:,}", *(f"{each:.1%}" for each in shares)])
    return _table(
        ["photos a day", "alarms without drift", "20% show one class", "50% show one class"], rows
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
