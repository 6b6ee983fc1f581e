//! S26, S27, F1: every message in every state of a session, from every role. The allowed states are read from the
//! tables of `docs/protocol.md`, and each message is the document's own example.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Process, Wire, World};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Connected.
    Opening,
    /// A runner that was welcomed.
    Welcomed,
    /// A runner that has registered.
    Registered,
    /// An observer that was welcomed.
    Observing,
    /// An observer that has the heads of the repository that the examples name.
    Informed,
    Operating,
}

/// The expected reaction to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// An `error` with this code, and the end.
    Ends(&'static str),
    /// An `error` with this code, and the session goes on.
    Refused(&'static str),
    /// An answer of this type, or none, and the session goes on.
    Taken(Option<&'static str>),
}

const STATES: [State; 6] =
    [State::Opening, State::Welcomed, State::Registered, State::Observing, State::Informed, State::Operating];

impl State {
    fn role(self) -> Option<&'static str> {
        match self {
            Self::Opening => None,
            Self::Welcomed | Self::Registered => Some("runner"),
            Self::Observing | Self::Informed => Some("observer"),
            Self::Operating => Some("operator"),
        }
    }

    /// A session in this state. An observer asks for the heads as the document's example does.
    fn reach(self, world: &World, name: &str, status: &Value) -> Wire {
        let Some(role) = self.role() else { return Wire::dial(world) };
        let mut wire = Wire::quiet(world, role, name);
        match self {
            Self::Registered => {
                let register = json!({"type": "register", "slots": 1, "isolation": "subreaper", "labels": ["idle"]});
                wire.say(&register);
                assert_eq!(wire.try_hear().unwrap()["type"], "registered");
            }
            Self::Informed => {
                wire.say(status);
                assert_eq!(wire.try_hear().unwrap()["type"], "heads");
            }
            Self::Opening | Self::Welcomed | Self::Observing | Self::Operating => {}
        }
        wire
    }

    /// A message that gets an answer in this state, with the type of the answer. The answer shows that the session goes
    /// on.
    fn sign_of_life(self) -> (Value, &'static str) {
        match self {
            Self::Opening => unreachable!("whatever is said here decides"),
            Self::Welcomed => (json!({"type": "register", "slots": 1, "isolation": "subreaper"}), "registered"),
            Self::Registered => (json!({"type": "ping", "holding": []}), "ack"),
            Self::Observing | Self::Informed | Self::Operating => (json!({"type": "ping"}), "ack"),
        }
    }

    /// Whether the document's table allows this role to send this message now.
    fn is_time_for(self, message: &str) -> bool {
        match message {
            "hello" => self == Self::Opening,
            "register" => self == Self::Welcomed,
            "pack" => matches!(self, Self::Informed | Self::Operating),
            "dispatch" | "existing" | "gone" => self == Self::Informed,
            // Nothing was asked for in any of these states.
            "supply" => false,
            "ping" => !matches!(self, Self::Opening | Self::Welcomed),
            "source" | "started" | "log" | "have" | "blob" | "settle" | "want" | "find_cache" | "save_cache"
            | "find_entry" | "keep_entry" | "results" | "draining" => self == Self::Registered,
            "secrets" if self.role() == Some("runner") => self == Self::Registered,
            "status" | "show" | "why" | "runners" | "passes" | "logs" | "cancel" | "rerun" | "start" | "drain"
            | "resume" | "wake" | "watch" | "haves" | "submit" | "create_token" | "tokens" | "revoke_token"
            | "log_out" | "set_secret" | "secrets" | "remove_secret" | "rotate_authority" | "artifacts" | "fetch"
            | "caches" | "remove_caches" => {
                matches!(self, Self::Observing | Self::Informed | Self::Operating)
            }
            other => panic!("the table names `{other}`: say here when it is allowed"),
        }
    }
}

/// The answer to each message of a role in an allowed state, without any build and without held attempts.
fn answer(role: &str, message: &str) -> Outcome {
    match (role, message) {
        ("runner", "ping") | ("observer" | "operator", "ping") => Outcome::Taken(Some("ack")),
        ("runner", "register") => Outcome::Taken(Some("registered")),
        (
            "runner",
            "source" | "secrets" | "started" | "log" | "have" | "blob" | "settle" | "want" | "find_cache"
            | "save_cache" | "find_entry" | "keep_entry" | "results",
        ) => Outcome::Taken(Some("stale")),
        ("runner", "draining") | ("observer" | "operator", "pack") => Outcome::Taken(None),
        ("operator", "haves") => Outcome::Taken(Some("haves")),
        ("operator", "submit") => Outcome::Taken(Some("need_source")),
        ("observer", "status") => Outcome::Taken(Some("heads")),
        ("observer", "dispatch") => Outcome::Taken(Some("need_source")),
        ("observer", "existing") => Outcome::Taken(Some("noted")),
        ("observer", "gone") => Outcome::Taken(Some("ok")),
        ("operator", "status") => Outcome::Taken(Some("status")),
        ("operator", "passes") => Outcome::Taken(Some("passes")),
        ("operator", "runners") => Outcome::Taken(Some("runners")),
        ("operator", "create_token") => Outcome::Taken(Some("token")),
        ("operator", "tokens") => Outcome::Taken(Some("tokens")),
        ("operator", "set_secret") => Outcome::Taken(Some("ok")),
        ("operator", "secrets") => Outcome::Taken(Some("secrets")),
        // The one that `set_secret` has set.
        ("operator", "remove_secret") => Outcome::Taken(Some("ok")),
        // It was opened with the secret of the role.
        ("operator", "log_out") => Outcome::Refused("refused"),
        ("operator", "revoke_token") => Outcome::Refused("not_found"),
        // The example of the document is about the end of a replacement.
        ("operator", "rotate_authority") => Outcome::Refused("refused"),
        ("operator", "watch") => Outcome::Taken(Some("ok")),
        (
            "operator",
            "show" | "why" | "logs" | "cancel" | "rerun" | "start" | "drain" | "resume" | "wake" | "artifacts"
            | "fetch" | "caches" | "remove_caches",
        ) => Outcome::Refused("not_found"),
        other => panic!("{other:?} is not in this table"),
    }
}

/// The roles that may send a message, by the first table of section 10.
fn roles_by_message() -> BTreeMap<String, BTreeSet<&'static str>> {
    let section = DOCUMENT.split("\n## 10. ").nth(1).unwrap().split("\n## ").next().unwrap();
    let table =
        section.split("\n\n").find(|part| part.starts_with("| Message | observer | runner | operator |")).unwrap();
    let mut roles = BTreeMap::<String, BTreeSet<_>>::new();
    for row in table.lines().skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let allowed =
            ["observer", "runner", "operator"].into_iter().zip(&cells[1..4]).filter(|(_, cell)| **cell == "✓");
        let allowed: BTreeSet<_> = allowed.map(|(role, _)| role).collect();
        for message in cells[0].split(", ") {
            roles.insert(message.trim_matches('`').to_owned(), allowed.clone());
        }
    }
    roles
}

