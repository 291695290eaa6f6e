"""Every kind of trace file: what is read from it, and what is said about a file that is broken."""

import bz2
import gzip
import io
import lzma
import struct
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

np = pytest.importorskip("numpy")
zstd = pytest.importorskip("zstandard") if sys.version_info < (3, 14) else pytest.importorskip("compression.zstd")

from hotset.lab import TraceError, read_trace  # noqa: E402 - what needs NumPy comes after it

COMPRESS = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstd.compress if hasattr(zstd, "compress") else lambda data: zstd.ZstdCompressor().compress(data),
}
LOG = (
    b'10.0.0.1 - ann [10/Oct/2026:13:55:36 +0000] "GET /a?x=1 HTTP/1.1" 200 512 "-" "agent \\"x\\""\n'
    b'10.0.0.2 - - [10/Oct/2026:13:55:37 +0000] "POST /a HTTP/1.1" 200 1\n'
    b'::1 - - [10/Oct/2026:13:55:38 +0000] "GET /b HTTP/2.0" 200 100\n'
    b'::1 - - [10/Oct/2026:13:55:40 +0000] "GET /a?x=1 HTTP/1.1" 304 -\n'
    b'::1 - - [10/Oct/2026:13:55:41 +0000] "GET /broken HTTP/1.1" 500 9\n'
    b'::1 - - [10/Oct/2026:13:55:41 +0000] "\\x16\\x03" 400 9\n'
)
MONITOR = (
    b"OK\n"
    b'1700000000.100000 [0 127.0.0.1:5000] "GET" "a b\\"c"\n'
    b'1700000000.200000 [0 127.0.0.1:5000] "set" "k" "v"\n'
    b'1700000001.000000 [0 127.0.0.1:5000] "mget" "k" "l"\n'
    b'1700000002.000000 [1 unix:/run/x.sock] "get" "k"\n'
    b'1700000003.000000 [0 lua] "hget" "k" "field"\n'
)


def oracle(*records):
    return b"".join(struct.pack("<IQIq", *record) for record in records)


ORACLE = oracle((5, 1 << 40, 100, 2), (5, 7, 200, -1), (9, 1 << 40, 100, (1 << 63) - 1))


@pytest.fixture
def write(tmp_path):
    def make(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return make


def ids(path, **options):
    return read_trace(path, **options).keys.tolist()


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.txt", b"x\ny\nx\n", [0, 1, 0]),
        ("nameless", b" x \r\n\r\ny\nx", [0, 1, 0]),
        ("bytes", b"\xff\xfe\n\xff\n\xff\xfe\n", [0, 1, 0]),
        ("numbers", b"5\n6\n5\n", [0, 1, 0]),
        ("a.csv", b"time,key,size\n1,x,5\n2,y,6\n3,x,5\n", [0, 1, 0]),
        ("a.tsv", b"obj_id\tbytes\r\nx\t1\r\ny\t2\r\nx\t3\r\n", [0, 1, 0]),
        ("quoted.csv", b'\xef\xbb\xbf"Key";"Size"\n"x;""y";1\nz;2\n', [0, 1]),
        ("one-column.csv", b"key\nx\nx\n", [0, 0]),
        ("a.lis", b"10 3 0 0\n11 1 0 1\n", [0, 1, 2, 1]),
        ("nameless-arc", b"10 3 0 0\n11 1 0 1\n", [0, 1, 2, 1]),
        ("a.trace", b"5\n6\n5\n*\n", [0, 1, 0]),
        ("starred", b"*\n5\n6\n5\n", [0, 1, 0]),
        ("a.oracleGeneral.bin", ORACLE, [0, 1, 0]),
        ("nameless-oracle", ORACLE, [0, 1, 0]),
        ("mon.txt", MONITOR, [0, 1, 2, 3, 1]),
        ("access.log", LOG, [0, 1, 0]),
    ],
)
def test_kinds_are_found_out(write, name, data, expected):
    assert ids(write(name, data)) == expected


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize(("name", "data"), [("a.lis", b"10 3 0 0\n"), ("x", b"a\nb\nc\n"), ("o.oracleGeneral", ORACLE)])
def test_compressed_files_are_read_as_what_is_in_them(write, suffix, name, data):
    assert ids(write(f"{name}.{suffix}", COMPRESS[suffix](data)))[:2] == [0, 1]


