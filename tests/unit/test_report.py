"""The report is one safe, self-contained, readable page, whatever the run held."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.report import render
from server.report.charts import rounds_axis, thinned, values_axis
from server.report.intervals import hanley_mcneil, spread, wilson
from server.report.measures import imbalance
from tests.unit.page_reader import (
    EVIL,
    Page,
    check_can_be_read_without_eyes,
    check_policy_admits_only_its_style,
    check_reaches_for_nothing,
)

SAMPLES = Path(__file__).parent / "samples"
TOML = '[study]\nname = "chest-xray"\n'


def sample(name: str) -> dict[str, Any]:
    run: dict[str, Any] = json.loads((SAMPLES / f"run_{name}.json").read_text(encoding="utf-8"))
    return run


def many_sites(number: int) -> dict[str, Any]:
    """A run of many sites, each a copy of the completed sample's sites in turn."""
    run = sample("completed")
    run["rounds"] = run["rounds"][:6]
    names = [f"hospital-{i:04}" for i in range(number)]
    turn = lambda values: {name: list(values.values())[i % 3] for i, name in enumerate(names)}  # noqa: E731
    run["sites"] = turn(run["sites"])
    run["final"]["sites"] = turn(run["final"]["sites"])
    run["baselines"]["local"] = turn(run["baselines"]["local"])
    for item in run["rounds"]:
        item["metrics"]["sites"] = turn(item["metrics"]["sites"])
        item["missing"] = {names[-1]: "deadline: no reply within 3600 s"}
        item["contributed"] = names[:-1]
        item["training"] = dict.fromkeys(names[:-1], item["training"]["guangzhou"])
    return run


@pytest.fixture(scope="module")
def completed() -> Page:
    return Page(render(sample("completed"), TOML))


@pytest.mark.parametrize("name", ["completed", "failed", "interrupted", "multiclass", "private"])
class TestEveryPage:
    def test_reaches_for_nothing(self, name: str) -> None:
        html = render(sample(name), TOML)
        check_reaches_for_nothing(html)
        assert not Page(html).all("img")

    def test_policy_admits_only_its_style(self, name: str) -> None:
        check_policy_admits_only_its_style(render(sample(name), TOML))

    def test_is_accessible(self, name: str) -> None:
        check_can_be_read_without_eyes(render(sample(name), TOML))

    def test_same_run_same_page(self, name: str) -> None:
        assert render(sample(name), TOML) == render(sample(name), TOML)


def test_first_sentence(completed: Page) -> None:
    assert (
        "Three sites trained a GRU together for 30 rounds; on 400 test images of all sites the shared "
        "model's AUROC is 0.88. Alone, each site's own model reached 0.60 to 0.74; all data pooled in one "
        "place would have reached 0.91."
    ) in completed.text


def test_first_sentence_says_which_round_was_kept_where_it_is_not_the_last() -> None:
    run = sample("completed")
    assert "and kept the model" not in Page(render(run, TOML)).text
    run["final"]["round"] = 10
    assert "for 30 rounds and kept the model of round 10; on " in Page(render(run, TOML)).text


def test_results_table(completed: Page) -> None:
    results = completed.tables[0]
    scores = sample("completed")["final"]
    assert [row[0] for row in results[1:]] == ["guangzhou", "nihcc", "hannover", "All sites together"]
    assert results[4][1] == "400"
    assert results[4][2].startswith(f"{scores['pooled']['auroc']:.3f}")
    assert results[1][5] == f"{scores['sites']['guangzhou']['f1']:.3f}"
    assert results[1][-1] == "normal 100, pneumonia 100"


def test_undefined_is_a_dash_with_a_footnote(completed: Page) -> None:
    hannover = completed.tables[0][3]
    assert hannover[2] == "—†"
    assert "All test images have one class at hannover." in completed.text


def test_comparison(completed: Page) -> None:
    models = completed.tables[1]
    assert [row[0] for row in models[1:3]] == ["All data in one place", "Shared model (federated)"]
    assert [row[3] for row in models[1:]] == ["−0.037", "", "+0.139", "+0.261", "+0.277"]  # noqa: RUF001
    assert "does about as well as the site's own model at guangzhou and nihcc" in completed.text


