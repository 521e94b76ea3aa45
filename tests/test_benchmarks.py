"""The benchmarks: taking turns, ratios within a round; what is unequal, or became slower, is caught."""

import contextlib
import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import __main__ as benchmarks_main
from benchmarks import cases, measure, overhead, report, steps
from tinygen.kernels import machine
from tinygen.models import GANConfig, GPTConfig
from tinygen.models.vae import VAEConfig
from tinygen.training.profile import profile


def test_every_candidate_has_one_turn_a_round_in_an_order_that_changes():
    turns = []
    samples = {name: lambda name=name: turns.append(name) or len(turns) for name in "abc"}
    found = measure.interleave(samples, rounds=20)
    rounds = [tuple(turns[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    assert len(set(rounds)) > 1
    assert {name: [turns[n - 1] for n in numbers] for name, numbers in found.items()} == {
        n: [n] * 20 for n in "abc"
    }


def test_a_ratio_is_taken_within_a_round():
    base = [1.0, 10.0, 2.0, 1.0, 5.0]  # a machine that slows down tenfold for a while
    assert measure.ratios([2 * seconds for seconds in base], base) == (2.0, 2.0, 2.0)
    assert measure.ratios([1.0, 20.0, 6.0, 4.0, 25.0], base) == (2.0, 3.0, 4.0)
    assert measure.ratios([3.0], [2.0]) == (1.5, 1.5, 1.5)


@pytest.mark.parametrize(
    "seconds_each, repeats", [(1e-6, 1000), (1e-3, 100), (5.0, 1)], ids=["quick", "middling", "slow"]
)
def test_a_slow_candidate_is_repeated_less_often(seconds_each, repeats):
    assert measure.repeats_for(lambda count: count * seconds_each, most=1000, seconds=0.1) == repeats


def test_threads_are_limited_before_numpy_is_imported_or_not_at_all():
    with pytest.raises(RuntimeError, match="limit_threads: expected to run before NumPy"):
        measure.limit_threads(1)


def test_the_chain_is_a_hundred_operations_and_a_sum():
    class Counting:
        done = 0

        def _count(self, *others):
            Counting.done += 1
            return self

        __add__ = __sub__ = __mul__ = __truediv__ = __neg__ = sum = _count
        tanh = exp = sqrt = sin = staticmethod(_count)

    overhead.chain(Counting, Counting(), Counting())
    assert Counting.done == 101


@pytest.mark.parametrize("function", [overhead.product, overhead.chain])
@pytest.mark.parametrize("peer", [overhead.NumPy, overhead.Tinygen])
def test_our_own_rows_agree_with_exact_values_and_gradients(peer, function):
    assert overhead.disagreement(peer(), function) is None


class _Wrong(overhead.Tinygen):
    def differentiate(self, function):
        value, (gx, gy) = super().differentiate(function)
        return self.spoil(value.numpy(), gx.numpy(), gy.numpy())


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda v, gx, gy: (v * 1.001, (gx, gy)), "the value is"),
        (lambda v, gx, gy: (v, (gx * 1.001, gy)), "the gradient 0 is"),
        (lambda v, gx, gy: (v, (gx, gy[:1])), "the gradient 1 is"),
        (lambda v, gx, gy: (v, (gx, gy * np.nan)), "the gradient 1 is"),
        (
            lambda v, gx, gy: (v.astype(np.float64), (gx, gy)),
            "the value is float64, and float32 is to be measured",
        ),
    ],
    ids=["value", "gradient", "shape", "nan", "dtype"],
)
@pytest.mark.parametrize("function", [overhead.product, overhead.chain])
def test_a_peer_that_computes_something_else_is_caught(spoil, message, function):
    peer = _Wrong()
    peer.spoil = spoil
    assert message in overhead.disagreement(peer, function)


def test_the_report_names_every_row_and_every_ratio():
    found = {
        "multiply": {"tinygen": [1e-6, 2e-6], "PyTorch": [2e-6, 4e-6]},
        "chain": {"tinygen": [1e-3, 3e-3]},
    }
    text = overhead.report(found, measure.environment(overhead.PACKAGES))
    assert "0.50 (0.50 to 0.50)" in text
    assert "2000.00" in text  # microseconds, and no ratio where PyTorch is absent
    assert text.count("to reach: tinygen at most") == 2


# Beside peers: checking, choosing, comparing


def record(unit="GFLOP/s", work=1e9, **seconds):
    return {"unit": unit, "work": work, "traffic": 1e8, "first": {}, "seconds": seconds}


