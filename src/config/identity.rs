//! A runner's default name, and the labels that every runner has.

use crate::model::{Ability, Label, RunnerName};

/// Returns the labels that every runner has without a flag: `os=…`, `arch=…`, `hostname=…`, and `can=…` for each
/// ability of this program.
#[must_use]
pub fn own_facts() -> Vec<Label> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    [format!("os={os}"), format!("arch={arch}"), format!("hostname={}", default_runner_name())]
        .iter()
        .map(|fact| Label::new(fact).expect("names of systems, processors and runners are made of a label's letters"))
        .chain(Ability::OF_PROGRAM.map(Ability::label))
        .collect()
}

/// Returns the host's name, with every character replaced that a runner's name may not have.
#[must_use]
pub fn default_runner_name() -> RunnerName {
    RunnerName::from_host(&rustix::system::uname().nodename().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runners_own_facts_are_labels() {
        let facts = own_facts();
        let keys: Vec<&str> = facts.iter().filter_map(|fact| fact.split_once('=').map(|(key, _)| key)).collect();
        assert_eq!(keys[..3], ["os", "arch", "hostname"]);
        assert!(keys[3..].iter().all(|key| *key == "can"), "{keys:?}");
    }
}
