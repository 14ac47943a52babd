"""scripts/dashboard puts Grafana's expressions to Prometheus as Grafana does, and draws what comes back."""

import json
import unittest

from scripts import load

script = load("dashboard")


class Dashboard(unittest.TestCase):
    def test_no_variable_of_grafana_is_left_in_an_expression(self):
        panels = json.loads(script.DASHBOARD.read_text(encoding="utf-8"))["panels"]
        for panel in panels:
            for target in panel["targets"]:
                self.assertNotIn("$", script.expression(target["expr"]), panel["title"])
            unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "short")
            self.assertIn(unit, script.UNITS, panel["title"])

    def test_a_legend_has_the_labels_that_are_there(self):
        labels = {"provider": "corp", "instance": "gateway-1"}
        for text, name in (("{{provider}} on {{instance}} {{exported_instance}}", "corp on gateway-1"), ("p99", "p99"),
                           ("", "instance=gateway-1, provider=corp")):
            self.assertEqual(script.legend(text, labels), name)

    def test_values_are_short_and_have_their_unit(self):
        for value, unit, text in ((0.25, "percentunit", "25%"), (1234.5, "reqps", "1,234 req/s"), (12.34, "s", "12.3 s"),
                                  (0.5, "short", "0.50"), (3, "short", "3")):
            self.assertEqual(script.number(value, unit), text)
        self.assertEqual([script.ceiling(top) for top in (0, 0.3, 1, 3, 7, 24)], [1, 0.5, 1, 5, 10, 25])

    def test_a_page_has_each_panel_and_says_where_there_is_nothing(self):
        place = {"x": 0, "y": 0, "w": 12, "h": 8}
        panel = {"type": "timeseries", "title": "Keys & more", "gridPos": place, "targets": []}
        stat = {"type": "stat", "title": "Versions", "gridPos": {**place, "y": 8}, "targets": []}
        empty = {**panel, "title": "Nothing", "gridPos": {**place, "y": 16}}
        answers = [(panel, [("corp", [(0.0, 1.0), (60.0, 3.0)])]), (stat, [("0.1.0", [(60.0, 2.0)])]), (empty, [])]
        text, height = script.page(answers, script.THEMES["dark"], (0.0, 60.0))
        self.assertEqual(height, 24 * script.ROW)
        for words in ("Keys &amp; more", "<polyline", "corp", "0.1.0 <b>2</b>", "Nothing", "No data"):
            self.assertIn(words, text)


if __name__ == "__main__":
    unittest.main()
