"""The report's Markdown as HTML."""

from dropeact.report.markdown import headings, html, inline, slug

TABLE = "| | x |\n|---|---:|\n| a \\| b | [l](#q) |\n"


def test_an_anchor_is_the_one_that_github_gives():
    assert slug("What was printed, against its own raw figures") == "what-was-printed-against-its-own-raw-figures"
    page = html("## Why *to* believe it\n\n### Not in the contents\n", {})
    assert '<h3 id="not-in-the-contents">' in page
    assert headings(page) == [("why-to-believe-it", "Why <em>to</em> believe it")]


def test_a_table_lies_in_a_box_named_by_the_title_below_it_or_the_heading_above_it():
    box = '<div class="scroll" tabindex="0" role="group" aria-label="{}">\n<table>'
    assert box.format("Norms") in html(f"## Above\n\n{TABLE}\n*Norms.* Of a text.\n", {})
    assert box.format("Above") in html(f"## Above\n\n{TABLE}\nOf a *text*.\n", {})
    assert html(TABLE, {}).count("</div>") == 1


def test_the_first_cell_of_a_row_is_its_heading_and_an_empty_one_is_none():
    page = html(TABLE, {})
    assert '<td class="short"></td>' in page
    assert '<th class="short" scope="row">a | b</th>' in page
    assert page.count('scope="col"') == 1
    assert '<a href="#q">l</a></td>' in page


def test_an_image_holds_what_it_links_to_and_can_be_scrolled():
    page = html("![Norms](norms.svg)\n", {"norms.svg": "data:image/svg+xml;base64,AA"})
    assert '<p class="scroll picture" tabindex="0" role="group" aria-label="Norms">' in page
    assert '<img src="data:image/svg+xml;base64,AA" alt="Norms" />' in page


def test_what_a_result_says_of_itself_is_no_markup():
    page = html("<script>x</script> a <b>b</b>\n\n[c](javascript:x)\n", {})
    assert "<script" not in page
    assert "<b>" not in page
    assert "href" not in page
    assert inline("`a` <b> *c*") == "<code>a</code> &lt;b&gt; <em>c</em>"
