"""nkfast fit and predict: no file is read in another way than its writer meant."""

import csv
import datetime
import decimal

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file

from learners import regression
from nkfast import cli

QUICK = ["--method", "nystroem", "--depth", "1", "--components", "60"]
SMALL = [*QUICK, "--alpha", "1e-3", "--block", "70", "--quiet"]
NAMES = ["a", "b", "c", "d", "e"]


@pytest.fixture(scope="module")
def data():
    X, y = regression(n=120)
    return X[:, :5], y


@pytest.fixture
def nkfast(tmp_path, capsys):
    """Return a function that runs a command in an empty folder; it returns code, out and err."""

    def run(command, *arguments):
        arguments = [str(tmp_path / a) if "." in a and "--" not in a else a for a in arguments]
        more = ["--output", str(tmp_path / "m.skops"), *SMALL] if command == "fit" else ["--quiet"]
        code = cli.main([command, *arguments, *more])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def refused(result, *words):
    """Check for one line of error that has these words."""
    code, _, err = result
    assert code == cli.FAILED, result
    assert err.startswith("nkfast: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def write_csv(path, names, *columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if names is not None:
            writer.writerow(names)
        writer.writerows(zip(*columns, strict=True))


def table(kind, path, names, X, y, target="y"):
    """Write named columns."""
    if kind == "csv":
        write_csv(path, [*names, target], *X.T.tolist(), y.tolist())
    else:
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        pandas.DataFrame(X, columns=names).assign(**{target: y}).to_parquet(path)


# --- columns ---


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("scaled", [[], ["--standardize"]])
def test_columns_are_found_by_name(kind, scaled, data, nkfast, tmp_path):
    X, y = data
    rows = f"rows.{kind}"
    table(kind, tmp_path / rows, NAMES, X, y)
    assert nkfast("fit", rows, "--target", "y", *scaled)[0] == 0
    _, expected, score = nkfast("predict", "m.skops", rows, "--target", "y")
    order = [3, 0, 4, 2, 1]
    other = np.column_stack([X[:, order], y + 1])
    table(kind, tmp_path / rows, [NAMES[i] for i in order] + ["more"], other, y)
    for target in (["--target", "y"], ["--target=-1"], []):
        code, out, err = nkfast("predict", "m.skops", rows, *target)
        assert (code, out, err) == (0, expected, score if target else "")
    table(kind, tmp_path / rows, ["a", "b", "C", "d", "e"], X, y)
    refused(nkfast("predict", "m.skops", rows), rows, "'c' is missing")
    refused(nkfast("predict", "m.skops", rows, "--target", "a"), "'c' is missing")
    table(kind, tmp_path / rows, NAMES, X, y)
    refused(nkfast("predict", "m.skops", rows, "--target", "a"), "no feature of the model")


def test_notes_say_what_was_left_out(data, tmp_path, capsys):
    X, y = data
    table("csv", tmp_path / "rows.csv", NAMES, X, y)
    np.save(tmp_path / "rows.npy", X)
    rows, model = str(tmp_path / "rows.csv"), str(tmp_path / "m.skops")
    assert cli.main(["fit", rows, "--target", "y", "--output", model, *SMALL]) == 0
    assert cli.main(["predict", model, rows]) == 0
    assert "columns that the model does not know: 'y'" in capsys.readouterr().err
    assert cli.main(["predict", model, str(tmp_path / "rows.npy")]) == 0
    assert "columns are taken in their order" in capsys.readouterr().err


def test_columns_that_names_do_not_tell_apart(data, nkfast, tmp_path):
    X, y = data
    path = tmp_path / "rows.csv"
    columns = X.T.tolist()
    for names, words in [
        (["y", *NAMES[1:], "y"], ("'y' at 0, 5",)),
        (["a", "a ", "c", "d", "e", "y"], ("'a' at 0, 1",)),
        (["", *NAMES[1:], "y"], ("column 0", "has no name", "index=False")),
        (["Unnamed: 0", *NAMES[1:], "y"], ("column 0", "has no name")),
    ]:
        write_csv(path, names, *columns, y.tolist())
        refused(nkfast("fit", "rows.csv", "--target", "y"), "rows.csv", *words)
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pa.table([*columns, y.tolist()], names=["a", "b", "c", "d", "y", "y"]),
        tmp_path / "rows.parquet",
    )
    refused(nkfast("fit", "rows.parquet", "--target", "y"), "'y' at 4, 5")


