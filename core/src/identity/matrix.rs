//! A code as a picture: a QR code (ISO/IEC 18004) of dark and light squares.

use qrcode::{Color, EcLevel, QrCode};

use super::Ticket;
use crate::crypto::{Zeroizing, wiping};

/// A QR code as rows of squares. It says what the code says, so it is as secret: show it to the one who is to scan it, and to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeMatrix {
    rows: Vec<Vec<bool>>,
}

impl std::fmt::Debug for CodeMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CodeMatrix({})", self.width())
    }
}

impl CodeMatrix {
    /// How many squares must be left light on each side of the rows.
    pub const QUIET_ZONE: usize = 4;

    /// The picture of a `rhizome:` code. `None` if the code is too long for one: 4,296 letters, about fifty addresses.
    pub fn of(code: &str) -> Option<Self> {
        // In capitals it needs the denser alphanumeric mode alone, and a code is read in either case. It is shown on a screen, which needs the
        // least correction of errors.
        let code = Zeroizing::new(code.to_ascii_uppercase());
        let picture = wiping(|| QrCode::with_error_correction_level(code.as_bytes(), EcLevel::L)).ok()?;
        let width = picture.width();
        let squares = picture.into_colors();
        let rows = squares
            .chunks(width)
            .map(|row| row.iter().map(|square| *square == Color::Dark).collect());
        Some(Self { rows: rows.collect() })
    }

    /// How many rows there are, and how many squares in each.
    pub fn width(&self) -> usize {
        self.rows.len()
    }

    /// From the top, each from the left; `true` is dark. Without the quiet zone.
    pub fn rows(&self) -> &[Vec<bool>] {
        &self.rows
    }

    /// The picture with its quiet zone as lines of half blocks, for a terminal. With `colours` it is dark on light whatever the theme (ANSI escape
    /// sequences); without, it is meant for a dark background, where ink is light.
    pub fn blocks(&self, colours: bool) -> String {
        let side = self.width() + 2 * Self::QUIET_ZONE;
        let is_dark = |x: usize, y: usize| {
            let at = |place: usize| place.checked_sub(Self::QUIET_ZONE);
            let square = at(y).and_then(|y| self.rows.get(y)?.get(at(x)?));
            // Of an odd number of rows the last is half a line; what is below it is quiet zone too.
            square.copied().unwrap_or(false)
        };
        let line = |y: usize| -> String {
            let blocks = (0..side).map(|x| match (is_dark(x, y) == colours, is_dark(x, y + 1) == colours) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
            blocks.collect()
        };
        let lines: Vec<String> = (0..side)
            .step_by(2)
            .map(line)
            .map(|line| {
                if colours {
                    format!("\x1b[30;107m{line}\x1b[0m")
                } else {
                    line
                }
            })
            .collect();
        lines.join("\n")
    }
}

impl Ticket {
    /// The code as a picture to scan; `None` if it is too long for one.
    pub fn matrix(&self) -> Option<CodeMatrix> {
        CodeMatrix::of(&Zeroizing::new(self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> CodeMatrix {
        CodeMatrix::of(&format!("rhizome:{}", "abcdefgh234567".repeat(12))).expect("it is short enough")
    }

    #[test]
    fn a_code_is_a_square_with_a_finder_in_three_corners() {
        let matrix = matrix();
        let width = matrix.width();
        assert!(width % 4 == 1 && matrix.rows().iter().all(|row| row.len() == width));
        let finder = [
            "#######", "#     #", "# ### #", "# ### #", "# ### #", "#     #", "#######",
        ];
        for (left, top) in [(0, 0), (width - 7, 0), (0, width - 7)] {
            for (y, line) in finder.iter().enumerate() {
                for (x, square) in line.chars().enumerate() {
                    assert_eq!(matrix.rows()[top + y][left + x], square == '#', "{x} {y}");
                }
            }
        }
        assert_eq!(CodeMatrix::of("rhizome:abc"), CodeMatrix::of("RHIZOME:ABC"));
        assert_ne!(CodeMatrix::of("rhizome:abc"), CodeMatrix::of("rhizome:abd"));
    }

    #[test]
    fn blocks_are_the_rows_and_their_quiet_zone() {
        let matrix = matrix();
        for colours in [true, false] {
            let text = matrix
                .blocks(colours)
                .replace("\x1b[30;107m", "")
                .replace("\x1b[0m", "");
            let mut squares: Vec<Vec<bool>> = Vec::new();
            for line in text.lines() {
                let halves = |ink: &str| line.chars().map(|block| ink.contains(block) == colours).collect();
                squares.extend([halves("█▀"), halves("█▄")]);
            }
            // One more, as it is an odd number of rows in lines of two.
            assert!(squares.pop().expect("a line").iter().all(|dark| !dark));
            assert_eq!(squares.len(), matrix.width() + 2 * CodeMatrix::QUIET_ZONE);
            let zone = CodeMatrix::QUIET_ZONE;
            for (y, row) in squares.iter().enumerate() {
                for (x, dark) in row.iter().enumerate() {
                    let inside = |place: usize| (zone..zone + matrix.width()).contains(&place);
                    let wanted = inside(x) && inside(y) && matrix.rows()[y - zone][x - zone];
                    assert_eq!(*dark, wanted, "{x} {y}");
                }
            }
        }
        assert!(!matrix.blocks(false).contains('\x1b'));
    }

    #[test]
    fn a_code_may_be_too_long_for_a_picture() {
        assert!(CodeMatrix::of(&"a".repeat(4_296)).is_some());
        assert_eq!(CodeMatrix::of(&"a".repeat(4_297)), None);
    }
}
