"""Builders hand over programs that never change; enums and records refuse what is unknown."""

import pickle
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import nkfast as nk
from nkfast import _core
from nkfast.features.pixels import _records
from nkfast.features.pixels._plan import PixelPlan
from nkfast.sketch._program import SketchSteps, hadamard_leaf
from places import ROOT

COMPILER = shutil.which("c++")


def transform(n, n_outputs):
    """A builder that knows of the first entries of a Walsh-Hadamard transform."""
    builder = _core.SketchBuilder(n)
    builder.count_sketch(0, 1, n, np.arange(n), np.ones(n))
    builder.hadamard(1)
    builder.emit(1, n_outputs, 1.0, -1, False)
    return builder


def layers():
    builder = _core.KernelBuilder()
    builder.affine(2.0, 0.5)
    return builder


def layers_with_tangents():
    builder = _core.TangentBuilder(1)
    builder.affine(2.0, 0.5, [4.0], [0.0])
    return builder


def image_layers():
    return _core.ImageBuilder(height=4, width=4, channels=1, lanes=_core.LaneKind.COLUMNS, images=1)


def pixel_stages():
    builder = _core.PixelBuilder()
    builder.add_field(height=1, width=1, n=3)
    return builder


OUTPUT = _core.PixelOutput(
    field=0, scalar=True, n=4, sample=None, input_exponent=0, exponent=0, power=None
)
BUILDERS = {
    "sketch": (lambda: transform(4, 4), (), lambda b: b.one(3)),
    "kernel": (layers, (), lambda b: b.affine(1.0, 0.0)),
    "tangent": (layers_with_tangents, (), lambda b: b.affine(1.0, 0.0, [0.0], [0.0])),
    "image": (image_layers, (_core.Readout.MEAN,), lambda b: b.push()),
    "pixel": (
        pixel_stages,
        (OUTPUT,),
        lambda b: b.add_field(height=1, width=1, n=1),
    ),
}


def public(value):
    return {name for name in dir(value) if not name.startswith("_")}


@pytest.mark.parametrize("name", BUILDERS)
def test_builders_build_and_programs_run(name):
    make, output, add = BUILDERS[name]
    builder = make()
    assert not any("run" in method for method in public(builder))
    program = builder.finish(*output)
    names = public(program)
    assert any(method.startswith("run") for method in names)
    assert {n for n in names if callable(getattr(type(program), n))} <= {
        *("run", "run_csr", "run_points", "run_products")
    }
    for read_only in names - {n for n in names if n.startswith("run")}:
        with pytest.raises(AttributeError):
            setattr(program, read_only, 1)
    with pytest.raises(TypeError, match="No constructor"):
        type(program)()
    for call in (add, lambda b: b.finish(*output)):
        with pytest.raises(ValueError, match="builder: expected no call after finish"):
            call(builder)


def test_a_program_runs_in_threads_while_another_is_built():
    n = 64
    program = transform(n, n).finish()
    x = np.random.default_rng(0).standard_normal((200, n)).astype(np.float32)

    def run(_=None):
        out = np.empty_like(x)
        program.run(x, None, None, out, 2)
        return out

    expected = run()
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(lambda: [run() for _ in range(50)]) for _ in range(2)]
        built = pool.submit(lambda: [transform(n, k).finish().n_outputs for k in range(1, n)])
        assert all(np.array_equal(out, expected) for runs in found for out in runs.result())
        assert built.result() == list(range(1, n))


def test_threads_that_share_a_builder_take_turns():
    builder = _core.SketchBuilder(8)

    def emit(k):
        for _ in range(200):
            builder.emit(0, k, 1.0, -1, False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(emit, (1, 2, 3, 4)))
    assert builder.finish().n_outputs == 200 * 10


def test_steps_are_recorded_pickled_and_replayed():
    rng = np.random.RandomState(0)
    steps = SketchSteps()
    buckets = hadamard_leaf(steps, rng, 0, 5, 1, 8)
    steps.emit(1, buckets)
    assert [step.method for step in steps] == ["count_sketch", "hadamard", "emit"]
    again = pickle.loads(pickle.dumps(steps))
    x = rng.standard_normal((3, 5))
    found = np.empty((2, 3, 8))
    for out, some in zip(found, (steps, again), strict=True):
        some.compile(5).run(x, None, None, out, 1)
    np.testing.assert_array_equal(*found)
    assert isinstance(steps[1:], SketchSteps)
    assert len(steps[1:]) == 2


@pytest.mark.parametrize(
    "name",
    [name for name, method in vars(_core.SketchBuilder).items() if not name.startswith("_")],
)
def test_the_recorder_has_the_methods_of_the_builder(name):
    assert name == "finish" or callable(getattr(SketchSteps, name))


@pytest.mark.parametrize(
    "kind", [*_core.DualKind, *_core.LaneKind, *_core.Readout, *_core.Pairing], ids=str
)
def test_enums_are_python_s(kind):
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert type(kind)[kind.name] is kind


def test_records_refuse_unknown_and_missing_fields():
    fields = {"row_stride": 1, "row_offset": 0, "col_stride": 1, "col_offset": 0, "circular": False}
    _core.PixelLook(**fields)
    with pytest.raises(TypeError):
        _core.PixelLook(**fields, halo=1)
    with pytest.raises(TypeError):
        _core.PixelLook(**{name: value for name, value in fields.items() if name != "circular"})
    with pytest.raises(TypeError):
        _core.PixelLook(*fields.values())
    with pytest.raises(TypeError):  # no number without loss
        _core.Hash(to=np.array([0.5]), signs=np.ones(1))
    with pytest.raises(TypeError):
        _core.Destination(nngp=np.ones((1, 1)))


def test_records_are_those_of_the_core():
    """Every record of a plan becomes one of the core: names and fields agree, or it would raise."""
    layers = nk.Conv(), nk.ReLU(), nk.Conv(), nk.GELU(), nk.AvgPool((2, 2)), nk.Conv(), nk.ReLU()
    net = nk.Sequential(*layers, nk.Flatten(), nk.Dense())
    plan = PixelPlan(net, (4, 4, 3), 1.0, True, 32, 3, 20, np.random.RandomState(0))
    plan = pickle.loads(pickle.dumps(plan))
    assert plan.compile().n_outputs == 20
    found = pickle.dumps((plan.stages, plan.output))
    for name, record in vars(_records).items():
        if isinstance(record, type) and issubclass(record, _records.Record):
            assert name == "Record" or name.encode() in found, name


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
def test_programs_read_no_freed_memory(tmp_path):
    program = tmp_path / "test_programs"
    sources = [ROOT / f"csrc/sketch/{name}.cpp" for name in ("builder", "program")]
    sources.append(ROOT / "tests/cpp/test_programs.cpp")
    flags = ["-std=c++20", "-O0", "-Wall", "-Wextra", "-pthread", f"-I{ROOT / 'csrc'}"]
    linked = [COMPILER, *flags, "-fsanitize=address", *map(str, sources), "-o", str(program)]
    built = subprocess.run(linked, capture_output=True, text=True)
    if built.returncode != 0 and "asan" in built.stderr:
        pytest.skip("needs the address sanitizer")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