def test_frames_of_zstd_one_after_the_other(write):
    assert ids(write("x.zst", COMPRESS["zst"](b"a\nb") + COMPRESS["zst"](b"b\na\n"))) == [0, 1, 0]


def test_what_else_is_known_of_requests(write):
    table = read_trace(write("a.csv", b"lbn,length,ts,penalty\n7,5,1.5,10\n8,6,1,20\n"))
    assert table.sizes.tolist() == [5.0, 6.0]
    assert table.costs.tolist() == [10.0, 20.0]
    assert table.times.tolist() == [1.5, 1.5]  # they never fall
    log = read_trace(write("access.log", LOG))
    assert log.sizes.tolist() == [512.0, 100.0, 512.0]
    assert (log.times - log.times[0]).tolist() == [0.0, 2.0, 4.0]
    records = read_trace(write("o", ORACLE))
    assert records.sizes.tolist() == [100.0, 200.0, 100.0]
    assert records.times.tolist() == [5.0, 5.0, 9.0]
    assert read_trace(write("m", MONITOR)).times.tolist() == [1.7e9 + 0.1, 1.7e9 + 1, 1.7e9 + 1, 1.7e9 + 2, 1.7e9 + 3]


def test_columns_by_name(write):
    path = write("a.csv", b"who,what,how much\nann,x,5\nbob,x,6\n")
    trace = read_trace(path, columns={"key": "what", "size": "how much"})
    assert trace.keys.tolist() == [0, 0]
    assert trace.sizes.tolist() == [5.0, 6.0]
    with pytest.raises(TraceError, match="has no column 'which'"):
        read_trace(path, format="csv", columns={"key": "which"})
    with pytest.raises(TraceError, match="a column can be key, size, cost, time, not 'colour'"):
        read_trace(path, format="csv", columns={"key": "what", "colour": "who"})


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint64, "U8", "S8"])
def test_numpy_arrays(tmp_path, kind):
    keys = np.array([9, 8, 9]).astype(kind)
    np.save(tmp_path / "a.npy", keys)
    np.savez(tmp_path / "a.npz", keys=keys, sizes=np.array([1, 2, 3]), costs=np.array([1.5, 2, 1]))
    np.savez_compressed(tmp_path / "b.npz", ids=keys)
    assert ids(tmp_path / "a.npy") == ids(tmp_path / "a.npz") == [0, 1, 0]
    assert read_trace(tmp_path / "a.npz").sizes.tolist() == [1.0, 2.0, 3.0]
    assert read_trace(tmp_path / "a.npz").costs.tolist() == [1.5, 2.0, 1.0]
    assert ids(tmp_path / "b.npz", columns={"key": "ids"}) == [0, 1, 0]
    with pytest.raises(TraceError, match=r"no array named 'keys' \(it has ids\)"):
        read_trace(tmp_path / "b.npz")


def npz(**arrays):
    written = io.BytesIO()
    np.savez(written, **arrays)
    return written.getvalue()


