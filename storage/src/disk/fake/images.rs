//! [`Images`]: every directory that a loss of power can leave.

use super::FakeDisk;
use super::crash::{Doubt, Remains};
use super::history::Recorded;
use super::random::Random;

/// All that can be found after the power was lost at one point of a history.
///
/// What was synced is there. Of the rest, each change is there or not, independent of the others:
///
/// * a write is absent, whole, or there up to a border between two 512-byte sectors of the file;
/// * a length set or reserved is there or not;
/// * a creation, rename or removal is there or not; a rename is never half there. What is there
///   happened in the order of the history.
///
/// A sync that failed leaves what it was to make last in doubt, whatever syncs come later.
///
/// The images are numbered: 0 has nothing that was not synced, the last one everything. Different
/// numbers may give equal images.
#[derive(Debug)]
pub struct Images {
    history: Vec<Recorded>,
    remains: Remains,
    doubts: Vec<Doubt>,
}

impl Images {
    pub(super) fn new(history: Vec<Recorded>, remains: Remains) -> Self {
        let doubts = remains.doubts(&history);
        Self {
            history,
            remains,
            doubts,
        }
    }

    /// How many there are; `u128::MAX` for that many or more.
    #[must_use]
    pub fn total(&self) -> u128 {
        let options = self.doubts.iter().map(|doubt| u128::from(doubt.options));
        options.fold(1, u128::saturating_mul)
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = FakeDisk> {
        (0..self.total()).filter_map(|number| self.image(number))
    }

    /// One of them; none if there are not that many.
    #[must_use]
    pub fn image(&self, number: u128) -> Option<FakeDisk> {
        if number >= self.total() {
            return None;
        }
        let mut rest = number;
        let choices = self.doubts.iter().map(|doubt| {
            let choice = rest % u128::from(doubt.options);
            rest /= u128::from(doubt.options);
            u64::try_from(choice).unwrap_or(0)
        });
        let choices: Vec<u64> = choices.collect();
        Some(self.build(&choices, &format!("image {number}")))
    }

    /// One of them at random, the same for the same seed. One in four loses power as if everything
    /// had been written in order; the others differ in how much of what was open is there.
    #[must_use]
    pub fn sampled(&self, seed: u64) -> FakeDisk {
        let mut random = Random::new(seed);
        let choices: Vec<u64> = match random.below(4) {
            0 => self.choose_in_order(&mut random),
            likely => self.choose_freely(&mut random, likely),
        };
        self.build(&choices, &format!("image of seed {seed}"))
    }

    fn choose_in_order(&self, random: &mut Random) -> Vec<u64> {
        let border = random.below(self.doubts.len() as u64 + 1) as usize;
        let choices = self.doubts.iter().enumerate();
        let choices = choices.map(|(place, doubt)| match place.cmp(&border) {
            std::cmp::Ordering::Less => doubt.options - 1,
            std::cmp::Ordering::Equal => random.below(doubt.options),
            std::cmp::Ordering::Greater => 0,
        });
        choices.collect()
    }

    /// Whole `likely` times in five, else absent or torn.
    fn choose_freely(&self, random: &mut Random, likely: u64) -> Vec<u64> {
        let mut choose = |doubt: &Doubt| match random.below(5) {
            draw if draw < likely => doubt.options - 1,
            4 => 0,
            _ => random.below(doubt.options),
        };
        self.doubts.iter().map(&mut choose).collect()
    }

    fn build(&self, choices: &[u64], what: &str) -> FakeDisk {
        let choice = |place: usize| {
            let found = self
                .doubts
                .binary_search_by_key(&place, |doubt| doubt.place);
            let choice = found.ok().and_then(|index| choices.get(index));
            choice.copied().unwrap_or(0)
        };
        let content = self.remains.image(&self.history, choice);
        let operations = self.history.len();
        FakeDisk::holding(content, format!("{what} after {operations} operations"))
    }
}
