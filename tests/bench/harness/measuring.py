"""Warm-ups, medians, and both sides in turn: a machine that is busy for a while is busy for both."""

import statistics


def median(answers, field):
    values = [answer[field] for answer in answers]
    return None if any(value is None for value in values) else statistics.median(values)


def spread(values):
    return f"{min(values):.4g} to {max(values):.4g}"


class Bench:
    """What a measure works with."""

    def __init__(self, programs, folders, sizes, alone=False):
        self.programs, self.folders, self.sizes = programs, folders, sizes
        # Without peers: our programs alone, to show that they run.
        self.alone = alone

    def in_turn(self, runs, **sides):
        """Calls each side once to warm up, then all of them in turn, `runs` times. Gives what each said, side by side."""
        said = {name: [] for name, side in sides.items() if side is not None}
        for number in range(-1 if runs > 1 else 0, runs):
            for name in said:
                answer = sides[name]()
                if number >= 0:
                    said[name].append(answer)
        for name, answers in said.items():
            for field in ("seconds", "wall"):
                if field in answers[0]:
                    print(f"  {name}: {field} {spread([answer[field] for answer in answers])} in {len(answers)} runs", flush=True)
                    break
        return {name: said.get(name) for name in sides}

    def theirs(self, side):
        return None if self.alone else side
