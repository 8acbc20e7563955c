import html
import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from dropeact.axes import InputError
from dropeact.measured import natural
from dropeact.report import observed, words
from dropeact.report.effects import replications, sentence
from dropeact.report.html import write_html
from dropeact.report.html_charts import heat_maps
from dropeact.report.html_lines import number_line, published_value, ticks
from dropeact.report.html_trajectory import trajectory
from dropeact.report.trajectory_figure import trajectory_figure
from dropeact.store import Store
from dropeact.verdicts import judge
from tests.report.browser import axe, browser, missing
from tests.synthetic_results import PAIR, results

MOVED = {"query_count": 0.5, "key_count": 0.8, "surge": 6.0, "sink": 0.6, "peak": 0.5, "entropy": 0.4, "massive": 0.5}
needs_browser = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is there")


def recalibration():
    """Three stages of a trajectory: RoPE, just dropped, after 1,000 tokens."""
    ones = np.ones((3, 4, 2))
    by_layer = ("stage", "text", "layer")
    return xr.Dataset(
        {
            "massive_count": ((*by_layer, "tensor"), 7.0 * np.ones((3, 4, 2, 2))),
            "sink_rate": (by_layer, 0.5 * ones),
            "first_norm": (("stage", "text", "depth"), ones),
            "entropy": (("stage", "text", "depth"), ones),
            "nats": (("stage", "text", "position_bin"), np.array([3.0, 5.0, 3.5])[:, None, None] * ones),
        },
        coords={"tokens": ("stage", [np.nan, 0.0, 1000.0]), "tensor": ["query", "key"], "text": list("abcd")},
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = results(tmp_path_factory.mktemp("planted"), plant={"drope": MOVED})
    recalibration().to_netcdf(folder / "trajectory.nc", engine="h5netcdf")
    return folder


@pytest.fixture(scope="module")
def records(planted):
    return [record for record in judge(planted) if record.verdict != "not measured"]


@pytest.fixture(scope="module")
def page(planted, records):
    return write_html(planted, records=records)


@pytest.fixture(scope="module")
def chromium():
    with browser() as session:
        yield session


def test_the_page_has_the_numbers_of_the_report_for_every_record(page, records):
    text = html.unescape(page.read_text())
    for record in records:
        for shown in (
            words.measured(record),
            words.region(record),
            words.headline(record),
            words.MARKS[record.verdict],
        ):
            assert shown in text, (record.key, shown)
        only = "" if record.set == "core" else f" --only={record.set}"
        command = f"pytest -m claims --rope=rope --drope=drope --fresh{only} --out=runs/{record.id} -k {record.id}"
        assert command in text


def test_the_page_has_every_table_of_what_is_stored(page, planted):
    text = html.unescape(page.read_text())
    tables = [table for group in observed.tables(natural(Store(planted), PAIR)).values() for table in group]
    assert tables
    for table in tables:
        assert f"<em>{table.title}.</em> {table.caption}" in text
        for label, cells in table.rows:
            row = "".join(rf"\s*<td[^>]*>{re.escape(cell)}</td>" for cell in cells)
            assert re.search(rf'<th[^>]* scope="row">{re.escape(label)}</th>{row}', text), label


def test_replication_stands_beside_printed_spreads(page, planted):
    text = html.unescape(page.read_text())
    found = replications(planted)
    assert found
    for comparison in found.values():
        assert sentence(comparison) in text


def test_the_page_asks_for_nothing_outside_itself_and_is_small(page):
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", text)
    assert not re.findall(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text
    assert page.stat().st_size < 6_000_000


def test_the_same_results_give_the_same_bytes(page, planted, records, tmp_path):
    assert write_html(planted, records=records, output=tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_a_heat_map_calls_no_head_a_sink_that_is_none(planted):
    view = natural(Store(planted), PAIR)
    for model, drawn in zip(view.columns, heat_maps(view), strict=True):
        scores = model.sink_scores().mean("text").transpose("layer", "head").values
        shown = np.array(drawn.hundredths)
        assert ((shown >= 30) == (scores >= 0.3)).all()
        assert (np.abs(shown + 0.5 - 100 * scores) <= 0.5).all()


def test_a_trajectory_is_drawn_where_there_is_one_against_hand_count(page, planted, tmp_path):
    assert 'id="trajectory"' in page.read_text()
    loss, massive, *_ = trajectory(planted)
    assert (loss.labels.title, loss.labels.y_title, loss.steps) == (
        "Loss",
        "loss (nats per token)",
        [(0.0, "0"), (100.0, "1,000")],
    )
    assert [series.values for series in loss.series] == [["3.00", "3.00"], ["5.00", "3.50"]]
    assert massive.series[1].values == ["14.0", "14.0"]
    assert trajectory(tmp_path) == []
    (tmp_path / "trajectory.nc").write_text("damaged")
    with pytest.raises(InputError, match="got a damaged"):
        trajectory(tmp_path)


@pytest.mark.parametrize("lacking", ["nats", "massive_count", "tokens"])
def test_a_trajectory_of_other_content_is_refused_by_what_it_lacks(lacking, tmp_path):
    recalibration().drop_vars(lacking).to_netcdf(tmp_path / "trajectory.nc", engine="h5netcdf")
    for read in (trajectory, lambda folder: trajectory_figure(folder, tmp_path / "figures")):
        with pytest.raises(
            InputError, match=f"expected a trajectory of dropeact; got .*trajectory.nc without {lacking}"
        ):
            read(tmp_path)


def test_a_trajectory_of_other_dims_is_refused(tmp_path):
    data = recalibration()
    data.assign(nats=data["nats"].isel(stage=0, drop=True)).to_netcdf(tmp_path / "trajectory.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="without nats"):
        trajectory(tmp_path)


def test_a_number_line_places_region_and_estimate_in_order(records):
    for record in records:
        line = number_line(record)
        assert line is not None
        inside = line.region.left <= line.estimate <= line.region.left + line.region.width
        low, high = record.region["low"], record.region["high"]
        assert inside == ((low is None or record.estimate >= low) and (high is None or record.estimate <= high))
        assert all(0 <= at <= 100 for at, _ in line.ticks)


def test_a_published_change_is_a_ratio_against_hand_count(records):
    query = next(record for record in records if record.id == "massive-query-reduction")
    assert published_value(query) == pytest.approx(1 - 0.39)
    assert published_value(replace(query, kind="magnitude")) is None  # its region lies around the figure


def test_ticks_are_round_numbers_against_hand_count():
    assert ticks(0.33, 1.07) == [0.4, 0.6, 0.8, 1.0]
    assert ticks(-3.0, 101.0) == [0.0, 50.0, 100.0]


@needs_browser
@pytest.mark.parametrize("width", [360, 1440])
def test_the_page_is_ready_and_silent_and_fits(chromium, page, width, tmp_path):
    chromium.open(page, width=width)
    assert chromium.run("return document.documentElement.dataset.ready") == "yes"
    assert chromium.run("return document.documentElement.scrollWidth") <= width
    assert chromium.console() == []
    chromium.picture(tmp_path / f"{width}.png")


@needs_browser
def test_filters_show_what_they_name(chromium, page, records):
    chromium.open(page)
    shown = "return [...document.querySelectorAll('tr.item')].filter(row => !row.hidden).length"
    change = (
        "const field = document.querySelector(arguments[0]);"
        "if (field.type === 'checkbox') field.checked = false; else field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}));"
    )
    assert chromium.run(shown) == len(records)
    for field, value, kept in (
        ("[name=experiment]", "4", lambda r: r.experiment == "4"),
        ("[name=source]", records[0].source, lambda r: r.source == records[0].source),
        ("[name=text]", "massive-query", lambda r: r.id == "massive-query-reduction"),
        ("[name=verdict][value=supported]", "", lambda r: r.verdict != "supported"),
    ):
        chromium.open(page)
        chromium.run(change, field, value)
        wanted = sum(map(kept, records))
        assert chromium.run(shown) == wanted, field
        assert chromium.run("return document.getElementById('shown').textContent").startswith(f"{wanted} of")
    chromium.run("document.querySelector('button[type=reset]').click()")
    assert chromium.wait(f"setTimeout(() => arguments[0]((() => {{{shown}}})()), 50)") == len(records)


@needs_browser
def test_the_keyboard_alone_filters_and_an_empty_table_says_so(chromium, page, records):
    tab, space, down, enter = "\ue004", " ", "\ue015", "\ue007"
    chromium.open(page)
    focus = "const on = document.activeElement; return [on.name || '', on.value || '', on.textContent]"
    shown = "return document.getElementById('shown').textContent"
    chromium.run("document.querySelector('.skip').focus()")
    chromium.keys(f"{enter}{tab}")
    assert chromium.run(focus)[0] == "verdict"
    verdict = chromium.run(focus)[1]
    chromium.keys(space)
    left = sum(record.verdict != verdict for record in records)
    assert chromium.run(shown) == f"{left} of {len(records)} claims"
    chromium.keys(tab * len({record.verdict for record in records}) + down)
    assert chromium.run(focus)[0] == "experiment"
    first = records[0].experiment
    left = sum(record.verdict != verdict and record.experiment == first for record in records)
    assert chromium.run(shown) == f"{left} of {len(records)} claims"
    chromium.keys(f"{tab}{tab}zzz")
    assert chromium.run(shown) == f"0 of {len(records)} claims"
    assert chromium.run("return document.getElementById('none').hidden") is False
    assert chromium.run("return document.querySelectorAll('section.experiment:not([hidden])').length") == 0
    chromium.keys(f"{tab}{space}")
    assert chromium.wait(f"setTimeout(() => arguments[0]((() => {{{shown}}})()), 50)").startswith(f"{len(records)} of")
    assert chromium.run("return document.getElementById('none').hidden") is True
    assert chromium.console() == []


@needs_browser
def test_a_link_to_a_hidden_claim_shows_it(chromium, page, records):
    chromium.open(page)
    last = records[-1]
    chromium.run("document.querySelector('[name=text]').focus()")
    chromium.keys("zzz")
    chromium.run(f"location.hash = '{words.anchor(last)}'")
    hidden = f"document.getElementById('{words.anchor(last)}').closest('[hidden]') !== null"
    assert chromium.wait(f"setTimeout(() => arguments[0]({hidden}), 100)") is False


@needs_browser
def test_the_keyboard_walks_the_heat_map_and_reads_a_chart(chromium, page):
    chromium.open(page)
    chromium.run("document.querySelector('.heat td').focus()")
    chromium.keys("\ue014\ue015")  # right, down
    assert chromium.run("return document.getElementById('cell').textContent").startswith("Layer 1, head 1: RoPE 0.")
    chromium.run("document.querySelector('.reader').focus()")
    chromium.keys("\ue014")
    text = chromium.run("return document.querySelector('.readout').textContent")
    assert text.startswith("layer 1 · RoPE ")
    row = "return document.querySelector('figure.chart tbody').rows[1].cells[3].textContent"
    assert text.endswith(f"DroPE {chromium.run(row)}")
    assert chromium.console() == []


@needs_browser
@pytest.mark.skipif(axe() is None, reason="axe-core is not there: npm install --no-save axe-core, or set AXE_CORE")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium, page, scheme):
    source = axe()
    assert source is not None
    chromium.command("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    chromium.open(page)
    chromium.run(source.read_text())
    script = "const done = arguments[0]; axe.run().then(found => done(found.violations.map(v => [v.impact, v.id])))"
    assert [found for found in chromium.wait(script) if found[0] in ("serious", "critical")] == []
