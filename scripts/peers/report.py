"""Tables of measurements: to read, as Markdown, and as an object with every run behind them."""

import json
import statistics


def median(values):
    """The median of what was measured, or None if nothing was."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def show(value, form="{:.2f}"):
    """A figure, or a dash where there is none."""
    return "-" if value is None else form.format(value)


def plain(cell):
    return f"{cell:g}" if isinstance(cell, float) else str(cell)


class Report:
    """What one command measured: a table, the figures that have a goal, and the runs as they were."""

    def __init__(self, name, what):
        self.name, self.what = name, what
        self.columns, self.rows, self.figures, self.runs, self.notes = [], [], [], [], []
        self.good = True

    def row(self, **cells):
        """Adds a line to the table; the names of the first line's cells head its columns."""
        self.columns = self.columns or list(cells)
        self.rows.append([plain(cell) for cell in cells.values()])

    def figure(self, name, value, goal="", good=None, at="any"):
        """Adds one figure of the closing table. `at` is its column there; `good` is None where there is no goal."""
        self.figures.append({"figure": name, "at": plain(at), "value": value, "goal": goal, "good": good})
        self.good = self.good and good is not False

    def note(self, text):
        """Adds a sentence below the table, once."""
        if text not in self.notes:
            self.notes.append(text)

    def print(self):
        print(f"\n{self.name}: {self.what}\n")
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows)]
        for cells in [self.columns, *self.rows]:
            print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths)))
        for note in self.notes:
            print(note)
        for figure in self.figures:
            word = {True: "ok  ", False: "MISS", None: "    "}[figure["good"]]
            where = "" if figure["at"] == "any" else f" at {figure['at']}"
            goal = f" (goal {figure['goal']})" if figure["goal"] else ""
            print(f"{word} {figure['figure']}{where}: {figure['value']}{goal}", flush=True)

    def as_object(self):
        tables = {"columns": self.columns, "rows": self.rows, "notes": self.notes, "figures": self.figures}
        return {"name": self.name, "what": self.what, **tables, "runs": self.runs}


def markdown(reports):
    """The figures of all reports as one table, a column for each ratio."""
    figures = [figure for report in reports for figure in report.figures]
    places = sorted({f["at"] for f in figures if f["at"] != "any"}, key=float)
    places += ["any"] if any(f["at"] == "any" for f in figures) else []
    lines = [["figure", "goal", *places], ["---"] * (2 + len(places))]
    for name in dict.fromkeys(f["figure"] for f in figures):
        own = [f for f in figures if f["figure"] == name]
        goals = dict.fromkeys(f["goal"] for f in own if f["goal"])
        cells = {f["at"]: f["value"] + (" (missed)" if f["good"] is False else "") for f in own}
        lines.append([name, ", ".join(goals), *(cells.get(place, "") for place in places)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_json(path, machine, command, reports):
    """Writes everything; called after each report, so that an interrupted series keeps what it had."""
    whole = {"command": command, "machine": machine, "reports": [report.as_object() for report in reports]}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(whole, file, indent=1)
        file.write("\n")
