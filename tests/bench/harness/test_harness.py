"""What the harness must notice, each with a case that it does not let pass."""

import gzip
import json
import os
import sys
import tempfile
import unittest

from . import entries, machine, measures, picture, programs, results, table, tracing


def rate(ours=500.0, theirs=100.0, aim="ratio >= 5", name="append-cipher"):
    return entries.entry(name, "Rows", "events/s", ours, "SQLCipher", theirs, aim)


class Entries(unittest.TestCase):
    def test_an_entry_has_the_fields_of_the_issue_and_judges_its_aim(self):
        found = rate()
        self.assertEqual(list(found), ["id", "what", "unit", "ours", "peer", "theirs", "ratio", "aim", "met"])
        self.assertEqual((found["ratio"], found["met"]), (5.0, True))
        self.assertFalse(rate(ours=499)["met"])
        self.assertFalse(entries.entry("a", "b", "bytes", 201, aim="ours <= 200")["met"])
        self.assertTrue(entries.entry("a", "b", "bytes", 200, aim="ours <= 200")["met"])

    def test_without_a_peer_there_is_no_ratio_and_nothing_is_met_by_it(self):
        found = rate(theirs=None)
        self.assertEqual((found["peer"], found["theirs"], found["ratio"], found["met"]), (None, None, None, None))

    def test_an_aim_or_a_unit_that_nobody_knows_is_refused(self):
        with self.assertRaises(ValueError):
            rate(aim="faster")
        with self.assertRaises(ValueError):
            entries.entry("a", "b", "furlongs", 1)

    def test_a_verdict_that_the_figures_do_not_bear_is_found(self):
        for change in ({"met": False}, {"ours": "500"}, {"unit": "furlongs"}, {"peer": None}, {"id": "A b"}):
            self.assertTrue(entries.problems({**rate(), **change}), change)
        self.assertTrue(entries.problems({"id": "a"}))
        self.assertEqual(entries.problems(rate()), [])

    def test_a_regression_is_a_ratio_that_fell_not_a_slower_machine(self):
        self.assertIsNone(entries.regression(rate(), rate(ours=50, theirs=10)))
        self.assertIsNone(entries.regression(rate(), rate(ours=400)))
        self.assertIn("ratio 5 -> 3.7", entries.regression(rate(), rate(ours=370)))
        bytes_ = lambda count: entries.entry("a", "b", "bytes", count)
        self.assertIsNone(entries.regression(bytes_(199), bytes_(199)))
        self.assertIsNone(entries.regression(bytes_(199), bytes_(150)))
        self.assertIn("199 -> 210", entries.regression(bytes_(199), bytes_(210)))
        time = lambda value: entries.entry("a", "b", "ms", value)
        self.assertIsNone(entries.regression(time(1), time(100)))


class Results(unittest.TestCase):
    def whole(self, *found):
        return results.merged(results.load("/nowhere"), list(found), {"cores": 2}, {"rust": "1"}, measures.order())

    def test_one_entry_is_replaced_and_the_others_stay_in_their_order(self):
        before = self.whole(rate(), rate(name="append-plain"), rate(name="open-flat"))
        after = results.merged(before, [rate(ours=900, name="append-plain")], {}, {}, measures.order())
        self.assertEqual([entry["id"] for entry in after["results"]], ["append-cipher", "append-plain", "open-flat"])
        self.assertEqual([entry["ours"] for entry in after["results"]], [500, 900, 500])

    def test_a_file_of_wrong_form_is_not_written_and_the_old_one_stays(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "results.json")
            results.write(path, self.whole(rate()))
            with self.assertRaises(ValueError):
                results.write(path, self.whole({**rate(), "met": False}))
            with open(path, encoding="utf-8") as file:
                self.assertEqual(json.load(file)["results"], [rate()])
            self.assertEqual(os.listdir(folder), ["results.json"])

    def test_an_entry_twice_and_a_field_too_many_are_found(self):
        good = self.whole(rate())
        self.assertEqual(results.problems(good), [])
        self.assertTrue(results.problems({**good, "results": [rate(), rate()]}))
        self.assertTrue(results.problems({**good, "host": "x"}))

    def test_what_got_worse_is_named(self):
        before = self.whole(rate(), rate(name="append-plain"))
        worse = results.regressions(before, [rate(ours=300), rate(name="append-plain"), rate(name="open-flat")])
        self.assertEqual(len(worse), 1)
        self.assertIn("append-cipher", worse[0])

    def test_the_machine_is_described_without_its_name(self):
        said = machine.describe(os.getcwd())
        self.assertEqual(list(said), ["cpu", "cores", "memory_gb", "system", "file_system"])
        self.assertNotIn(os.uname().nodename, said.values())
        self.assertNotIn("/", str(said["file_system"]))


