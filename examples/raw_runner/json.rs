//! As much JSON as a runner needs: reads any text, writes strings. Numbers are whole and not negative, as the
//! protocol's.

/// A JSON value. What is missing reads as empty, so that defaults need no words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn get(&self, name: &str) -> &Json {
        let Json::Object(fields) = self else { return &Json::Null };
        fields.iter().find(|(key, _)| key == name).map_or(&Json::Null, |(_, value)| value)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).as_text()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.get(name).as_number()
    }

    pub(crate) fn list(&self, name: &str) -> &[Json] {
        self.get(name).as_list()
    }

    pub(crate) fn item(&self, at: usize) -> &Json {
        self.as_list().get(at).unwrap_or(&Json::Null)
    }

    pub(crate) fn as_text(&self) -> &str {
        if let Json::Text(text) = self { text } else { "" }
    }

    pub(crate) fn as_number(&self) -> u64 {
        if let Json::Number(number) = self { *number } else { 0 }
    }

    fn as_list(&self) -> &[Json] {
        if let Json::List(items) = self { items } else { &[] }
    }
}

/// Reads one value; `None` if the text is anything else.
pub(crate) fn parse(text: &[u8]) -> Option<Json> {
    let mut parser = Parser { text: std::str::from_utf8(text).ok()?, at: 0 };
    let value = parser.value(32)?;
    parser.space();
    (parser.at == parser.text.len()).then_some(value)
}

/// A text as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\0'..=' ' if letter != ' ' => quoted.push_str(&format!("\\u{:04x}", letter as u32)),
            _ => quoted.push(letter),
        }
    }
    quoted + "\""
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|letter| matches!(letter, ' ' | '\t' | '\r' | '\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, expected: &str) -> Option<()> {
        self.space();
        self.text[self.at..].starts_with(expected).then(|| self.at += expected.len())
    }

    fn value(&mut self, depth: u32) -> Option<Json> {
        let deeper = depth.checked_sub(1)?;
        self.space();
        match self.peek()? {
            '"' => self.string().map(Json::Text),
            '[' => {
                let mut items = Vec::new();
                self.items(']', |parser| parser.value(deeper).map(|item| items.push(item)))?;
                Some(Json::List(items))
            }
            '{' => {
                let mut fields = Vec::new();
                self.items('}', |parser| {
                    parser.space();
                    let name = parser.string()?;
                    parser.take(":")?;
                    fields.push((name, parser.value(deeper)?));
                    Some(())
                })?;
                Some(Json::Object(fields))
            }
            't' => self.take("true").map(|()| Json::Bool(true)),
            'f' => self.take("false").map(|()| Json::Bool(false)),
            'n' => self.take("null").map(|()| Json::Null),
            _ => {
                let rest = &self.text[self.at..];
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                self.at += digits;
                rest[..digits].parse().ok().map(Json::Number)
            }
        }
    }

    /// What stands between brackets, with commas between.
    fn items(&mut self, end: char, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.next()?;
        self.space();
        if self.peek()? == end {
            self.next()?;
            return Some(());
        }
        loop {
            item(self)?;
            self.space();
            match self.next()? {
                ',' => {}
                letter => return (letter == end).then_some(()),
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => match self.next()? {
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    'u' => text.push(self.escape()?),
                    letter @ ('"' | '\\' | '/') => text.push(letter),
                    _ => return None,
                },
                letter => text.push(letter),
            }
        }
    }

    /// What follows `\u`: a letter, or half of one, whose other half must follow.
    fn escape(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        self.take("\\u")?;
        let second = self.hex()?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + second)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}