def test_contributions_name_reasons(completed: Page) -> None:
    nihcc = next(row for table in completed.tables for row in table if row[0] == "nihcc" and len(row) == 8)
    assert nihcc[2:4] == ["27 of 30", "3"]
    assert nihcc[-1] == (
        "deadline: no reply within 3600 s (rounds 7 to 8); connection lost: the site went away (round 19)"
    )


def test_late_updates_are_named() -> None:
    run = sample("completed")
    for entry, late in zip(run["rounds"], (1, 2), strict=False):
        entry["late"] = {
            "nihcc": {"trained_for": 1, "rounds_late": late, "weight": 5.0},
            "elm": {"refused": "late: x"},
        }
    text = Page(render(run, TOML)).text
    assert "in which they came: nihcc 2 updates, up to 2 rounds late." in text


def test_work_by_time_is_said() -> None:
    run = sample("completed")
    run["study"]["training"] |= {"local_epochs": None, "work_s": 600.0}
    assert "600 s of work a round" in Page(render(run, TOML)).text


def test_parts_of_an_epoch_and_measures_are_said() -> None:
    run = sample("completed")
    assert "Measures" not in Page(render(run, TOML)).text
    run["study"]["training"] |= {
        "local_epochs": 0.25,
        "optimizer_state": "kept",
        "schedule": "cosine",
        "loss": "focal",
        "focal_gamma": 2.0,
        "sampling": "balanced",
    }
    run["study"]["augmentation"] = {"shift": 0.05, "flip": "none", "noise": 0.0}
    text = Page(render(run, TOML)).text
    assert "0.25 epochs a round" in text
    for words in (
        "optimisers went on",
        "by cosine schedule",
        "focal loss, gamma 2",
        "drawn equally",
        "(shift 0.05)",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([90, 10], "10 % of the training cases are pneumonia"),
        ([60, 40], None),
        ([5, 95], "5 % of the training"),
    ],
)
def test_a_rare_class_is_said_where_nothing_was_done_about_it(counts: list[int], said: str | None) -> None:
    run = sample("completed")
    labels = dict(zip(("normal", "pneumonia"), counts, strict=True))
    run["sites"] = {name: {"train_labels": labels} for name in ("elm", "fir")}
    found = imbalance(run)
    assert (found is None) if said is None else (found is not None and said in found)
    run["study"]["training"]["class_weights"] = "balanced"
    assert imbalance(run) is None


def test_confusion_matrix_has_class_names(completed: Page) -> None:
    matrix = next(table for table in completed.tables if table[0][0] == "Truth")
    counts = sample("completed")["final"]["pooled"]["confusion"]
    assert matrix[0][1:] == ["said normal", "said pneumonia"]
    assert matrix[1][1].startswith(str(counts[0][0])) and matrix[2][1].startswith(str(counts[1][0]))


def test_how_it_was_run(completed: Page) -> None:
    run = sample("completed")
    for fact in (run["study_digest"], run["final"]["model_digest"], "1 min 1 s", "cpu (3 sites)"):
        assert fact in completed.text
    assert "21 November 2026, 02:00:00 UTC" in completed.text
    assert 'name = "chest-xray"' in completed.text


def test_failed_run_says_what_to_do() -> None:
    page = Page(render(sample("failed"), TOML))
    error = sample("failed")["error"]
    assert "This run failed after 11 of 30 rounds" in page.text
    assert error["code"] in page.text and error["message"] in page.text
    assert error["hint"].replace("`", "") in page.text
    assert "the shared model's AUROC was 0.83 after round 10" in page.text
    assert "Results so far (round 10)" in page.text


def test_run_without_rounds() -> None:
    page = Page(render(sample("interrupted"), TOML))
    assert "This run was interrupted before its first round ended" in page.text
    assert "Three sites set out to train a GRU together; no round was finished." in page.text


