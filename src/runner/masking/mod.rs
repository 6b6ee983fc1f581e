//! Masks secrets in a stream of bytes, wherever the stream is cut into pieces. `forms.rs` says in which forms.
//!
//! A byte is masked if a form of a secret covers it. Each run of such bytes becomes [`MASK`]. The end of a piece that
//! may be the beginning of a form is held back until the next one. Nothing else is, so that a line appears when it is
//! printed.

mod forms;

use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Stands in the place of a secret.
const MASK: &[u8] = b"***";
/// Forms up to this length together are looked for with a table of all transitions, which is the fastest way. It takes
/// some hundred times as much memory; longer ones are looked for in a smaller form.
const FAST_BYTES: usize = 16 * 1024;

/// Masks the secrets of one stream.
pub struct Masker {
    finder: AhoCorasick,
    /// In ascending order.
    patterns: Vec<Vec<u8>>,
    longest: usize,
    /// The end of what was read, which may be the beginning of a form. Its first `covered` bytes are masked already.
    held: Vec<u8>,
    covered: usize,
    /// Whether the last byte that was passed on is masked.
    is_masked: bool,
    /// Empty between two pieces. Its memory is used again.
    piece: Vec<u8>,
}

impl Masker {
    /// Masks these values. Returns `None` if there is nothing to mask.
    #[must_use]
    pub fn new(values: &[Vec<u8>]) -> Option<Self> {
        let patterns = forms::patterns(values);
        let longest = patterns.iter().map(Vec::len).max()?;
        let bytes: usize = patterns.iter().map(Vec::len).sum();
        let kind = if bytes <= FAST_BYTES { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let mut builder = AhoCorasick::builder();
        let builder = builder.match_kind(MatchKind::Standard).kind(Some(kind));
        let finder = builder.build(&patterns).expect("values are bounded far below the finder's limits");
        let (held, piece) = (Vec::new(), Vec::new());
        Some(Self { finder, patterns, longest, held, covered: 0, is_masked: false, piece })
    }

    /// Masks the next piece, and adds it to `out` as far as it is known what is to be masked.
    pub fn mask(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut piece = std::mem::take(&mut self.piece);
        piece.extend_from_slice(&self.held);
        piece.extend_from_slice(bytes);
        let covered = self.covered_ranges(&piece);
        let end = piece.len() - self.open_end(&piece);
        self.pass_on(&piece[..end], &covered, out);
        // A range that begins behind `end` is found again.
        let open = covered.iter().find(|range| range.start <= end && range.end > end);
        self.covered = open.map_or(0, |range| range.end - end);
        self.held.clear();
        self.held.extend_from_slice(&piece[end..]);
        piece.clear();
        self.piece = piece;
    }

    /// Adds what is held back to `out`: no form goes on behind it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let covered = 0..std::mem::take(&mut self.covered);
        self.pass_on(&held, &[covered], out);
        self.is_masked = false;
    }

    /// Masks a whole text.
    #[must_use]
    pub fn mask_text(&mut self, text: &str) -> String {
        let mut out = Vec::with_capacity(text.len());
        self.mask(text.as_bytes(), &mut out);
        self.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Returns the ranges of a piece that forms cover, in order and apart from one another. What was covered of the
    /// held bytes is the first.
    fn covered_ranges(&self, piece: &[u8]) -> Vec<Range<usize>> {
        let mut covered: Vec<Range<usize>> = Vec::new();
        if self.covered > 0 {
            covered.push(0..self.covered);
        }
        // Nearly always there is none, and the search for one is faster than that for all.
        if !self.finder.is_match(piece) {
            return covered;
        }
        // They come in the order of their ends.
        for found in self.finder.find_overlapping_iter(piece) {
            let mut range = found.range();
            while let Some(last) = covered.last()
                && last.end >= range.start
            {
                range = range.start.min(last.start)..range.end.max(last.end);
                covered.pop();
            }
            covered.push(range);
        }
        covered
    }

    /// Returns the length of the longest end of a piece that is the beginning of a form and not all of it.
    fn open_end(&self, piece: &[u8]) -> usize {
        let most = piece.len().min(self.longest - 1);
        let is_open = |length: &usize| {
            let end = &piece[piece.len() - length..];
            let behind = self.patterns.partition_point(|pattern| pattern.as_slice() <= end);
            self.patterns.get(behind).is_some_and(|pattern| pattern.starts_with(end))
        };
        (1..=most).rev().find(is_open).unwrap_or(0)
    }

    fn pass_on(&mut self, bytes: &[u8], covered: &[Range<usize>], out: &mut Vec<u8>) {
        let mut at = 0;
        for range in covered.iter().filter(|range| range.start < bytes.len() && !range.is_empty()) {
            self.pass_plain(&bytes[at..range.start], out);
            if !std::mem::replace(&mut self.is_masked, true) {
                out.extend_from_slice(MASK);
            }
            at = range.end.min(bytes.len());
        }
        self.pass_plain(&bytes[at..], out);
    }

    fn pass_plain(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if !bytes.is_empty() {
            out.extend_from_slice(bytes);
            self.is_masked = false;
        }
    }
}

/// Leaves the secrets out.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("forms", &self.patterns.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(values: &[&str], pieces: &[&[u8]]) -> String {
        let values: Vec<Vec<u8>> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        let mut masker = Masker::new(&values).unwrap();
        let mut out = Vec::new();
        for piece in pieces {
            masker.mask(piece, &mut out);
        }
        masker.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_masked_across_pieces_and_what_is_none_stays() {
        let masked = |pieces: &[&[u8]]| masked(&["swordfish", "horse battery"], pieces);
        assert_eq!(masked(&[b"a swordfish b\n"]), "a *** b\n");
        assert_eq!(masked(&[b"a sword", b"fis", b"h b\n"]), "a *** b\n");
        assert_eq!(masked(&[b"a sword", b"fight b\n"]), "a swordfight b\n");
        assert_eq!(masked(&[b"swordfishswordfish"]), "***", "one run");
        assert_eq!(masked(&[b"swordfish", b"swordfish"]), "***");
        assert_eq!(masked(&[b"horse", b" ", b"battery"]), "***");
        assert_eq!(masked(&[b"swordfis"]), "swordfis");
        assert_eq!(masked(&[]), "");
    }

