"""FINDINGS.md and the HTML page of the accepted results say the same."""

import html
import re
from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from dropeact import bundled
from dropeact.measured import of_run
from dropeact.report.html import write_html
from dropeact.report.html_charts import CHARTED, charts
from dropeact.report.html_trajectory import trajectory
from dropeact.report.markdown import headings
from dropeact.store import Store
from dropeact.verdicts.records import read_verdicts

RESULTS = Path(__file__).parents[2] / "results" / "smollm2-135m"
INLINE = "a|b|cite|code|em|i|span|strong"
BREAKS = ("softbreak", "hardbreak")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    records, _ = read_verdicts(RESULTS / "verdicts.json")
    return write_html(RESULTS, records=records, output=tmp_path_factory.mktemp("page") / "report.html").read_text()


@pytest.fixture(scope="module")
def findings():
    return (
        MarkdownIt("commonmark").enable("table").parse((bundled.folder("results").parent / "FINDINGS.md").read_text())
    )


def flat(text):
    return " ".join(text.split())


def words_of(page):
    """The text of an HTML page: inline elements are gone, others end a line."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    return flat(html.unescape(re.sub(r"<[^>]+>", " | ", re.sub(rf"</?({INLINE})\b[^>]*>", "", body))))


def plain(token):
    """The text of a Markdown token: without emphasis and addresses."""
    return flat("".join(" " if c.type in BREAKS else c.content for c in token.children if c.type != "html_inline"))


def image(token):
    return token.children[0] if [child.type for child in token.children or ()] == ["image"] else None


def texts(findings):
    """Every paragraph, cell and item of FINDINGS.md, but for what a chart of the page says in its own words."""
    charted = False
    for token in findings:
        if token.type != "inline":
            continue
        shown = image(token)
        if shown is None and not charted:
            yield from plain(token).removeprefix("Measured: ").split(" · ")
        charted = shown is not None and Path(str(shown.attrs["src"])).stem in CHARTED


def test_every_heading_of_the_report_has_its_counterpart(page, findings):
    held = [
        flat(html.unescape(re.sub(r"<[^>]+>", "", title))) for title in re.findall(r"<h[123]\b[^>]*>(.+?)</h", page)
    ]
    wanted = [plain(findings[at + 1]) for at, token in enumerate(findings) if token.type == "heading_open"]
    assert len(wanted) > 80
    assert [title for title in wanted if title not in held] == []


def test_every_paragraph_cell_and_item_of_the_report_is_on_the_page(page, findings):
    held, wanted = words_of(page), set(texts(findings))
    assert len(wanted) > 1500
    assert sorted(text for text in wanted if text not in held) == []


def test_every_figure_of_the_report_is_held_or_charted(page, findings):
    named = re.findall(r'<img src="data:image/svg[^"]+" alt="([^"]+)"', page)
    shown = [found for token in findings if token.type == "inline" if (found := image(token))]
    assert len(shown) > 20
    for figure in shown:
        if (stem := Path(str(figure.attrs["src"])).stem) in CHARTED:
            assert all(f'id="{element}"' in page for element in CHARTED[stem]), stem
        else:
            assert figure.content in map(html.unescape, named), stem


def test_every_link_leads_somewhere_and_no_anchor_is_twice(page):
    anchors = Counter(re.findall(r'\bid="([^"]+)"', page))
    assert [anchor for anchor, count in anchors.items() if count > 1] == []
    assert set(re.findall(r'href="#([^"]+)"', page)) - anchors.keys() == set()
    assert anchors.keys() >= {record.id for record in read_verdicts(RESULTS / "verdicts.json")[0]}


def test_the_contents_name_every_section(page):
    contents = re.search(r"<nav.*?</nav>", page, re.S)
    assert contents is not None
    assert re.findall(r'href="#([^"]+)">(.+?)</a>', contents[0]) == headings(page)
    assert len(headings(page)) == page.count("<h2")


def test_every_heading_of_a_table_says_of_what_it_is(page):
    assert page.count("<table") > 40
    assert [cell for cell in re.findall(r"<th\b[^>]*>", page) if "scope=" not in cell] == []
    boxed = len(re.findall(r'class="scroll"[^>]*>\s*<table', page))
    assert boxed == page.count("<table") - 1  # that of every record folds into cards


def test_every_chart_has_a_caption_and_titles_on_both_axes(page):
    store = Store(RESULTS)
    drawn = [*charts(of_run(store, store.read_run())), *trajectory(RESULTS)]
    assert page.count('<figure class="chart"') == len(drawn) > 10
    for chart in drawn:
        assert f'<span class="y-title">{html.escape(chart.labels.y_title)}</span>' in page
        assert f'<span class="x-title">{html.escape(chart.labels.x_title)}</span>' in page
        assert chart.labels.x_title
        assert chart.labels.y_title
        assert chart.labels.caption
        assert not [text for _, text in (*chart.x_ticks, *chart.y_ticks, *chart.steps) if "e" in text], chart.labels.id