def test_run_that_failed_before_any_site_joined() -> None:
    run = {**sample("interrupted"), "sites": {}, "files": {}}
    assert "No sites set out" in Page(render(run, "")).text


def test_completed_run_without_test_images() -> None:
    run = sample("completed")
    run["final"].update(pooled=None, sites={})
    run["baselines"] = {"pooled": {"sites": {}}, "local": {"guangzhou": {"sites": {}}}}
    for item in run["rounds"]:
        item["metrics"] = None
    assert "for 30 rounds; no evaluation was recorded." in Page(render(run, TOML)).text


def test_refused_site_is_listed_though_it_described_nothing() -> None:
    run = sample("completed")
    run["rounds"][0]["missing"]["oslo"] = "consent-missing: the site has not agreed"
    page = Page(render(run, TOML))
    oslo = next(row for table in page.tables for row in table if row[0] == "oslo")
    assert oslo[2:5] == ["0 of 30", "1", "—"]


def test_multiclass() -> None:
    page = Page(render(sample("multiclass"), TOML))
    assert "trained an LSTM on CNN features together" in page.text
    assert "means over the classes that occur" in page.text
    for name in ("no tumour", "glioma", "meningioma", "pituitary"):
        assert f"{name}: area 0." in page.text


def test_accuracy_speaks_where_auroc_is_undefined() -> None:
    run = sample("completed")
    run["final"]["pooled"].update(auroc=None, roc={"pneumonia": {"fpr": [], "tpr": []}})
    assert "the shared model's accuracy is 0.79" in Page(render(run, TOML)).text


# Privacy


def chart(html: str, key: str) -> str:
    """One chart of a page."""
    return html.split(f'aria-labelledby="{key}-title"')[1].split("</svg>")[0]


def test_a_run_without_privacy_does_not_speak_of_it(completed: Page) -> None:
    assert "Epsilon" not in completed.text and "privacy" not in completed.ids
    assert render({**sample("completed"), "privacy": None}, TOML) == render(
        {key: value for key, value in sample("completed").items() if key != "privacy"}, TOML
    )


def test_privacy_says_what_is_promised_and_what_is_not() -> None:
    run = sample("private")
    page = Page(render(run, TOML))
    assert "whether any one patient, with all of the patient's images, was among the training" in page.text
    assert "Largest of a site so far: 8.00, at guangzhou." in page.text
    assert "divided by the 3 sites that were planned, whoever answered" in page.text
    assert "after 12 rounds, ε 21.77 at δ 1e-5" in page.text
    for sentence in run["privacy"]["exceptions"]:
        assert sentence in page.text
    assert "Epsilon and delta" in page.text
    assert "the mean of the models of the last 3 rounds" in page.text
    run["privacy"]["unit"] = "image"
    assert "of a patient with several, it may tell more" in Page(render(run, TOML)).text


def test_what_each_site_spent_is_a_table() -> None:
    page = Page(render(sample("private"), TOML))
    (spent,) = [table for table in page.tables if table[0][:2] == ["Site", "ε so far"]]
    assert spent[1:] == [
        ["guangzhou", "8.00", "0.000979", "12 of 12", "0", "0.840"],
        ["nihcc", "7.40", "0.00184", "12 of 12", "0", "0.890"],
        ["hannover", "7.51", "0.0127", "8 of 12", "4", "0.860"],
    ]


def test_epsilon_is_drawn_against_the_score_of_each_site() -> None:
    run = sample("private")
    html = render(run, TOML)
    last = run["rounds"][-1]
    drawn = chart(html, "privacy-epsilon")
    assert drawn.count('class="hue') == 3 and "hannover: undefined throughout." in drawn
    auroc = last["metrics"]["sites"]["nihcc"]["auroc"]
    assert f"{auroc:.3f} at epsilon {last['training']['nihcc']['epsilon']:.2f}." in drawn
    # A site that stays away has spent no more; all sites together stand at the largest.
    assert "hannover: 2.66 after round 1, 7.51 after round 12." in chart(html, "privacy-rounds")
    together = f"{last['metrics']['pooled']['auroc']:.3f} at epsilon 8.00."
    assert together in drawn
    assert f"{run['privacy']['sites']['epsilon'][-1]:.2f}." in chart(html, "privacy-sites")