def npy(array):
    written = io.BytesIO()
    np.save(written, array)
    return written.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty", b"", "the file is empty"),
        ("empty.csv", b"", "the file is empty"),
        ("blank.txt", b"\n \n", r"no requests in it \(read as text\)"),
        ("head.csv", b"key,size\n", r"no requests in it \(read as csv\)"),
        ("writes", b'1.0 [0 a:1] "set" "k" "v"\n', r"no requests in it \(read as monitor\)"),
        ("zero.txt", b"x\n" * 900_000 + b"c\0d\n", "line 900,001, byte 1,800,001: a zero byte"),
        ("binary", bytes(range(256)) * 20, "neither text nor any other kind"),
        ("long", b"x" * 3_000_000, "line 1, byte 0: a line of more than 1,048,576 bytes"),
        (
            "mixed.lis",
            b"1 2 0 0\n" * 10_000 + b"1 2 0\n",
            "line 10,001, byte 80,000: expected four whole numbers.*'1 2 0'",
        ),
        (
            "negative.lis",
            b"1 2 0 0\n" * 10_000 + b"1 -2 0 0\n",
            "line 10,001, byte 80,000: expected four whole numbers",
        ),
        ("huge.lis", b"1 2 0 0\n" * 10_000 + b"1 99999999 0 0\n", "line 10,001, byte 80,000"),
        ("larger.lis", b"1 2 0 0\n" * 10_000 + b"1 99999999999999999999 0 0\n", "line 10,001, byte 80,000"),
        (
            "mixed.trace",
            b"12\n" * 900_000 + b"twelve\n",
            "line 900,001, byte 2,700,000: expected a block number, not 'twelve'",
        ),
        ("short.csv", b"key,size\nx,1\ny\n", "line 3, byte 13: expected 2 columns, not 1"),
        (
            "minus.csv",
            b"key,size\nx,1\ny,-1\n",
            "line 3, byte 13: a size must be a number that is not negative, not '-1'",
        ),
        ("nan.csv", b"key,size\nx,nan\n", "line 2, byte 9: a size must be a number that is not negative, not 'nan'"),
        ("word.csv", b"key,time\nx,now\n", "line 2, byte 9: a time must be a number"),
        ("log", LOG + b"something else\n", "line 7, byte 407: expected a line of an access log.*'something else'"),
        ("minus.log", LOG.replace(b"200 100", b"200 -100"), "line 3, byte .*: a size must not be negative"),
        ("date.log", LOG.replace(b"10/Oct", b"10/Okt"), "line 1, byte 0: expected a date"),
        ("mon", MONITOR + b'1700000004.0 [0 1:1] "get" "k\n', "line 7, byte 252: expected what MONITOR prints"),
        ("cut.oracleGeneral", ORACLE[:-5], "byte 48: the last record is cut off: 19 of 24 bytes"),
        ("few.oracleGeneral", ORACLE[:5], "byte 0: the last record is cut off: 5 of 24 bytes"),
        ("fell.oracleGeneral", ORACLE * 2000, "neither text nor any other kind"),
        ("array.npy", npy(np.zeros((2, 2), int)), r"one-dimensional array, not of shape \(2, 2\)"),
        ("float.npy", npy(np.zeros(2)), "integers or text, not float64"),
        ("cut.npy", npy(np.arange(1000))[:500], "cannot be read as NumPy"),
        ("cut.npz", npz(keys=np.arange(1000))[:500], "cannot be read as NumPy"),
        (
            "few.npz",
            npz(keys=np.arange(3), sizes=np.arange(2)),
            r"sizes must be as many as keys, 3, not of shape \(2,\)",
        ),
        ("minus.npz", npz(keys=np.arange(2), sizes=np.array([1, -1])), r"sizes\[1\] must not be negative, got -1"),
        ("none.npz", npz(keys=np.arange(0)), r"no requests in it \(read as numpy\)"),
        ("objects.npy", npy(np.array([{}], object)), "cannot be read as NumPy"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(write, name, data, message):
    path = write(name, data)
    with pytest.raises(TraceError, match=message) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)