def results(**families):
    peaks = {name: {"one": 50.0, "all": 100.0} for name in ("arithmetic", "read", "triad")}
    return {"families": families, "peaks": peaks | {"threads": 2}, "environment": {"machine": "a machine"}}


RIGHT = np.arange(1.0, 5.0)


@pytest.mark.parametrize(
    "got, message",
    [
        (RIGHT * 1.001, "result 0 is off by 1.0e-03"),
        ([RIGHT, RIGHT], "2 results, and 1 are right"),
        (RIGHT[:3], r"result 0 is \(3,\)"),
        (RIGHT * np.nan, "result 0 is off by nan"),
    ],
    ids=["value", "number", "shape", "nan"],
)
def test_a_library_that_computes_something_else_is_an_error(got, message):
    got = [x.astype(np.float32) for x in got] if isinstance(got, list) else got.astype(np.float32)
    with pytest.raises(cases.Unequal, match=f"JAX: {message}"):
        cases.check("JAX", got, RIGHT, 1e-4)
    cases.check("JAX", RIGHT.astype(np.float32), RIGHT, 1e-4)


def test_results_in_float64_are_an_error():
    with pytest.raises(cases.Unequal, match="float64"):
        cases.check("JAX", RIGHT, RIGHT, 1e-4)


def tiny(scale=1.0):
    """A case whose function of ours is off by a factor."""
    functions = {"tinygen": lambda tg: lambda x: x * np.float32(scale), "NumPy": lambda np: lambda x: x * 1}
    return cases.Case("forward", "tiny", 4, functions, [RIGHT.astype(np.float32)])


def test_what_is_unequal_is_not_timed(monkeypatch):
    monkeypatch.setattr(cases.Case, "truth", lambda case: RIGHT)
    monkeypatch.setattr(cases, "cases_of", lambda family: [tiny(), tiny(1.01)])
    effort = cases.Effort(rounds=2, sample=1e-5, pause=0, warmup=0)
    benches = {name: cases.Bench(name) for name in ("tinygen", "NumPy")}
    found = cases.measured("tiny", 0, benches, effort)
    assert set(found["seconds"]) == set(found["first"]) == {"tinygen", "NumPy"}
    monkeypatch.setattr(cases, "turn", lambda *args: lambda: pytest.fail("timed"))
    with pytest.raises(cases.Unequal, match="tiny forward: tinygen: result 0 is off"):
        cases.measured("tiny", 1, benches, effort)


def test_a_library_works_in_a_process_of_its_own():
    effort = cases.Effort(rounds=1, sample=1e-5, pause=0, warmup=0)
    with contextlib.closing(cases.Worker("NumPy")) as worker:
        first, (result,) = worker.prepare("rows", 1, effort)
        cases.check("NumPy", [result], cases.cases_of("rows")[1].truth(), 1e-6)
        assert first > 0 and worker.sample() > 0
        with pytest.raises(RuntimeError, match="NumPy: IndexError"):
            worker.prepare("rows", 1000, effort)
        worker.process.kill()
        with pytest.raises(RuntimeError, match="NumPy: its process ended with"):
            worker.sample()


KERNELS = [family for family in benchmarks_main.FAMILIES if family != "steps"]  # see below


@pytest.mark.parametrize("family", KERNELS)
def test_the_smallest_case_of_each_kind_agrees_with_the_reference(family):
    every = cases.cases_of(family)
    assert len({case.name for case in every}) == len(every)
    for i in benchmarks_main.smallest(every):
        case = every[i]
        got = case.results(case.candidate(cases.Tinygen()))
        cases.check(case.name, got, case.truth(), case.tolerance)


SMALL_GPT = GPTConfig(vocabulary=7, context=6, layers=2, heads=2, width=8, bias=False)
SMALL_VAE = VAEConfig(height=3, width=3, hidden=5, latent=2)
SMALL_GAN = GANConfig(height=28, width=28, channels=2, latent=3, critic_norm="batch")


def small_step(kind):
    rng = np.random.default_rng(0)
    if kind == "gpt":
        inputs = list(rng.integers(0, 7, (2, 3, 6)))
        settings = {"config": SMALL_GPT, "decay": 0.1, "clip": 0.1}
        return steps.Step("step", "small", steps.gpt_work(SMALL_GPT, 3), steps.TRAINERS, inputs, **settings)
    if kind == "gan":
        inputs = [rng.random((3, 28, 28), np.float32), *rng.standard_normal((2, 3, 3), dtype=np.float32)]
        work = steps.gan_work(SMALL_GAN, 3)
        return steps.Step("step", "small", work, steps.GAN_TRAINERS, inputs, config=SMALL_GAN)
    inputs = [rng.random(shape, np.float32) for shape in ((3, 3, 3), (1, 3, 2))]
    return steps.Step("step", "small", steps.vae_work(SMALL_VAE, 3), steps.TRAINERS, inputs, config=SMALL_VAE)


