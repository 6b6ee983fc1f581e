//! The ports of services.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

use crate::model::Service;
use crate::threads;

/// The ports of the services that run now. A service listens only a while after it got its port, so two slots of this
/// process could get the same one.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// The times that another port is asked for.
const TRIES: usize = 200;

/// A port that no other service of this process gets, until it is dropped.
#[derive(Debug)]
pub(super) struct Port(u16);

impl Port {
    /// Takes a port that no socket has now, at any address: a service may listen at all of them, and cannot while a
    /// connection from another loopback address has the port.
    pub(super) fn take() -> io::Result<Self> {
        // Those that are taken already stay bound meanwhile, so that the kernel finds others.
        let mut bound = Vec::new();
        for _ in 0..TRIES {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            let port = listener.local_addr()?.port();
            if threads::lock(&TAKEN).insert(port) {
                return Ok(Self(port));
            }
            bound.push(listener);
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// The number.
    pub(super) fn number(&self) -> u16 {
        self.0
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        threads::lock(&TAKEN).remove(&self.0);
    }
}

/// Returns the variables in which all commands of an attempt have the ports of its services.
pub(super) fn ports_of_services(services: &[Service], ports: &[Port]) -> Vec<(OsString, OsString)> {
    let variable = |(service, port): (&Service, &Port)| (service.variable().into(), port.number().to_string().into());
    services.iter().zip(ports).map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_services_have_one_port_and_it_is_free() {
        let ports: Vec<Port> = (0..100).map(|_| Port::take().unwrap()).collect();
        let different: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(different.len(), ports.len());
        assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, ports[7].number())).is_ok());
        let number = ports[7].number();
        drop(ports);
        assert!(!threads::lock(&TAKEN).contains(&number));
    }
}
