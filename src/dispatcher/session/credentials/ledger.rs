//! The rules of join tokens and credentials. Pure: time is an argument, random values come from the caller, and changes
//! are returned, so that the caller makes them durable before anybody hears of them.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::denied::Denied;
use crate::model::{AccessRole, Credential, CredentialId, CredentialKind, Label, RepoName, RunnerName, WallTime};
use crate::protocol::hello::Role;
use crate::protocol::limits::MAX_LABELS;
use crate::protocol::token::{Token, TokenKind};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// A credential that is not used for this long expires.
const UNUSED_MS: i64 = 90 * DAY_MS;
/// Time before the expiry of a credential at which `status` begins to warn of it.
const WARNING_MS: i64 = 14 * DAY_MS;
/// The last use is recorded again when the recorded one is this old.
const TOUCH_MS: i64 = DAY_MS;
/// Time for which a token that lets nobody join any more is remembered, so that the refusal can say why.
const REMEMBERED_MS: i64 = 30 * DAY_MS;
/// The longest life of a join token.
const MAX_TTL_MS: u64 = 366 * DAY_MS as u64;
/// The most peers that may join with one token.
const MAX_USES: u32 = 10_000;
/// The most join tokens and credentials: the refusal of more keeps the table in memory small.
const MAX_CREDENTIALS: usize = 50_000;
/// The most characters of the name of an observer or operator.
const MAX_NAME_CHARS: usize = 100;
/// The most repositories of an observer's token.
const MAX_REPOS: usize = 1_000;
/// The keys of the facts about a machine that every runner may tell.
const FACTS: [&str; 3] = ["os", "arch", "can"];
/// The key of the machine's name. A runner has the one that it joined with.
const HOSTNAME: &str = "hostname";

/// All join tokens and credentials.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    rows: BTreeMap<CredentialId, Credential>,
}

/// Changes that a decision makes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) saved: Vec<Credential>,
    pub(super) forgotten: Vec<CredentialId>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.saved.is_empty() && self.forgotten.is_empty()
    }
}

/// The wish for a join token.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    pub(crate) role: AccessRole,
    pub(crate) name: Option<String>,
    pub(crate) labels: Vec<Label>,
    pub(crate) repos: Vec<RepoName>,
    pub(crate) ttl_ms: u64,
    pub(crate) uses: u32,
}

/// A peer's wish to join.
#[derive(Debug, Clone)]
pub(crate) struct Joiner {
    pub(crate) token: Token,
    pub(crate) role: Role,
    /// The name that a person has typed; empty for none.
    pub(crate) name: String,
    pub(crate) default_name: String,
    pub(crate) hostname: Option<String>,
    /// The secret of the credential, which the peer has drawn.
    pub(crate) secret: String,
}

/// The state of a token or credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Valid,
    Used,
    Expired,
    Revoked,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Returns the role that a peer names in `hello`.
pub(super) fn wire_role(role: AccessRole) -> Role {
    match role {
        AccessRole::Observer => Role::Observer,
        AccessRole::Runner => Role::Runner,
        AccessRole::Reader | AccessRole::Member | AccessRole::Admin => Role::Operator,
    }
}

/// Returns the time at which a token expires, or a credential if it is not used before.
pub(crate) fn expires_at(credential: &Credential) -> WallTime {
    match credential.kind {
        CredentialKind::JoinToken { expires_at, .. } => expires_at,
        CredentialKind::Joined { .. } => WallTime(credential.last_used.0.saturating_add(UNUSED_MS)),
    }
}

pub(crate) fn state(credential: &Credential, now: WallTime) -> State {
    let is_used = matches!(credential.kind, CredentialKind::JoinToken { uses_left: 0, .. });
    match () {
        () if credential.revoked_at.is_some() => State::Revoked,
        () if is_used => State::Used,
        () if now >= expires_at(credential) => State::Expired,
        () => State::Valid,
    }
}