@pytest.mark.parametrize("kind", ["gpt", "vae", "gan"])
def test_the_work_of_a_step_is_what_the_profiler_counts(kind):
    peaks = {"arithmetic": {"all": 1.0}, "triad": {"all": 1.0}, "threads": 1}
    case = small_step(kind)
    found = profile(case.candidate(cases.Tinygen()), repeats=1, warmup=0, peaks=peaks)
    assert sum(row.flops for row in found.rows) == case.work


@pytest.mark.parametrize(
    "kind, library",
    [("gpt", "PyTorch"), ("gpt", "JAX"), ("vae", "PyTorch"), ("vae", "JAX"), ("gan", "PyTorch")],
)
def test_peers_take_the_step_that_we_take(kind, library):
    pytest.importorskip(cases.LIBRARIES[library].package)
    case = small_step(kind)
    truth = case.truth()
    cases.check(library, case.results(case.candidate(cases.LIBRARIES[library]())), truth, case.tolerance)
    if kind != "gan":  # where one player wins, the other loses
        losses = [float(x) for x in truth[-3:]]
        assert losses == sorted(losses, reverse=True) and losses[0] < truth[0]


def test_a_step_that_decays_otherwise_is_unequal():
    case = small_step("gpt")
    truth, case.decay = case.truth(), 100.0
    last = len(truth) - 3  # the loss after a step
    with pytest.raises(cases.Unequal, match=f"result {last} is off"):
        cases.check("ours", case.results(case.candidate(cases.Tinygen())), truth, case.tolerance)


@pytest.mark.parametrize("compiler, there", [("no-such-compiler", False), (sys.executable, True)])
def test_torch_compile_takes_part_where_a_compiler_is(compiler, there, monkeypatch):
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(cases.importlib.util, "find_spec", lambda package: True)
    assert ("torch.compile" in cases.installed()) == there
    assert not cases.cases_of("adam")[0].serves("torch.compile")
    assert small_step("vae").serves("torch.compile") and not small_step("vae").serves("NumPy")


def test_the_best_peer_has_the_lowest_median_and_a_control_is_none():
    each = {"tinygen": [1.0, 1.0, 1.0], "slow": [1.0, 9.0, 9.0], "quick": [3.0, 3.0, 3.0]}
    made = record(**each, **{"NumPy, untracked": [0.1, 0.1, 0.1]})
    assert report.best_peer(made) == "quick"
    assert report.ratio(made) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert report.best_peer(record(tinygen=[1.0])) is None


def noisy(centre, seed=0):
    return list(centre * np.random.default_rng(seed).uniform(0.97, 1.03, 30))


@pytest.mark.parametrize("with_peer", [True, False])
@pytest.mark.parametrize(
    "factor, found", [(1.0, False), (0.5, False), (1.03, False), (1.15, True), (3.0, True)]
)
def test_a_planted_slowdown_is_found_and_noise_is_not(factor, found, with_peer):
    def run(seconds, seed):
        peers = {"PyTorch": noisy(2.0, seed + 1), "JAX": noisy(4.0, seed + 2)} if with_peer else {}
        return results(matmul={"8x8x8 NN": record(tinygen=noisy(seconds, seed), **peers)})

    lines = report.became_slower(run(1.0, 0), run(factor, 10))
    assert len(lines) == found
    if found:
        assert lines[0].startswith("matmul 8x8x8 NN: ")


def test_a_slower_machine_is_no_slower_kernel():
    old = results(rows={"a": record(tinygen=noisy(1.0, 0), PyTorch=noisy(2.0, 1))})
    new = results(
        rows={"a": record(tinygen=noisy(3.0, 2), PyTorch=noisy(6.0, 3)), "b": record(tinygen=[1.0])}
    )
    assert report.became_slower(old, new) == []


def test_the_table_has_speed_share_ratio_mean_and_worst():
    family = {
        "a": record(tinygen=[0.02, 0.02], NumPy=[0.04, 0.04], JAX=[0.08, 0.08]),
        "b": record(tinygen=[0.1, 0.1], NumPy=[0.05, 0.05]),
    }
    text = report.family_table("matmul", family, results()["peaks"])
    assert "50.0" in text and "50%" in text and "0.50 (0.50 to 0.50)" in text
    assert "geometric mean 1.00, worst 2.00: b" in text


