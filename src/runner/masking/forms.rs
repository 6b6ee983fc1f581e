//! The forms of a secret that are masked: the value, its lines, and both in base64, in URLs, in JSON and in quotes of a
//! shell. Pure.
//!
//! A long form is cut into pieces, each of which is masked by itself. A form that is printed as a whole is masked as a
//! whole by its pieces, and the masker never holds back more than the length of one piece.

use std::collections::BTreeSet;

/// The shortest line of a value, and the shortest piece of a longer form, that is masked by itself. Shorter ones are
/// found in ordinary text.
pub(super) const LEAST_BYTES: usize = 8;
/// The shortest encoded form of a value that is masked.
const LEAST_ENCODED: usize = 6;
/// The length of a piece. The last one is longer, so that none is too short.
const PIECE_BYTES: usize = 64;
/// Lengths of lines into which `base64` and `openssl base64` break their output.
const BASE64_LINES: [usize; 2] = [76, 64];
/// The lines of longer values are not masked in base64, because each makes some forms more: only the value as a whole.
const LINES_IN_BASE64: usize = 8 * 1024;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Returns the pieces of all forms of these values, in ascending order and without doubles.
pub(super) fn patterns(values: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut forms = Forms::default();
    for value in values {
        // A shell's `$(…)` takes line feeds off the end, and `echo` adds one.
        let end = value.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        let whole = if end == 0 { value } else { &value[..end] };
        if whole.is_empty() {
            continue;
        }
        forms.add_text(whole);
        forms.add_base64(whole);
        forms.add_encoded(&base64(STANDARD, value, true));
        forms.add_encoded(&base64(STANDARD, &[whole, b"\n"].concat(), true));
        for line in whole.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii) {
            if line.len() >= LEAST_BYTES && line.len() < whole.len() {
                forms.add_text(line);
                if whole.len() <= LINES_IN_BASE64 {
                    forms.add_base64(line);
                }
            }
        }
    }
    forms.0.into_iter().collect()
}

#[derive(Default)]
struct Forms(BTreeSet<Vec<u8>>);

impl Forms {
    /// Adds a text as it is, and as it stands in URLs, in JSON and between quotes of a shell.
    fn add_text(&mut self, text: &[u8]) {
        self.add(text);
        let in_urls = URLS.iter().flat_map(|(plain, has_plus)| {
            [b"0123456789ABCDEF", b"0123456789abcdef"].map(|digits| in_url(text, plain, *has_plus, digits))
        });
        let in_json = [false, true]
            .into_iter()
            .flat_map(|is_ascii| [b"".as_slice(), b"/", b"<>&"].map(|also| in_json(text, is_ascii, also)));
        let quoted = [&b"'\\''"[..], b"'\"'\"'"].map(|quote| replace(text, b'\'', quote));
        for form in in_urls.chain(in_json).chain(quoted) {
            if form != text {
                self.add_encoded(&form);
            }
        }
    }

    /// Adds the base64 of a text at each place within a longer one, also broken into lines.
    fn add_base64(&mut self, text: &[u8]) {
        for letters in [STANDARD, URL_SAFE] {
            for before in 0..3 {
                let encoded = base64(letters, &[&[0; 2][..before], text].concat(), false);
                // The first letters depend on what stands before as well, and the last one on what stands behind.
                let (first, last) = ((before * 8).div_ceil(6), (before + text.len()) * 8 / 6);
                let own = &encoded[first..last];
                self.add_encoded(own);
                for width in BASE64_LINES.into_iter().filter(|width| own.len() > *width) {
                    own.chunks(width).for_each(|line| self.add_encoded(line));
                }
            }
            self.add_encoded(&base64(letters, text, true));
        }
    }

    fn add_encoded(&mut self, form: &[u8]) {
        if form.len() >= LEAST_ENCODED {
            self.add(form);
        }
    }

    /// Adds a form in pieces.
    fn add(&mut self, form: &[u8]) {
        let mut rest = form;
        while rest.len() >= PIECE_BYTES + LEAST_BYTES {
            let (piece, behind) = rest.split_at(PIECE_BYTES);
            self.0.insert(piece.to_vec());
            rest = behind;
        }
        self.0.insert(rest.to_vec());
    }
}

fn base64(letters: &[u8; 64], bytes: &[u8], is_padded: bool) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let letter = |shift: u32| letters[(bits >> shift & 63) as usize];
        encoded.extend([18, 12, 6, 0].map(letter).iter().take(group.len() + 1));
        if is_padded {
            encoded.extend(std::iter::repeat_n(b'=', 3 - group.len()));
        }
    }
    encoded
}

/// The signs that stay as they are in a URL, beside letters and digits, and whether a space is `+`: by RFC 3986, in a
/// path, by `encodeURIComponent` of JavaScript, and in a form.
const URLS: [(&[u8], bool); 4] = [(b"-._~", false), (b"-._~/", false), (b"-_.!~*'()", false), (b"*-._", true)];

fn in_url(text: &[u8], plain: &[u8], has_plus: bool, digits: &[u8; 16]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' ' if has_plus => encoded.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || plain.contains(byte) => encoded.push(*byte),
            byte => encoded.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]),
        }
    }
    encoded
}