/// The first example of each message of section 11, with the roles that it comes from or goes to.
fn examples() -> Vec<(String, Vec<String>, Value)> {
    let section = DOCUMENT.split("\n## 11. Messages\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let example = |text: &str| {
        let word = text.split_whitespace().next().unwrap().to_owned();
        let direction = text.split("\nDirection: ").nth(1).unwrap().split('.').next().unwrap().replace('\n', " ");
        let json = text.split("\n```json\n").nth(1).unwrap().lines().next().unwrap();
        (word, direction.split(", ").map(str::to_owned).collect(), serde_json::from_str(json).unwrap())
    };
    section.split("\n#### ").skip(1).map(example).collect()
}

/// The reaction that the document states.
fn expected(state: State, message: &str, roles: &BTreeMap<String, BTreeSet<&'static str>>) -> Outcome {
    let Some(role) = state.role() else { return Outcome::Ends("malformed") };
    if !roles.get(message).is_some_and(|roles| roles.contains(role)) {
        // Messages of the dispatcher, too.
        return Outcome::Refused("refused");
    }
    if state.is_time_for(message) { answer(role, message) } else { Outcome::Ends("not_allowed") }
}

/// Sabotage tried: `register` taken twice; `dispatch` taken before `status`; a second `hello` passed over. Each is
/// found.
#[test]
fn every_message_in_every_state_is_answered_as_the_document_says() {
    let world = World::new();
    let dispatcher = world.dispatcher(&[]);
    let roles = roles_by_message();
    let examples = examples();
    let described: BTreeSet<&String> = examples.iter().map(|(word, ..)| word).collect();
    assert!(roles.keys().all(|message| described.contains(message)), "the table names what has no section");

    let (_, _, status) =
        examples.iter().find(|(word, of, _)| word == "status" && of[0] == "observer to dispatcher").unwrap();
    let trial = Trial { world: &world, dispatcher: &dispatcher, status };
    let mut tried = BTreeSet::new();
    for state in STATES {
        for (word, directions, example) in &examples {
            if directions.iter().all(|direction| direction.starts_with("dispatcher")) && roles.contains_key(word) {
                // A message of the same name in the other direction has a section of its own.
                continue;
            }
            if word == "hello" && state == State::Opening {
                continue;
            }
            // If two messages have one name, the form of this role.
            let is_ours = |role| directions.iter().any(|direction| *direction == format!("{role} to dispatcher"));
            let allows = |role| roles.get(word).is_some_and(|roles| roles.contains(role));
            let others = examples.iter().filter(|(other, ..)| other == word).count() > 1;
            if others && state.role().is_some_and(|role| allows(role) && !is_ours(role)) {
                continue;
            }
            let outcome = expected(state, word, &roles);
            tried.insert((format!("{state:?}"), word.clone()));
            trial.check(state, &format!("{word}-{}", tried.len()), example, &outcome);
        }
        let dance = json!({"type": "dance", "bytes": 5});
        let outcome = if state == State::Opening { Outcome::Ends("malformed") } else { Outcome::Refused("refused") };
        trial.check(state, &format!("dance-{state:?}"), &dance, &outcome);
    }
    let words = examples.iter().map(|(word, ..)| word).collect::<BTreeSet<_>>().len();
    assert_eq!(tried.len(), STATES.len() * words - 1, "every pair but the hello that opens was tried");
    assert!(!dispatcher.log().contains("panicked"), "{}", dispatcher.log());
}