def test_epsilon_of_a_site_that_comes_later_begins_at_nothing() -> None:
    run = sample("private")
    for item in run["rounds"][:5]:
        item["training"].pop("nihcc")
    drawn = chart(render(run, TOML), "privacy-epsilon")
    assert re.search(r"nihcc: 0\.\d+ at epsilon 0\.00,", drawn)
    assert "nihcc: 5.23 after round 6, 7.40 after round 12." in chart(render(run, TOML), "privacy-rounds")


@pytest.mark.parametrize("noise", ["seeded", "secret"])
def test_a_simulations_noise_is_warned_of(noise: str) -> None:
    run = sample("private")
    run["privacy"]["noise"] = noise
    html = render(run, TOML)
    assert ("This model is not private" in html) == (noise == "seeded")
    check_can_be_read_without_eyes(html)


def test_losses_that_sites_do_not_tell_are_a_dash_and_a_note() -> None:
    page = Page(render(sample("private"), TOML))
    (over,) = [table for table in page.tables if table[0][0] == "Site" and "Update norm, mean" in table[0]]
    assert [row[5] for row in over[1:]] == ["—"] * 3
    assert "Sites that train privately tell no training loss" in page.text


def test_the_coordinators_noise_alone_has_a_chart_and_no_table_of_sites() -> None:
    run = sample("private")
    run["privacy"].update(unit=None, guarantee=None, ledger_heads={})
    for item in run["rounds"]:
        for share in item["training"].values():
            for name in ("epsilon", "target_delta", "clip_norm"):
                del share[name]
    html = render(run, TOML)
    page = Page(html)
    assert "privacy-sites-title" in page.ids and "privacy-epsilon-title" not in page.ids
    assert not [table for table in page.tables if "ε so far" in table[0]]
    check_can_be_read_without_eyes(html)


def test_a_private_run_before_its_first_round_has_its_promise() -> None:
    run = {**sample("interrupted"), "privacy": sample("private")["privacy"]}
    run["privacy"]["sites"].update(epsilon=[], noise_multiplier=None)
    page = Page(render(run, TOML))
    assert "bounds how much the shared model can tell" in page.text and "Largest of a site" not in page.text
    assert "after 0 rounds" not in page.text


def test_noise_too_little_for_any_bound_is_said_to_be() -> None:
    run = sample("private")
    run["privacy"]["sites"]["epsilon"] = [None] * 12
    page = Page(render(run, TOML))
    assert "after 12 rounds no bound is known" in page.text and "privacy-sites-title" not in page.ids


def test_privacy_of_a_thousand_sites_is_a_band_and_a_short_table() -> None:
    run, private = many_sites(1000), sample("private")
    run["privacy"] = private["privacy"]
    for number, item in enumerate(run["rounds"]):
        share = private["rounds"][number]["training"]["nihcc"]
        item["training"] = {
            name: {**share, "epsilon": share["epsilon"] * (1 + i / 1000)}
            for i, name in enumerate(item["training"])
        }
    html = render(run, TOML)
    assert html.count('class="band"') == 5 and len(html.encode()) < 1_000_000
    page = Page(html)
    (spent,) = [table for table in page.tables if table[0][:2] == ["Site", "ε so far"]]
    assert len(spent) == 21 and spent[1][0] == "hospital-0998"
    assert page.text.count("980 more are in run.json") == 4


def test_everything_from_data_is_escaped() -> None:
    run = json.loads(
        json.dumps(sample("completed"))
        .replace('"hannover"', json.dumps(EVIL))
        .replace('"pneumonia"', json.dumps(EVIL + "2"))
        .replace("deadline: no reply", "<b onload=x>")
        .replace('"cpu"', json.dumps(EVIL))
    )
    run["study"]["study"]["name"] = run["engine"] = run["sites"]["nihcc"]["notes"][:] = EVIL
    run["sites"]["nihcc"]["notes"] = [EVIL]
    run.update(status="failed", error={"code": EVIL, "message": EVIL, "hint": EVIL})
    html = render(run, EVIL)
    page = Page(html)  # well-formed, so nothing broke out of an attribute either
    assert "<script" not in html and "<b " not in html
    assert not {"script", "b"} & {name for name, _ in page.elements}
    assert page.text.count('<script>alert("x")</script>') > 10