/// Writes a text as JSON, without its quotes. `is_ascii`: no other characters. `also`: signs that are escaped, too.
fn in_json(text: &[u8], is_ascii: bool, also: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    let unit = |encoded: &mut Vec<u8>, unit: u16| encoded.extend(format!("\\u{unit:04x}").bytes());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => encoded.extend([b'\\', c as u8]),
                '\n' => encoded.extend(b"\\n"),
                '\r' => encoded.extend(b"\\r"),
                '\t' => encoded.extend(b"\\t"),
                '\u{8}' => encoded.extend(b"\\b"),
                '\u{c}' => encoded.extend(b"\\f"),
                '/' if also.contains(&b'/') => encoded.extend(b"\\/"),
                c if c.is_ascii_control() || c.is_ascii() && also.contains(&(c as u8)) => unit(&mut encoded, c as u16),
                c if is_ascii && !c.is_ascii() => {
                    c.encode_utf16(&mut [0; 2]).iter().for_each(|half| unit(&mut encoded, *half));
                }
                c => encoded.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        encoded.extend(chunk.invalid());
    }
    encoded
}

fn replace(text: &[u8], from: u8, to: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|byte| if *byte == from { to } else { std::slice::from_ref(byte) }).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether some pieces, one behind the other, are all of the text.
    fn is_covered(patterns: &[Vec<u8>], text: &[u8]) -> bool {
        text.is_empty()
            || patterns.iter().any(|piece| text.strip_prefix(&piece[..]).is_some_and(|rest| is_covered(patterns, rest)))
    }

    #[track_caller]
    fn assert_forms(value: &str, forms: &[&str]) {
        let patterns = patterns(&[value.as_bytes().to_vec()]);
        for form in forms {
            assert!(is_covered(&patterns, form.as_bytes()), "{value:?}: {form:?}");
        }
        assert!(patterns.is_sorted() && patterns.iter().all(|piece| piece.len() < PIECE_BYTES + LEAST_BYTES));
    }

    #[test]
    fn a_value_is_known_in_base64_in_urls_in_json_and_in_quotes() {
        assert_forms(
            "top secret/\"it's\" 100% <ü>",
            &[
                "top secret/\"it's\" 100% <ü>",
                // base64 of the value; with a line feed behind it; behind `a` and `a:`, without the letters of others
                "dG9wIHNlY3JldC8iaXQncyIgMTAwJSA8w7w+",
                "dG9wIHNlY3JldC8iaXQncyIgMTAwJSA8w7w+Cg==",
                "RvcCBzZWNyZXQvIml0J3MiIDEwMCUgPMO8P",
                "0b3Agc2VjcmV0LyJpdCdzIiAxMDAlIDzDvD",
                "top%20secret%2F%22it%27s%22%20100%25%20%3C%C3%BC%3E",
                "top%20secret%2f%22it%27s%22%20100%25%20%3c%c3%bc%3e",
                "top%20secret%2F%22it's%22%20100%25%20%3C%C3%BC%3E",
                "top+secret%2F%22it%27s%22+100%25+%3C%C3%BC%3E",
                "top%20secret/%22it%27s%22%20100%25%20%3C%C3%BC%3E",
                "top secret/\\\"it's\\\" 100% <ü>",
                "top secret\\/\\\"it's\\\" 100% <ü>",
                "top secret/\\\"it's\\\" 100% <\\u00fc>",
                "top secret/\\\"it's\\\" 100% \\u003cü\\u003e",
                "top secret/\"it'\\''s\" 100% <ü>",
            ],
        );
    }

    #[test]
    fn base64_is_that_of_rfc_4648_with_both_alphabets() {
        for (text, wanted) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(STANDARD, text.as_bytes(), true), wanted.as_bytes());
        }
        assert_eq!(base64(STANDARD, &[251, 255], false), b"+/8");
        assert_eq!(base64(URL_SAFE, &[251, 255], false), b"-_8");
    }

    #[test]
    fn base64_of_a_longer_text_with_the_value_in_it_has_the_value_at_each_place() {
        let value = b"correct horse battery";
        let patterns = patterns(&[value.to_vec()]);
        for before in 0..9 {
            let longer = [&b"user: :x:"[..before], value, b"@host"].concat();
            for letters in [STANDARD, URL_SAFE] {
                let encoded = base64(letters, &longer, true);
                let inside = |piece: &&Vec<u8>| encoded.windows(piece.len()).any(|window| window == &piece[..]);
                let longest = patterns.iter().filter(inside).map(Vec::len).max();
                assert!(longest >= Some(value.len() * 8 / 6 - 2), "behind {before} bytes: {longest:?}");
            }
        }
    }

    #[test]
    fn long_values_are_known_line_by_line_and_in_broken_base64() {
        let key =
            format!("-----BEGIN KEY-----\n{}\n{}\nshort\n-----END KEY-----\n", "Ab1+".repeat(16), "Cd2/".repeat(40));
        let patterns = patterns(&[key.as_bytes().to_vec()]);
        assert!(is_covered(&patterns, key.trim_end().as_bytes()));
        assert!(is_covered(&patterns, "Ab1+".repeat(16).as_bytes()) && is_covered(&patterns, b"-----END KEY-----"));
        assert!(!patterns.contains(&b"short".to_vec()), "it is found in ordinary text");
        assert!(is_covered(&patterns, key.trim_end().replace('\n', "\\n").as_bytes()));
        let encoded = base64(STANDARD, key.trim_end().as_bytes(), false);
        for width in [76, 64] {
            let lines: Vec<&[u8]> = encoded.chunks(width).collect();
            let (last, others) = lines.split_last().unwrap();
            assert!(others.iter().all(|line| is_covered(&patterns, line)), "{width}");
            // The last letter of all depends on what stands behind.
            assert!(is_covered(&patterns, &last[..last.len() - 1]), "{width}");
        }
    }

    #[test]
    fn a_short_value_is_masked_as_it_is_and_in_no_form_that_is_shorter_still() {
        let patterns = patterns(&[b"a b".to_vec(), b"\n".to_vec(), vec![]]);
        assert!(patterns.contains(&b"a b".to_vec()));
        assert!(patterns.iter().all(|piece| piece == b"a b" || piece == b"\n" || piece.len() >= LEAST_ENCODED));
    }
}