def test_a_record_in_the_midst_that_cannot_be(write):
    records = [(time, time % 7, 1, time + 7) for time in range(100_000)]
    records[90_000] = (5, 5, 5, 99_999)
    with pytest.raises(TraceError, match="byte 2,160,000: no oracleGeneral record"):
        read_trace(write("x", oracle(*records)))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_file_that_is_cut_off(write, suffix, rng):
    data = COMPRESS[suffix](b"".join(b"%d\n" % rng.getrandbits(60) for _ in range(200_000)))
    with pytest.raises(TraceError, match=r"byte [\d,]+: the \w+ data is cut off or damaged"):
        read_trace(write(f"x.{suffix}", data[: len(data) // 2]))


@pytest.mark.parametrize("kind", ["csv", "lirs", "arc", "oracle", "monitor", "weblog", "numpy"])
def test_a_kind_that_is_named_must_be_right(write, kind):
    with pytest.raises(TraceError):
        read_trace(write("x.txt", b"one two\nthree\n"), format=kind)


def test_a_name_that_lies_is_corrected_by_the_content(write):
    assert ids(write("a.lis", b"x\ny\nx\n")) == [0, 1, 0]
    assert ids(write("a.csv", MONITOR)) == [0, 1, 2, 3, 1]
    assert ids(write("a.npz", b"x\ny\n")) == [0, 1]
    assert ids(write("a.log", npy(np.array([4, 4])))) == [0, 0]


def test_what_is_no_file(tmp_path):
    with pytest.raises(TraceError, match="is a folder"):
        read_trace(tmp_path)
    with pytest.raises(TraceError, match="does not exist"):
        read_trace(tmp_path / "none")


def test_arguments_that_cannot_be(write):
    path = write("x", b"a\n")
    for options, message in [
        ({"format": "pdf"}, "unknown format 'pdf'"),
        ({"sample": 0}, "sample must be"),
        ({"limit": 0}, "limit must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_trace(path, **options)


def test_fewer_requests_and_fewer_keys(write):
    path = write("x", b"".join(b"%d\n" % (number % 5_000) for number in range(300_000)))
    assert len(read_trace(path, limit=100_001)) == 100_001
    sample = read_trace(path, sample=0.1)
    assert sample.requests == 300_000
    assert 400 < sample.distinct < 600
    assert len(sample) == 60 * sample.distinct
    with pytest.raises(TraceError, match="no key of its 300,000 requests is in the sample"):
        read_trace(path, sample=1e-9)


keys_of_text = st.binary(min_size=1, max_size=30).filter(
    lambda key: key.strip() == key and key and not set(key) & set(b"\n\0\r\x0b\x0c")
)


def numbered(keys):
    seen = {}
    return [seen.setdefault(key, len(seen)) for key in keys]


quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)


@quick
@given(st.lists(keys_of_text, min_size=1, max_size=50))
def test_any_keys_survive_text(write, keys):
    assert ids(write("x", b"\n".join(keys)), format="text") == numbered(keys)


cells = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1).map(str.strip).filter(bool)


@quick
@given(st.lists(st.tuples(cells, st.integers(0, 1 << 40)), min_size=1, max_size=50))
def test_any_keys_survive_csv(write, rows):
    import csv

    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("key", "size"), *rows])
    trace = read_trace(write("x.csv", text.getvalue().encode()))
    assert trace.keys.tolist() == numbered([key for key, _ in rows])
    assert trace.sizes.tolist() == [size for _, size in rows]


@quick
@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 9)), min_size=1, max_size=50))
def test_any_requests_survive_arc(write, requests):
    data = b"".join(b"%d %d 0 %d\n" % (*request, number) for number, request in enumerate(requests))
    blocks = [first + step for first, count in requests for step in range(count)]
    path = write("x.lis", data)
    if not blocks:
        with pytest.raises(TraceError, match="no requests"):
            read_trace(path)
    else:
        assert ids(path) == numbered(blocks)


@quick
@given(st.binary(max_size=300), st.sampled_from(["x", "x.lis", "x.csv", "x.log", "x.npz", "x.gz", "x.zst", "x.trace"]))
def test_any_bytes_are_read_or_refused_as_a_trace(write, data, name):
    try:
        trace = read_trace(write(name, data))
    except TraceError as error:
        assert str(error).startswith("trace ")
    else:
        assert len(trace) > 0


@quick
@given(st.data())
def test_a_damaged_file_is_read_or_refused_as_a_trace(write, data):
    whole = bytearray(
        data.draw(st.sampled_from([LOG, MONITOR, ORACLE, b"key,size\nx,1\n" * 3, npz(keys=np.arange(9))]))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_trace(write("x", bytes(whole[: data.draw(st.integers(1, len(whole)))])))
    except TraceError as error:
        assert str(error).startswith("trace ")


@pytest.mark.unsanitized(reason="it limits memory")
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_what_does_not_fit_into_memory_is_sampled_or_refused(tmp_path):
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        for start in range(0, 6_000_000, 100_000):
            file.write(b"".join(b"%d\n" % number for number in range(start, start + 100_000)))
    script = textwrap.dedent(
        """
        import resource, sys
        from hotset.lab import read_trace, TraceError
        used = int(open("/proc/self/statm").read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20),) * 2)
        try:
            print(len(read_trace(sys.argv[1], sample=float(sys.argv[2]))) > 0)
        except TraceError as error:
            print(error)
        """
    )

    def run(sample):
        command = [sys.executable, "-c", script, str(path), sample]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    whole, part = run("1"), run("0.01")
    assert "memory is out after" in whole.stdout, whole.stderr
    assert part.stdout == "True\n", part.stderr
