"""Kernels are launched safely: from several Python threads, after a fork, without a cache, out of step.

What could end a process, or needs one that is cold, runs in processes of its own, whose exit codes count.
"""

import importlib
import os
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path

import launching
import numba
import numpy as np
import pytest
from numba.core import event
from numba.core.errors import TypingError

from tinygen import kernels
from tinygen.kernels import compiled
from tinygen.kernels.compiled import Reads, Writes, kernel, prange

TESTS = Path(__file__).resolve().parent
LAYERS = {"omp": "omppool", "workqueue": "workqueue", "tbb": "tbbpool"}


def start(code, **environment):
    """A Python process that runs `code` among the tests, with `launching` imported."""
    return subprocess.Popen(
        [sys.executable, "-c", "from launching import *\n" + textwrap.dedent(code)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """What it printed, once it ended well."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, f"exit code {process.returncode}: {out}{err}"
    return out.strip()


def run(code, **environment):
    return finish(start(code, **environment))


@pytest.fixture(params=LAYERS)
def layer(request):
    """A threading layer of Numba that this machine has."""
    try:
        importlib.import_module(f"numba.np.ufunc.{LAYERS[request.param]}")
    except ImportError as error:
        pytest.skip(f"{request.param}: {error}")
    return request.param


# Threads


def test_several_python_threads_launch_at_once(layer):
    code = """
        import numba, threading
        wrong = []
        def work(dtype):
            for i in range(100):
                if not scaled(dtype, ALWAYS if i % 3 else NEVER):
                    wrong.append(i)
        dtypes = [np.float32, np.float64, np.float32, np.float64]
        threads = [threading.Thread(target=work, args=[dtype]) for dtype in dtypes]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(numba.threading_layer(), wrong)
    """
    assert run(code, NUMBA_THREADING_LAYER=layer) == f"{layer} []"


def test_any_number_of_threads_gives_the_same_bits():
    x = np.random.default_rng(0).standard_normal((7, 1001)).astype(np.float32)
    found = []
    for count in range(1, kernels.most_threads() + 1):
        out = np.empty(7, np.float32)
        with kernels.use("numba", threads=count):
            launching.norms(x, out, work=0)
        found.append(out.tobytes())
    assert len(found) > 1 and len(set(found)) == 1


def test_a_number_of_threads_that_there_is_not_is_refused():
    for count in (0, kernels.most_threads() + 1):
        refused = pytest.raises(ValueError, match=f"use: expected 1 to .* threads, got {count}")
        with refused, kernels.use("numba", threads=count):
            pass
    assert kernels._choice.get() == "automatic"


def test_a_signal_handler_may_run_a_kernel_during_a_launch():
    with compiled._Pool.lock:  # where it would interrupt this thread
        assert launching.scaled()


# Forks


@pytest.mark.parametrize("before", ["nothing", "compiled", "launched"])
def test_a_child_runs_what_its_parent_ran(layer, before):
    """GNU OpenMP ends a child that launches threads which its parent had; a hang would end in a timeout."""
    code = f"""
        import multiprocessing, os, threading
        from tinygen.kernels import compiled
        if {before!r} == "compiled":
            try:
                scale(np.ones(3), "no number", np.ones(3), work=ALWAYS)
            except TypeError:
                assert compiled._Pool.usable
        if {before!r} == "launched":
            assert scaled()

        def child():
            os._exit(0 if scaled() and scaled(np.float64) and scaled(work=NEVER) else 7)

        pid = os.fork()
        if pid == 0:
            grandchild = os.fork()
            if grandchild == 0:
                child()
            assert os.waitpid(grandchild, 0)[1] == 0
            child()
        print(os.waitpid(pid, 0)[1], end=" ")

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        print(process.exitcode, scaled())
    """
    assert run(code, NUMBA_THREADING_LAYER=layer) == "0 0 True"


def test_a_fork_during_the_launches_of_another_thread(layer):
    code = """
        import os, threading
        ending = threading.Event()
        def work():
            while not ending.is_set():
                assert scaled()
        thread = threading.Thread(target=work)
        thread.start()
        codes = []
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if scaled() and scaled(np.float64) else 7)
            codes.append(os.waitpid(pid, 0)[1])
        ending.set()
        thread.join()
        print(set(codes), scaled())
    """
    assert run(code, NUMBA_THREADING_LAYER=layer) == "{0} True"


# The cache


def test_without_a_folder_for_the_cache_kernels_run_all_the_same(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert run("print(scaled(), scaled(work=NEVER))", NUMBA_CACHE_DIR=f"{tmp_path}/file/x") == "True True"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_in_a_folder_that_may_not_be_written_kernels_run_all_the_same(tmp_path):
    tmp_path.chmod(0o555)
    assert run("print(scaled())", NUMBA_CACHE_DIR=str(tmp_path)) == "True"


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_a_broken_file_in_the_cache_costs_the_cache_alone(tmp_path, ending):
    assert run("print(scaled(work=NEVER))", NUMBA_CACHE_DIR=str(tmp_path)) == "True"
    files = list(tmp_path.rglob(f"*.{ending}"))
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[: 10 * (ending == "nbc")])
    assert run("print(scaled(work=NEVER))", NUMBA_CACHE_DIR=str(tmp_path)) == "True"


def test_cold_processes_on_one_cache_folder(tmp_path):
    """Two that compile different codes of one kernel at once, and one that finds what they left."""
    code = "print(*[scaled(dtype, work) for dtype in ({}) for work in (ALWAYS, NEVER)])"
    orders = ["np.float32, np.float64", "np.float64, np.float32"]
    cold = [start(code.format(order), NUMBA_CACHE_DIR=str(tmp_path)) for order in 2 * orders]
    assert {finish(process) for process in cold} == {"True True True True"}
    assert run(code.format(orders[0]), NUMBA_CACHE_DIR=str(tmp_path)) == "True True True True"
    indices = {path.name.removesuffix(".nbi") for path in tmp_path.rglob("*.nbi")}
    codes = {path.name.removesuffix(".1.nbc") for path in tmp_path.rglob("*.nbc")}
    assert len(indices) >= 4 and codes == indices  # one machine code an index: nothing to mix up


# What goes wrong


@kernel
def mistaken(x: Reads[1], out: Writes[1]):
    """A kernel that cannot be compiled."""
    for i in prange(len(x)):
        out[i] = x[i].nonsense


def test_an_import_that_fails_by_a_missing_attribute_is_told_and_not_passed_over(monkeypatch):
    """As that of Numba does where a file of the user's hides one of Python's modules."""

    def fail(name, package=None):
        raise AttributeError("module 'opcode' has no attribute 'opmap'")

    fresh = kernels._Numba()
    monkeypatch.setitem(kernels._IMPLEMENTATIONS, "numba", fresh)
    monkeypatch.setattr(kernels.importlib, "import_module", fail)
    with pytest.raises(
        ImportError, match=r"Numba cannot be imported: module 'opcode' has no .*; rename your file"
    ):
        kernels.softmax(np.ones((100, 100), np.float32), -1)


def test_a_kernel_that_cannot_be_compiled_leaves_the_others_alone():
    x = np.ones(3)
    for work in (launching.NEVER, launching.ALWAYS, launching.NEVER):
        with pytest.raises(TypingError, match="nonsense"):
            mistaken(x, x.copy(), work=work)
        assert launching.scaled(work=work)


def test_ctrl_c_in_a_compilation_leaves_everything_usable(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))  # what was compiled before is not used

    @kernel
    def double(x: Reads[1], out: Writes[1]):
        for i in prange(len(x)):
            out[i] = 2 * x[i]

    class CtrlC(event.Listener):
        def on_start(self, event):
            raise KeyboardInterrupt

        def on_end(self, event):
            pass

    x = np.arange(3.0)
    for work in (launching.NEVER, launching.ALWAYS):
        out = np.empty(3)
        with event.install_listener("numba:run_pass", CtrlC()), pytest.raises(KeyboardInterrupt):
            double(x, out, work=work)
        elsewhere = threading.Thread(target=double, args=[x, out], kwargs={"work": work})
        elsewhere.start()
        elsewhere.join(300)
        np.testing.assert_array_equal(out, 2 * x)


@pytest.mark.parametrize("seconds, told", [(0.9, ""), (1.5, "tinygen: compiled triple in 1.5 s\n")])
def test_a_slow_compilation_says_so(seconds, told, monkeypatch, capsys):
    @kernel
    def triple(x: Reads[1], out: Writes[1]):
        for i in prange(len(x)):
            out[i] = 3 * x[i]

    clock = iter([10.0, 10.0 + seconds])
    monkeypatch.setattr(compiled, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    triple(np.ones(3), np.ones(3), work=launching.NEVER)
    assert capsys.readouterr().err == told


# Without compiling


@pytest.mark.parametrize("features", ["", "+neon", "+avx2,+fma", "+avx512f"])
def test_a_tile_of_any_processor(features):
    """Its shape depends on the processor; sizes on both sides of every edge. Scratch memory starts as NaN."""
    code = """
        import itertools
        from tinygen.kernels import Geometry, convolution, fused_attention, gemm, reference, tile

        class Dirty:
            def __getattr__(self, name):
                return getattr(np, name)

            def empty(self, shape, dtype=float):
                return np.full(shape, np.nan, dtype)

        for module in (convolution, fused_attention, gemm):
            module.np = Dirty()
        rng, near = np.random.default_rng(0), {np.float32: 1e-4, np.float64: 1e-12}
        for dtype, tolerance in near.items():
            wide = tile.columns_in_numpy(np.empty(0, dtype))
            for n in range(1, 2 * wide + 2):
                m = n % (tile.ROWS + 3) + tile.ROWS - 2
                x, y = [rng.standard_normal(shape).astype(dtype) for shape in ((m, 3), (3, n))]
                for a in (x, np.asfortranarray(x)):
                    np.testing.assert_allclose(gemm.matmul(a, y), x @ y, rtol=tolerance, atol=tolerance)
            for t, d in itertools.product((1, tile.ROWS + 1, wide + 3), (1, wide // 2 + 1, wide, wide + 1)):
                q, k, v, g = rng.standard_normal((4, t, d)).astype(dtype)
                given = q, k, v, None, True, 0.3
                out, log_total = fused_attention.attention(*given)
                right = reference.attention(*given)
                back = None, right[0], right[1], True, 0.3
                mine = out, log_total, *fused_attention.attention_backward(g, q, k, v, *back)[:3]
                right = *right, *reference.attention_backward(g, q, k, v, *back)[:3]
                for a, b in zip(mine, right):
                    np.testing.assert_allclose(a, b, rtol=tolerance, atol=5 * tolerance)
            geometry = Geometry((2, 1), (1, 0), (1, 1), 1)
            x, w = [rng.standard_normal(s).astype(dtype) for s in ((2, 3, 9, 8), (tile.ROWS + 1, 3, 3, 2))]
            g = reference.convolve(x, w, geometry)
            for name, given in {
                "convolve": (x, w, geometry),
                "convolve_image": (g, w, geometry, x.shape),
                "convolve_kernel": (x, g, geometry, w.shape),
            }.items():
                mine, right = getattr(convolution, name)(*given), getattr(reference, name)(*given)
                np.testing.assert_allclose(mine, right, rtol=tolerance, atol=tolerance * abs(right).max())
        print(tile.ROWS, tile.VECTORS, tile.VECTOR_BYTES)
    """
    environment = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_DISABLE_JIT": "1"}
    shapes = {"": "4 2 16", "+neon": "8 3 16", "+avx2,+fma": "6 2 32", "+avx512f": "12 2 64"}
    assert run(code, **environment) == shapes[features]


def test_every_kernel_runs_without_being_compiled():
    """As plain Python, all operations agree with the reference; every fast kernel has to take part."""
    code = """
        import hypothesis
        import tinygen as tg
        from tinygen import kernels
        from tinygen.models import GPT, GPTConfig
        from tinygen.testing import contract, contracts
        import numba
        assert numba.config.DISABLE_JIT

        answered = set()

        class Watched:
            def __getattr__(self, name):
                found = getattr(fast, name)
                def watched(*args, **options):
                    out = found(*args, **options)
                    if out is not NotImplemented:
                        answered.add(name)
                    return out
                return watched if callable(found) else found

        fast = kernels._IMPLEMENTATIONS["numba"]
        kernels._IMPLEMENTATIONS["numba"] = Watched()
        hypothesis.settings.register_profile("few", derandomize=True, database=None, max_examples=4)
        hypothesis.settings.load_profile("few")
        others = set(contracts.LAWS) - {"fast_equals_reference"}
        for name, operation in tg.REGISTRY.items():
            contract(operation, skip=others)()

        def trained():
            x = tg.tensor(np.arange(3.0), requires_grad=True)
            optimizer = tg.optim.AdamW([x], lr=0.1)
            for _ in range(2):
                x.grad = None
                (x * x).sum().backward()
                tg.optim.clip_by_norm([x], 1.0)
                optimizer.step()
            return x.numpy()

        def written():
            config = GPTConfig(vocabulary=5, context=4, layers=1, heads=2, width=8)
            model = GPT(config, rng=np.random.default_rng(0))
            cache = model.eval().astype(np.float64).new_cache()
            with tg.no_grad():
                return [model.next_logits(np.full((1, 1), i), cache=cache).numpy() for i in range(4)]

        def followed():
            norm, rng = tg.nn.BatchNorm(2).astype(np.float64), np.random.default_rng(0)
            for shape in ((3, 2, 4, 4), (3, 2)):
                norm(rng.normal(size=shape))
            return norm.running_var

        for made in (trained, written, followed):
            with kernels.use("reference"):
                expected = made()
            with kernels.use("numba"):
                np.testing.assert_allclose(made(), expected, rtol=1e-12)
        print("left out:", *sorted(set(kernels._COMPILED) - answered))
    """
    assert run(code, NUMBA_DISABLE_JIT="1") == "left out:"