@pytest.mark.parametrize("first", ["0,1,2,3,4,5", "1,2,3,4,5,6", "7,8,9,10,11,12", "a,1.5,2,3,4,5"])
def test_a_first_line_that_may_be_a_header(first, data, nkfast, tmp_path):
    X, y = data
    write_csv(tmp_path / "data.csv", None, *X.T.tolist(), y.tolist())
    text = (tmp_path / "data.csv").read_text()
    (tmp_path / "rows.csv").write_text(f"{first}\n{text}")
    assert nkfast("fit", "data.csv", "--target", "-1")[0] == 0
    _, expected, _ = nkfast("predict", "m.skops", "data.csv", "--target", "-1")
    refused(nkfast("fit", "rows.csv", "--target", "-1"), "rows.csv, line 1", "--header yes")
    assert nkfast("fit", "rows.csv", "--target", "-1", "--header", "yes")[0] == 0
    code, out, _ = nkfast("predict", "m.skops", "rows.csv", "--target", "-1")
    assert (code, out) == (0, expected)  # the model knows the names
    refused(nkfast("predict", "m.skops", "data.csv", "--target", "-1"), "line 1", "--header no")
    arguments = ["m.skops", "data.csv", "--target", "-1", "--header", "no"]
    assert nkfast("predict", *arguments)[1] == expected
    result = nkfast("fit", "rows.csv", "--target", "-1", "--header", "no")
    if first[0] == "a":
        refused(result, "line 1, column 0", "expected numbers, got 'a'")
    else:
        assert result[1].startswith("regression on 121 rows")


def test_names_of_numbers_and_the_target_by_name(data, nkfast, tmp_path):
    X, y = data
    write_csv(tmp_path / "rows.csv", ["2019", "2020", "2021", "7", "8", "price"], *X.T, y)
    assert nkfast("fit", "rows.csv", "--target", "price")[1].startswith("regression on 120 rows")


