"""Tests of what speed.py computes and writes; they need neither program. `python3 -m unittest discover scripts/peers`"""

import argparse
import unittest

import speed
from speed import AS_FILE, OURS, REPACKED

RATES = {OURS: [30.0, 10.0, 20.0], REPACKED: [10.0, 10.0, 16.0], AS_FILE: [4.0, 200.0, 8.0]}


def asked(**changed):
    return argparse.Namespace(**({"prompt_tokens": 512, "decode": 64, "batch": [1, 8], "ctx_at": 8192} | changed))


class Speed(unittest.TestCase):
    def test_the_better_setting_is_that_of_the_medians_and_ratios_are_of_rounds(self):
        medians, better, ratios = speed.summary(RATES)
        self.assertEqual(medians, {OURS: 20.0, REPACKED: 10.0, AS_FILE: 8.0})
        self.assertEqual(better, REPACKED)
        self.assertEqual(ratios, (1.25, 1.0, 3.0))

    def test_a_table_has_a_line_for_each_figure(self):
        lines = speed.table({"decode": RATES, "prefill": {name: [123.456] for name in speed.PROGRAMS}}).splitlines()
        self.assertEqual(len(lines), 4)
        self.assertEqual({line.count(" | ") for line in lines}, {4})
        self.assertEqual(lines[2], "| decode | 20.00 | **10.00** | 8.00 | 1.25 (1.00 to 3.00) |")
        self.assertEqual(lines[3], "| prefill | 123.5 | **123.5** | 123.5 | 1.00 (1.00 to 1.00) |")

    def test_a_record_names_machine_versions_and_commands(self):
        about = {"name": "a.gguf", "date": "2026-01-02", "cpu": "A CPU", "cpus": 2, "memory_bytes": 8 << 30, "kernel": "6.1"}
        about |= {"file_bytes": 1234567, "threads": 2, "rounds": 3, "ssd_llm": "ssd-llm 0.1.0", "commit": "abc"}
        about |= {"llama_cpp_python": "0.3", "system": "AVX2 = 1", "commands": ["one", "two"]}
        text = speed.record(about, {"decode": RATES})
        for part in ["a.gguf against llama.cpp, 2026-01-02", "A CPU, 2 cores, 8 GiB", "1,234,567 bytes", "commit abc",
                     "llama-cpp-python 0.3", "AVX2 = 1", "\n    one\n    two\n", speed.table({"decode": RATES})]:
            self.assertIn(part, text)

    def test_cases_stay_within_the_context_a_model_was_made_for(self):
        found = speed.cases(asked(), 8192)
        self.assertEqual([(c.prompt, c.batch, c.flash) for c in found],
                         [(512, 1, False), (32, 1, False), (32, 8, False), (8128, 1, True)])
        self.assertTrue(all(case.prompt + case.decode <= 8192 for case in found))
        self.assertEqual(speed.cases(asked(prompt_tokens=0, batch=[], ctx_at=0), 8192), [])

    def test_both_programs_are_asked_for_the_same(self):
        case = speed.Case(100, 20, 4, flash=True)
        self.assertIn("--ctx 120 --batch 4", " ".join(map(str, case.ours("f", 2))))
        self.assertEqual(case.theirs("f", 2, True)[-2:], ["--flash", "--no-repack"])
        self.assertEqual(case.theirs("f", 2, False)[-1], "--flash")

    def test_prompts_are_those_of_bench(self):
        # The same numbers stand in the test of `synthetic_prompt` in crates/ssd-llm/src/cmd/bench.rs.
        self.assertEqual(speed.prompts(4, 49152, 2), [[30377, 11603, 41980, 23206], [11603, 41980, 23206, 30377]])


if __name__ == "__main__":
    unittest.main()
