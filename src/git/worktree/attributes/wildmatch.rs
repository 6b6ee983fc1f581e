//! Matches names with a pattern as git's `wildmatch` does, byte by byte.

/// Why a pattern does not match, so that no more is tried than can succeed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Match,
    NoMatch,
    /// The text is used up, or the pattern is malformed: nothing further can match.
    Never,
    /// Only a `**` further left can go on.
    ToStarStar,
}

/// Whether the whole text matches. With `is_path`, only `**` matches a slash.
pub(super) fn matches(pattern: &[u8], text: &[u8], is_path: bool) -> bool {
    find(pattern, text, is_path) == Found::Match
}

fn at(bytes: &[u8], place: usize) -> u8 {
    bytes.get(place).copied().unwrap_or(0)
}

fn find(pattern: &[u8], text: &[u8], is_path: bool) -> Found {
    let (mut p, mut t) = (0, 0);
    while p < pattern.len() {
        let byte = at(text, t);
        if t >= text.len() && pattern[p] != b'*' {
            return Found::Never;
        }
        match pattern[p] {
            b'?' if is_path && byte == b'/' => return Found::NoMatch,
            b'?' => {}
            b'*' => {
                let start = p;
                while at(pattern, p) == b'*' {
                    p += 1;
                }
                let rest = &pattern[p..];
                let is_alone = (start == 0 || pattern[start - 1] == b'/')
                    && (rest.is_empty() || rest[0] == b'/' || rest.starts_with(b"\\/"));
                let takes_slash = !is_path || p - start > 1 && is_alone;
                // `foo/**/bar` also matches `foo/bar`.
                if is_path
                    && takes_slash
                    && at(rest, 0) == b'/'
                    && find(&rest[1..], &text[t..], is_path) == Found::Match
                {
                    return Found::Match;
                }
                if rest.is_empty() {
                    let is_deeper = !takes_slash && text[t..].contains(&b'/');
                    return if is_deeper { Found::ToStarStar } else { Found::Match };
                }
                if !takes_slash && rest[0] == b'/' {
                    let Some(slash) = text[t..].iter().position(|byte| *byte == b'/') else { return Found::Never };
                    (p, t) = (p + 1, t + slash + 1);
                    continue;
                }
                return star(rest, &text[t..], takes_slash, is_path);
            }
            b'[' => match class(&pattern[p..], byte) {
                None => return Found::Never,
                Some((is_in, length)) => {
                    if !is_in || is_path && byte == b'/' {
                        return Found::NoMatch;
                    }
                    (p, t) = (p + length, t + 1);
                    continue;
                }
            },
            b'\\' => {
                p += 1;
                if p >= pattern.len() || pattern[p] != byte {
                    return Found::NoMatch;
                }
            }
            literal if literal != byte => return Found::NoMatch,
            _ => {}
        }
        (p, t) = (p + 1, t + 1);
    }
    if t < text.len() { Found::NoMatch } else { Found::Match }
}

/// Tries the rest of a pattern behind a star at each place of the text.
fn star(rest: &[u8], text: &[u8], takes_slash: bool, is_path: bool) -> Found {
    for (place, byte) in text.iter().enumerate() {
        match find(rest, &text[place..], is_path) {
            Found::NoMatch if !takes_slash && *byte == b'/' => return Found::ToStarStar,
            Found::NoMatch => {}
            Found::ToStarStar if takes_slash => {}
            found @ (Found::Match | Found::Never | Found::ToStarStar) => return found,
        }
    }
    Found::Never
}

/// Whether a byte is in the class with which the pattern begins, and the length of the class. `None` if it is
/// malformed.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let mut p = 1;
    let is_negated = matches!(at(pattern, p), b'!' | b'^');
    p += usize::from(is_negated);
    let (mut is_in, mut before) = (false, 0);
    loop {
        let mut now = at(pattern, p);
        match now {
            0 => return None,
            b'\\' => {
                p += 1;
                now = at(pattern, p);
                if now == 0 {
                    return None;
                }
                is_in |= byte == now;
            }
            b'-' if before != 0 && !matches!(at(pattern, p + 1), 0 | b']') => {
                p += 1;
                let mut end = at(pattern, p);
                if end == b'\\' {
                    p += 1;
                    end = at(pattern, p);
                    if end == 0 {
                        return None;
                    }
                }
                is_in |= (before..=end).contains(&byte);
                now = 0;
            }
            b'[' if at(pattern, p + 1) == b':' => {
                let name = &pattern[p + 2..];
                let end = name.iter().position(|byte| *byte == b']')?;
                if end > 0 && name[end - 1] == b':' {
                    is_in |= named_class(&name[..end - 1], byte)?;
                    p += 2 + end;
                    now = 0;
                } else {
                    is_in |= byte == b'[';
                }
            }
            _ => is_in |= byte == now,
        }
        before = now;
        p += 1;
        if at(pattern, p) == b']' {
            return Some((is_in != is_negated, p + 1));
        }
    }
}

fn named_class(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => matches!(byte, b' '..=b'~'),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}