    #[test]
    fn only_what_may_be_a_secret_is_held_back() {
        let mut masker = Masker::new(&[b"swordfish".to_vec()]).unwrap();
        let mut out = Vec::new();
        masker.mask(b"Password: ", &mut out);
        assert_eq!(out, b"Password: ", "a prompt appears at once");
        masker.mask(b"sword", &mut out);
        assert_eq!(out, b"Password: ");
        masker.mask(b"s", &mut out);
        assert_eq!(out, b"Password: sword");
        assert!(!format!("{masker:?}").contains("sword"));
        assert!(Masker::new(&[]).is_none() && Masker::new(&[vec![]]).is_none());
    }

    #[test]
    fn a_secret_within_another_does_not_show_the_rest() {
        assert_eq!(masked(&["abcdefgh", "cdefghij"], &[b"xabcdefghijx abcdefghx"]), "x***x ***x");
        assert_eq!(masked(&["aaaaaaaa"], &[b"aaaaaaaaaaaa"]), "***");
    }

    /// A secret, and a stream in which it stands in several forms between other texts.
    fn streams() -> impl Strategy<Value = (Vec<String>, Vec<u8>)> {
        let value =
            prop_oneof!["[a-c]{8,12}", "[ -~]{8,80}", "[a-z]{8,10}\n[A-Z/+]{60,150}\n[é\"\\\\]{4,9}", "[0-9a-f]{200}",];
        let values = prop::collection::vec(value, 1..3);
        (values, prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..8)).prop_map(
            |(values, picks)| {
                let all = forms::patterns(&values.iter().map(|value| value.clone().into_bytes()).collect::<Vec<_>>());
                let mut stream = Vec::new();
                for (form, end) in picks {
                    let form = form.get(&all);
                    // Some are cut short.
                    stream.extend(&form[..=end.index(form.len())]);
                    stream.extend(b" x\n".iter().take(end.index(4)));
                    stream.extend(values[0].as_bytes());
                }
                (values, stream)
            },
        )
    }

    proptest! {
        /// S47. However a stream is cut, the same is masked, and no form of a secret is left.
        #[test]
        fn any_cuts_give_the_same_and_no_form_is_left(
            (values, stream) in streams(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let values: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
            let whole = {
                let mut out = Vec::new();
                let mut masker = Masker::new(&values).unwrap();
                masker.mask(&stream, &mut out);
                masker.finish(&mut out);
                out
            };
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let mut masker = Masker::new(&values).unwrap();
            let mut out = Vec::new();
            for pair in at.windows(2) {
                masker.mask(&stream[pair[0]..pair[1]], &mut out);
            }
            masker.finish(&mut out);
            prop_assert_eq!(&out, &whole);
            // Independently of the finder: each byte of the stream that a form covers is gone.
            let mut is_covered = vec![false; stream.len()];
            for form in forms::patterns(&values) {
                for start in 0..(stream.len() + 1).saturating_sub(form.len()) {
                    if stream[start..].starts_with(&form) {
                        is_covered[start..start + form.len()].fill(true);
                    }
                }
            }
            let mut expected = Vec::new();
            let mut before = false;
            for (byte, is_covered) in stream.iter().zip(is_covered) {
                match (is_covered, before) {
                    (true, false) => expected.extend(MASK),
                    (true, true) => {}
                    (false, _) => expected.push(*byte),
                }
                before = is_covered;
            }
            prop_assert_eq!(out, expected);
        }
    }
}
