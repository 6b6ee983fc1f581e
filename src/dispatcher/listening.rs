//! How peers of other machines reach this dispatcher. Plain data, which the gate obeys and `surveil status` shows.

use std::net::{IpAddr, SocketAddr};

use crate::model::Network;

/// How peers reach this dispatcher.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    /// The address at which it listens, the first of several.
    pub(crate) address: SocketAddr,
    /// Networks besides loopback from which plain text is accepted.
    pub(crate) plain_text_from: Vec<Network>,
}

impl Listening {
    /// Whether plain text is accepted from there. `None` is this process.
    pub(crate) fn takes_plain_text(&self, from: Option<IpAddr>) -> bool {
        from.is_none_or(|ip| {
            ip.to_canonical().is_loopback() || self.plain_text_from.iter().any(|network| network.contains(ip))
        })
    }

    /// Returns the problem that an operator should know of, if plain text is accepted from other machines.
    pub(crate) fn warning(&self) -> Option<String> {
        if self.plain_text_from.is_empty() {
            return None;
        }
        let networks: Vec<String> = self.plain_text_from.iter().map(Network::to_string).collect();
        let networks = networks.join(", ");
        Some(format!("plain text is accepted from {networks}: whoever can listen there reads sources and tokens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(networks: &[&str]) -> Listening {
        Listening {
            address: "10.0.0.5:9000".parse().unwrap(),
            plain_text_from: networks.iter().map(|network| network.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn plain_text_is_for_this_machine_and_for_networks_that_the_operator_named() {
        let takes = |listening: &Listening, ip: &str| listening.takes_plain_text(Some(ip.parse().unwrap()));
        let usual = from(&[]);
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(takes(&usual, loopback), "{loopback}");
        }
        assert!(usual.takes_plain_text(None) && usual.warning().is_none());
        for other in ["10.0.0.5", "::ffff:10.0.0.5", "0.0.0.0", "fe80::1", "::"] {
            assert!(!takes(&usual, other), "{other}");
        }
        let opened = from(&["10.0.0.0/8", "fe80::/10"]);
        assert!(takes(&opened, "10.1.1.1") && takes(&opened, "::ffff:10.1.1.1") && takes(&opened, "fe80::1"));
        assert!(!takes(&opened, "192.168.1.1"));
        assert!(opened.warning().unwrap().contains("from 10.0.0.0/8, fe80::/10: whoever"));
    }
}