struct Trial<'a> {
    world: &'a World,
    dispatcher: &'a Process,
    status: &'a Value,
}

impl Trial<'_> {
    #[track_caller]
    fn check(&self, state: State, name: &str, message: &Value, outcome: &Outcome) {
        let mut wire = state.reach(self.world, name, self.status);
        wire.say(message);
        let payload = vec![b'{'; usize::try_from(message["bytes"].as_u64().unwrap_or(0)).unwrap()];
        // A peer that is refused at once does not read it.
        wire.send(&payload).ok();
        let what = format!("{message} when {state:?}, {outcome:?} expected");
        let hear = |wire: &mut Wire| {
            let answer = wire.try_hear();
            answer.unwrap_or_else(|| panic!("the end came instead of an answer: {what}\n{}", self.dispatcher.log()))
        };
        match outcome {
            Outcome::Ends(code) => {
                let answer = hear(&mut wire);
                assert_eq!((&answer["type"], &answer["code"]), (&"error".into(), &(*code).into()), "{answer}: {what}");
                assert!(wire.try_hear().is_none(), "it goes on: {what}");
                return;
            }
            Outcome::Refused(code) => {
                let answer = hear(&mut wire);
                assert_eq!((&answer["type"], &answer["code"]), (&"error".into(), &(*code).into()), "{answer}: {what}");
            }
            Outcome::Taken(Some(kind)) => {
                let answer = hear(&mut wire);
                assert_eq!(answer["type"], *kind, "{answer}: {what}");
            }
            Outcome::Taken(None) => {}
        }
        let state = if message["type"] == "register" && state == State::Welcomed { State::Registered } else { state };
        let (question, kind) = state.sign_of_life();
        wire.say(&question);
        let answer = hear(&mut wire);
        assert_eq!(answer["type"], kind, "{answer} to a sign of life after {what}");
    }
}
