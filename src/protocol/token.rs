//! Tokens as text. A join token is `sv1.ID.SECRET`, and `.PIN` at the end, once or twice, if the dispatcher has one.
//! The credential of a peer that joined is `svc1.ID.SECRET`. The secret of a role, in a file of the data directory, is
//! neither.

use std::fmt;

/// The digits of a secret: 256 random bits in lower-case hexadecimal.
pub const SECRET_DIGITS: usize = 64;
/// The digits of a pin.
const PIN_DIGITS: usize = 64;
/// The most pins in a join token: two while the dispatcher's authority is replaced.
const MAX_PINS: usize = 2;
/// The most characters of an id.
const MAX_ID_CHARS: usize = 16;

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Lets a peer join, which gives it a credential of its own.
    Join,
    /// The credential of a peer that joined.
    Credential,
}

impl TokenKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Join => "sv1",
            Self::Credential => "svc1",
        }
    }
}

/// A token in its parts.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    /// The public name.
    pub id: String,
    pub secret: String,
    /// The pins of the dispatcher. Only a join token has any.
    pub pins: Vec<String>,
}

/// The reason why a text is no token. It never repeats the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("it is no token: one that `surveil token create` printed begins with sv1.")]
    Foreign,
    #[error("the token is not whole: it has the form sv1.ID.SECRET, or sv1.ID.SECRET.PIN; copy all of it")]
    Incomplete,
}

impl Token {
    /// Reads a token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.split('.');
        let kind = match parts.next() {
            Some("sv1") => TokenKind::Join,
            Some("svc1") => TokenKind::Credential,
            _ => return Err(TokenError::Foreign),
        };
        let (Some(id), Some(secret)) = (parts.next(), parts.next()) else { return Err(TokenError::Incomplete) };
        let pins: Vec<String> = parts.by_ref().take(MAX_PINS).map(str::to_owned).collect();
        let is_whole = (1..=MAX_ID_CHARS).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && is_hex(secret, SECRET_DIGITS)
            && pins.iter().all(|pin| is_hex(pin, PIN_DIGITS))
            && parts.next().is_none()
            && (kind == TokenKind::Join || pins.is_empty());
        if !is_whole {
            return Err(TokenError::Incomplete);
        }
        Ok(Self { kind, id: id.to_owned(), secret: secret.to_owned(), pins })
    }

    /// Returns the token as it is pasted.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}.{}.{}", self.kind.prefix(), self.id, self.secret);
        for pin in &self.pins {
            text.push('.');
            text.push_str(pin);
        }
        text
    }
}

/// Leaves the secret out.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind.prefix(), self.id)
    }
}

/// Whether a text is a secret that a peer may draw for itself.
#[must_use]
pub fn is_secret(text: &str) -> bool {
    is_hex(text, SECRET_DIGITS)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_with_and_without_pins() {
        let (secret, pin) = ("5e".repeat(32), "ab".repeat(32));
        for text in [
            format!("sv1.7f3k.{secret}"),
            format!("sv1.7f3k.{secret}.{pin}"),
            format!("sv1.7f3k.{secret}.{pin}.{pin}"),
            format!("svc1.a.{secret}"),
        ] {
            let token = Token::parse(&text).unwrap();
            assert_eq!(token.text(), text);
            assert!(!format!("{token:?}").contains("5e5e"), "{token:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_whole_token_is_told_from_one_of_another_kind() {
        let (secret, pin) = ("5e".repeat(32), "ab".repeat(32));
        for text in ["", "sv2.a.b", "5e5e", "sv1", " sv1.a"] {
            let error = if text == "sv1" { TokenError::Incomplete } else { TokenError::Foreign };
            assert_eq!(Token::parse(text), Err(error), "{text}");
        }
        for text in [
            format!("sv1.7f3k.{}", &secret[1..]),
            format!("sv1.7f3k.{secret}5"),
            format!("sv1.7f3k.{}", secret.to_uppercase()),
            format!("sv1..{secret}"),
            format!("sv1.a/b.{secret}"),
            format!("sv1.{}.{secret}", "a".repeat(17)),
            format!("sv1.7f3k.{secret}."),
            format!("sv1.7f3k.{secret}.{pin}.{pin}.{pin}"),
            format!("svc1.7f3k.{secret}.{pin}"),
        ] {
            assert_eq!(Token::parse(&text), Err(TokenError::Incomplete), "{text}");
        }
    }
}
