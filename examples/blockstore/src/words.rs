//! Counting words block by block.
//!
//! A word may begin in one block and end in another. So what is known of a piece of text is how many words it touches, and
//! whether its first and its last byte are inside of one: two pieces that meet inside a word have counted that twice.

/// What is known of the words of some text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    touched: u64,
    /// None where there is no byte at all.
    edges: Option<Edges>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edges {
    begins_inside: bool,
    ends_inside: bool,
}

impl Words {
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let (mut touched, mut before) = (0, false);
        for &byte in text {
            let inside = !is_space(byte);
            touched += u64::from(inside && !before);
            before = inside;
        }
        let edges = text.first().map(|&first| Edges {
            begins_inside: !is_space(first),
            ends_inside: before,
        });
        Self { touched, edges }
    }

    /// Of this text and the one behind it.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let (Some(here), Some(there)) = (self.edges, next.edges) else {
            return if self.edges.is_some() { self } else { next };
        };
        let shared = here.ends_inside && there.begins_inside;
        Self {
            touched: self.touched + next.touched - u64::from(shared),
            edges: Some(Edges {
                begins_inside: here.begins_inside,
                ends_inside: there.ends_inside,
            }),
        }
    }

    /// How many words it has.
    #[must_use]
    pub fn count(self) -> u64 {
        self.touched
    }
}

/// What is between words for isspace(3) in the C locale, and so for `LC_ALL=C wc -w`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0b' | b'\x0c' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_what_is_between_spaces() {
        for (text, count) in [
            ("", 0),
            (" \n", 0),
            ("a", 1),
            (" a", 1),
            ("a ", 1),
            ("one two\tthree\nfour\x0bfive\x0csix\rseven", 7),
            ("é\u{a0}è", 1),
        ] {
            assert_eq!(Words::of(text.as_bytes()).count(), count, "{text:?}");
        }
    }

    #[test]
    fn a_word_over_three_blocks_is_one() {
        let pieces = ["so lo", "ooooo", "ng a word"];
        let words = pieces.iter().fold(Words::default(), |words, piece| {
            words.then(Words::of(piece.as_bytes()))
        });
        assert_eq!(words.count(), 4);
    }

    proptest! {
        #[test]
        fn pieces_merged_in_any_grouping_are_the_whole(text in "[ab \n]{0,64}", cuts in prop::collection::vec(0usize..64, 2)) {
            let text = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let [one, two, three] = [&text[..cuts[0]], &text[cuts[0]..cuts[1]], &text[cuts[1]..]].map(Words::of);
            prop_assert_eq!(one.then(two).then(three), Words::of(text));
            prop_assert_eq!(one.then(two.then(three)), Words::of(text));
        }

        #[test]
        fn the_count_is_that_of_split(text in "[ab \n]{0,64}") {
            prop_assert_eq!(Words::of(text.as_bytes()).count(), text.split_ascii_whitespace().count() as u64);
        }
    }
}