class Shown(unittest.TestCase):
    def test_a_picture_has_a_bar_for_each_side_as_long_as_its_figure(self):
        drawn = picture.draw(rate())
        self.assertIn("SQLCipher", drawn)
        widths = [int(part.split('"')[0]) for part in drawn.split('width="')[2:]]
        self.assertAlmostEqual(widths[0] / widths[1], 5, delta=0.1)
        self.assertIn("aim: ratio &gt;= 5 — met", drawn)

    def test_pictures_of_what_is_measured_no_longer_go(self):
        with tempfile.TemporaryDirectory() as folder:
            picture.write(folder, [rate(), rate(name="open-flat")])
            picture.write(folder, [rate()])
            self.assertEqual(os.listdir(folder), ["append-cipher.svg"])

    def test_the_table_says_what_was_missed(self):
        text = "\n".join(table.lines([rate(), rate(ours=100, name="append-plain")]))
        self.assertEqual(text.count("MISSED"), 1)
        self.assertEqual(text.count(" met"), 1)


class Traces(unittest.TestCase):
    def replayed(self, trace):
        text = ""
        for at, deleted, inserted in trace["edits"]:
            self.assertLessEqual(at + deleted, len(text))
            text = text[:at] + inserted + text[at + deleted :]
        return text

    def test_a_made_trace_has_the_counts_of_the_real_one_and_makes_its_text(self):
        trace = tracing.made(2_597)
        self.assertEqual(len(trace["edits"]), 2_597)
        self.assertEqual(sum(deleted for _, deleted, _ in trace["edits"]), 2_597 * 77_463 // 259_778)
        self.assertEqual(self.replayed(trace), trace["text"])
        self.assertEqual(trace, tracing.made(2_597))

    def test_a_recorded_trace_is_read(self):
        recorded = {"startContent": "", "endContent": "ac", "txns": [{"patches": [[0, 0, "ab"]]}, {"patches": [[1, 1, "c"]]}]}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "trace.json.gz")
            with gzip.open(path, "wt", encoding="utf-8") as file:
                json.dump(recorded, file)
            trace = tracing.real(path)
        self.assertEqual(self.replayed(trace), trace["text"])


class Programs(unittest.TestCase):
    def test_what_a_program_says_and_takes_is_given(self):
        said = programs.run(sys.executable, "-c", "print('{\"a\": 1}')")
        self.assertEqual(said["a"], 1)
        self.assertTrue(said["wall"] > 0 and said["used_cpu"] > 0)

    def test_a_program_that_fails_fails_the_run_with_its_words(self):
        with self.assertRaisesRegex(programs.Failed, "why not"):
            programs.run(sys.executable, "-c", "raise SystemExit('why not')")
        with self.assertRaises(programs.Failed):
            with programs.Staying(sys.executable, "-c", "raise SystemExit(3)") as staying:
                staying.heard()

    def test_only_takes_a_measure_or_an_entry(self):
        self.assertEqual(measures.chosen("open-flat"), ["open"])
        self.assertEqual(measures.chosen("wake"), ["wake"])
        with self.assertRaises(SystemExit):
            measures.chosen("nothing")


if __name__ == "__main__":
    unittest.main()