def test_an_index_of_parquet_is_no_feature(data, nkfast, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    X, y = data
    frame = pandas.DataFrame(X, columns=NAMES).assign(y=y)
    frame.to_parquet(tmp_path / "rows.parquet")
    assert nkfast("fit", "rows.parquet", "--target", "y")[0] == 0
    _, expected, _ = nkfast("predict", "m.skops", "rows.parquet")
    for index in (None, "id"):
        frame.index = pandas.Index(np.arange(1000, 1000 + len(y))[::-1], name=index)
        frame.to_parquet(tmp_path / "rows.parquet")
        assert nkfast("fit", "rows.parquet", "--target", "y")[0] == 0
        assert nkfast("predict", "m.skops", "rows.parquet")[1] == expected


def test_parquet_of_all_types(data, nkfast, tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    X, y = data
    n = len(y)

    def write(**columns):
        parquet.write_table(pa.table({"a": X[:, 0], **columns}), tmp_path / "rows.parquet")

    def fit(*more):
        return nkfast("fit", "rows.parquet", "--target", "y", *more)

    money = [decimal.Decimal(f"{t:.2f}") for t in y]
    write(b=money, c=[True, False] * (n // 2), d=pa.array(X[:, 1], pa.float32()), y=money)
    assert fit()[1].startswith("regression on")
    day = [datetime.date(2020, 1, 1)] * n
    time = [datetime.datetime(2020, 1, 1)] * n
    for bad, kind in [(day, "date32"), (time, "timestamp"), (["x"] * n, "string"), ([[1]] * n, "")]:
        write(b=bad, y=y)
        refused(fit(), "rows.parquet, column 'b': expected numbers, got", kind, "leave the column")
    write(y=time)
    refused(fit(), "column 'y': expected targets", "timestamp")
    gap = [None if i == 7 else t for i, t in enumerate(y.tolist())]
    write(b=gap, y=y)
    refused(fit(), "row 7 (from 0), column 'b': expected a finite number, got nan")
    write(b=y, y=gap)
    refused(fit(), "row 7 (from 0), column 'y': expected a target", "drop the row")
    words = [None if i == 7 else "up" if t > 0 else "down" for i, t in enumerate(y)]
    for kind in (pa.array, lambda words: pa.array(words).dictionary_encode()):
        write(y=kind(words))
        refused(fit(), "row 7 (from 0), column 'y'", "got ''")
        write(y=kind([word or "up" for word in words]))
        assert fit()[1].startswith("classification on")
    write(y=[t > 0 for t in y])
    assert fit()[1].startswith("classification on")
    write(y=list(map(str, y)))
    refused(fit(), "texts that are numbers", "--task regression or --task classification")
    assert fit("--task", "regression")[1].startswith("regression on")


# --- targets ---


@pytest.mark.parametrize(
    "odd", ["", " ", "NA", "?", "nan", "-", "N/A", "null", "None", "inf", "12 kg", "1,5", "low"]
)
@pytest.mark.parametrize("row", [0, 60])
def test_one_odd_target_makes_no_classes(odd, row, data, nkfast, tmp_path):
    X, y = data
    texts = list(map(repr, y.tolist()))
    texts[row] = odd
    write_csv(tmp_path / "rows.csv", [*NAMES, "y"], *X.T, texts)
    for task in ([], ["--task", "regression"]):
        result = nkfast("fit", "rows.csv", "--target", "y", *task)
        refused(result, f"rows.csv, line {row + 2}, column 'y'", f"got {odd.strip()!r}", "drop")
    write_csv(tmp_path / "good.csv", [*NAMES, "y"], *X.T, y.tolist())
    assert nkfast("fit", "good.csv", "--target", "y")[0] == 0
    refused(nkfast("predict", "m.skops", "rows.csv", "--target", "y"), f"line {row + 2}, column")
    assert nkfast("predict", "m.skops", "rows.csv")[0] == 0
    np.savez(tmp_path / "rows.npz", X=X, y=np.array(texts))
    refused(nkfast("fit", "rows.npz"), f"rows.npz, row {row} (from 0)", f"got {odd!r}"[:5])


def test_odd_words_among_words(data, nkfast, tmp_path):
    X, y = data
    words = np.where(y > 0, "up", "down").tolist()
    for odd, code in [("", 1), ("NA", 1), ("7", 1), ("other", 0)]:
        words[5] = odd
        write_csv(tmp_path / "rows.csv", [*NAMES, "y"], *X.T, words)
        result = nkfast("fit", "rows.csv", "--target", "y")
        if code:
            refused(result, "column 'y'")
            result = nkfast("fit", "rows.csv", "--target", "y", "--task", "classification")
        assert result[0] == (1 if odd == "" else 0)
    days = [f"2020-01-{1 + i % 28:02d}x{i}" for i in range(len(y))]
    write_csv(tmp_path / "rows.csv", [*NAMES, "y"], *X.T, days)
    refused(nkfast("fit", "rows.csv", "--target", "y"), "column 'y': 120 different words in 120")


def test_classes_of_numbers_stay_numbers(data, nkfast, tmp_path):
    X, y = data
    codes = np.digitize(y, [-1, 2])
    write_csv(tmp_path / "rows.csv", [*NAMES, "y"], *X.T, codes.tolist())
    write_csv(tmp_path / "floats.csv", [*NAMES, "y"], *X.T, codes.astype(float).tolist())
    assert nkfast("fit", "rows.csv", "--target", "y", "--task", "classification")[0] == 0
    scores = [nkfast("predict", "m.skops", f, "--target", "y") for f in ("rows.csv", "floats.csv")]
    assert scores[0] == scores[1]
    write_csv(tmp_path / "rows.csv", [*NAMES, "y"], *X.T, [f"n{c}" for c in codes])
    refused(nkfast("predict", "m.skops", "rows.csv", "--target", "y"), "line 2, column 'y'")


def test_labels_are_quoted(data, nkfast, tmp_path):
    X, y = data
    labels = ["plain", "a, b", 'say "so"', "two\nlines", "two\r\nlines", "naïve ☃"]
    chosen = [labels[i] for i in np.argsort(np.argsort(y)) * len(labels) // len(y)]
    write_csv(tmp_path / "rows.csv", [*NAMES, "y"], *X.T, chosen)
    assert nkfast("fit", "rows.csv", "--target", "y")[0] == 0
    arguments = ["m.skops", "rows.csv", "--target", "y"]
    assert nkfast("predict", *arguments, "--output", "out.csv")[0] == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        (*found,) = (label for (label,) in csv.reader(file))
    assert nkfast("predict", *arguments, "--output", "out.npy")[0] == 0
    assert found == np.load(tmp_path / "out.npy").tolist()
    assert set(found) == set(labels)


# --- text ---


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,y\n1,2\n\xe9,3\n", ["expected text in UTF-8, got the byte 0xe9"]),
        ("a,y\n1,2\n3,4\n".encode("utf-16"), ["expected text in UTF-8"]),
        (b"", ["expected rows of numbers, got an empty file"]),
        (b"\n\n", ["expected rows of numbers, got an empty file"]),
        (b"\xef\xbb\xbf", ["expected rows of numbers, got an empty file"]),
        (b"a,y\r\n", ["expected at least one row, got none"]),
        (b"y\n1\n", ["expected columns beside the target, got none"]),
        (b'a,y\n1,2\n"3,4\n', ["line 3", "unexpected end of data"]),
        (b"a,y\n1,2\n,4\n", ["line 3, column 'a'", "expected numbers, got ''"]),
        (b"a,y\n1,2\n\n2020-01-01,4\n", ["line 4, column 'a'", "got '2020-01-01'"]),
        (b"a,y\n1,2\ninf,4\n", ["line 3, column 'a'", "expected a finite number, got inf"]),
        (b"a,y\n1,2\nnan,4\n", ["line 3, column 'a'", "expected a finite number, got nan"]),
        (b"a,y\n1,2\n3,4,5\n", ["line 3", "expected 2 values, got 3"]),
        (b"a;y\n1;2\n", ["--target: expected one of the columns a;y"]),
        (b"a,y\n1\x00,2\n3,4\n", ["rows.csv"]),
    ],
)
def test_texts_that_are_no_tables(content, words, nkfast, tmp_path):
    (tmp_path / "rows.csv").write_bytes(content)
    refused(nkfast("fit", "rows.csv", "--target", "y"), *words)


def test_marks_and_ends_of_lines(data, nkfast, tmp_path):
    X, y = data
    write_csv(tmp_path / "rows.csv", [*NAMES, "y"], *X.T.tolist(), y.tolist())
    text = (tmp_path / "rows.csv").read_text()
    said = set()
    for start, end in [("", "\n"), ("\ufeff", "\r\n"), ("\n\n", "\r"), ("", "\n\n")]:
        (tmp_path / "rows.csv").write_bytes((start + text.replace("\n", end)).encode())
        assert nkfast("fit", "rows.csv", "--target", "y")[0] == 0
        said.add(nkfast("predict", "m.skops", "rows.csv", "--target", "y"))
    assert len(said) == 1


# --- svmlight ---


@pytest.mark.parametrize("zero_based", [True, False])
def test_columns_of_svmlight(zero_based, data, nkfast, tmp_path):
    X, y = data
    X = np.where(X > 0, X, 0)

    def write(X, name="rows.svm"):
        dump_svmlight_file(X, np.round(y, 6), str(tmp_path / name), zero_based=zero_based)

    write(X)
    assert nkfast("fit", "rows.svm")[0] == 0
    for columns in ([], [0], [4], [0, 3, 4]):  # zeros, which are not written
        less = X.copy()
        less[:, columns] = 0
        np.save(tmp_path / "rows.npy", less)
        write(less)
        assert (
            nkfast("predict", "m.skops", "rows.svm")[:2]
            == nkfast("predict", "m.skops", "rows.npy")[:2]
        )
    write(np.column_stack([X, y]), "wide.svm")
    refused(nkfast("predict", "m.skops", "wide.svm"), "wide.svm: expected 5 columns")
    dump_svmlight_file(X, y, str(tmp_path / "other.svm"), zero_based=not zero_based)
    if zero_based:
        refused(nkfast("predict", "m.skops", "other.svm"), "expected 5 columns", "got 6")
    else:
        refused(nkfast("predict", "m.skops", "other.svm"), "count from 1", "got a column 0")


def test_svmlight_for_a_model_of_another_file(data, nkfast, tmp_path):
    X, y = data
    X = np.abs(X)
    np.savez(tmp_path / "rows.npz", X=X, y=y)
    assert nkfast("fit", "rows.npz")[0] == 0
    expected = nkfast("predict", "m.skops", "rows.npz")[1]
    for zero_based in (True, False):
        dump_svmlight_file(X, y, str(tmp_path / "rows.svm"), zero_based=zero_based)
        assert nkfast("predict", "m.skops", "rows.svm")[1] == expected
    dump_svmlight_file(X[:, :3], y, str(tmp_path / "rows.svm"), zero_based=False)
    refused(nkfast("predict", "m.skops", "rows.svm"), "1 to 3", "may count from 0 or from 1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at least one row"),
        ("1\n2\n", "expected columns beside the target, got none"),
        ("# no\n1 1:2\ncat 1:3\n", "line 3: expected rows 'target column:value ...', got"),
        ("1 1:2\n2 1:x\n", "line 2: expected rows"),
        ("1 1:2\n2 3:1 2:1\n", "line 2: expected rows"),
        ("1 1:2\n2 99999999999999999999999:1\n", "line 2: expected rows"),
        ("1 1:2\nnan 1:3\n", "row 1 (from 0), column target"),
        ("1 1:2\n2 1:3 4:inf\n", "row 1 (from 0), column 4: expected a finite number, got inf"),
    ],
)
def test_bad_svmlight(text, words, nkfast, tmp_path):
    (tmp_path / "rows.svm").write_text(text)
    refused(nkfast("fit", "rows.svm"), "rows.svm", words)


# --- arrays ---


def test_arrays_of_other_shapes(data, nkfast, tmp_path):
    X, y = data
    bad = np.where(np.arange(600).reshape(120, 5) == 333, np.nan, X)
    for rows, words in [
        (X[0], "got an array of shape (5,)"),
        (X[0, 0], "got an array of shape ()"),
        (X[:, :0], "expected columns beside the target, got none"),
        (X[:0], "expected at least one row"),
        (X.reshape(1, 1, 1, 120, 5), "got an array of shape"),
        (X.astype(str), "expected numbers, got dtype <U"),
        (X.astype("M8[s]"), "expected numbers, got dtype datetime64"),
        (X + 0j, "expected numbers, got dtype complex"),
        (bad, "row 66 (from 0), column 3: expected a finite number, got nan"),
    ]:
        targets = y[: np.shape(rows)[0]] if np.ndim(rows) else y
        np.save(tmp_path / "y.npy", targets)
        np.save(tmp_path / "rows.npy", rows)
        np.savez(tmp_path / "rows.npz", X=rows, y=targets)
        refused(nkfast("fit", "rows.npy", "--target", "y.npy"), "rows.npy", words)
        refused(nkfast("fit", "rows.npz"), "rows.npz", words)
    for targets, words in [
        (y[0], "expected targets"),
        (y[:, None, None], "expected targets"),
        (y[:-1], "expected 120 targets as there are rows, got 119"),
        (y.astype("M8[s]"), "expected targets"),
        (np.array([None] * 120), "y"),
        (np.where(y == y[7], np.nan, y), "row 7 (from 0), column target"),
    ]:
        np.save(tmp_path / "y.npy", targets)
        np.save(tmp_path / "rows.npy", X)
        np.savez(tmp_path / "rows.npz", X=X, y=targets)
        refused(nkfast("fit", "rows.npy", "--target", "y.npy"), words)
        refused(nkfast("fit", "rows.npz"), words)
    sp.save_npz(tmp_path / "rows.npz", sp.csr_array(bad))
    np.save(tmp_path / "y.npy", y)
    result = nkfast("fit", "rows.npz", "--target", "y.npy")
    refused(result, "row 66 (from 0), column 3: expected a finite number, got nan")


@pytest.mark.parametrize("name", ["rows.npy", "rows.npz", "rows.parquet"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01", b"PAR1PAR1"])
def test_broken_files(name, content, nkfast, tmp_path):
    (tmp_path / name).write_bytes(content)
    refused(nkfast("fit", name, "--target", "0"), name)


def test_a_cut_archive(data, nkfast, tmp_path):
    np.savez_compressed(tmp_path / "rows.npz", X=data[0], y=data[1])
    content = bytearray((tmp_path / "rows.npz").read_bytes())
    content[300:900] = bytes(600)
    (tmp_path / "rows.npz").write_bytes(content)
    refused(nkfast("fit", "rows.npz"), "rows.npz")


def test_images_of_another_shape(nkfast, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 4, 6, 1)), rng.standard_normal(40)
    np.savez(tmp_path / "rows.npz", X=X, y=y)
    np.savez(tmp_path / "other.npz", X=X.reshape(40, 6, 4), y=y)
    np.save(tmp_path / "rows.npy", X)
    for network in ([], ["--network", "myrtle-5"]):
        if network:
            X = rng.standard_normal((20, 8, 16, 1))
            np.savez(tmp_path / "rows.npz", X=X, y=y[:20])
            np.savez(tmp_path / "other.npz", X=X.reshape(20, 16, 8), y=y[:20])
        assert nkfast("fit", "rows.npz", *network)[0] == 0
        refused(nkfast("predict", "m.skops", "other.npz"), "expected images of shape")
    shape = ["--image-shape", "16", "8", "1"]
    refused(nkfast("fit", "rows.npz", *network, *shape), "--image-shape: expected (8, 16, 1)")
    refused(nkfast("fit", "rows.npy", "--target", "0"), "--target: expected a .npy file")


def test_what_is_read_is_not_written_over(data, nkfast, tmp_path):
    np.savez(tmp_path / "rows.npz", X=data[0], y=data[1])
    assert nkfast("fit", "rows.npz")[0] == 0
    table("csv", tmp_path / "rows.csv", NAMES, *data)
    before = (tmp_path / "rows.csv").read_bytes()
    result = nkfast("predict", "m.skops", "rows.csv", "--target", "y", "--output", "rows.csv")
    refused(result, "--output: expected a file of its own")
    assert (tmp_path / "rows.csv").read_bytes() == before