def test_a_thousand_sites_are_a_band_and_a_short_table() -> None:
    html = render(many_sites(1000), TOML)
    page = Page(html)
    assert len(html.encode()) < 1_000_000
    assert "the middle 80 % of the 1,000 sites" in page.text and "Median of the sites" in page.text
    assert html.count('class="band"') == 3
    assert page.text.count("980 more are in run.json") == 3
    assert max(len(table) for table in page.tables) < 50
    # Whoever missed most comes first.
    assert "hospital-0999" in page.text


@pytest.mark.parametrize(("sites", "lines"), [(2, 3), (12, 13), (13, 2)])
def test_lines_until_they_would_tangle(sites: int, lines: int) -> None:
    html = render(many_sites(sites), TOML)
    legend = html.split('<ul class="legend">')[1].split("</ul>")[0]
    swatches = re.findall(r"<li>(<svg.*?</svg>)", legend)
    assert len(swatches) == len(set(swatches)) == lines


def test_long_runs_stay_small() -> None:
    run = sample("completed")
    run["rounds"] = [{**copy.copy(run["rounds"][i % 30]), "round": i + 1} for i in range(600)]
    assert len(render(run, TOML)) < 300_000


def test_undefined_points_lift_the_pen() -> None:
    run = sample("completed")
    run["rounds"][4]["metrics"]["sites"]["nihcc"]["auroc"] = None
    chart = render(run, TOML).split('aria-labelledby="curve-auroc-title"')[1].split("</svg>")[0]
    line = chart.split('<g class="hue1">')[1]
    assert re.search(r'd="([^"]*)"', line).group(1).count("M") == 2  # type: ignore[union-attr]


def test_auroc_interval_is_as_wide_as_auroc_scatters() -> None:
    """Hanley and McNeil's variance is exact for exponential scores; few positives tell Q1 from Q2."""
    negatives, positives, draws, scale = 120, 15, 3000, 4.0
    random = np.random.default_rng(0)
    low, high = random.exponential(1, (draws, negatives)), random.exponential(scale, (draws, positives))
    ranks = np.concatenate([low, high], axis=1).argsort(axis=1).argsort(axis=1)[:, negatives:] + 1
    aurocs = (ranks.sum(axis=1) - positives * (positives + 1) / 2) / (positives * negatives)
    bounds = hanley_mcneil(scale / (1 + scale), negatives, positives)
    assert bounds.high - bounds.low == pytest.approx(2 * 1.96 * aurocs.std(), rel=0.04)


def test_share_interval_matches_published_value() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, Table I, method 3: 81 of 263.
    bounds = wilson(81 / 263, 263)
    assert (bounds.low, bounds.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_spread() -> None:
    values = spread([None, *(i / 10 for i in range(11))])
    assert values is not None
    assert (values.low, values.median, values.high) == pytest.approx((0.1, 0.5, 0.9))
    assert spread([None]) is None


def test_axes_hold_every_value_in_round_steps() -> None:
    axis = values_axis("", [0.43, 0.99], 0.5, 1.0)
    assert (axis.low, axis.high, axis.digits) == pytest.approx((0.4, 1.0, 1))
    assert values_axis("", [1e-9], 0.0, 0.0).high >= 1e-9
    assert rounds_axis(1, 30).ticks == [1, 5, 10, 15, 20, 25, 30]
    assert rounds_axis(1, 1).ticks == [1]
    assert all(tick == int(tick) for tick in rounds_axis(1, 3).ticks)


def test_thinning_keeps_the_ends() -> None:
    kept = thinned(range(1000), 7)
    assert (len(kept), kept[0], kept[-1]) == (7, 0, 999)
