//! Which certificate a server shows, and what it agrees on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use pointsman::proxy::tls::provider;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

use crate::common::program::PATIENCE;

/// What a handshake showed.
#[derive(Debug)]
pub struct Shown {
    pub certificate: Vec<u8>,
    pub alpn: Option<String>,
    /// The server closed the connection by itself, without a word.
    pub is_closed: bool,
}

/// Shakes hands and, where the connection is one for it, asks for `/`.
pub fn shown(address: SocketAddr, host: &str, alpn: &[&str]) -> Result<Shown, String> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anything)).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(client, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
    }
    let certificate = stream.conn.peer_certificates().unwrap()[0].to_vec();
    let alpn = stream.conn.alpn_protocol().map(|alpn| String::from_utf8_lossy(alpn).into_owned());
    let mut said = Vec::new();
    if alpn.as_deref() != Some("h2") {
        if alpn.as_deref() != Some("acme-tls/1") {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        }
        let _ = stream.read_to_end(&mut said);
    }
    Ok(Shown { certificate, alpn, is_closed: said.is_empty() })
}

/// Takes whatever is shown, even what has to be refused for its critical extension: the tests look at it themselves.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