/// Returns the SHA-256 of a secret. A secret has 256 random bits, so no slower hash is needed.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Returns the labels of a runner whose register names `claimed`. One that names no label but facts has all those of
/// its credential.
pub(crate) fn labels(credential: &Credential, mut claimed: Vec<Label>) -> Result<Vec<Label>, Denied> {
    let key = |label: &Label| label.split_once('=').map(|(key, _)| key.to_owned());
    let is_fact = |label: &Label| key(label).is_some_and(|key| FACTS.contains(&key.as_str()));
    let is_hostname = |label: &Label| key(label).is_some_and(|key| key == HOSTNAME);
    let foreign = claimed.iter().find(|label| !is_fact(label) && !credential.labels.contains(label));
    if let Some(label) = foreign {
        return Err(Denied::Label {
            id: credential.id.clone(),
            label: label.to_string(),
            allowed: credential.labels.iter().map(ToString::to_string).collect(),
        });
    }
    if claimed.iter().all(|label| is_fact(label) || is_hostname(label)) {
        claimed.extend(credential.labels.iter().filter(|label| !is_hostname(label)).cloned());
        claimed.sort_unstable();
        claimed.dedup();
    }
    Ok(claimed)
}

impl Ledger {
    pub(super) fn new(rows: Vec<Credential>) -> Self {
        Self { rows: rows.into_iter().map(|row| (row.id.clone(), row)).collect() }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Credential> {
        self.rows.values()
    }

    /// Takes changes that are durable.
    pub(super) fn put(&mut self, changes: Changes) {
        for id in changes.forgotten {
            self.rows.remove(&id);
        }
        for row in changes.saved {
            self.rows.insert(row.id.clone(), row);
        }
    }

    /// Returns the row of whoever has the secret. Everybody else gets one answer, whatever the id.
    pub(super) fn known(&self, token: &Token) -> Result<&Credential, Denied> {
        let row = CredentialId::new(&token.id)
            .and_then(|id| self.rows.get(&id))
            .filter(|row| matches!(row.kind, CredentialKind::JoinToken { .. }) == (token.kind == TokenKind::Join));
        // Compared also if there is no row, so that the time tells nothing either.
        let expected = row.map_or([0; 32], |row| row.hash);
        let is_right = bool::from(expected.ct_eq(&hash(&token.secret)));
        row.filter(|_| is_right).ok_or(Denied::Unknown)
    }

    /// Admits a peer with a credential to a session.
    pub(super) fn admit(&self, token: &Token, role: Role, name: &str, now: WallTime) -> Result<&Credential, Denied> {
        let row = self.known(token)?;
        valid(row, now)?;
        if wire_role(row.role) != role {
            return Err(Denied::Role { id: row.id.clone(), role: row.role, wanted: role });
        }
        match &row.name {
            Some(own) if role == Role::Runner && own != name => {
                Err(Denied::Name { id: row.id.clone(), own: own.clone(), wanted: name.to_owned() })
            }
            _ => Ok(row),
        }
    }

    /// Returns the credential of that id if it is valid.
    pub(super) fn valid(&self, id: &CredentialId, now: WallTime) -> Result<&Credential, Denied> {
        let row = self.rows.get(id).ok_or(Denied::Unknown)?;
        valid(row, now)?;
        Ok(row)
    }

    /// Lets a peer join. `id` is that of the new credential. The same wish may come again, if the answer was lost: it
    /// gets the same credential, and the token is spent once.
    pub(super) fn join(
        &self,
        joiner: &Joiner,
        id: CredentialId,
        now: WallTime,
    ) -> Result<(Changes, Credential), Denied> {
        let token = self.known(&joiner.token)?;
        let secret = hash(&joiner.secret);
        let of_token = |row: &&Credential| row.kind == CredentialKind::Joined { token: token.id.clone() };
        if let Some(again) = self.rows.values().filter(of_token).find(|row| bool::from(row.hash.ct_eq(&secret))) {
            valid(again, now)?;
            return Ok((Changes::default(), again.clone()));
        }
        valid(token, now)?;
        if wire_role(token.role) != joiner.role {
            return Err(Denied::Role { id: token.id.clone(), role: token.role, wanted: joiner.role });
        }
        let name = self.name_for(token, joiner, now)?;
        if self.rows.contains_key(&id) {
            return Err(Denied::IdTaken);
        }
        let CredentialKind::JoinToken { expires_at, uses_left } = token.kind else { return Err(Denied::Unknown) };
        let mut spent = token.clone();
        spent.kind = CredentialKind::JoinToken { expires_at, uses_left: uses_left.saturating_sub(1) };
        spent.last_used = now;
        let mut labels = token.labels.clone();
        if joiner.role == Role::Runner {
            let hostname = joiner.hostname.as_ref().and_then(|name| Label::new(&format!("{HOSTNAME}={name}")).ok());
            labels.extend(hostname.filter(|label| !token.labels.contains(label)));
        }
        let joined = Credential {
            id,
            kind: CredentialKind::Joined { token: token.id.clone() },
            role: token.role,
            name: Some(name),
            labels,
            repos: token.repos.clone(),
            hash: secret,
            created_at: now,
            created_by: None,
            last_used: now,
            revoked_at: None,
            revoked_by: None,
        };
        Ok((Changes { saved: vec![spent, joined.clone()], forgotten: Vec::new() }, joined))
    }

    /// Returns the name of the peer that joins. A name belongs to one credential of a role.
    fn name_for(&self, token: &Credential, joiner: &Joiner, now: WallTime) -> Result<String, Denied> {
        let typed = Some(joiner.name.as_str()).filter(|name| !name.is_empty());
        if let (Some(own), Some(typed)) = (&token.name, typed)
            && own != typed
        {
            return Err(Denied::Name { id: token.id.clone(), own: own.clone(), wanted: typed.to_owned() });
        }
        let name = token.name.as_deref().or(typed).unwrap_or(&joiner.default_name);
        check_name(token.role, name)?;
        let has_name = |row: &&Credential| {
            matches!(row.kind, CredentialKind::Joined { .. })
                && row.name.as_deref() == Some(name)
                && wire_role(row.role) == joiner.role
                && state(row, now) == State::Valid
        };
        match self.rows.values().find(has_name) {
            Some(other) => Err(Denied::NameTaken { name: name.to_owned(), id: other.id.clone() }),
            None => Ok(name.to_owned()),
        }
    }

    /// Creates a join token, and forgets those that have let nobody join for long.
    pub(super) fn create(
        &self,
        new: &NewToken,
        by: Option<String>,
        id: CredentialId,
        secret: &str,
        now: WallTime,
    ) -> Result<(Changes, Credential), Denied> {
        check_new(new)?;
        let forgotten: Vec<CredentialId> =
            self.rows.values().filter(|row| is_over(row, now)).map(|row| row.id.clone()).collect();
        if self.rows.len() - forgotten.len() >= MAX_CREDENTIALS {
            return Err(Denied::Wrong(format!(
                "there are {MAX_CREDENTIALS} tokens and credentials, which is the limit"
            )));
        }
        if self.rows.contains_key(&id) {
            return Err(Denied::IdTaken);
        }
        let expires_at = WallTime(now.0.saturating_add(i64::try_from(new.ttl_ms).unwrap_or(i64::MAX)));
        let token = Credential {
            id,
            kind: CredentialKind::JoinToken { expires_at, uses_left: new.uses },
            role: new.role,
            name: new.name.clone(),
            labels: new.labels.clone(),
            repos: new.repos.clone(),
            hash: hash(secret),
            created_at: now,
            created_by: by,
            last_used: now,
            revoked_at: None,
            revoked_by: None,
        };
        Ok((Changes { saved: vec![token.clone()], forgotten }, token))
    }

    /// Revokes a credential, or a join token with all the credentials that peers got for it. Returns those that are
    /// revoked by this.
    pub(super) fn revoke(
        &self,
        id: &CredentialId,
        by: Option<String>,
        now: WallTime,
    ) -> Result<(Changes, Vec<Credential>), Denied> {
        if !self.rows.contains_key(id) {
            return Err(Denied::NoSuchId { id: id.to_string() });
        }
        let by_token = CredentialKind::Joined { token: id.clone() };
        let hit = self.rows.values().filter(|row| row.revoked_at.is_none() && (row.id == *id || row.kind == by_token));
        let revoked = |row: &Credential| Credential { revoked_at: Some(now), revoked_by: by.clone(), ..row.clone() };
        let saved: Vec<Credential> = hit.map(revoked).collect();
        Ok((Changes { saved: saved.clone(), forgotten: Vec::new() }, saved))
    }

    /// Records a use of these credentials, if the recorded one is old.
    pub(super) fn touch(&self, ids: &[CredentialId], now: WallTime) -> Changes {
        let rows = ids.iter().filter_map(|id| self.rows.get(id)).filter(|row| is_touch_due(row, now));
        Changes { saved: rows.map(|row| Credential { last_used: now, ..row.clone() }).collect(), forgotten: Vec::new() }
    }

    /// Returns the credentials that expire soon because nobody uses them.
    pub(super) fn expiring(&self, now: WallTime) -> Vec<&Credential> {
        let is_soon = |row: &&Credential| {
            matches!(row.kind, CredentialKind::Joined { .. })
                && state(row, now) == State::Valid
                && expires_at(row).0.saturating_sub(now.0) <= WARNING_MS
        };
        self.rows.values().filter(is_soon).collect()
    }
}

/// Whether the last use of a valid credential is to be recorded again.
pub(super) fn is_touch_due(row: &Credential, now: WallTime) -> bool {
    row.revoked_at.is_none() && now.0.saturating_sub(row.last_used.0) >= TOUCH_MS
}

fn valid(row: &Credential, now: WallTime) -> Result<(), Denied> {
    let (id, is_token) = (row.id.clone(), matches!(row.kind, CredentialKind::JoinToken { .. }));
    match state(row, now) {
        State::Valid => Ok(()),
        State::Used => Err(Denied::Used { id }),
        State::Expired => Err(Denied::Expired { id, is_token }),
        State::Revoked => Err(Denied::Revoked { id, is_token }),
    }
}

/// Whether a token or credential has been of no use for so long that nobody asks why.
fn is_over(row: &Credential, now: WallTime) -> bool {
    let since = match state(row, now) {
        State::Valid => return false,
        State::Revoked => row.revoked_at.unwrap_or(row.last_used),
        State::Used => row.last_used,
        State::Expired => expires_at(row),
    };
    now.0.saturating_sub(since.0) > REMEMBERED_MS
}

fn check_name(role: AccessRole, name: &str) -> Result<(), Denied> {
    if role == AccessRole::Runner {
        return RunnerName::new(name).map(drop).map_err(|error| Denied::Wrong(error.to_string()));
    }
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(Denied::Wrong(format!("a name has 1 to {MAX_NAME_CHARS} characters, and no control characters")));
    }
    Ok(())
}

