//! A certificate for a web server at 127.0.0.1, and the authority that signs it.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{World, text};

/// The file of a world with the certificate of its authority, in PEM.
pub(crate) const AUTHORITY: &str = "authority.pem";

/// Makes an authority, and the configuration of a server with a certificate of it. Writes [`AUTHORITY`].
pub(super) fn certified(world: &World) -> Arc<ServerConfig> {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut root = CertificateParams::default();
    root.distinguished_name = named("An authority of a test");
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = root.self_signed(&root_key).unwrap();
    let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    server.distinguished_name = named("A server of a test");
    server.use_authority_key_identifier_extension = true;
    let certificate = server.signed_by(&key, &Issuer::from_params(&root, &root_key)).unwrap();
    write_pem(world, authority.der());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn write_pem(world: &World, der: &[u8]) {
    let file = world.path("authority.der");
    fs::write(&file, der).unwrap();
    let mut command = world.sealed("base64");
    command.args(["-w", "64", text(&file)]);
    let lines = world.run(command).ok();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n");
    fs::write(world.path(AUTHORITY), pem).unwrap();
}
