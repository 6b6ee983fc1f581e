//! Decodes the text of a commit, which is UTF-8 unless its `encoding` header names something else. Knows no repository.

use encoding_rs::Encoding;

/// Returns the text of these bytes. `encoding` is the value of the commit's header, if it has one. Bytes that are
/// nothing in that encoding, or of an encoding that is not known, are replaced.
pub(super) fn decoded(bytes: &[u8], encoding: Option<&[u8]>) -> String {
    match encoding.and_then(named) {
        // The encoding that the commit names counts, whatever its text begins with.
        Some(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Finds an encoding by the name that git's users give it: the names of the web, and those that only iconv has.
fn named(name: &[u8]) -> Option<&'static Encoding> {
    let name = name.trim_ascii().to_ascii_lowercase();
    Encoding::for_label(&name).or_else(|| {
        let plain: Vec<u8> = name.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
        // `latin-1`, `ISO 8859-15`, `windows1252`, `CP932`, `UTF8`, `EUCJP` and the like.
        let text = String::from_utf8(plain).unwrap_or_default();
        let numbered = |start: &str, usual: &str| {
            let digits = text.strip_prefix(start)?;
            Encoding::for_label(format!("{usual}{digits}").as_bytes())
        };
        match text.as_str() {
            "cp932" | "mskanji" => Encoding::for_label(b"shift_jis"),
            "cp936" => Encoding::for_label(b"gbk"),
            "cp949" | "uhc" => Encoding::for_label(b"euc-kr"),
            "cp950" => Encoding::for_label(b"big5"),
            "eucjp" => Encoding::for_label(b"euc-jp"),
            "euckr" => Encoding::for_label(b"euc-kr"),
            "latin9" => Encoding::for_label(b"iso-8859-15"),
            _ => numbered("iso8859", "iso-8859-")
                .or_else(|| numbered("8859", "iso-8859-"))
                .or_else(|| numbered("latin", "latin"))
                .or_else(|| numbered("cp", "windows-"))
                .or_else(|| numbered("windows", "windows-"))
                .or_else(|| numbered("utf", "utf-"))
                .or_else(|| numbered("koi8", "koi8-")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_as_its_commit_says() {
        for (bytes, encoding, text) in [
            (&b"Gr\xfc\xdfe"[..], "ISO-8859-1", "Grüße"),
            (b"Gr\xfc\xdfe", "latin1", "Grüße"),
            (b"Gr\xfc\xdfe", "Latin-1", "Grüße"),
            (b"Gr\xfc\xdfe", "ISO8859-1", "Grüße"),
            (b"Gr\xfc\xdfe", "CP1252", "Grüße"),
            (b"5 \xa4", "ISO-8859-15", "5 €"),
            (b"5 \xa4", "latin9", "5 €"),
            (b"\xcf\xf0\xe8\xe2\xe5\xf2", "windows-1251", "Привет"),
            (b"\xf0\xd2\xc9\xd7\xc5\xd4", "KOI8-R", "Привет"),
            (b"\x93\xfa\x96{", "Shift_JIS", "日本"),
            (b"\x93\xfa\x96{", "CP932", "日本"),
            (b"\xc6\xfc\xcb\xdc", "eucJP", "日本"),
            ("Grüße".as_bytes(), "UTF-8", "Grüße"),
            ("Grüße".as_bytes(), "utf8", "Grüße"),
            ("Grüße".as_bytes(), "no-such-encoding", "Grüße"),
        ] {
            assert_eq!(decoded(bytes, Some(encoding.as_bytes())), text, "{encoding}");
        }
        assert_eq!(decoded("Grüße".as_bytes(), None), "Grüße");
        assert_eq!(decoded(b"Gr\xfc", None), "Gr\u{fffd}");
        assert_eq!(decoded(b"Gr\xfc", Some(b"\xff\xfe")), "Gr\u{fffd}");
        assert_eq!(decoded(b"a\xff", Some(b"utf-8")), "a\u{fffd}");
    }
}