fn check_new(new: &NewToken) -> Result<(), Denied> {
    let wrong = |text: String| Err(Denied::Wrong(text));
    if let Some(name) = &new.name {
        check_name(new.role, name)?;
        if new.uses != 1 {
            return wrong("a name belongs to one peer: with --name a token has one use".into());
        }
    }
    if new.role != AccessRole::Runner && !new.labels.is_empty() {
        return wrong(format!("labels are for runners, and this token is for the role {}", new.role.word()));
    }
    match (new.role, new.repos.len()) {
        (AccessRole::Observer, 0) => {
            return wrong("name the repositories that the observer may announce, with --repo NAME for each".into());
        }
        (AccessRole::Observer, count) if count > MAX_REPOS => {
            return wrong(format!("a token names at most {MAX_REPOS} repositories"));
        }
        (AccessRole::Observer, _) | (_, 0) => {}
        _ => {
            return wrong(format!(
                "repositories are for observers, and this token is for the role {}",
                new.role.word()
            ));
        }
    }
    if new.labels.len() > MAX_LABELS / 2 {
        return wrong(format!("a token allows at most {} labels", MAX_LABELS / 2));
    }
    if new.uses == 0 || new.uses > MAX_USES {
        return wrong(format!("a token has 1 to {MAX_USES} uses, not {}", new.uses));
    }
    if new.ttl_ms == 0 || new.ttl_ms > MAX_TTL_MS {
        return wrong("a token expires after at least 1 ms and at most 366 days".into());
    }
    Ok(())
}
