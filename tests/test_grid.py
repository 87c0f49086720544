"""A table as HTML; the terminal's and Markdown's are seen in the views' tests."""

from bench.grid import Grid, to_html, words


def test_html_has_all_of_a_grid_escaped() -> None:
    grid = Grid("a < b", ["Name", "n"], [["<x>", "1"]], notes=["not & more"], warnings=["w > v"])
    assert (
        to_html(grid)
        == grid._repr_html_()
        == (
            "<p><b>a &lt; b</b></p><p><b>Warning:</b> w &gt; v</p>"
            '<table><thead><tr><th style="text-align:left">Name</th>'
            '<th style="text-align:right">n</th></tr></thead>'
            '<tbody><tr><td style="text-align:left">&lt;x&gt;</td>'
            '<td style="text-align:right">1</td></tr></tbody></table>'
            "<p><small>not &amp; more</small></p>"
        )
    )
    assert "right" not in to_html(words("", ["a", "b"], [("c", "d")]))
    assert "<table>" not in to_html(Grid("nothing", [], [], ["why"]))
