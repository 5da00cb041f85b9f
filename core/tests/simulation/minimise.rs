//! From a schedule that fails to a short one that fails in the same way: delta debugging (Zeller and Hildebrandt, *Simplifying and Isolating
//! Failure-Inducing Input*, 2002), first over steps, then over their numbers.

use super::step::Step;

/// Takes away and simplifies as much of `steps` as it can while `fails` still holds, in at most `budget` tries.
pub fn minimise(steps: &[Step], budget: usize, fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut search = Search {
        steps: steps.to_vec(),
        left: budget,
        fails,
    };
    loop {
        let before = search.steps.clone();
        search.remove_steps();
        search.simplify_numbers();
        if search.steps == before || search.left == 0 {
            return search.steps;
        }
    }
}

struct Search<F> {
    /// The best so far: it fails.
    steps: Vec<Step>,
    left: usize,
    fails: F,
}

impl<F: FnMut(&[Step]) -> bool> Search<F> {
    /// Keeps `other` if it fails too.
    fn try_keep(&mut self, other: Vec<Step>) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        let fails = (self.fails)(&other);
        if fails {
            self.steps = other;
        }
        fails
    }

    /// Removes runs of steps: half of them at once, then a quarter, down to single ones. The last first, since what comes after the failure is
    /// never needed.
    fn remove_steps(&mut self) {
        let mut chunk = self.steps.len().div_ceil(2);
        while chunk > 0 {
            let mut removed = false;
            let mut end = self.steps.len();
            while end > 0 {
                let begin = end.saturating_sub(chunk);
                let mut without = self.steps.clone();
                without.drain(begin..end);
                removed |= self.try_keep(without);
                end = begin;
            }
            // Single steps again until none goes: each may have held up others.
            if chunk > 1 || !removed {
                chunk /= 2;
            }
        }
    }

    /// Makes numbers smaller: none at all, a half, one less.
    fn simplify_numbers(&mut self) {
        for place in 0..self.steps.len() {
            for which in 0..self.steps[place].numbers().len() {
                loop {
                    let numbers: Vec<u64> = self.steps[place].numbers().iter().map(|(_, number)| *number).collect();
                    let now = numbers[which];
                    let smaller = [0, now / 2, now.saturating_sub(1)];
                    let kept = smaller.iter().filter(|number| **number < now).any(|number| {
                        let mut numbers = numbers.clone();
                        numbers[which] = *number;
                        let mut other = self.steps.clone();
                        other[place] = other[place].with(&numbers);
                        self.try_keep(other)
                    });
                    if !kept {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn of_a_long_schedule_only_what_the_failure_needs_stays() {
    let noise = |n: u64| Step::Edit {
        node: n % 5,
        document: n % 3,
        what: n % 4,
    };
    let mut steps: Vec<Step> = (0..200).map(noise).collect();
    steps[40] = Step::Save { node: 3, slot: 900 };
    steps[111] = Step::Append {
        node: 3,
        label: 2,
        count: 77,
        size: 5_000,
    };
    steps[190] = Step::Kill { node: 3, views: 2 };
    // Fails if node 3 is killed some time after it appended at least 10 events, some time after a backup.
    let mut tries = 0;
    let fails = |steps: &[Step]| {
        tries += 1;
        let mut found = 0;
        for step in steps {
            found = match (found, step) {
                (0, Step::Save { node: 3, .. }) => 1,
                (
                    1,
                    Step::Append {
                        node: 3, count: 10.., ..
                    },
                ) => 2,
                (2, Step::Kill { node: 3, .. }) => return true,
                _ => found,
            };
        }
        false
    };
    let short = minimise(&steps, 2_000, fails);
    let append = Step::Append {
        node: 3,
        label: 0,
        count: 10,
        size: 0,
    };
    let wanted = [
        Step::Save { node: 3, slot: 0 },
        append,
        Step::Kill { node: 3, views: 0 },
    ];
    assert_eq!(short, wanted);
    assert!(tries < 200, "{tries} tries");
}

#[test]
fn it_stops_when_its_budget_is_used_up() {
    let steps = vec![Step::Look { node: 1 }; 64];
    let mut tries = 0;
    let short = minimise(&steps, 10, |steps| {
        tries += 1;
        steps.len() > 1
    });
    assert_eq!(tries, 10);
    assert!(short.len() > 1 && short.len() < 64);
}
