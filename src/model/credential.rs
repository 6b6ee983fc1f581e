//! Credentials: the join tokens that an operator creates, and the credentials that peers got for them.

use std::fmt;

use super::{Label, RepoName, WallTime};

/// The public name of a token or a credential. It stands in the token itself, in lists and in logs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId(String);

/// The most characters of a [`CredentialId`].
const MAX_ID_CHARS: usize = 16;

impl CredentialId {
    /// Returns the id if the text is one: 1 to 16 of `a-z 0-9`.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_id = (1..=MAX_ID_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        is_id.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

worded! {
    /// The rights of a credential. The last three are operators.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum AccessRole: word {
        /// Announces the commits of the repositories that the credential names.
        Observer = "observer",
        /// Executes jobs, under one name and with the labels that the credential names.
        Runner = "runner",
        /// Looks at everything, and orders nothing.
        Reader = "reader",
        /// Also cancels, reruns, starts and submits.
        Member = "member",
        /// Also drains and resumes runners, and creates and revokes tokens.
        Admin = "admin",
    }
}

impl AccessRole {
    pub const ALL: [Self; 5] = [Self::Observer, Self::Runner, Self::Reader, Self::Member, Self::Admin];

    /// Returns the word with its article, as in "alice is a reader".
    #[must_use]
    pub fn with_article(self) -> String {
        let article = if matches!(self, Self::Observer | Self::Admin) { "an" } else { "a" };
        format!("{article} {}", self.word())
    }

    /// Returns the role of that word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// A join token, or the credential of a peer that joined. Only the hash of its secret is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub id: CredentialId,
    pub kind: CredentialKind,
    pub role: AccessRole,
    /// The name of the peer. A join token that has one gives it to the peer that joins.
    pub name: Option<String>,
    /// The labels that a runner may have beside the facts about its machine.
    pub labels: Vec<Label>,
    /// The repositories of an observer.
    pub repos: Vec<RepoName>,
    /// The SHA-256 of the secret.
    pub hash: [u8; 32],
    pub created_at: WallTime,
    /// The name of the person who created the join token, if it is known.
    pub created_by: Option<String>,
    /// The time of the last use, correct to about a day.
    pub last_used: WallTime,
    pub revoked_at: Option<WallTime>,
    /// The name of the person who revoked it, if it is known.
    pub revoked_by: Option<String>,
}

/// The kind of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialKind {
    /// It lets so many peers join until it expires.
    JoinToken { expires_at: WallTime, uses_left: u32 },
    /// It belongs to the peer that joined by this token.
    Joined { token: CredentialId },
}
