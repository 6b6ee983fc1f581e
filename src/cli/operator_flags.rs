//! The connection flags of commands that speak to a dispatcher as an operator, and which dispatcher they mean: one that
//! is named, else the default login, else the dispatcher of this machine.

use std::str::FromStr;

use clap::Args;

use super::CliError;
use super::flags::ProofFlags;
use super::session::Session;
use crate::config::{LOCAL_LOGIN, Login, Logins, TokenSource, defaults, is_login_name};
use crate::model::{Address, Pin};
use crate::quoting::{absolute, shell_path, shell_word};

/// The dispatcher that a command speaks to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct OperatorFlags {
    /// The dispatcher: an address, or the name of a login; several addresses, separated by commas, are tried in order
    /// [default: the default login, else localhost:9000]
    #[arg(long, value_name = "HOST:PORT|NAME", env = "SURVEIL_DISPATCH", value_delimiter = ',')]
    pub(crate) dispatch: Vec<Place>,
    #[command(flatten)]
    pub(crate) proof: ProofFlags,
}

/// A dispatcher as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    At(Address),
    /// The name of a login, or `local`.
    Login(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(address) => Ok(Self::At(address)),
            Err(_) if is_login_name(text) || text == LOCAL_LOGIN => Ok(Self::Login(text.to_owned())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The dispatcher that the flags, the environment and the logins name.
pub(crate) struct Target {
    pub(crate) dispatch: Vec<Address>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) token: TokenSource,
    /// The name of the login, if it is one.
    pub(crate) login: Option<String>,
}

impl OperatorFlags {
    /// Opens a session with the dispatcher that is meant.
    pub(crate) fn connect(&self) -> Result<Session, CliError> {
        let Target { dispatch, pins, token, login } = self.target()?;
        let opened = Session::open(&dispatch, &pins, &token);
        match login {
            Some(login) => opened.map_err(|error| error.of_login(&login)),
            None => opened,
        }
    }

    /// Finds the dispatcher that is meant.
    pub(crate) fn target(&self) -> Result<Target, CliError> {
        let logins = Logins::of_user();
        let is_of_machine = self.proof.data.is_some() || self.proof.token_file.is_some();
        let (addresses, login) = match self.dispatch.as_slice() {
            [] if is_of_machine => (Vec::new(), None),
            [] => (Vec::new(), logins.default()?),
            [Place::Login(name)] if name == LOCAL_LOGIN => (Vec::new(), None),
            [Place::Login(name)] => (Vec::new(), Some(logins.find(name)?.ok_or_else(|| no_login(name))?)),
            places => {
                let addresses = places.iter().map(|place| match place {
                    Place::At(address) => Ok(address.clone()),
                    Place::Login(name) => {
                        Err(CliError::Usage(format!("{name} is the name of a login, so it cannot stand in a list")))
                    }
                });
                let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
                let login = if is_of_machine { None } else { logins.at(&addresses)? };
                (addresses, login)
            }
        };
        match login {
            Some(login) => Ok(self.of_login(login)),
            None => self.of_machine(addresses),
        }
    }

    fn of_login(&self, login: Login) -> Target {
        let Login { name, path, file, .. } = login;
        let token = match &self.proof.token_file {
            Some(path) => TokenSource::new(path.clone()),
            None => TokenSource::joined(path),
        };
        let pins = if self.proof.pins.is_empty() { file.pins } else { self.proof.pins.clone() };
        Target { dispatch: file.dispatch, pins, token, login: Some(name) }
    }

    fn of_machine(&self, mut dispatch: Vec<Address>) -> Result<Target, CliError> {
        if dispatch.is_empty() {
            dispatch.push(defaults::DISPATCH.parse().map_err(|_| CliError::Usage("no address".into()))?);
        }
        let (pins, token) = (self.proof.find_pins(&dispatch), self.proof.token("operator"));
        Ok(Target { dispatch, pins, token, login: None })
    }

    /// The flags that another command needs to find the same dispatcher; empty if it finds it by default. A variable
    /// may be missing in the shell where somebody types the next command, so what comes from a variable counts as
    /// typed.
    pub(crate) fn typed(&self) -> String {
        self.typed_beside(names_local())
    }

    /// `has_default_login` tells whether commands without flags speak to a login.
    fn typed_beside(&self, has_default_login: bool) -> String {
        let places = self.dispatch.iter().map(|place| match place {
            Place::At(address) => address.to_string(),
            Place::Login(name) => name.clone(),
        });
        let places = places.collect::<Vec<_>>().join(",");
        let mut typed = String::new();
        if !places.is_empty() && (places != defaults::DISPATCH || has_default_login) {
            typed.push_str(&format!(" --dispatch {}", shell_word(&places)));
        }
        for pin in &self.proof.pins {
            typed.push_str(&format!(" --pin {pin}"));
        }
        for (flag, path) in [("--token-file", &self.proof.token_file), ("--data", &self.proof.data)] {
            if let Some(path) = path {
                typed.push_str(&format!(" {flag} {}", shell_path(&absolute(path))));
            }
        }
        typed
    }
}

/// Whether a printed command has to name the dispatcher of this machine, because one without flags speaks to a login.
pub(crate) fn names_local() -> bool {
    Logins::of_user().default().is_ok_and(|login| login.is_some())
}

/// The error for a name that no login has.
pub(crate) fn no_login(name: &str) -> CliError {
    CliError::Usage(format!(
        "no login has the name {name}: `surveil login` lists them, and an address is written HOST:PORT"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_an_address() {
        assert_eq!("h:1".parse(), Ok(Place::At("h:1".parse().unwrap())));
        assert_eq!("ci.example.net".parse(), Ok(Place::Login("ci.example.net".into())));
        assert_eq!("local".parse(), Ok(Place::Login("local".into())));
        for text in ["", "h:70000", "a b", "../x", "[::1]"] {
            assert!(text.parse::<Place>().unwrap_err().contains("HOST:PORT"), "{text}");
        }
    }

    #[test]
    fn what_is_found_by_default_is_not_named() {
        let flags = OperatorFlags { dispatch: vec![defaults::DISPATCH.parse().unwrap()], ..OperatorFlags::default() };
        assert_eq!(flags.typed_beside(false), "");
        assert_eq!(flags.typed_beside(true), " --dispatch localhost:9000");
        assert_eq!(OperatorFlags::default().typed_beside(true), "");
        let named = OperatorFlags { dispatch: vec!["ci".parse().unwrap()], ..OperatorFlags::default() };
        assert_eq!(named.typed_beside(true), " --dispatch ci");
    }
}
