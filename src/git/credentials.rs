//! Keeps the secrets of URLs out of errors and log lines, including those that quote the git program.

/// Masks every URL in a text: removes password, query and fragment, and the user name too, except for ssh, whose user
/// name is part of the address and no secret.
pub(super) fn masked(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(masked_word).collect()
}

/// Returns a location, a URL or a path, as it may be shown, stored and told to tasks: without password, query and
/// fragment of any URL in it.
#[must_use]
pub fn without_secrets(location: &str) -> String {
    masked_word(location)
}

/// Masks a URL, or a word without spaces that may contain one.
pub(super) fn masked_word(word: &str) -> String {
    if !word.contains("://") {
        return word.to_owned();
    }
    let word = without_query(word);
    let mut parts = word.split("://");
    let mut before = parts.next().unwrap_or_default();
    let mut shown = before.to_owned();
    // A URL may contain another one in its path.
    for part in parts {
        let (authority, path) = part.split_at(part.find('/').unwrap_or(part.len()));
        shown.push_str("://");
        match authority.rsplit_once('@') {
            Some((who, host)) if is_ssh(before) => {
                shown.push_str(who.split_once(':').map_or(who, |(user, _)| user));
                shown.push('@');
                shown.push_str(host);
            }
            Some((_, host)) => shown.push_str(host),
            None => shown.push_str(authority),
        }
        shown.push_str(path);
        before = part;
    }
    shown
}

/// Removes everything after the first `?` or `#` that follows a scheme, but keeps the punctuation and space that
/// surround a URL in a sentence.
fn without_query(word: &str) -> String {
    let scheme_end = word.find("://").unwrap_or(0);
    let Some(start) = word[scheme_end..].find(['?', '#']).map(|at| scheme_end + at) else { return word.to_owned() };
    let is_around = |c: char| c.is_whitespace() || "'\"`:;,.()<>".contains(c);
    let end = word.trim_end_matches(is_around).len().max(start);
    format!("{}{}", &word[..start], &word[end..])
}

/// Whether the scheme at the end of this text is one of ssh.
fn is_ssh(before: &str) -> bool {
    let start = before.rfind(|c: char| !c.is_ascii_alphanumeric() && !"+.-".contains(c)).map_or(0, |at| at + 1);
    before.get(start..).is_some_and(|scheme| scheme.contains("ssh"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("https://h/x.git", "https://h/x.git"),
            ("https://user:secret@h/x.git", "https://h/x.git"),
            ("https://secret@h:8443/x?access=secret#y", "https://h:8443/x"),
            ("https://h/x?token=a@b", "https://h/x"),
            ("https://h?token=secret", "https://h"),
            ("https://a:sec@ret@h/x", "https://h/x"),
            ("https://a:two secrets@h/x", "https://h/x"),
            ("ssh://git@h:22/x", "ssh://git@h:22/x"),
            ("git+ssh://git:secret@h/x", "git+ssh://git@h/x"),
            ("https://h/https://user:secret@g/x", "https://h/https://g/x"),
            ("git@h:x.git", "git@h:x.git"),
            ("/srv/a@b?c#d", "/srv/a@b?c#d"),
        ] {
            assert_eq!(masked_word(url), shown);
        }
    }

    #[test]
    fn what_git_says_is_shown_without_the_secrets_of_its_urls() {
        for (said, shown) in [
            (
                "fatal: unable to access 'https://u:s@h/x/': no route",
                "fatal: unable to access 'https://h/x/': no route",
            ),
            ("fatal: '(https://s@h?k=s')': gone\n", "fatal: '(https://h')': gone\n"),
            ("no Password for 'https://u%40x@h': (ssh://g:s@h/y)", "no Password for 'https://h': (ssh://g@h/y)"),
            ("from 'https://u:it's@h'", "from 'https://h'"),
            ("user@h: Permission denied (publickey).", "user@h: Permission denied (publickey)."),
            ("  two  spaces\tstay ", "  two  spaces\tstay "),
        ] {
            assert_eq!(masked(said), shown);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_masking_panic(text in any::<String>(), inside in any::<String>()) {
            drop(masked(&format!("{text}://{inside}")));
        }
    }
}