def test_the_roofline_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    family = {"a": record(tinygen=[0.02], NumPy=[0.04]), "b": record(tinygen=[0.1])}
    report.roofline(results(matmul=family, convolution=family), tmp_path / "roofline.png")
    assert (tmp_path / "roofline.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["matmal"], "there is no matmal; choose from matmul, attention"),
        (["--threads", "0"], "expected at least 1"),
        (["--compare", "nowhere.json"], "expected the --json of an earlier run"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        benchmarks_main.parsed(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("change, code", [("nothing", 0), ("slower", 1), ("unequal", 1), ("broken", 1)])
def test_the_exit_code_tells(change, code, monkeypatch, tmp_path, capsys):
    """The whole program, with measurements that are planted."""
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    made = results(rows={"a": record(tinygen=noisy(1.0), PyTorch=noisy(2.0, 1))})
    old.write_text(json.dumps(made))

    def measured(name, effort, quick):
        if change == "unequal":
            raise cases.Unequal("PyTorch: off")
        if change == "broken":
            child = [sys.executable, "-c", "raise SystemExit('no MNIST here')"]
            subprocess.run(child, check=True, capture_output=True, text=True)
        return {"a": record(tinygen=noisy(2.0 if change == "slower" else 1.0), PyTorch=noisy(2.0, 1))}

    monkeypatch.setattr(measure, "limit_threads", lambda count: None)
    monkeypatch.setattr(machine, "peaks", lambda threads, seconds, megabytes: made["peaks"])
    monkeypatch.setattr(benchmarks_main, "measured", measured)
    assert benchmarks_main.main(["rows", "--quick", "--json", str(new), "--compare", str(old)]) == code
    out, err = capsys.readouterr()
    assert ("rows a: 1, was 0.5" in out.replace(" x PyTorch", "")) == (change == "slower")
    assert ("PyTorch: off" in err) == (change == "unequal")
    assert ("no MNIST here" in err) == (change == "broken")
    assert set(json.loads(new.read_text())) == {"environment", "peaks", "families"}


# The peaks of the machine


@pytest.fixture
def planted(monkeypatch):
    """Kernels that only note (name, sizes of their arrays, threads), and times for them in turn."""
    ran, times = [], []

    def note(name, arrays):
        def kernel(*given, work):
            ran.append((name, [given[i].nbytes for i in arrays], "all" if work else "one"))

        monkeypatch.setattr(machine, name, kernel)

    def least(call, seconds):
        call()
        return times[len(ran) - 1] * (seconds == 0.3)

    note("multiply_add", (0, 1))
    note("read", (0,))
    note("triad", (0, 1, 3))
    monkeypatch.setattr(machine, "_least", least)
    return ran, times


def test_peaks_are_of_one_core_and_of_all_and_all_is_at_least_one(planted):
    ran, times = planted
    times += [1.0, 0.5, 2.0, 8.0, 3.0, 4.0]  # on all threads arithmetic is quicker, memory slower
    found = machine.peaks(7, seconds=0.3, megabytes=4)
    assert [(name, who) for name, _, who in ran] == [
        (name, who) for name in ("multiply_add", "read", "triad") for who in ("one", "all")
    ]
    megabyte = 1 << 20
    assert found["read"] == {"one": 4 * megabyte / 2.0 / 1e9, "all": 4 * megabyte / 2.0 / 1e9}
    assert found["triad"] == {"one": 6 * megabyte / 3.0 / 1e9, "all": 6 * megabyte / 3.0 / 1e9}
    assert found["arithmetic"]["all"] == 2 * found["arithmetic"]["one"] > 0
    assert found["threads"] == 7 and set(found) == {"arithmetic", "read", "triad", "threads"}


def test_peaks_of_some_kinds_measure_no_others(planted):
    ran, times = planted
    times += [1.0, 2.0]
    found = machine.peaks(2, seconds=0.3, megabytes=4, kinds=("triad",))
    assert [name for name, _, _ in ran] == ["triad", "triad"] and set(found) == {"triad", "threads"}


@pytest.mark.parametrize("options, megabytes", [({}, 256), ({"megabytes": 5}, 5)])
def test_the_sizes_of_the_arrays_depend_on_nothing_but_megabytes(planted, options, megabytes):
    ran, times = planted
    times += [1.0] * 6
    machine.peaks(2, seconds=0.3, **options)
    sizes = {name: each for name, each, _ in ran}
    assert sizes["read"] == [megabytes << 20]
    assert sizes["triad"] == [(megabytes // 2) << 20] * 3


def test_peaks_of_arrays_that_are_too_small_are_an_error():
    with pytest.raises(
        ValueError, match="peaks: expected at least 2 megabytes, got 1; exceed the last cache"
    ):
        machine.peaks(1, megabytes=1)
